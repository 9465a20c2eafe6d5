//! What the tests share.

use std::hint::black_box;

pub(crate) mod child;
pub(crate) mod guest;
pub(crate) mod os;
mod poison;

/// The signals that trapline handles.
pub(crate) const SIGNALS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Uses up the stack.
#[expect(unconditional_recursion, reason = "that is what it is for")]
pub(crate) fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[black_box(7)]
}
