//! The store: what owns the objects, what compiled code and handlers ask of it, and how the
//! embedder has it.

pub(crate) mod builtins;
pub(crate) mod context;
pub(crate) mod fault;
pub(crate) mod settings;
pub(crate) mod store_core;
