//! Host code that faults.

use std::arch::asm;
use std::hint::black_box;

use libc::{c_int, ucontext_t};

use super::os;

/// Makes the processor raise `signal` at an instruction of host code.
///
/// Returns if a handler repairs the cause or calls [`skip`].
pub(crate) fn raise_in_host_code(signal: c_int) {
    match signal {
        libc::SIGSEGV => read(os::map(4096, libc::PROT_NONE).start + 0x123),
        libc::SIGBUS => read(os::map_page_of_empty_file().start + 0x123),
        // SAFETY: for the purpose of the test.
        libc::SIGILL => unsafe { asm!("ud2") },
        libc::SIGFPE => {
            // SAFETY: for the purpose of the test.
            unsafe {
                asm!("div ecx", inout("eax") 1 => _, inout("edx") 0 => _, in("ecx") 0);
            }
        }
        _ => panic!("not one of ours"),
    }
}

/// Reads a word at `address`.
pub(crate) fn read(address: usize) {
    // SAFETY: for the purpose of the test.
    unsafe { asm!("mov eax, [rax]", inout("rax") address => _) };
}

/// Goes on after the instruction that one of these functions faulted at: all of
/// them are two bytes long.
pub(crate) fn skip(context: &mut ucontext_t) {
    context.uc_mcontext.gregs[libc::REG_RIP as usize] += 2;
}

/// Uses up the stack.
#[expect(unconditional_recursion, reason = "that is what it is for")]
pub(crate) fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[black_box(7)]
}
