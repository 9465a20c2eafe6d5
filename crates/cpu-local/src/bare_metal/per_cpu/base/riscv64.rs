//! riscv64: the thread pointer, `tp` (x4).
//!
//! Compilers leave it alone (RISC-V ELF psABI, "Integer Register Convention":
//! unallocatable) unless there are thread-local variables, which bare-metal
//! Rust has none of.

use core::arch::asm;

/// The address of this CPU's copy.
#[inline]
pub(crate) fn displace(template: usize) -> usize {
    let copy;
    // SAFETY: reads the first word of this CPU's area and adds.
    unsafe {
        asm!(
            "ld {displacement}, 0(tp)",
            "add {address}, {address}, {displacement}",
            address = inout(reg) template => copy,
            displacement = out(reg) _,
            options(readonly, nostack, preserves_flags),
        );
    }
    copy
}

/// The address of this CPU's area.
pub(crate) fn base() -> usize {
    let base;
    // SAFETY: reads a register.
    unsafe {
        asm!("mv {base}, tp", base = out(reg) base, options(nomem, nostack, preserves_flags));
    }
    base
}

/// Sets the address of this CPU's area.
///
/// # Safety
///
/// * The area is set up, and the register is left to this crate.
pub(crate) unsafe fn set_base(area: usize) {
    // SAFETY: the caller's duty; the compiler keeps nothing in `tp`. The
    // assembly may see all memory: the area is written before this.
    unsafe {
        asm!("mv tp, {area}", area = in(reg) area, options(nostack, preserves_flags));
    }
}
