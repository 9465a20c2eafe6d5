//! Which features the CPU has that this code runs on.

use wasmtime_environ::FlagValue;

use crate::Isa;

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod isa;

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod isa;

#[cfg(target_arch = "riscv64")]
#[path = "riscv64.rs"]
mod isa;

#[cfg(target_arch = "s390x")]
#[path = "s390x.rs"]
mod isa;

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "s390x",
)))]
#[path = "other.rs"]
mod isa;

/// The CPU that an artifact is meant to run on, as far as the loader has to
/// know it.
#[derive(Clone, Copy)]
pub struct Cpu<'a> {
    isa: Isa,
    has_feature: &'a dyn Fn(&str) -> Option<bool>,
}

impl core::fmt::Debug for Cpu<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cpu")
            .field("isa", &self.isa)
            .finish_non_exhaustive()
    }
}

impl<'a> Cpu<'a> {
    /// A CPU about which `has_feature` tells. It is asked about the compiler's
    /// ISA flags that say `has_…`, by their full names (`has_sse41`,
    /// `has_lse`, `has_zba`), and answers `None` if it does not know, which
    /// refuses the artifact as well.
    #[must_use]
    pub const fn new(isa: Isa, has_feature: &'a dyn Fn(&str) -> Option<bool>) -> Self {
        Self { isa, has_feature }
    }

    /// The CPU that this code runs on; `None` if the compiler generates no
    /// code for it.
    ///
    /// Its features are those that
    ///
    /// * on x86_64, the instruction `cpuid` reports, and the control register
    ///   `XCR0` allows, when an artifact with such a feature is read for the
    ///   first time (a kernel has to set up `CR4` and `XCR0` before);
    /// * on aarch64, the operating system reports (feature `std`), or the
    ///   identification registers, which only code at EL1 and above may read
    ///   everywhere (without it);
    /// * on riscv64, the operating system reports (feature `std`, Linux; only
    ///   extensions with names of one letter), or this crate itself was compiled
    ///   for. Use [`new`](Self::new) if more is known;
    /// * on s390x, the instruction `stfle` reports.
    #[must_use]
    pub fn host() -> Option<Cpu<'static>> {
        Some(Cpu {
            isa: Isa::HOST?,
            has_feature: &isa::has_feature,
        })
    }

    /// The instruction set.
    #[must_use]
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether the CPU is known to have a feature.
    #[cfg(feature = "compile")]
    pub(crate) fn has_feature(&self, flag: &str) -> bool {
        (self.has_feature)(flag) == Some(true)
    }

    /// Whether code compiled with this flag runs on the CPU; `Err` is the
    /// reason why not.
    pub(crate) fn check_flag(&self, name: &str, value: &FlagValue<'_>) -> Result<(), &'static str> {
        match value {
            FlagValue::Bool(false) => Ok(()),
            // These select instructions that do nothing on CPUs without the
            // feature (or qualify such a flag).
            FlagValue::Bool(true)
                if name.starts_with("sign_return_address")
                    || matches!(name, "use_bti" | "use_csdb") =>
            {
                Ok(())
            }
            FlagValue::Bool(true) => match (self.has_feature)(name) {
                Some(true) => Ok(()),
                Some(false) => Err("this CPU does not have it"),
                None => Err("nothing says whether this CPU has it"),
            },
            _ => Err("no flag of this kind is known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_are_off_need_nothing() {
        let cpu = Cpu::new(Isa::Riscv64, &|_| None);
        assert_eq!(cpu.check_flag("has_v", &FlagValue::Bool(false)), Ok(()));
        assert!(cpu.check_flag("has_v", &FlagValue::Bool(true)).is_err());
        assert!(cpu.check_flag("use_bti", &FlagValue::Bool(true)).is_ok());
        assert!(cpu.check_flag("width", &FlagValue::Num(3)).is_err());
    }

    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    #[test]
    fn cpuid_is_read_as_the_standard_library_reads_it() {
        macro_rules! compare {
            ($($flag:literal = $feature:tt,)*) => {
                $(
                    assert_eq!(
                        isa::has_feature($flag),
                        Some(std::is_x86_feature_detected!($feature)),
                        $flag,
                    );
                )*
            };
        }
        compare! {
            "has_cmpxchg16b" = "cmpxchg16b",
            "has_sse3" = "sse3",
            "has_ssse3" = "ssse3",
            "has_sse41" = "sse4.1",
            "has_sse42" = "sse4.2",
            "has_popcnt" = "popcnt",
            "has_avx" = "avx",
            "has_avx2" = "avx2",
            "has_fma" = "fma",
            "has_avx_vnni" = "avxvnni",
            "has_bmi1" = "bmi1",
            "has_bmi2" = "bmi2",
            "has_lzcnt" = "lzcnt",
            "has_avx512bitalg" = "avx512bitalg",
            "has_avx512dq" = "avx512dq",
            "has_avx512f" = "avx512f",
            "has_avx512vl" = "avx512vl",
            "has_avx512vbmi" = "avx512vbmi",
            "has_avx512vnni" = "avx512vnni",
        }
        assert_eq!(isa::has_feature("has_wings"), None);
    }
}
