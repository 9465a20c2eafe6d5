//! Timing, and what comes out of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::statistics::median;

/// How long to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effort {
    /// For figures that mean something.
    Full,
    /// To see whether everything works: seconds for all rows.
    Quick,
}

impl Effort {
    /// How often each side of a row is measured, each time in a process of its own.
    pub(crate) fn repetitions(self) -> usize {
        match self {
            Self::Full => 9,
            Self::Quick => 1,
        }
    }

    /// How long one sample should take: less than a time slice, so that the median has no
    /// part in what others do on the same CPU.
    fn sample(self) -> Duration {
        match self {
            Self::Full => Duration::from_millis(1),
            Self::Quick => Duration::from_micros(200),
        }
    }

    /// How many samples a process takes.
    fn samples(self) -> usize {
        match self {
            Self::Full => 151,
            Self::Quick => 3,
        }
    }

    /// The largest registry: a million ranges take a second to fill in, for each process.
    fn most_ranges(self) -> usize {
        match self {
            Self::Full => usize::MAX,
            Self::Quick => 20_000,
        }
    }
}

/// What one process measures with.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    pub(crate) effort: Effort,
    /// Where the artifacts are that the rows run.
    artifacts: PathBuf,
}

/// A compiled form of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Artifact {
    /// Traps are faults of the hardware.
    HardwareTraps,
    /// Traps are calls.
    ExplicitChecks,
}

impl Artifact {
    pub(crate) const ALL: [Self; 2] = [Self::HardwareTraps, Self::ExplicitChecks];

    /// Its file, in the folder of artifacts.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::HardwareTraps => "hardware-traps.cwasm",
            Self::ExplicitChecks => "explicit-checks.cwasm",
        }
    }
}

impl Bench {
    pub(crate) fn new(effort: Effort, artifacts: &Path) -> Self {
        Self {
            effort,
            artifacts: artifacts.to_owned(),
        }
    }

    /// The bytes of an artifact.
    pub(crate) fn artifact(&self, artifact: Artifact) -> Result<Vec<u8>> {
        let path = self.artifacts.join(artifact.file());
        std::fs::read(&path).with_context(|| path.display().to_string())
    }

    /// `ranges`, or as many of them as there is time for.
    pub(crate) fn ranges(&self, ranges: usize) -> usize {
        ranges.min(self.effort.most_ranges())
    }

    /// How long to measure what can't be counted in calls.
    pub(crate) fn span(&self) -> Duration {
        self.effort.sample() * 30
    }

    /// Nanoseconds for one call of `operation`: the median of some samples, each of which is
    /// as many calls as fit into it. The clock is read around a sample, and nothing is
    /// subtracted.
    #[inline]
    pub(crate) fn time(&self, mut operation: impl FnMut()) -> f64 {
        self.time_batches(|calls| {
            let start = Instant::now();
            for _ in 0..calls {
                operation();
            }
            start.elapsed()
        })
    }

    /// The same for operations that time themselves: `batch` does so many, and returns how
    /// long they took.
    #[inline]
    pub(crate) fn time_batches(&self, mut batch: impl FnMut(u64) -> Duration) -> f64 {
        let sample = self.effort.sample();
        // How many calls make a sample; warms up at the same time.
        let mut calls = 1_u64;
        let calls = loop {
            let took = batch(calls);
            if took * 4 >= sample {
                let fit = sample.as_nanos() * u128::from(calls) / took.as_nanos().max(1);
                break u64::try_from(fit).unwrap_or(u64::MAX).max(1);
            }
            calls *= 2;
        };
        let mut samples: Vec<f64> = (0..self.effort.samples())
            .map(|_| batch(calls).as_nanos() as f64 / calls as f64)
            .collect();
        median(&mut samples)
    }
}

/// What one process found out.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Measured {
    /// The figure of the row.
    pub(crate) value: f64,
    /// What it was made from, or what a plot shows beside it.
    pub(crate) points: Vec<Point>,
}

/// A figure with a name.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Point {
    /// One word.
    pub(crate) name: String,
    pub(crate) value: f64,
}

impl From<f64> for Measured {
    fn from(value: f64) -> Self {
        Self {
            value,
            points: Vec::new(),
        }
    }
}

impl Measured {
    /// The same with another figure beside it.
    pub(crate) fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        let name = name.into();
        self.points.push(Point { name, value });
        self
    }

    /// What a process prints for the one that started it.
    pub(crate) fn to_lines(&self) -> String {
        let mut lines = format!("value {}\n", self.value);
        for Point { name, value } in &self.points {
            lines += &format!("{name} {value}\n");
        }
        lines
    }

    /// The inverse of [`to_lines`](Self::to_lines).
    pub(crate) fn from_lines(lines: &str) -> Result<Self> {
        let mut figures = lines.lines().map(|line| {
            let (name, value) = line.split_once(' ').context("no figure in this line")?;
            let value: f64 = value.parse().with_context(|| format!("{value:?}"))?;
            Ok((name, value))
        });
        let Some(first) = figures.next().transpose()? else {
            bail!("nothing was measured");
        };
        let ("value", value) = first else {
            bail!("the first figure is called {:?}", first.0);
        };
        figures.try_fold(Self::from(value), |measured, figure: Result<_>| {
            let (name, value) = figure?;
            Ok(measured.with(name, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reads_what_another_one_wrote() {
        let measured = Measured::from(12.5).with("depth-10", 3.0).with("x", 1e9);
        assert_eq!(
            Measured::from_lines(&measured.to_lines()).unwrap(),
            measured
        );
        assert!(Measured::from_lines("").is_err());
        assert!(Measured::from_lines("depth 3\n").is_err());
        assert!(Measured::from_lines("value three\n").is_err());
        assert!(Measured::from_lines("value 3\nthree\n").is_err());
    }

    #[test]
    fn a_sample_is_about_as_long_as_asked_for_and_the_figure_that_of_one_call() {
        let bench = Bench::new(Effort::Quick, Path::new(""));
        // Each call is said to take 100 ns.
        let mut sizes = Vec::new();
        let found = bench.time_batches(|calls| {
            sizes.push(calls);
            Duration::from_nanos(100 * calls)
        });
        assert_eq!(found, 100.0);
        assert_eq!(sizes.last(), Some(&2_000));
        // Not even one fits.
        let found = bench.time_batches(|calls| {
            assert_eq!(calls, 1);
            Duration::from_secs(1)
        });
        assert_eq!(found, 1e9);
    }
}
