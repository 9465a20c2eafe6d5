//! What happens to real WebAssembly when it traps, in every way that a guest can
//! be compiled and left: hardware traps and explicit checks, the landing pad of
//! the entry trampoline and the saved context.

mod backtraces;
mod code;
mod hosts;
mod nesting;
mod support;
mod threads;
