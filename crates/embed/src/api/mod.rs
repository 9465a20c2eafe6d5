//! What an embedder does with a store.

mod func;
mod global;
mod instance;
mod instantiate;
pub(crate) mod linker;
mod memory;
mod table;
