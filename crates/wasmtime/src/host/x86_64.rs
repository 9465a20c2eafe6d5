//! Features of x86_64 CPUs, from `cpuid` and `xgetbv`: the same with and
//! without an operating system.
//!
//! Leaves and bits are those of the Intel Software Developer's Manual,
//! volume 2, CPUID; `XCR0` is described in volume 1, section 13.3.
//!
//! Each `cpuid` of a virtual machine is an exit to its hypervisor, which takes
//! microseconds, and an artifact has a dozen flags: so the CPU is asked once.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicU32, Ordering};

use Register::{Basic1C, Basic7B, Basic7C, Basic7Sub1A, Extended1C};
use States::{Avx, Avx512, Sse};

/// A flag of the compiler, the register and the bit of it that say whether the
/// CPU has what it stands for, and the registers that go with it.
type Feature = (&'static str, Register, u32, States);

const FEATURES: [Feature; 19] = [
    ("has_sse3", Basic1C, 0, Sse),
    ("has_ssse3", Basic1C, 9, Sse),
    ("has_fma", Basic1C, 12, Avx),
    ("has_cmpxchg16b", Basic1C, 13, Sse),
    ("has_sse41", Basic1C, 19, Sse),
    ("has_sse42", Basic1C, 20, Sse),
    ("has_popcnt", Basic1C, 23, Sse),
    ("has_avx", Basic1C, 28, Avx),
    ("has_bmi1", Basic7B, 3, Sse),
    ("has_avx2", Basic7B, 5, Avx),
    ("has_bmi2", Basic7B, 8, Sse),
    ("has_avx512f", Basic7B, AVX512F, Avx512),
    ("has_avx512dq", Basic7B, 17, Avx512),
    ("has_avx512vl", Basic7B, 31, Avx512),
    ("has_avx512vbmi", Basic7C, 1, Avx512),
    ("has_avx512vnni", Basic7C, 11, Avx512),
    ("has_avx512bitalg", Basic7C, 12, Avx512),
    ("has_avx_vnni", Basic7Sub1A, 4, Avx),
    ("has_lzcnt", Extended1C, 5, Sse),
];

/// What the others with vectors of 512 bits build on: a bit of [`Basic7B`].
const AVX512F: u32 = 16;

/// The operating system uses XSAVE: a bit of [`Basic1C`].
const OSXSAVE: u32 = 27;

/// A register of a leaf of `cpuid`.
#[derive(Clone, Copy)]
enum Register {
    /// Leaf 1, `ecx`.
    Basic1C,
    /// Leaf 7, `ebx`.
    Basic7B,
    /// Leaf 7, `ecx`.
    Basic7C,
    /// Leaf 7, part 1, `eax`.
    Basic7Sub1A,
    /// Leaf 0x8000_0001, `ecx`.
    Extended1C,
}

/// Which registers the operating system must keep for each thread.
#[derive(Clone, Copy)]
enum States {
    /// Those that all do.
    Sse,
    Avx,
    Avx512,
}

/// Whether the CPU has what a flag of the compiler stands for, and the
/// operating system keeps the registers that go with it; `None` for unknown
/// flags.
pub(super) fn has_feature(flag: &str) -> Option<bool> {
    /// A bit for each of the features, and [`KNOWN`]. Who comes too early to
    /// find it asks the CPU, too, and gets the same answer.
    static PRESENT: AtomicU32 = AtomicU32::new(0);
    const KNOWN: u32 = 1 << FEATURES.len();

    let feature = FEATURES.iter().position(|(known, ..)| *known == flag)?;
    let mut present = PRESENT.load(Ordering::Relaxed);
    if present == 0 {
        present = KNOWN | ask();
        PRESENT.store(present, Ordering::Relaxed);
    }
    Some(has_bit(present, feature as u32))
}

const fn has_bit(word: u32, bit: u32) -> bool {
    word & (1 << bit) != 0
}

/// Asks the CPU: a bit for each of the features that there are.
#[cold]
fn ask() -> u32 {
    let basic_1 = __cpuid(1).ecx;
    // Zeros for leaves that the CPU does not have. Leaf 7 is there where the
    // operating system uses XSAVE, of which leaf 13 tells. Leaves 1 and
    // 0x8000_0001 are on every CPU with 64 bits; the latter says that it is one.
    let (mut basic_7, mut basic_7_sub_1) = ([0; 2], 0);
    if has_bit(basic_1, OSXSAVE) || __cpuid(0).eax >= 7 {
        let leaf = __cpuid_count(7, 0);
        basic_7 = [leaf.ebx, leaf.ecx];
        if leaf.eax >= 1 {
            basic_7_sub_1 = __cpuid_count(7, 1).eax;
        }
    }
    let extended_1 = __cpuid(0x8000_0001).ecx;
    let register = |register| match register {
        Basic1C => basic_1,
        Basic7B => basic_7[0],
        Basic7C => basic_7[1],
        Basic7Sub1A => basic_7_sub_1,
        Extended1C => extended_1,
    };
    let states = |states| match states {
        Sse => true,
        Avx => xcr0_has(basic_1, 0b110),
        Avx512 => xcr0_has(basic_1, 0b1110_0110) && has_bit(basic_7[0], AVX512F),
    };
    let mut present = 0;
    for (feature, (_, reported_in, bit, needed)) in FEATURES.into_iter().enumerate() {
        let there = has_bit(register(reported_in), bit) && states(needed);
        present |= u32::from(there) << feature;
    }
    present
}

/// Whether the operating system has enabled these states in `XCR0`.
fn xcr0_has(basic_1: u32, states: u64) -> bool {
    if !has_bit(basic_1, OSXSAVE) {
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
