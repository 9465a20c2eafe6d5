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
mod instances;
pub mod messages;
mod script;
mod tally;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use trapline_embed::{Engine, Module};
use trapline_wasmtime::compile::{CompileOptions, Compiler};
use wasmparser::{Validator, WasmFeatures};
use wast::lexer::Lexer;
use wast::parser::ParseBuffer;

pub use exclusions::{ExclusionError, Exclusions};
pub use tally::{Failure, Kind, Outcome, Tally};

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
        options.signals_based_traps = !self.explicit_checks;
        if self.move_memories {
            options.memory_reservation = 0;
            options.memory_reservation_for_growth = 0;
            options.memory_guard_size = 0;
        }
        options
    }
}

/// Runs scripts, each in a store of its own.
#[derive(Debug)]
pub struct Runner {
    options: Options,
    compiler: Compiler,
    engine: Engine,
    spectest: Module,
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
        let wasm = wat::parse_str(include_str!("spectest.wat"))?;
        // SAFETY: the compiler's own output, unchanged.
        let spectest = unsafe { Module::load(&engine, &compiler.compile(&wasm)?) }?;
        Ok(Self {
            options,
            compiler,
            engine,
            spectest,
        })
    }

    /// Runs one script. `name` stands in the failures, and is what
    /// [exclusions](Options::exclusions) go by.
    #[must_use]
    pub fn run(&self, name: &str, text: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let mut lexer = Lexer::new(text);
        // The test suite has characters on purpose that look like others.
        lexer.allow_confusing_unicode(true);
        let parsed = ParseBuffer::new_with_lexer(lexer);
        let parsed = parsed.and_then(|buffer| {
            let script = wast::parser::parse::<wast::Wast<'_>>(&buffer)?;
            // A panic in one script is that script's failure; the others go on.
            let run = AssertUnwindSafe(|| script::run(self, name, text, script.directives));
            match catch_unwind(run) {
                Ok(of_script) => outcome.merge(of_script),
                Err(payload) => outcome.fail(Failure {
                    script: name.into(),
                    line: 1,
                    kind: None,
                    message: format!("the runner panicked: {}", panic_message(&*payload)),
                }),
            }
            Ok(())
        });
        if let Err(error) = parsed {
            let (line, _) = error.span().linecol_in(text);
            outcome.fail(Failure {
                script: name.into(),
                line: line + 1,
                kind: None,
                message: error.message(),
            });
        }
        outcome
    }

    /// Validates, compiles and loads a module. The error of a module that is
    /// refused by the validator is the validator's own message.
    fn load(&self, wasm: &[u8]) -> Result<Module, String> {
        self.validate(wasm)?;
        let artifact = self
            .compiler
            .compile(wasm)
            .map_err(|error| format!("cannot compile: {}", chain(&error)))?;
        // SAFETY: the compiler's own output, unchanged.
        unsafe { Module::load(&self.engine, &artifact) }
            .map_err(|error| format!("cannot load: {}", chain(&error)))
    }

    fn validate(&self, wasm: &[u8]) -> Result<(), String> {
        Validator::new_with_features(self.options.features)
            .validate_all(wasm)
            .map(drop)
            .map_err(|error| error.message().to_string())
    }
}

/// An error and its causes on one line.
fn chain(error: &(dyn core::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What a panic said, if its payload is text.
fn panic_message(payload: &(dyn core::any::Any + Send)) -> &str {
    match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "(no message)",
    }
}
