//! Options that several commands share.

use clap::{Args, ValueEnum};
use trapline_wasmtime::compile::CompileOptions;

/// How a module is compiled.
#[derive(Args)]
pub(crate) struct CompileArgs {
    /// Find traps by explicit checks in the compiled code, without signals; then
    /// memories take up no more address space than they hold
    #[arg(long)]
    explicit_checks: bool,

    /// Address space to reserve for each memory, in bytes or as `64K`, `16M`,
    /// `4G` [default: 4G; 0 with --explicit-checks]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_reservation: Option<u64>,

    /// Size of the inaccessible region behind it, in the same units [default:
    /// 32M; 0 with --explicit-checks]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_guard_size: Option<u64>,

    /// Address space beyond its size for a memory that outgrows its reservation
    /// [default: 2G; 0 with --explicit-checks]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_reservation_for_growth: Option<u64>,

    /// A flag of the code generator for the target, such as `has_v=true`; may be
    /// given more than once. A wrong name is answered by those that there are
    #[arg(long, value_name = "NAME=VALUE", value_parser = flag)]
    isa_flag: Vec<(String, String)>,

    /// How hard the compiler tries
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = OptLevel::Speed)]
    opt_level: OptLevel,
}

/// How hard the compiler tries.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OptLevel {
    /// Compile fast
    None,
    /// Compile to fast code
    Speed,
}

impl CompileArgs {
    /// The compiler's settings, for this machine or for `target`.
    pub(crate) fn options(&self, target: Option<&str>) -> CompileOptions {
        let mut options = match target {
            Some(triple) => CompileOptions::for_target(triple),
            None => CompileOptions::host(),
        };
        if self.explicit_checks {
            options = options.explicit_checks();
        }
        if let Some(bytes) = self.memory_reservation {
            options.memory_reservation = bytes;
        }
        if let Some(bytes) = self.memory_guard_size {
            options.memory_guard_size = bytes;
        }
        if let Some(bytes) = self.memory_reservation_for_growth {
            options.memory_reservation_for_growth = bytes;
        }
        options.isa_flags.extend(self.isa_flag.iter().cloned());
        options.optimize = self.opt_level == OptLevel::Speed;
        options
    }

    /// Whether an option differs from its default: then it is of no use for a
    /// module that is compiled already.
    pub(crate) fn are_given(&self) -> bool {
        let Self {
            explicit_checks,
            memory_reservation,
            memory_guard_size,
            memory_reservation_for_growth,
            isa_flag,
            opt_level,
        } = self;
        let sizes = [
            memory_reservation,
            memory_guard_size,
            memory_reservation_for_growth,
        ];
        *explicit_checks
            || sizes.iter().any(|size| size.is_some())
            || !isa_flag.is_empty()
            || *opt_level != OptLevel::Speed
    }
}

/// A number of bytes: `65536`, `64K`, `16M` or `4G`.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number = digits.parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "a number of bytes is expected, such as 65536, 64K, 16M or 4G".into())
}

/// A flag and its value.
fn flag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.into(), value.into())),
        None => Err("a name and a value are expected, such as has_v=true".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let sizes = ["0", "65536", "64K", "64k", "16M", "4G"];
        let values = sizes.map(|text| bytes(text).unwrap());
        assert_eq!(values, [0, 1 << 16, 1 << 16, 1 << 16, 16 << 20, 4 << 30]);
        for text in ["", "K", "-1", "4T", "1.5G", "17179869184G", "4é"] {
            bytes(text).unwrap_err();
        }
    }
}
