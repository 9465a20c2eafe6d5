//! What an embedder does with a store.

pub(crate) mod func;
pub(crate) mod instantiate;
pub(crate) mod linker;
