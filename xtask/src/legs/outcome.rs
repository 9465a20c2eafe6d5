//! What a run of guests, scripts and scenarios prints, and its sums.

use anyhow::{Result, ensure};

use super::bundle::Sums;
use crate::step::TestCounts;

/// Passes a log on, and reads the lines with sums out of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Stands before each line that is passed on.
    prefix: String,
    /// Of each bundle, in their order.
    guests: Vec<TestCounts>,
    scripts: Vec<TestCounts>,
    scenarios: TestCounts,
}

impl Outcome {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            guests: Vec::new(),
            scripts: Vec::new(),
            scenarios: TestCounts::default(),
        }
    }

    /// One line of the log.
    pub(super) fn line(&mut self, line: &str) {
        println!("{}{}", self.prefix, line.trim_end());
        self.guests.extend(sums(line, "guests: "));
        self.scripts.extend(sums(line, "scripts: "));
        self.scenarios += sums(line, "scenarios: ").unwrap_or_default();
    }

    /// The sums; fails if they are not those that have to come of the bundles: the same
    /// wherever they are run.
    pub(super) fn counts(&self, bundles: &[Sums]) -> Result<TestCounts> {
        let passed = |counts: &[TestCounts]| counts.iter().map(|count| count.passed).collect();
        let (guests, directives): (Vec<_>, Vec<_>) = (passed(&self.guests), passed(&self.scripts));
        let (expected_guests, expected_directives): (Vec<_>, Vec<_>) = bundles
            .iter()
            .map(|sums| (sums.guests, sums.directives))
            .unzip();
        ensure!(
            guests == expected_guests,
            "{guests:?} guests passed, not {expected_guests:?}"
        );
        ensure!(
            directives == expected_directives,
            "{directives:?} directives of scripts passed, not {expected_directives:?}"
        );
        let mut counts = self.scenarios;
        for found in &self.guests {
            counts += *found;
        }
        // A script has hundreds of directives, which are no tests of ours: one of all.
        for found in &self.scripts {
            counts += TestCounts {
                passed: u64::from(found.passed > 0 && found.failed == 0),
                failed: u64::from(found.failed > 0),
                ignored: 0,
            };
        }
        ensure!(counts.passed > 0, "nothing was run");
        Ok(counts)
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

    const SUMS: Sums = Sums {
        guests: 49,
        directives: 141_182,
    };

    /// What comes of a log with these sums, if these bundles were run.
    fn outcome(guests: &str, scripts: &str, bundles: &[Sums]) -> Result<TestCounts> {
        let mut outcome = Outcome::new(String::new());
        for line in [
            "scenario x: ok\n",
            guests,
            scripts,
            "scenarios: 31 passed, 0 failed, 1 not on this machine\n",
        ] {
            outcome.line(line);
        }
        outcome.counts(bundles)
    }

    const GUESTS: &str = "guests: 49 passed, 0 failed\r\n";
    const SCRIPTS: &str =
        "scripts: 141182 passed, 0 failed, 2158 skipped (module 5898, invoke 655)\n";

    #[test]
    fn sums_are_read_and_scripts_count_as_one() {
        let expected = TestCounts {
            passed: 49 + 1 + 31,
            failed: 0,
            ignored: 0,
        };
        let counts = outcome(GUESTS, SCRIPTS, &[SUMS]);
        assert_eq!(counts.expect("what was expected"), expected);
        let without_scripts = Sums {
            directives: 0,
            ..SUMS
        };
        let none = "scripts: 0 passed, 0 failed, 0 skipped (none)\n";
        let counts = outcome(GUESTS, none, &[without_scripts]).expect("what was expected");
        assert_eq!(counts.passed, 49 + 31);
    }

    #[test]
    fn sums_that_are_not_those_of_the_bundle_are_a_failure() {
        let fewer = "guests: 48 passed, 0 failed, 1 skipped\n";
        let empty = "scripts: 0 passed, 0 failed, 2158 skipped (none)\n";
        for (guests, scripts, bundles) in [
            (fewer, SCRIPTS, &[SUMS][..]),
            (GUESTS, empty, &[SUMS]),
            // A bundle that was not run, and one that nobody knows.
            (GUESTS, SCRIPTS, &[SUMS; 2]),
            (GUESTS, SCRIPTS, &[]),
            ("", "", &[SUMS]),
        ] {
            let counts = outcome(guests, scripts, bundles);
            assert!(counts.is_err(), "{guests}{scripts}{bundles:?}: {counts:?}");
        }
    }

    #[test]
    fn a_log_without_sums_is_a_failure() {
        let mut outcome = Outcome::new(String::new());
        outcome.line("scenario x: ok\n");
        assert!(outcome.counts(&[]).is_err());
    }
}
