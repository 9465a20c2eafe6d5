//! Code to trap in, as a compiler would make it: an entry trampoline and a
//! function, with frame records. One file for each instruction set, with the
//! symbols that are declared below.

use core::ops::Range;

use trapline::VirtualAddress;

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        mod x86_64;
    } else if #[cfg(target_arch = "aarch64")] {
        mod aarch64;
    } else if #[cfg(target_arch = "riscv64")] {
        mod riscv64;
    } else {
        compile_error!("there is no guest for this instruction set");
    }
}

/// An argument of the guest: it executes an instruction that traps.
pub(crate) const TRAPS: u32 = 0;
/// Another one: a host function is called, and fails.
pub(crate) const HOST_FAILS: u32 = 1;
/// Another one: a builtin raises a trap.
pub(crate) const OUT_OF_FUEL: u32 = 2;
/// Another one: it gets a value of a host function and returns it.
pub(crate) const RETURNS: u32 = 41;

/// What the guest's code writes when it is entered and left. The assembly
/// knows the order.
#[derive(Default, Debug)]
#[repr(C)]
pub(crate) struct Words {
    pub(crate) exit_fp: usize,
    pub(crate) exit_pc: usize,
    pub(crate) entry_fp: usize,
}

unsafe extern "C" {
    static guest_text: u8;
    static guest_trap: u8;
    static guest_text_end: u8;
    fn guest_enter(words: *mut Words, argument: u32) -> u32;
}

/// Where all of the code lies.
pub(crate) fn text() -> Range<VirtualAddress> {
    VirtualAddress::from_ptr(&raw const guest_text)
        ..VirtualAddress::from_ptr(&raw const guest_text_end)
}

/// The instruction that traps.
pub(crate) fn trap() -> VirtualAddress {
    VirtualAddress::from_ptr(&raw const guest_trap)
}

/// Calls the guest's function.
///
/// # Safety
///
/// * Inside of a `catch_traps` of the store whose words these are, with nothing
///   in between that has a destructor.
pub(crate) unsafe fn enter(words: *mut Words, argument: u32) -> u32 {
    // SAFETY: the caller's duty; the guest calls back by way of `embedding` only.
    unsafe { guest_enter(words, argument) }
}
