//! What happens to real WebAssembly when it traps, in every way that a guest can
//! be compiled and left: hardware traps and explicit checks, the landing pad of
//! the entry trampoline and the saved context.

mod backtraces;
mod code;
mod hosts;
mod nesting;
#[expect(unreachable_pub, reason = "one module for several files of tests")]
mod support;
mod threads;
