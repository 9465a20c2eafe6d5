//! Into a guest and out of it again, without a trap.

use core::hint::black_box;

use anyhow::{Result, ensure};

use crate::measure::{Artifact, Bench, Measured};
use crate::sides::{Backtraces, Side};

/// An empty function.
pub(crate) fn empty<S: Side>(bench: &Bench) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::DEFAULT)?;
    ensure!(guest.empty().is_ok(), "the call failed");
    Ok(bench.time(|| drop(black_box(guest.empty()))).into())
}

/// Two parameters and a result.
pub(crate) fn add<S: Side>(bench: &Bench) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::DEFAULT)?;
    ensure!(guest.add(40, 2).ok() == Some(42), "the sum is wrong");
    let time = bench.time(|| drop(black_box(guest.add(black_box(40), black_box(2)))));
    Ok(time.into())
}

/// A function that calls the host once.
pub(crate) fn call_host<S: Side>(bench: &Bench) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::DEFAULT)?;
    ensure!(guest.call_host().is_ok(), "the call failed");
    Ok(bench.time(|| drop(black_box(guest.call_host()))).into())
}
