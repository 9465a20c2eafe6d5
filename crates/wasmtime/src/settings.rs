//! The `.wasmtime.engine` section: the compiler's version and settings.
//!
//! ```text
//!   u8   format, 0
//!   u8   length of the version
//!   …    version, "48" (the compiler's patch releases are not told apart)
//!   …    settings, as `postcard` encodes the fields of [`Encoded`]
//! ```
//!
//! The layout is that of `engine/serialization.rs` in the `wasmtime` crate,
//! whose own type for it is private.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use wasmtime_environ::obj::ELF_WASM_ENGINE;
use wasmtime_environ::wasmparser::WasmFeatures;
use wasmtime_environ::{Collector, FlagValue, Tunables};

use crate::error::{ArtifactError, ArtifactErrorKind as Kind, Place};
use crate::isa::CallingConvention;
use crate::{Cpu, Isa};

const PLACE: Place = Place::section(ELF_WASM_ENGINE);

/// The compiler version that this crate reads artifacts of: the major version
/// of the crates that it is pinned to.
pub const COMPILER_VERSION: &str = "48";

/// The exact release that this crate was made for and tested with.
pub const COMPILER_RELEASE: &str = wasmtime_environ::VERSION;

/// The largest sizes that make sense: no process has more address space than
/// 2⁵⁶ bytes (x86_64 with five levels of page tables). Sums of a few of them
/// cannot overflow.
pub(crate) const MAX_ADDRESS_SPACE: u64 = 1 << 56;

/// The settings as the compiler encodes them.
#[derive(Deserialize)]
struct Encoded<'a> {
    target: &'a str,
    #[serde(borrow)]
    shared_flags: Vec<(&'a str, FlagValue<'a>)>,
    #[serde(borrow)]
    isa_flags: Vec<(&'a str, FlagValue<'a>)>,
    tunables: Tunables,
    features: u64,
}

/// The value of a code generator flag.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FlagSetting {
    /// On or off.
    Bool(bool),
    /// A number.
    Number(u8),
    /// One of several names.
    Name(String),
}

impl FlagSetting {
    fn new(value: &FlagValue<'_>) -> Self {
        match value {
            FlagValue::Bool(value) => Self::Bool(*value),
            FlagValue::Num(value) => Self::Number(*value),
            FlagValue::Enum(value) => Self::Name((*value).to_owned()),
        }
    }
}

impl fmt::Display for FlagSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Name(value) => value.fmt(f),
        }
    }
}

/// A code generator flag: its name and value.
pub type Flag = (String, FlagSetting);

/// What an artifact was compiled for, and with.
#[derive(Clone, Debug)]
pub struct Settings {
    target: String,
    isa: Isa,
    shared_flags: Vec<Flag>,
    isa_flags: Vec<Flag>,
    tunables: Tunables,
    features: WasmFeatures,
}

impl Settings {
    /// The target triple.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The instruction set.
    #[must_use]
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether a trap may be a hardware fault, so that the embedder needs
    /// signal or exception handlers, guard regions, and an unmapped page at
    /// address 0. Otherwise each check is explicit, and a failed one calls the
    /// builtin functions [`Trap`](crate::vm::Builtin::Trap) and
    /// [`Raise`](crate::vm::Builtin::Raise).
    #[must_use]
    pub const fn signals_based_traps(&self) -> bool {
        self.tunables.signals_based_traps
    }

    /// How much address space each memory starts out with, in bytes. A 32-bit
    /// memory whose reservation and guard region cover 4 GiB is accessed
    /// without explicit checks if traps are signals.
    #[must_use]
    pub const fn memory_reservation(&self) -> u64 {
        self.tunables.memory_reservation
    }

    /// The size of the inaccessible region after each memory's reservation,
    /// in bytes, which constant offsets are allowed to reach into.
    #[must_use]
    pub const fn memory_guard_size(&self) -> u64 {
        self.tunables.memory_guard_size
    }

    /// How much address space beyond its size a memory gets when it has to
    /// move, in bytes. The code does not depend on it.
    #[must_use]
    pub const fn memory_reservation_for_growth(&self) -> u64 {
        self.tunables.memory_reservation_for_growth
    }

    /// Whether memories may move when they grow beyond their reservation. If
    /// not, the code may keep their addresses.
    #[must_use]
    pub const fn memory_may_move(&self) -> bool {
        self.tunables.memory_may_move
    }

    /// Whether there is a guard region before each memory too. The code does
    /// not depend on it.
    #[must_use]
    pub const fn guard_before_linear_memory(&self) -> bool {
        self.tunables.guard_before_linear_memory
    }

    /// Whether tables are filled on first use; artifacts that say so are
    /// refused, so this is only ever `false`.
    #[must_use]
    pub const fn table_lazy_init(&self) -> bool {
        self.tunables.table_lazy_init
    }

    /// Whether initial memory contents are laid out for copy-on-write
    /// mappings; artifacts that say so are refused.
    #[must_use]
    pub const fn memory_init_cow(&self) -> bool {
        self.tunables.memory_init_cow
    }

    /// Whether the code counts fuel; artifacts that say so are refused.
    #[must_use]
    pub const fn consume_fuel(&self) -> bool {
        self.tunables.consume_fuel
    }

    /// Whether the code looks at an epoch counter; artifacts that say so are
    /// refused.
    #[must_use]
    pub const fn epoch_interruption(&self) -> bool {
        self.tunables.epoch_interruption
    }

    /// Whether there is an address map, so that instructions can be traced
    /// back to bytecode offsets.
    #[must_use]
    pub const fn has_address_map(&self) -> bool {
        self.tunables.generate_address_map
    }

    /// The WebAssembly features that the compiler was told to accept.
    #[must_use]
    pub const fn features(&self) -> WasmFeatures {
        self.features
    }

    /// The flags of the code generator that all targets have.
    #[must_use]
    pub fn shared_flags(&self) -> &[Flag] {
        &self.shared_flags
    }

    /// The flags that this target has: mostly which features of the CPU the
    /// code uses.
    #[must_use]
    pub fn isa_flags(&self) -> &[Flag] {
        &self.isa_flags
    }

    /// All settings that are not flags, as the compiler has them.
    #[must_use]
    pub const fn tunables(&self) -> &Tunables {
        &self.tunables
    }

    /// Decodes the section and checks all that does not depend on the machine,
    /// and, if there is a CPU, that the code runs on it.
    pub(crate) fn parse(
        section: &[u8],
        isa: Isa,
        cpu: Option<Cpu<'_>>,
    ) -> Result<Self, ArtifactError> {
        let encoded = check_version(section)?;
        let offset = section.len() - encoded.len();
        let (encoded, rest) =
            postcard::take_from_bytes::<Encoded<'_>>(encoded).map_err(|error| {
                PLACE
                    .at(offset)
                    .corrupt("the settings of the compiler", format!("{error}"))
            })?;
        if !rest.is_empty() {
            let found = format!("{} more bytes", rest.len());
            return Err(PLACE
                .at(section.len() - rest.len())
                .corrupt("the end of the section", found));
        }
        let target = encoded.target;
        if Isa::of_triple(target) != Some(isa) {
            let expected = format!("a target with the machine of the ELF header, {isa}");
            return Err(PLACE.corrupt(expected, format!("{target:?}")));
        }
        check_tunables(&encoded.tunables)?;
        check_shared_flags(&encoded.shared_flags)?;
        let features = WasmFeatures::from_bits_truncate(encoded.features);
        check_features(features)?;
        if let Some(cpu) = cpu {
            check_machine(target, isa, &encoded.isa_flags, &cpu)?;
        }
        let flags = |flags: &[(&str, FlagValue<'_>)]| {
            flags
                .iter()
                .map(|(name, value)| ((*name).to_owned(), FlagSetting::new(value)))
                .collect()
        };
        Ok(Self {
            target: target.to_owned(),
            isa,
            shared_flags: flags(&encoded.shared_flags),
            isa_flags: flags(&encoded.isa_flags),
            tunables: encoded.tunables,
            features,
        })
    }
}

/// Checks what comes before the settings and returns the settings.
fn check_version(section: &[u8]) -> Result<&[u8], ArtifactError> {
    let truncated = |at| {
        PLACE
            .at(at)
            .corrupt("format, version and settings", "the end of the section")
    };
    let (format, rest) = section.split_first().ok_or_else(|| truncated(0))?;
    if *format != 0 {
        return Err(PLACE
            .at(0)
            .error(Kind::Version, "format 0", format!("{format}")));
    }
    let (length, rest) = rest.split_first().ok_or_else(|| truncated(1))?;
    let (version, rest) = rest
        .split_at_checked(usize::from(*length))
        .ok_or_else(|| truncated(section.len()))?;
    if version != COMPILER_VERSION.as_bytes() {
        let expected = format!(
            "version {COMPILER_VERSION:?}: artifacts mean something only to the exact release \
             that wrote them, here {COMPILER_RELEASE}"
        );
        let found = match version {
            short if short.len() <= 16 => format!("version {:?}", String::from_utf8_lossy(short)),
            long => format!("a version of {} bytes", long.len()),
        };
        return Err(PLACE.at(2).error(Kind::Version, expected, found));
    }
    Ok(rest)
}

/// Checks a setting.
fn require<T: PartialEq + fmt::Debug>(
    name: &str,
    found: &T,
    expected: &T,
    because: &str,
) -> Result<(), ArtifactError> {
    if found == expected {
        return Ok(());
    }
    let expected = format!("`{name}` = {expected:?} ({because})");
    Err(PLACE.error(Kind::Setting, expected, format!("{found:?}")))
}

/// Checks the settings that decide what the embedder must provide.
fn check_tunables(tunables: &Tunables) -> Result<(), ArtifactError> {
    let off = |name, found, because| require(name, &found, &false, because);
    off(
        "table_lazy_init",
        tunables.table_lazy_init,
        "trapline fills tables at instantiation",
    )?;
    off(
        "memory_init_cow",
        tunables.memory_init_cow,
        "trapline copies data segments",
    )?;
    off(
        "consume_fuel",
        tunables.consume_fuel,
        "trapline keeps no fuel",
    )?;
    off(
        "epoch_interruption",
        tunables.epoch_interruption,
        "trapline has no epochs",
    )?;
    off(
        "concurrency_support",
        tunables.concurrency_support,
        "trapline runs no components",
    )?;
    off(
        "winch_callable",
        tunables.winch_callable,
        "another calling convention",
    )?;
    off(
        "debug_guest",
        tunables.debug_guest,
        "trapline has no guest debugger",
    )?;
    off("recording", tunables.recording, "trapline records nothing")?;
    if !matches!(tunables.collector, None | Some(Collector::Null)) {
        let expected = "`collector` = None or Null (trapline has no garbage-collected heap)";
        return Err(PLACE.error(Kind::Setting, expected, format!("{:?}", tunables.collector)));
    }
    // The compiler decides about bounds checks by sums of them, embedders add them.
    for (name, size) in [
        ("memory_reservation", tunables.memory_reservation),
        ("memory_guard_size", tunables.memory_guard_size),
        (
            "memory_reservation_for_growth",
            tunables.memory_reservation_for_growth,
        ),
    ] {
        if size > MAX_ADDRESS_SPACE {
            let expected = format!("`{name}` up to {MAX_ADDRESS_SPACE:#x}");
            return Err(PLACE.error(Kind::Setting, expected, format!("{size:#x}")));
        }
    }
    Ok(())
}

/// Checks the flags of the code generator that decide how its code behaves
/// towards the outside; the others may be anything.
fn check_shared_flags(flags: &[(&str, FlagValue<'_>)]) -> Result<(), ArtifactError> {
    let required: [(&str, FlagValue<'_>, &str); 8] = [
        (
            "preserve_frame_pointers",
            FlagValue::Bool(true),
            "backtraces follow frame pointers",
        ),
        (
            "libcall_call_conv",
            FlagValue::Enum("isa_default"),
            "builtins use the platform's convention",
        ),
        (
            "enable_multi_ret_implicit_sret",
            FlagValue::Bool(true),
            "the convention of compiled functions",
        ),
        (
            "enable_llvm_abi_extensions",
            FlagValue::Bool(false),
            "the convention of compiled functions",
        ),
        (
            "enable_pinned_reg",
            FlagValue::Bool(false),
            "the convention of compiled functions",
        ),
        (
            "use_colocated_libcalls",
            FlagValue::Bool(false),
            "builtins are called through their table",
        ),
        (
            "enable_probestack",
            FlagValue::Bool(true),
            "large frames must not skip a guard page",
        ),
        (
            "probestack_strategy",
            FlagValue::Enum("inline"),
            "there is no function to probe with",
        ),
    ];
    for (name, expected, because) in required {
        match flags.iter().find(|(flag, _)| *flag == name) {
            Some((_, found)) => require(name, found, &expected, because)?,
            None => return Err(PLACE.corrupt(format!("the flag `{name}`"), "none of this name")),
        }
    }
    Ok(())
}

/// Checks the parts of WebAssembly that the module may use.
fn check_features(features: WasmFeatures) -> Result<(), ArtifactError> {
    let unsupported = WasmFeatures::GC
        .union(WasmFeatures::EXCEPTIONS)
        .union(WasmFeatures::LEGACY_EXCEPTIONS)
        .union(WasmFeatures::STACK_SWITCHING)
        .union(WasmFeatures::SHARED_EVERYTHING_THREADS);
    if let Some((name, _)) = features.intersection(unsupported).iter_names().next() {
        let name = name.to_ascii_lowercase();
        let expected =
            format!("the WebAssembly feature `{name}` switched off (trapline does not support it)");
        return Err(PLACE.error(Kind::Setting, expected, "it is on".to_string()));
    }
    Ok(())
}

/// Checks that the code runs on a CPU and its operating system.
fn check_machine(
    target: &str,
    isa: Isa,
    flags: &[(&str, FlagValue<'_>)],
    cpu: &Cpu<'_>,
) -> Result<(), ArtifactError> {
    if cpu.isa() != isa {
        let expected = format!("code for this machine, {}", cpu.isa());
        return Err(PLACE.error(Kind::Machine, expected, format!("target {target:?}")));
    }
    let convention = CallingConvention::of_triple(target);
    if convention != CallingConvention::HOST {
        let expected = format!(
            "a target with the {} calling convention",
            CallingConvention::HOST.name()
        );
        return Err(PLACE.error(Kind::Machine, expected, format!("target {target:?}")));
    }
    for (name, value) in flags {
        if let Err(reason) = cpu.check_flag(name, value) {
            let expected = format!("no need for the CPU feature `{name}`, since {reason}");
            return Err(PLACE.error(Kind::Machine, expected, format!("`{name}` = {value}")));
        }
    }
    Ok(())
}
