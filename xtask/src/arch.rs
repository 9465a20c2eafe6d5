//! The instruction sets, and what they are called elsewhere.

use clap::ValueEnum;

/// An instruction set that the layers know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
#[value(rename_all = "verbatim")]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
    #[value(name = "riscv64")]
    Riscv64,
    #[value(name = "s390x")]
    S390x,
}

impl Arch {
    pub(crate) const ALL: [Self; 4] = [Self::X86_64, Self::Aarch64, Self::Riscv64, Self::S390x];

    /// As QEMU names its programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
        }
    }

    /// Rust's target for programs on Linux.
    pub(crate) fn hosted_target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Riscv64 => "riscv64gc-unknown-linux-gnu",
            Self::S390x => "s390x-unknown-linux-gnu",
        }
    }

    /// Rust's target for kernels; there is none for s390x.
    pub(crate) fn bare_target(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => Some("x86_64-unknown-none"),
            Self::Aarch64 => Some("aarch64-unknown-none"),
            Self::Riscv64 => Some("riscv64gc-unknown-none-elf"),
            Self::S390x => None,
        }
    }

    /// The GNU triple, which stands before the names of a cross compiler's programs.
    pub(crate) fn gnu(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux-gnu",
            Self::Aarch64 => "aarch64-linux-gnu",
            Self::Riscv64 => "riscv64-linux-gnu",
            Self::S390x => "s390x-linux-gnu",
        }
    }

    /// Debian's name of the architecture.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
        }
    }

    /// The dynamic loader that programs on Linux name, from the root of the file system.
    pub(crate) fn loader(self) -> &'static str {
        match self {
            Self::X86_64 => "lib64/ld-linux-x86-64.so.2",
            Self::Aarch64 => "lib/ld-linux-aarch64.so.1",
            Self::Riscv64 => "lib/ld-linux-riscv64-lp64d.so.1",
            Self::S390x => "lib/ld64.so.1",
        }
    }

    /// The instruction set that xtask runs on, if it is one of these.
    pub(crate) fn host() -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.name() == std::env::consts::ARCH)
    }

    /// Those that need an emulator to run programs for Linux.
    pub(crate) fn emulated() -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|arch| Some(*arch) != Self::host())
    }

    /// Those that there are test images for.
    pub(crate) fn bare() -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|arch| arch.bare_target().is_some())
    }
}

/// The name of one of cargo's variables for `target`, as in `CARGO_TARGET_…_LINKER`.
pub(crate) fn cargo_variable(target: &str, name: &str) -> String {
    let target = target.to_uppercase().replace('-', "_");
    format!("CARGO_TARGET_{target}_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_as_cargo_reads_them() {
        assert_eq!(
            cargo_variable("riscv64gc-unknown-none-elf", "RUSTFLAGS"),
            "CARGO_TARGET_RISCV64GC_UNKNOWN_NONE_ELF_RUSTFLAGS"
        );
    }
}
