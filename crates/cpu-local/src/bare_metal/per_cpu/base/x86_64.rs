//! x86_64: the base of the GS segment, IA32_GS_BASE.

use core::arch::asm;

/// The number of the register (Intel SDM volume 4, table 2-2).
const IA32_GS_BASE: u32 = 0xc000_0101;

/// The address of this CPU's copy.
#[inline]
pub(crate) fn displace(template: usize) -> usize {
    let copy;
    // SAFETY: reads the first word of this CPU's area and adds. The base itself
    // could be read with `rdgsbase` only where CR4.FSGSBASE is set.
    unsafe {
        asm!(
            "add {address}, qword ptr gs:[0]",
            address = inout(reg) template => copy,
            options(readonly, nostack),
        );
    }
    copy
}

/// The address of this CPU's area.
pub(crate) fn base() -> usize {
    let (low, high): (u32, u32);
    // SAFETY: reads a register that every x86_64 CPU has; kernels may.
    unsafe {
        asm!(
            "rdmsr",
            in("ecx") IA32_GS_BASE,
            out("eax") low,
            out("edx") high,
            options(nomem, nostack, preserves_flags),
        );
    }
    (high as usize) << 32 | low as usize
}

/// Sets the address of this CPU's area.
///
/// # Safety
///
/// * The area is set up, and the register is left to this crate.
pub(crate) unsafe fn set_base(area: usize) {
    // SAFETY: the caller's duty; a pointer is canonical, as `wrmsr` wants it.
    // The assembly may see all memory: the area is written before this.
    unsafe {
        asm!(
            "wrmsr",
            in("ecx") IA32_GS_BASE,
            in("eax") area as u32,
            in("edx") (area >> 32) as u32,
            options(nostack, preserves_flags),
        );
    }
}
