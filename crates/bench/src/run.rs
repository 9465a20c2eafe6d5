//! Running the rows: each side of each, again and again, in processes of their own.
//!
//! Both sides install signal handlers, so they never share a process. They take turns (ours,
//! the peer, the floors, ours, …), so that whatever else the machine does meets them alike.

use core::hash::BuildHasher as _;
use core::hint::black_box;
use std::collections::BTreeMap;
use std::hash::RandomState;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::measure::{Bench, Effort, Measured, Point};
use crate::rows::{Measure, Row};
use crate::statistics::Summary;

/// Whose figure it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Side {
    Ours,
    Peer,
    /// One of the floors, by its place among them.
    Floor(usize),
}

impl Side {
    /// What a row does for it.
    fn measure(self, row: &Row) -> Option<Measure> {
        match self {
            Self::Ours => row.ours,
            Self::Peer => row.peer,
            Self::Floor(nth) => row.floors.get(nth).copied(),
        }
    }

    fn of(row: &Row) -> Vec<Self> {
        let floors = (0..row.floors.len()).map(Self::Floor);
        [Self::Ours, Self::Peer]
            .into_iter()
            .chain(floors)
            .filter(|side| side.measure(row).is_some())
            .collect()
    }

    fn to_word(self) -> String {
        match self {
            Self::Ours => String::from("ours"),
            Self::Peer => String::from("peer"),
            Self::Floor(nth) => format!("floor-{nth}"),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        match word {
            "ours" => Some(Self::Ours),
            "peer" => Some(Self::Peer),
            _ => Some(Self::Floor(word.strip_prefix("floor-")?.parse().ok()?)),
        }
    }
}

/// What one side of a row came to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Found {
    pub(crate) value: Summary,
    /// By their names.
    pub(crate) points: BTreeMap<String, Summary>,
}

impl Found {
    pub(crate) fn of(measured: &[Measured]) -> Option<Self> {
        let values: Vec<f64> = measured.iter().map(|measured| measured.value).collect();
        let mut points: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for Point { name, value } in measured.iter().flat_map(|measured| &measured.points) {
            points.entry(name.clone()).or_default().push(*value);
        }
        Some(Self {
            value: Summary::of(&values)?,
            points: (points.into_iter())
                .filter_map(|(name, values)| Some((name, Summary::of(&values)?)))
                .collect(),
        })
    }
}

/// A row, and what was found.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) row: Row,
    /// Or why it could not be run.
    pub(crate) found: Result<BTreeMap<Side, Found>, String>,
}

impl Outcome {
    pub(crate) fn side(&self, side: Side) -> Option<&Found> {
        self.found.as_ref().ok()?.get(&side)
    }

    pub(crate) fn median(&self, side: Side) -> Option<f64> {
        Some(self.side(side)?.value.median)
    }
}

/// Calls `measure` with a stack pointer that is somewhere else in each process.
///
/// Which of an operation's loads have the same low bits of their address as one of its stores on
/// the stack decides over a nanosecond or more of six: with a stack that starts at the same place
/// in all processes, one build of one side would have luck in all of them, another none.
pub(crate) fn at_some_place<R>(measure: &mut dyn FnMut() -> R) -> R {
    /// Each is a few dozen bytes.
    const FRAMES: u64 = 128;
    #[inline(never)]
    fn deeper<R>(frames: u64, measure: &mut dyn FnMut() -> R) -> R {
        let frame = black_box([frames]);
        let result = match frames {
            0 => measure(),
            _ => deeper(frames - 1, measure),
        };
        black_box(frame);
        result
    }
    // Hashers have keys at random.
    deeper(RandomState::new().hash_one(0) % FRAMES, measure)
}

/// Runs the rows, in their order; says on standard error which one it is at.
pub(crate) fn all(rows: &[Row], effort: Effort, artifacts: &Path) -> Vec<Outcome> {
    (rows.iter().enumerate())
        .map(|(nth, row)| {
            eprintln!("{:>2}/{} {}", nth + 1, rows.len(), row.name);
            let found = one(row, effort, artifacts).map_err(|error| format!("{error:#}"));
            if let Err(error) = &found {
                eprintln!("error: {}: {error}", row.name);
            }
            Outcome {
                row: row.clone(),
                found,
            }
        })
        .collect()
}

fn one(row: &Row, effort: Effort, artifacts: &Path) -> Result<BTreeMap<Side, Found>> {
    let mut measured: BTreeMap<Side, Vec<Measured>> = BTreeMap::new();
    for _ in 0..effort.repetitions() {
        for side in Side::of(row) {
            let word = side.to_word();
            let once = process(row, &word, effort, artifacts).with_context(|| word.clone())?;
            measured.entry(side).or_default().push(once);
        }
    }
    Ok((measured.into_iter())
        .filter_map(|(side, measured)| Some((side, Found::of(&measured)?)))
        .collect())
}

/// Measures one side of a row once, in a process of its own.
fn process(row: &Row, side: &str, effort: Effort, artifacts: &Path) -> Result<Measured> {
    let program = std::env::current_exe().context("where this program is")?;
    let mut command = Command::new(program);
    command.args(["--measure", row.name, "--side", side]);
    command.arg("--artifacts").arg(artifacts);
    if effort == Effort::Quick {
        command.arg("--quick");
    }
    // With backtraces of the host, errors of both sides would be tens of times slower.
    command.env("RUST_BACKTRACE", "0");
    command.env("RUST_LIB_BACKTRACE", "0");
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("a process for it")?;
    ensure!(output.status.success(), "its process: {}", output.status);
    Measured::from_lines(&String::from_utf8(output.stdout)?)
}

/// What such a process does.
pub(crate) fn measure(row: &Row, side: &str, bench: &Bench) -> Result<Measured> {
    let side = Side::from_word(side).with_context(|| format!("no such side: {side:?}"))?;
    let measure = side
        .measure(row)
        .with_context(|| format!("{} has no such side: {side:?}", row.name))?;
    if !row.many_cpus {
        stay_on_one_cpu()?;
    }
    measure(bench)
}

/// Keeps this thread, and those that it will start, on the last CPU that it may run on: the
/// first one has most of the system's work.
#[cfg(target_os = "linux")]
fn stay_on_one_cpu() -> Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
    let mut one = CpuSet::new();
    one.set(last.context("a CPU to run on")?);
    Ok(sched_setaffinity(None, &one)?)
}

#[cfg(not(target_os = "linux"))]
fn stay_on_one_cpu() -> Result<()> {
    Ok(())
}

/// The rows whose names, texts or topics have one of the words in them; all of them if there
/// are no words.
pub(crate) fn select(rows: Vec<Row>, words: &[String]) -> Result<Vec<Row>> {
    if words.is_empty() {
        return Ok(rows);
    }
    let has = |row: &Row, word: &String| {
        let word = word.to_lowercase();
        [row.name, row.what, row.topic.title()]
            .iter()
            .any(|text| text.to_lowercase().contains(&word))
    };
    for word in words {
        ensure!(
            rows.iter().any(|row| has(row, word)),
            "no row has {word:?} in its name; the rows are: {}",
            rows.iter()
                .map(|row| row.name)
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    let chosen = |row: &Row| words.iter().any(|word| has(row, word));
    Ok(rows.into_iter().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    fn names(words: &[&str]) -> Result<Vec<&'static str>> {
        let words: Vec<String> = words.iter().map(|word| String::from(*word)).collect();
        let rows = select(rows::all(), &words)?;
        Ok(rows.iter().map(|row| row.name).collect())
    }

    #[test]
    fn rows_are_selected_by_parts_of_names_and_texts() {
        assert_eq!(names(&[]).unwrap().len(), rows::all().len());
        assert_eq!(names(&["ENTRY-empty"]).unwrap(), ["entry-empty"]);
        assert_eq!(
            names(&["sigsegv", "division"]).unwrap(),
            [
                "trap-out-of-bounds",
                "trap-division",
                "trap-division-by-zero"
            ]
        );
        assert!(names(&["no such row"]).is_err());
    }

    #[test]
    fn sides_are_passed_on_as_words() {
        for side in [Side::Ours, Side::Peer, Side::Floor(0), Side::Floor(12)] {
            assert_eq!(Side::from_word(&side.to_word()), Some(side));
        }
        assert_eq!(Side::from_word("floor-"), None);
        assert_eq!(Side::from_word("theirs"), None);
    }

    #[test]
    fn each_figure_has_its_own_summary() {
        let runs = [
            Measured::from(1.0).with("a", 10.0),
            Measured::from(3.0).with("a", 30.0),
            Measured::from(2.0).with("a", 20.0),
        ];
        let found = Found::of(&runs).unwrap();
        assert_eq!(found.value.median, 2.0);
        assert_eq!(found.points["a"].median, 20.0);
        assert_eq!(found.points["a"].largest, 30.0);
        assert_eq!(Found::of(&[]), None);
    }
}
