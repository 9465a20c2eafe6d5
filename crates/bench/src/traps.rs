//! Out of a guest by a trap, from the call to the error that is thrown away.

use core::hint::black_box;

use anyhow::Result;

use crate::measure::{Artifact, Bench, Measured};
use crate::sides::{Backtraces, Reason, Side, check_failure};

/// A host function fails; no backtrace is captured.
pub(crate) fn host_error<S: Side>(bench: &Bench) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::Off)?;
    check_failure::<S, _>(guest.fail_at(1), Reason::Host, 0)?;
    Ok(bench.time(|| drop(black_box(guest.fail_at(1)))).into())
}

/// The same with a backtrace of one frame, resolved.
pub(crate) fn host_error_with_backtrace<S: Side>(bench: &Bench) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::DEFAULT)?;
    check_failure::<S, _>(guest.fail_at(1), Reason::Host, 1)?;
    Ok(bench.time(|| resolved::<S, _>(guest.fail_at(1))).into())
}

/// The same with a backtrace of one frame, which is not looked at.
pub(crate) fn host_error_with_raw_backtrace<S: Side>(bench: &Bench) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::DEFAULT)?;
    check_failure::<S, _>(guest.fail_at(1), Reason::Host, 1)?;
    Ok(bench.time(|| drop(black_box(guest.fail_at(1)))).into())
}

/// A load beyond the end of the memory faults: SIGSEGV.
pub(crate) fn out_of_bounds<S: Side>(bench: &Bench) -> Result<Measured> {
    /// The memory has one page.
    const BEYOND: i32 = 1 << 16;
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::Off)?;
    check_failure::<S, _>(guest.load(BEYOND), Reason::OutOfBounds, 0)?;
    let time = bench.time(|| drop(black_box(guest.load(black_box(BEYOND)))));
    Ok(time.into())
}

/// A quotient that is too large faults: SIGFPE on x86_64, SIGILL elsewhere.
pub(crate) fn division<S: Side>(bench: &Bench) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::Off)?;
    let divide = |guest: &mut S| guest.divide(black_box(i32::MIN), black_box(-1));
    check_failure::<S, _>(divide(&mut guest), Reason::IntegerOverflow, 0)?;
    Ok(bench.time(|| drop(black_box(divide(&mut guest)))).into())
}

/// A quotient that does not exist is found by compiled code, which traps as for `unreachable`.
pub(crate) fn division_by_zero<S: Side>(bench: &Bench) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::Off)?;
    let divide = |guest: &mut S| guest.divide(black_box(1), black_box(0));
    check_failure::<S, _>(divide(&mut guest), Reason::DivisionByZero, 0)?;
    Ok(bench.time(|| drop(black_box(divide(&mut guest)))).into())
}

/// `unreachable` is an instruction that may not be run: SIGSEGV or SIGILL.
pub(crate) fn unreachable<S: Side>(bench: &Bench) -> Result<Measured> {
    unreachable_in::<S>(bench, Artifact::HardwareTraps)
}

/// `unreachable` is a call.
pub(crate) fn unreachable_without_hardware<S: Side>(bench: &Bench) -> Result<Measured> {
    unreachable_in::<S>(bench, Artifact::ExplicitChecks)
}

fn unreachable_in<S: Side>(bench: &Bench, artifact: Artifact) -> Result<Measured> {
    let mut guest = S::new(bench, artifact, Backtraces::Off)?;
    check_failure::<S, _>(guest.unreachable(), Reason::Unreachable, 0)?;
    Ok(bench.time(|| drop(black_box(guest.unreachable()))).into())
}

/// What becomes of an error whose frames are looked at.
#[inline]
pub(crate) fn resolved<S: Side, R>(result: Result<R, S::Error>) {
    if let Err(error) = &result {
        S::resolve(error);
    }
    drop(black_box(result));
}
