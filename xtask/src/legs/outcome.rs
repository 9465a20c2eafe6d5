//! What a run of guests, scripts and scenarios prints, and its sums.

use anyhow::{Result, ensure};

use crate::step::TestCounts;

/// Passes a log on, and reads the lines with sums out of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Stands before each line that is passed on.
    prefix: String,
    counts: TestCounts,
    scripts: bool,
}

impl Outcome {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            counts: TestCounts::default(),
            scripts: false,
        }
    }

    /// One line of the log.
    pub(super) fn line(&mut self, line: &str) {
        println!("{}{}", self.prefix, line.trim_end());
        if let Some(found) = sums(line, "guests: ").or(sums(line, "scenarios: ")) {
            self.counts += found;
        }
        // A script has hundreds of assertions, which are no tests of ours: one of all.
        if let Some(found) = sums(line, "scripts: ") {
            self.scripts = true;
            self.counts += TestCounts {
                passed: u64::from(found.passed > 0 && found.failed == 0),
                failed: u64::from(found.failed > 0),
                ignored: 0,
            };
        }
    }

    /// The sums; fails if there was nothing that could have failed.
    pub(super) fn counts(&self) -> Result<TestCounts> {
        ensure!(self.counts.passed > 0, "nothing was run");
        Ok(self.counts)
    }
}

/// The numbers in a line like `guests: 49 passed, 0 failed`.
fn sums(line: &str, head: &str) -> Option<TestCounts> {
    let rest = line.trim_end().strip_prefix(head)?;
    let count = |what: &str| {
        rest.split(',')
            .find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
    };
    Some(TestCounts {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_and_scripts_count_as_one() {
        let mut outcome = Outcome::new(String::new());
        for line in [
            "scenario x: ok\n",
            "guests: 49 passed, 0 failed\r\n",
            "scripts: 141182 passed, 0 failed, 2158 skipped (module 5898, invoke 655)\n",
            "scenarios: 31 passed, 0 failed, 1 not on this machine\n",
        ] {
            outcome.line(line);
        }
        let expected = TestCounts {
            passed: 49 + 1 + 31,
            failed: 0,
            ignored: 0,
        };
        assert_eq!(outcome.counts().expect("something was run"), expected);
    }

    #[test]
    fn a_log_without_sums_is_a_failure() {
        let mut outcome = Outcome::new(String::new());
        outcome.line("scenario x: ok\n");
        assert!(outcome.counts().is_err());
    }
}
