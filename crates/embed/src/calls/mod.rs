//! Calls in both directions, the values that they pass, and what they fail with.

pub(crate) mod caller;
pub(crate) mod enter;
pub(crate) mod error;
pub(crate) mod host;
pub(crate) mod instantiate_error;
pub(crate) mod passed_on;
pub(crate) mod typed;
pub(crate) mod value;
