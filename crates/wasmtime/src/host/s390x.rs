//! Features of s390x CPUs, from the instruction `stfle`: the same with and
//! without an operating system.

use core::arch::asm;

/// Whether the CPU has what a flag of the compiler stands for; `None` for
/// unknown flags. The numbers are those of the facility indications in the
/// z/Architecture Principles of Operation, chapter 4.
pub(super) fn has_feature(flag: &str) -> Option<bool> {
    Some(match flag {
        "has_mie3" => has_facility(61),
        "has_mie4" => has_facility(84),
        "has_vxrs_ext2" => has_facility(148),
        "has_vxrs_ext3" => has_facility(198),
        _ => return None,
    })
}

/// Whether the CPU has a facility. (`stfle` itself is there since z9.)
fn has_facility(number: usize) -> bool {
    /// Bit 0 is the highest one of the first word.
    const WORDS: usize = 4;
    let mut list = [0_u64; WORDS];
    // SAFETY: writes as many words as the lowest byte of r0 says and one more,
    // at most; any code may execute it. Clobbers r0 and the condition code.
    unsafe {
        asm!(
            "lghi %r0, {last}",
            "stfle 0({list})",
            last = const WORDS - 1,
            list = in(reg_addr) list.as_mut_ptr(),
            out("r0") _,
            options(nostack),
        );
    }
    list.get(number / 64)
        .is_some_and(|word| word << (number % 64) >> 63 == 1)
}
