//! The host functions that guests import, the same on both sides.

use std::fmt;

/// Module that the guests of the CLI crate, and generated ones, import from.
pub const MODULE: &str = "host";

/// What `host.fail` fails with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed(pub i32);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed with {}", self.0)
    }
}

impl std::error::Error for Failed {}

/// What host functions fail with that are to call nothing, or a function of another type than `()`.
pub const NOT_CALLABLE: Failed = Failed(-1);

/// What `host.panic` panics with.
pub fn panic_message(code: i32) -> String {
    format!("panicked with {code}")
}
