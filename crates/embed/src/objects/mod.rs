//! What a store consists of: memories, tables, globals, host functions and instances.

pub(crate) mod func;
pub(crate) mod global;
pub(crate) mod handles;
pub(crate) mod host_func;
pub(crate) mod id;
pub(crate) mod instance;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod owned;
pub(crate) mod parking;
pub(crate) mod shared_memory;
pub(crate) mod table;
