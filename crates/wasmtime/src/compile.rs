//! The compiler: WebAssembly in, artifact out.
//!
//! This is the `wasmtime` crate's compiler without its runtime, with the
//! settings that trapline's embedder expects. It compiles for any of the four
//! instruction sets on any machine.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use wasmtime::{Collector, Config, Engine, Inlining, OptLevel, WasmBacktraceDetails};

use crate::Isa;

/// 4 GiB: what a 32-bit memory can address.
const GIB_4: u64 = 1 << 32;
/// 32 MiB: room for the constant offsets that real programs use.
const MIB_32: u64 = 32 << 20;
/// 2 GiB.
const GIB_2: u64 = 2 << 30;

/// What to compile for, and how.
///
/// The sizes are promises that the embedder makes to the compiled code and
/// keeps for each memory; the loader reads them from the artifact.
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
    /// memories that need neither reserved address space nor guard regions.
    #[must_use]
    pub fn explicit_checks(self) -> Self {
        Self {
            signals_based_traps: false,
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
    /// If the target is unknown.
    pub fn config(&self) -> Result<Config, CompileError> {
        let mut config = Config::new();
        if let Some(target) = &self.target {
            config.target(target).map_err(CompileError::options)?;
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
    /// Whether the target has instructions for WebAssembly's vectors: all have
    /// but RISC-V, where they are the extension V, and where the code generator
    /// panics without it.
    fn has_vectors(&self) -> bool {
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

/// Why there is no artifact.
#[derive(Debug)]
pub struct CompileError {
    context: &'static str,
    source: Box<dyn core::error::Error + Send + Sync>,
}

impl CompileError {
    fn options(error: wasmtime::Error) -> Self {
        Self {
            context: "the options do not fit together",
            source: error.into(),
        }
    }

    fn module(error: wasmtime::Error) -> Self {
        Self {
            context: "the module cannot be compiled",
            source: error.into(),
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.context)
    }
}

impl core::error::Error for CompileError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// A compiler with fixed options, for more than one module.
#[derive(Clone)]
pub struct Compiler {
    engine: Engine,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

impl Compiler {
    /// A compiler with these options.
    ///
    /// # Errors
    ///
    /// If the target or a flag is unknown, or the options contradict each
    /// other.
    pub fn new(options: &CompileOptions) -> Result<Self, CompileError> {
        let engine = Engine::new(&options.config()?).map_err(CompileError::options)?;
        Ok(Self { engine })
    }

    /// Compiles a module, in the binary or the text format.
    ///
    /// # Errors
    ///
    /// If it is malformed or invalid, uses what is switched off, or exceeds a
    /// limit of the compiler.
    pub fn compile(&self, wasm_or_wat: &[u8]) -> Result<Vec<u8>, CompileError> {
        self.engine
            .precompile_module(wasm_or_wat)
            .map_err(CompileError::module)
    }
}

/// Compiles one module, see [`Compiler`].
///
/// # Errors
///
/// As [`Compiler::new`] and [`Compiler::compile`].
pub fn compile(wasm_or_wat: &[u8], options: &CompileOptions) -> Result<Vec<u8>, CompileError> {
    Compiler::new(options)?.compile(wasm_or_wat)
}
