//! The machines that artifacts are compiled for.

use core::fmt;

/// An instruction set that the compiler generates code for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Isa {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM, little-endian.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// IBM z/Architecture; big-endian.
    S390x,
}

impl Isa {
    /// The instruction set of the machine that this code runs on, `None` if
    /// the compiler does not support it.
    pub const HOST: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
        Some(Self::Aarch64)
    } else if cfg!(target_arch = "riscv64") {
        Some(Self::Riscv64)
    } else if cfg!(target_arch = "s390x") {
        Some(Self::S390x)
    } else {
        None
    };

    /// The name, as target triples have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
        }
    }

    /// The instruction set that a target triple names. (`riscv64gc-…` and the
    /// like are RISC-V with a list of extensions.)
    pub(crate) fn of_triple(triple: &str) -> Option<Self> {
        let architecture = triple.split('-').next()?;
        Some(match architecture {
            "x86_64" | "x86_64h" => Self::X86_64,
            "aarch64" | "arm64" => Self::Aarch64,
            "s390x" => Self::S390x,
            _ if architecture.starts_with("riscv64") => Self::Riscv64,
            _ => return None,
        })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The conventions for calls from compiled code to its host that a target
/// triple implies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CallingConvention {
    SystemV,
    Windows,
    AppleAarch64,
}

impl CallingConvention {
    pub(crate) const HOST: Self = if cfg!(windows) {
        Self::Windows
    } else if cfg!(all(target_vendor = "apple", target_arch = "aarch64")) {
        Self::AppleAarch64
    } else {
        Self::SystemV
    };

    pub(crate) fn of_triple(triple: &str) -> Self {
        let apple = ["-apple-", "-darwin", "-macosx", "-ios"]
            .iter()
            .any(|part| triple.contains(part));
        if triple.contains("-windows") {
            Self::Windows
        } else if apple && Isa::of_triple(triple) == Some(Isa::Aarch64) {
            Self::AppleAarch64
        } else {
            Self::SystemV
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SystemV => "System V",
            Self::Windows => "Windows",
            Self::AppleAarch64 => "Apple",
        }
    }
}
