//! Runs scripts of the WebAssembly specification's test suite (`*.wast`).
//!
//! A [`Runner`] has the settings: how guests trap, which proposals they may
//! use, what is left out. Its [`run`](Runner::run) takes one script's text
//! through all its directives and returns an [`Outcome`]: counts by kind of
//! directive, and each failure with its line.
//!
//! ```
//! use trapline_cli::wast::{Options, Runner};
//!
//! let runner = Runner::new(Options::default())?;
//! let outcome = runner.run(
//!     "add.wast",
//!     r#"
//!     (module (func (export "add") (param i32 i32) (result i32)
//!       (i32.add (local.get 0) (local.get 1))))
//!     (assert_return (invoke "add" (i32.const 2) (i32.const 3)) (i32.const 5))
//!     (assert_return (invoke "add" (i32.const 2) (i32.const 3)) (i32.const 6))
//!     "#,
//! );
//! assert_eq!(outcome.total().to_string(), "2 passed, 1 failed, 0 skipped");
//! assert_eq!(
//!     outcome.failures[0].to_string(),
//!     "add.wast:5: assert_return: expected [I32(6)], got [5]",
//! );
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! What the directives are held to:
//!
//! * `assert_return`: every result, floating-point numbers bit by bit or by
//!   NaN pattern;
//! * `assert_trap`, `assert_exhaustion`: a trap, with the message;
//! * `assert_invalid`, `assert_malformed`: refused by the parser or the
//!   validator, with the message or what stands for it;
//! * `assert_unlinkable`: refused when linking, with the message;
//! * `thread` and `wait`: a real thread with a store of its own, which shares
//!   memories with the first.

mod exclusions;
pub mod messages;
mod translate;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use trapline_embed::{Engine, MemoryRelocation, Module};
use trapline_script::report::{chain, panic_message};
use trapline_script::{Modules, OsThreads, SPECTEST, ScriptRunner};
use trapline_wasmtime::compile::{CompileOptions, Compiler};
use wasmparser::WasmFeatures;

pub use exclusions::{ExclusionError, Exclusions};
pub use translate::{ScriptError, Translated, translate};
pub use trapline_script::{Failure, Kind, Outcome, Tally};

/// How scripts are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Traps are found by explicit checks in the compiled code, instead of by
    /// the hardware.
    pub explicit_checks: bool,
    /// Memories have no room to grow in place: each growth moves them, and
    /// their old place is gone.
    pub move_memories: bool,
    /// What modules may use; anything else makes them invalid.
    pub features: WasmFeatures,
    /// What to leave out.
    pub exclusions: Exclusions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            explicit_checks: false,
            move_memories: false,
            features: crate::features::SUPPORTED,
            exclusions: Exclusions::default(),
        }
    }
}

impl Options {
    /// The compiler's settings that belong to these options.
    #[must_use]
    pub fn compile_options(&self) -> CompileOptions {
        let mut options = CompileOptions::host();
        if self.explicit_checks {
            options = options.explicit_checks();
        }
        if self.move_memories {
            options = options.compact_memories();
        }
        options
    }
}

/// Runs scripts, each in a store of its own.
#[derive(Debug)]
pub struct Runner {
    options: Options,
    compiler: Compiler,
    runner: ScriptRunner,
}

impl Runner {
    /// A runner with these options.
    ///
    /// # Errors
    ///
    /// If the module `spectest` can't be compiled and loaded, which means that
    /// the platform lacks something.
    pub fn new(options: Options) -> anyhow::Result<Self> {
        let compiler = Compiler::new(&options.compile_options())?;
        let engine = Engine::new();
        let spectest = compiler.compile(SPECTEST.as_bytes())?;
        // SAFETY: the compiler's own output, unchanged.
        let spectest = unsafe { Module::load(&engine, &spectest) }?;
        let runner = ScriptRunner {
            engine,
            spectest,
            threads: Arc::new(OsThreads),
            relocation: if options.move_memories {
                MemoryRelocation::MoveOnGrow
            } else {
                MemoryRelocation::default()
            },
            max_wasm_stack: None,
        };
        Ok(Self {
            options,
            compiler,
            runner,
        })
    }

    /// Runs one script. `name` stands in the failures, and is what
    /// [exclusions](Options::exclusions) go by.
    #[must_use]
    pub fn run(&self, name: &str, text: &str) -> Outcome {
        // A panic in one script is that script's failure; the others go on.
        let run = AssertUnwindSafe(|| self.translate_and_run(name, text));
        catch_unwind(run).unwrap_or_else(|payload| {
            let message = format!("the runner panicked: {}", panic_message(&*payload));
            Outcome::of_broken_script(name, 1, message)
        })
    }

    fn translate_and_run(&self, name: &str, text: &str) -> Outcome {
        let Options {
            features,
            exclusions,
            ..
        } = &self.options;
        match translate(name, text, *features, exclusions) {
            Ok(script) => {
                let modules = CompiledOnDemand {
                    compiler: self.compiler.clone(),
                    wasm: script.modules,
                };
                let modules: Arc<dyn Modules> = Arc::new(modules);
                self.runner.run(name, &script.actions, &modules)
            }
            Err(ScriptError { line, message }) => Outcome::of_broken_script(name, line, message),
        }
    }
}

/// The modules of a script, each compiled when it is loaded.
struct CompiledOnDemand {
    compiler: Compiler,
    wasm: Vec<Result<Vec<u8>, String>>,
}

impl Modules for CompiledOnDemand {
    fn load(&self, engine: &Engine, module: u32) -> Result<Module, String> {
        let wasm = self.wasm[module as usize].as_ref().map_err(Clone::clone)?;
        let artifact = compile(&self.compiler, wasm)?;
        // SAFETY: the compiler's own output, unchanged.
        unsafe { Module::load(engine, &artifact) }
            .map_err(|error| format!("cannot load: {}", chain(&error)))
    }
}

/// Compiles a module of a script; the error is in the words of a failure.
///
/// # Errors
///
/// Why the module cannot be compiled.
pub fn compile(compiler: &Compiler, wasm: &[u8]) -> Result<Vec<u8>, String> {
    compiler
        .compile(wasm)
        .map_err(|error| format!("cannot compile: {}", chain(&error)))
}
