//! What to compile for, and how.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use wasmtime::{Collector, Config, Inlining, OptLevel, WasmBacktraceDetails};

use super::error::CompileError;
use super::flags;
use crate::Isa;
use crate::settings::MAX_ADDRESS_SPACE;

/// 4 GiB: what a 32-bit memory can address.
const GIB_4: u64 = 1 << 32;
/// 32 MiB: room for the constant offsets that real programs use.
const MIB_32: u64 = 32 << 20;
/// 2 GiB.
const GIB_2: u64 = 2 << 30;

/// What to compile for, and how.
///
/// The sizes are promises that the embedder makes to the compiled code and
/// keeps for each memory; the loader reads them from the artifact. Each is at
/// most [`MAX_SIZE`](Self::MAX_SIZE).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CompileOptions {
    /// The target triple. `None` is the machine and the CPU, with all its
    /// features, that the compiler runs on; with a triple, CPU features are
    /// those that [`isa_flags`](Self::isa_flags) names.
    pub target: Option<String>,
    /// Whether traps may be hardware faults, which costs the embedder signal
    /// or exception handlers and the code nothing.
    pub signals_based_traps: bool,
    /// Address space reserved for each memory, in bytes.
    pub memory_reservation: u64,
    /// Size of the inaccessible region after it, in bytes.
    pub memory_guard_size: u64,
    /// Address space that a memory gets beyond its size when it has to move,
    /// in bytes.
    pub memory_reservation_for_growth: u64,
    /// Whether to optimise the code.
    pub optimize: bool,
    /// Whether to note which bytecode each instruction comes from.
    pub address_map: bool,
    /// Whether to keep the module's debug information (DWARF) in the artifact.
    pub debug_info: bool,
    /// Flags of the code generator for this target, and their values: `true`,
    /// `false`, or another value; a preset such as `x86-64-v3` has the value
    /// `true`.
    pub isa_flags: Vec<(String, String)>,
}

impl CompileOptions {
    /// The largest size that an option can have, in bytes: all that the largest
    /// address spaces have (2⁵⁶ bytes). Whether there is room is seen when a
    /// memory is made.
    pub const MAX_SIZE: u64 = MAX_ADDRESS_SPACE;

    /// The options for the machine that the compiler runs on: hardware traps,
    /// 4 GiB for each memory and a guard region of 32 MiB.
    #[must_use]
    pub const fn host() -> Self {
        Self {
            target: None,
            signals_based_traps: true,
            memory_reservation: GIB_4,
            memory_guard_size: MIB_32,
            memory_reservation_for_growth: GIB_2,
            optimize: true,
            address_map: true,
            debug_info: true,
            isa_flags: Vec::new(),
        }
    }

    /// The options for a target triple.
    ///
    /// As for [`host`](Self::host), but for targets without an operating
    /// system (`…-none…`), which get explicit checks and no reservations. On
    /// x86_64 the code expects SSE 4.2 and `popcnt` (any CPU since 2009), so
    /// that it rounds numbers and shuffles vectors by itself. On riscv64 it
    /// expects no more than RV64GC; modules with vectors need the flag `has_v`,
    /// and are refused without.
    #[must_use]
    pub fn for_target(target: &str) -> Self {
        let options = Self {
            target: Some(target.to_string()),
            ..Self::host()
        };
        let options = if Isa::of_triple(target) == Some(Isa::X86_64) {
            let flags = [
                "has_sse3",
                "has_ssse3",
                "has_sse41",
                "has_sse42",
                "has_popcnt",
            ];
            flags
                .iter()
                .fold(options, |options, flag| options.isa_flag(flag, "true"))
        } else {
            options
        };
        if target.split('-').any(|part| part == "none") {
            options.explicit_checks()
        } else {
            options
        }
    }

    /// The same with explicit checks instead of hardware traps, and with
    /// [compact memories](Self::compact_memories).
    #[must_use]
    pub fn explicit_checks(self) -> Self {
        Self {
            signals_based_traps: false,
            ..self.compact_memories()
        }
    }

    /// The same with memories that need neither reserved address space nor guard
    /// regions: they take up what they hold, and each growth moves them.
    #[must_use]
    pub fn compact_memories(self) -> Self {
        Self {
            memory_reservation: 0,
            memory_guard_size: 0,
            memory_reservation_for_growth: 0,
            ..self
        }
    }

    /// The same with a flag of the code generator, see
    /// [`isa_flags`](Self::isa_flags).
    #[must_use]
    pub fn isa_flag(mut self, name: &str, value: &str) -> Self {
        self.isa_flags.push((name.to_string(), value.to_string()));
        self
    }

    /// The configuration that the `wasmtime` crate gets for these options; an
    /// engine made with it and the crate's feature `runtime` runs the same
    /// artifacts, which is how the two are compared.
    ///
    /// # Errors
    ///
    /// If the target is unknown, a flag is not one of the target's, or a size is
    /// out of range.
    pub fn config(&self) -> Result<Config, CompileError> {
        let mut config = Config::new();
        if let Some(target) = &self.target {
            config.target(target).map_err(CompileError::options)?;
        }
        self.check_sizes()?;
        if let Some(target) = self.target.as_deref().or(Isa::HOST.map(Isa::name)) {
            flags::check(target, &self.isa_flags)?;
        }
        // What trapline's embedder is made for: see `Settings`.
        config
            .table_lazy_init(false)
            .memory_init_cow(false)
            .concurrency_support(false)
            .consume_fuel(false)
            .epoch_interruption(false)
            .collector(Collector::Null)
            // Each function keeps a frame of its own in backtraces.
            .compiler_inlining(Inlining::No);
        config
            .wasm_gc(false)
            .wasm_exceptions(false)
            .wasm_function_references(true)
            .wasm_tail_call(true)
            .wasm_threads(true)
            .shared_memory(true)
            .wasm_multi_memory(true)
            .wasm_memory64(true)
            .wasm_extended_const(true)
            .wasm_simd(self.has_vectors())
            .wasm_relaxed_simd(self.has_vectors())
            .wasm_custom_page_sizes(true)
            .wasm_wide_arithmetic(true);
        config
            .signals_based_traps(self.signals_based_traps)
            .memory_reservation(self.memory_reservation)
            .memory_guard_size(self.memory_guard_size)
            .memory_reservation_for_growth(self.memory_reservation_for_growth)
            .memory_may_move(true)
            .generate_address_map(self.address_map)
            .wasm_backtrace_details(if self.debug_info {
                WasmBacktraceDetails::Enable
            } else {
                WasmBacktraceDetails::Disable
            })
            .cranelift_opt_level(if self.optimize {
                OptLevel::Speed
            } else {
                OptLevel::None
            });
        // Trapline does not need it; Windows insists on it.
        let windows = self
            .target
            .as_ref()
            .map_or(cfg!(windows), |target| target.contains("-windows"));
        config.native_unwind_info(windows);
        for (name, value) in &self.isa_flags {
            // SAFETY: a flag that the CPU does not have makes the code useless
            // there; the loader checks for that. The compiler itself never
            // executes what it generates.
            unsafe {
                match value.as_str() {
                    "true" => config.cranelift_flag_enable(name),
                    _ => config.cranelift_flag_set(name, value),
                };
            }
        }
        Ok(config)
    }
}

impl CompileOptions {
    /// Checks the sizes: the compiler adds them without looking.
    fn check_sizes(&self) -> Result<(), CompileError> {
        for (name, size) in [
            ("memory_reservation", self.memory_reservation),
            ("memory_guard_size", self.memory_guard_size),
            (
                "memory_reservation_for_growth",
                self.memory_reservation_for_growth,
            ),
        ] {
            if size > Self::MAX_SIZE {
                return Err(CompileError::options(format!(
                    "`{name}` can be from 0 to {:#x} bytes, not {size:#x}",
                    Self::MAX_SIZE
                )));
            }
        }
        Ok(())
    }

    /// Whether the target has instructions for WebAssembly's vectors: all have
    /// but RISC-V, where they are the extension V, and where the code generator
    /// panics without it.
    pub(super) fn has_vectors(&self) -> bool {
        let v = |(flag, value): &(String, String)| flag == "has_v" && value == "true";
        match &self.target {
            Some(triple) => {
                Isa::of_triple(triple) != Some(Isa::Riscv64) || self.isa_flags.iter().any(v)
            }
            None => {
                Isa::HOST != Some(Isa::Riscv64)
                    || crate::Cpu::host().is_some_and(|cpu| cpu.has_feature("has_v"))
            }
        }
    }
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self::host()
    }
}
