//! What frames cost.

use core::hint::black_box;

use anyhow::Result;

use crate::measure::{Artifact, Bench, Measured};
use crate::sides::{Backtraces, Capture, Reason, Side, check_failure};
use crate::traps::resolved;

/// Numbers of frames, from which the row's figure is taken and a plot drawn: the difference
/// between the last two, for each frame.
pub(crate) const DEPTHS: [i32; 4] = [10, 100, 1_000, 8_000];

/// The name of a point for so many frames.
pub(crate) fn depth_name(depth: i32) -> String {
    format!("depth-{depth}")
}

/// For each frame, a host function's capture of program counters. The peer resolves the
/// innermost 20 frames all the same: at each depth, so that the difference has none of it.
pub(crate) fn raw<S: Side>(bench: &Bench) -> Result<Measured> {
    per_frame::<S>(bench, Backtraces::DEFAULT, Capture::Raw)
}

/// For each frame, a host function's capture of functions, names and bytecode offsets.
pub(crate) fn with_names<S: Side>(bench: &Bench) -> Result<Measured> {
    per_frame::<S>(bench, Backtraces::ALL, Capture::Resolved)
}

fn per_frame<S: Side>(bench: &Bench, limit: Backtraces, capture: Capture) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, limit)?;
    let times = DEPTHS
        .map(|depth| guest.capture_at(depth, capture))
        .into_iter()
        .collect::<Result<Vec<f64>>>()?;
    let [.., (shallow, less), (deep, more)] =
        [0, 1, 2, 3].map(|at| (f64::from(DEPTHS[at]), times[at]));
    let value = (more - less) / (deep - shallow);
    let measured = Measured::from(value);
    Ok(
        (DEPTHS.iter().zip(&times)).fold(measured, |measured, (depth, time)| {
            measured.with(depth_name(*depth), *time)
        }),
    )
}

/// How much more an error of the host costs with a resolved backtrace of ten frames than
/// without.
pub(crate) fn ten_frames<S: Side>(bench: &Bench) -> Result<Measured> {
    const DEPTH: usize = 10;
    let time = |limit, frames| {
        let mut guest = S::new(bench, Artifact::HardwareTraps, limit)?;
        check_failure::<S, _>(guest.fail_at(DEPTH as i32), Reason::Host, frames)?;
        anyhow::Ok(match limit {
            Backtraces::Off => bench.time(|| drop(black_box(guest.fail_at(DEPTH as i32)))),
            _ => bench.time(|| resolved::<S, _>(guest.fail_at(DEPTH as i32))),
        })
    };
    let without = time(Backtraces::Off, 0)?;
    let with = time(Backtraces::DEFAULT, DEPTH)?;
    Ok(Measured::from(with - without)
        .with("with", with)
        .with("without", without))
}
