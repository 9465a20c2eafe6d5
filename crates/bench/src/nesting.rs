//! Guests that call the host that calls guests again: an error from the bottom has to come
//! through all of them.

use core::hint::black_box;

use anyhow::Result;

use crate::measure::{Artifact, Bench, Measured};
use crate::sides::{Backtraces, Reason, Side, check_failure};
use crate::traps::resolved;

/// How deep the rows nest: entries into the guest.
pub(crate) const LEVELS: i32 = 100;

/// Without backtraces.
pub(crate) fn without_backtrace<S: Side>(bench: &Bench) -> Result<Measured> {
    Ok(level::<S>(bench, Backtraces::Off, LEVELS)?.into())
}

/// With a backtrace of the innermost 20 frames.
pub(crate) fn with_backtrace<S: Side>(bench: &Bench) -> Result<Measured> {
    Ok(level::<S>(bench, Backtraces::DEFAULT, LEVELS)?.into())
}

/// With a backtrace of all frames.
pub(crate) fn with_all_frames<S: Side>(bench: &Bench) -> Result<Measured> {
    Ok(level::<S>(bench, Backtraces::ALL, LEVELS)?.into())
}

/// How a level costs more the more of them there are: 1 if the whole is linear.
pub(crate) fn growth_to_100<S: Side>(bench: &Bench) -> Result<Measured> {
    growth::<S>(bench, 10, 100)
}

/// The same, further up.
pub(crate) fn growth_to_400<S: Side>(bench: &Bench) -> Result<Measured> {
    growth::<S>(bench, 100, 400)
}

fn growth<S: Side>(bench: &Bench, few: i32, many: i32) -> Result<Measured> {
    let with_few = level::<S>(bench, Backtraces::DEFAULT, few)?;
    let with_many = level::<S>(bench, Backtraces::DEFAULT, many)?;
    Ok(Measured::from(with_many / with_few)
        .with("few", with_few)
        .with("many", with_many))
}

/// Nanoseconds for one of so many levels: the whole, divided.
fn level<S: Side>(bench: &Bench, backtraces: Backtraces, levels: i32) -> Result<f64> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, backtraces)?;
    let frames = match backtraces {
        Backtraces::Off => 0,
        Backtraces::Innermost(limit) => limit.min(usize::try_from(levels)?),
    };
    check_failure::<S, _>(guest.nest(levels), Reason::Host, frames)?;
    let time = match backtraces {
        Backtraces::Off => bench.time(|| drop(black_box(guest.nest(black_box(levels))))),
        _ => bench.time(|| resolved::<S, _>(guest.nest(black_box(levels)))),
    };
    Ok(time / f64::from(levels))
}
