//! What a store consists of: memories, tables, globals, host functions and instances.

pub(crate) mod global;
pub(crate) mod host_func;
pub(crate) mod instance;
pub(crate) mod memory;
pub(crate) mod parking;
pub(crate) mod shared_memory;
pub(crate) mod table;
