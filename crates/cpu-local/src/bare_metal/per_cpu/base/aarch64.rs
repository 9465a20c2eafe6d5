//! aarch64: the software thread ID register of the exception level that the
//! kernel runs at, TPIDR_EL1 (feature `tpidr-el2`: TPIDR_EL2).
//!
//! Hardware gives these registers no meaning (Arm ARM, "TPIDR_EL1, EL1 Software
//! Thread ID Register"). A kernel at EL2 needs its own also with VHE:
//! HCR_EL2.E2H redirects many accesses from EL1's registers to EL2's, but not
//! this one.

use core::arch::asm;

#[cfg(not(feature = "tpidr-el2"))]
macro_rules! tpidr {
    () => {
        "tpidr_el1"
    };
}

#[cfg(feature = "tpidr-el2")]
macro_rules! tpidr {
    () => {
        "tpidr_el2"
    };
}

/// The address of this CPU's copy.
#[inline]
pub(crate) fn displace(template: usize) -> usize {
    let copy;
    // SAFETY: reads the first word of this CPU's area and adds.
    unsafe {
        asm!(
            concat!("mrs {base}, ", tpidr!()),
            "ldr {base}, [{base}]",
            "add {address}, {address}, {base}",
            address = inout(reg) template => copy,
            base = out(reg) _,
            options(readonly, nostack, preserves_flags),
        );
    }
    copy
}

/// The address of this CPU's area.
pub(crate) fn base() -> usize {
    let base;
    // SAFETY: reads a register; kernels at this exception level may.
    unsafe {
        asm!(
            concat!("mrs {base}, ", tpidr!()),
            base = out(reg) base,
            options(nomem, nostack, preserves_flags),
        );
    }
    base
}

/// Sets the address of this CPU's area.
///
/// # Safety
///
/// * The area is set up, and the register is left to this crate.
pub(crate) unsafe fn set_base(area: usize) {
    // SAFETY: the caller's duty. A read that follows sees what was written
    // without a barrier (Arm ARM, "Synchronization requirements for AArch64
    // System registers": a direct write, then a direct read). The assembly may
    // see all memory: the area is written before this.
    unsafe {
        asm!(
            concat!("msr ", tpidr!(), ", {area}"),
            area = in(reg) area,
            options(nostack, preserves_flags),
        );
    }
}
