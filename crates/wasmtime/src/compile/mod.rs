//! The compiler: WebAssembly in, artifact out.
//!
//! This is the `wasmtime` crate's compiler without its runtime, with the
//! settings that trapline's embedder expects. It compiles for any of the four
//! instruction sets on any machine. What it writes carries a
//! [checksum](crate::Checksum).
//!
//! # Panics of the compiler
//!
//! A module that the compiler does not get through, although it ought to, makes
//! it panic. That panic ends here, and is a [`CompileError`] that names the
//! function. (To find the function out, parts of the module are compiled again,
//! so that it takes about twice as long, and there may be a few more such
//! panics.)
//!
//! The process's panic hook runs as for any panic, and prints it unless told
//! otherwise: hooks belong to the program, and are not touched here. A program
//! that does not want to see these asks [`is_compiling`] in its hook. Where
//! panics abort (`panic = "abort"`), so do these.

mod culprit;
mod error;
mod flags;
mod options;

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::any::Any;
use core::cell::Cell;
use core::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread_local;

use wasmtime::Engine;

use crate::checksum;

pub use error::CompileError;
pub use options::CompileOptions;

/// A compiler with fixed options, for more than one module.
#[derive(Clone)]
pub struct Compiler {
    engine: Engine,
    options: CompileOptions,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

/// What to do about the panic that is known: the compiler copies short constant
/// lengths by vectors, whether the target has them or not (wasmtime#13959). No
/// setting keeps it from doing so.
const WITHOUT_VECTORS: &str = "without vectors, the compiler for riscv64 cannot do memory.copy, \
    memory.init and table.copy of a constant length from 16 to 128 bytes: if the CPU has vectors, \
    set the flag has_v to true; if not, build the module without bulk memory operations \
    (`-mno-bulk-memory` for clang, `-C target-cpu=mvp` and `-Z build-std` for rustc)";

impl Compiler {
    /// A compiler with these options.
    ///
    /// # Errors
    ///
    /// If the target or a flag is unknown, a size is out of range, or the options
    /// contradict each other.
    pub fn new(options: &CompileOptions) -> Result<Self, CompileError> {
        let engine = Engine::new(&options.config()?).map_err(CompileError::options)?;
        Ok(Self {
            engine,
            options: options.clone(),
        })
    }

    /// Compiles a module, in the binary or the text format.
    ///
    /// # Errors
    ///
    /// If it is malformed or invalid, uses what is switched off, or exceeds a
    /// limit of the compiler; or if the compiler
    /// [panics](self#panics-of-the-compiler).
    pub fn compile(&self, wasm_or_wat: &[u8]) -> Result<Vec<u8>, CompileError> {
        match self.try_compile(wasm_or_wat) {
            Ok(result) => {
                let mut artifact = result.map_err(CompileError::module)?;
                checksum::write(&mut artifact);
                Ok(artifact)
            }
            Err(panic) => Err(self.explain(wasm_or_wat, &panic)),
        }
    }

    /// What the compiler itself answers; the message of its panic if it panics.
    fn try_compile(&self, wasm_or_wat: &[u8]) -> Result<wasmtime::Result<Vec<u8>>, String> {
        let _mark = Mark::set();
        // The engine holds no more than settings and buffers for reuse, and a
        // buffer that was in use is gone.
        let compile = AssertUnwindSafe(|| self.engine.precompile_module(wasm_or_wat));
        catch_unwind(compile).map_err(|payload| message(&*payload))
    }

    #[cold]
    fn explain(&self, wasm_or_wat: &[u8], panic: &str) -> CompileError {
        let function = match wat::parse_bytes(wasm_or_wat) {
            Ok(wasm) => culprit::find(&wasm, |wasm| self.try_compile(wasm).is_err()),
            Err(_) => None,
        };
        let remedy = self
            .lacks_vectors_for(wasm_or_wat)
            .then_some(WITHOUT_VECTORS);
        CompileError::panic(panic, function.as_deref(), remedy)
    }
}

impl Compiler {
    /// Whether the compiler gets through this module as soon as it may use
    /// vectors, which the target does not have.
    fn lacks_vectors_for(&self, wasm_or_wat: &[u8]) -> bool {
        if self.options.has_vectors() {
            return false;
        }
        let with_vectors = self.options.clone().isa_flag("has_v", "true");
        let with_vectors = Self::new(&with_vectors);
        with_vectors.is_ok_and(|compiler| compiler.try_compile(wasm_or_wat).is_ok())
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

thread_local! {
    static COMPILING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside of [`Compiler::compile`], so that a panic will
/// be its error: for a panic hook that leaves the message to who gets that.
#[must_use]
pub fn is_compiling() -> bool {
    COMPILING.get()
}

/// This thread is compiling while this exists.
struct Mark(());

impl Mark {
    fn set() -> Self {
        COMPILING.set(true);
        Self(())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        COMPILING.set(false);
    }
}

/// What a panic says.
fn message(payload: &(dyn Any + Send)) -> String {
    let literal = payload.downcast_ref::<&str>().copied();
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    literal
        .or(formatted)
        .unwrap_or("it does not say why")
        .to_string()
}
