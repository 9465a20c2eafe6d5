//! Features of x86_64 CPUs, from `cpuid` and `xgetbv`: the same with and
//! without an operating system.
//!
//! Leaves and bits are those of the Intel Software Developer's Manual,
//! volume 2, CPUID; `XCR0` is described in volume 1, section 13.3.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

/// Whether the CPU has what a flag of the compiler stands for, and the
/// operating system keeps the registers that go with it; `None` for unknown
/// flags.
pub(super) fn has_feature(flag: &str) -> Option<bool> {
    let bit = |register: u32, bit: u32| register & (1 << bit) != 0;
    let basic = leaf(1, 0);
    let extended = leaf(7, 0);
    let amd = leaf(0x8000_0001, 0);
    let avx = xcr0_has(basic, 0b110);
    let avx512 = xcr0_has(basic, 0b1110_0110) && bit(extended.ebx, 16);
    Some(match flag {
        "has_sse3" => bit(basic.ecx, 0),
        "has_ssse3" => bit(basic.ecx, 9),
        "has_fma" => avx && bit(basic.ecx, 12),
        "has_cmpxchg16b" => bit(basic.ecx, 13),
        "has_sse41" => bit(basic.ecx, 19),
        "has_sse42" => bit(basic.ecx, 20),
        "has_popcnt" => bit(basic.ecx, 23),
        "has_avx" => avx && bit(basic.ecx, 28),
        "has_bmi1" => bit(extended.ebx, 3),
        "has_avx2" => avx && bit(extended.ebx, 5),
        "has_bmi2" => bit(extended.ebx, 8),
        "has_avx512f" => avx512,
        "has_avx512dq" => avx512 && bit(extended.ebx, 17),
        "has_avx512vl" => avx512 && bit(extended.ebx, 31),
        "has_avx512vbmi" => avx512 && bit(extended.ecx, 1),
        "has_avx512vnni" => avx512 && bit(extended.ecx, 11),
        "has_avx512bitalg" => avx512 && bit(extended.ecx, 12),
        "has_avx_vnni" => avx && bit(leaf(7, 1).eax, 4),
        "has_lzcnt" => bit(amd.ecx, 5),
        _ => return None,
    })
}

/// A leaf of `cpuid`, zeros if the CPU does not have it.
fn leaf(number: u32, sub: u32) -> CpuidResult {
    let highest = __cpuid(number & 0x8000_0000).eax;
    if number > highest || (number == 7 && sub > __cpuid_count(7, 0).eax) {
        return CpuidResult {
            eax: 0,
            ebx: 0,
            ecx: 0,
            edx: 0,
        };
    }
    __cpuid_count(number, sub)
}

/// Whether the operating system has enabled these states in `XCR0`.
fn xcr0_has(basic: CpuidResult, states: u64) -> bool {
    const OSXSAVE: u32 = 1 << 27;
    if basic.ecx & OSXSAVE == 0 {
        return false;
    }
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE says that `xgetbv` may be executed here; register 0
    // always exists. It reads and changes no memory.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    (u64::from(high) << 32 | u64::from(low)) & states == states
}
