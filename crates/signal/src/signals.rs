//! The signals this crate handles.

use libc::c_int;

/// The signals by which Linux reports what the processor refused to do.
///
/// * `SIGSEGV`: an access to a page that is not mapped, or not for this kind
///   of access; on x86_64 also to a non-canonical address.
/// * `SIGBUS`: an access to a mapped page that nothing stands behind (a file
///   that became shorter), or one that must be aligned and is not.
/// * `SIGILL`: an instruction that does not exist, which is how compilers
///   write an explicit trap.
/// * `SIGFPE`: integer division by zero or overflow; compare-and-trap on s390x.
pub(crate) const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The place of `signal` in [`SIGNALS`].
pub(crate) const fn index_of(signal: c_int) -> Option<usize> {
    match signal {
        libc::SIGSEGV => Some(0),
        libc::SIGBUS => Some(1),
        libc::SIGILL => Some(2),
        libc::SIGFPE => Some(3),
        _ => None,
    }
}

/// What `signal` is called.
pub(crate) const fn name_of(signal: c_int) -> &'static str {
    match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        _ => "another signal",
    }
}

// `index_of` is the inverse of `SIGNALS`.
const _: () = {
    let mut i = 0;
    while i < SIGNALS.len() {
        assert!(matches!(index_of(SIGNALS[i]), Some(index) if index == i));
        i += 1;
    }
};
