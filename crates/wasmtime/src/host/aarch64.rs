//! Features of aarch64 CPUs.

/// Whether the CPU has what a flag of the compiler stands for; `None` for
/// unknown flags.
#[cfg(feature = "std")]
pub(super) fn has_feature(flag: &str) -> Option<bool> {
    use std::arch::is_aarch64_feature_detected as detected;
    Some(match flag {
        "has_lse" => detected!("lse"),
        "has_pauth" => detected!("paca"),
        "has_fp16" => detected!("fp16"),
        "has_dotprod" => detected!("dotprod"),
        "has_i8mm" => detected!("i8mm"),
        _ => return None,
    })
}

/// Whether the CPU has what a flag of the compiler stands for; `None` for
/// unknown flags. Fields and values are those of the Arm Architecture
/// Reference Manual, section D24.2.
#[cfg(not(feature = "std"))]
pub(super) fn has_feature(flag: &str) -> Option<bool> {
    macro_rules! read {
        ($register:literal) => {{
            let value: u64;
            // SAFETY: the identification registers can be read at EL1, and at
            // EL0 where the kernel allows or emulates it; reading has no
            // effect.
            unsafe {
                core::arch::asm!(concat!("mrs {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags));
            }
            value
        }};
    }
    let field = |register: u64, bit: u32| (register >> bit) & 0xf;
    Some(match flag {
        "has_lse" => field(read!("ID_AA64ISAR0_EL1"), 20) >= 2,
        "has_dotprod" => field(read!("ID_AA64ISAR0_EL1"), 44) >= 1,
        "has_pauth" => field(read!("ID_AA64ISAR1_EL1"), 4) >= 1,
        "has_i8mm" => field(read!("ID_AA64ISAR1_EL1"), 52) >= 1,
        "has_fp16" => field(read!("ID_AA64PFR0_EL1"), 20) == 1,
        _ => return None,
    })
}
