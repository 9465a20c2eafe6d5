//! What compiled code sees: records that it reads and writes, and functions that it calls which
//! need nothing else.

pub(crate) mod context;
pub(crate) mod definition;
pub(crate) mod float;
