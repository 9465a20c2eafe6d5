//! The two sides, behind one interface, so that a row is one function that both sides run.
//!
//! Both load the same artifact, check the types of the guest's functions once, define the
//! same host functions, and fail with the same error. What differs by nature is said where it
//! is done.

mod ours;
mod peer;

use core::fmt;

use anyhow::{Result, ensure};

pub(crate) use ours::Ours;
pub(crate) use peer::Peer;

use crate::measure::{Artifact, Bench};

/// What the host functions fail with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host function failed")
    }
}

impl core::error::Error for Failed {}

/// How many frames the backtraces of errors have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Backtraces {
    /// None: no backtrace is captured.
    Off,
    /// The innermost so many.
    Innermost(usize),
}

impl Backtraces {
    /// The peer's default limit.
    pub(crate) const DEFAULT: Self = Self::Innermost(20);
    /// More than any row has.
    pub(crate) const ALL: Self = Self::Innermost(10_000);
}

/// What the guest's stack may take in bytes, host functions in between included: enough for
/// the deepest row, and as much as the peer allows without its feature `async`.
const MAX_WASM_STACK: usize = 2 << 20;

/// What is done with the frames at the bottom of `capture_at`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Capture {
    /// Program counters.
    Raw,
    /// Program counters, then functions, names and bytecode offsets.
    Resolved,
}

/// How a guest's function failed, as far as both sides must agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// With [`Failed`].
    Host,
    OutOfBounds,
    IntegerOverflow,
    DivisionByZero,
    Unreachable,
}

/// The guest, instantiated.
pub(crate) trait Side: Sized + Send {
    /// What calls fail with.
    type Error;

    /// Loads the artifact and instantiates it, with a stack for deep recursions.
    fn new(bench: &Bench, artifact: Artifact, backtraces: Backtraces) -> Result<Self>;

    fn empty(&mut self) -> Result<(), Self::Error>;
    fn add(&mut self, a: i32, b: i32) -> Result<i32, Self::Error>;
    fn call_host(&mut self) -> Result<(), Self::Error>;
    fn fail_at(&mut self, depth: i32) -> Result<(), Self::Error>;
    fn nest(&mut self, levels: i32) -> Result<(), Self::Error>;
    fn load(&mut self, address: i32) -> Result<i32, Self::Error>;
    fn divide(&mut self, a: i32, b: i32) -> Result<i32, Self::Error>;
    fn unreachable(&mut self) -> Result<(), Self::Error>;

    /// The time in nanoseconds that a host function needs for a backtrace of `depth` frames.
    fn capture_at(&mut self, depth: i32, capture: Capture) -> Result<f64>;

    /// An address in the frame of a host function that the guest called.
    fn call_where(&mut self) -> Result<usize>;

    /// Sees to it that the frames of the error are resolved to names and offsets, if that was
    /// not done when it was made.
    fn resolve(error: &Self::Error);

    /// How it failed, and the number of resolved frames that the error has.
    fn describe(error: &Self::Error) -> Option<(Reason, usize)>;
}

/// Checks, before anything is measured, that a call fails as it should.
pub(crate) fn check_failure<S: Side, R>(
    result: Result<R, S::Error>,
    reason: Reason,
    frames: usize,
) -> Result<()> {
    let found = result.err().as_ref().map(S::describe);
    ensure!(
        found == Some(Some((reason, frames))),
        "the call should have failed by {reason:?} with {frames} frames, but: {found:?}"
    );
    Ok(())
}
