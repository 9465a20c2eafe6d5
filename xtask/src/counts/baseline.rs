//! The counts that are kept in the repository, written, read and compared with.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// From the workspace root.
pub(super) const FILE: &str = "crates/counts/baseline.toml";

/// How many more than the baseline a path may take, in percent.
const MARGIN: f64 = 3.0;

/// What a path takes.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Count {
    pub(super) name: String,
    /// For a reader.
    pub(super) what: String,
    /// For one operation; a mean, where they differ.
    pub(super) instructions: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Baseline {
    /// What `rustc --version` said.
    pub(super) rustc: String,
    pub(super) target: String,
    /// By the names of the paths.
    instructions: BTreeMap<String, f64>,
}

/// As exactly as the file has it.
pub(super) fn rounded(instructions: f64) -> f64 {
    (instructions * 100.0).round() / 100.0
}

/// The content of the file.
pub(super) fn write(rustc: &str, target: &str, counts: &[Count]) -> String {
    let mut text = format!(
        "# Instructions for one operation: by `cargo xtask counts --update`.\n\
         rustc = \"{rustc}\"\n\
         target = \"{target}\"\n\n\
         [instructions]\n"
    );
    for count in counts {
        _ = writeln!(text, "{} = {:.2}", count.name, count.instructions);
    }
    text
}

impl Baseline {
    pub(super) fn read(text: &str) -> Result<Self> {
        toml::from_str(text).context(FILE)
    }

    /// By how many percent a path has become dearer; `None` if it is new.
    fn change(&self, count: &Count) -> Option<f64> {
        let before = self.instructions.get(&count.name)?;
        // At least the smallest figure that the file can have.
        Some(100.0 * (count.instructions - before) / before.max(0.01))
    }

    /// One line for each path: what the baseline says, what was counted, and the change.
    pub(super) fn table(&self, counts: &[Count]) -> String {
        let mut table = format!(
            "{:26} {:>9} {:>9} {:>7}  instructions for\n",
            "path", "baseline", "now", "change"
        );
        for count in counts {
            let before = self.instructions.get(&count.name);
            let before = before.map_or_else(|| "-".to_owned(), |before| format!("{before:.1}"));
            let change = self.change(count);
            let change = change.map_or_else(|| "-".to_owned(), |change| format!("{change:+.1} %"));
            _ = writeln!(
                table,
                "{:26} {before:>9} {:>9.1} {change:>7}  {}",
                count.name, count.instructions, count.what
            );
        }
        table
    }

    /// What must not be: paths that have become dearer, that are new, or that are gone.
    pub(super) fn problems(&self, counts: &[Count]) -> Vec<String> {
        let counted = counts.iter().filter_map(|count| match self.change(count) {
            None => Some(format!("{} is not in {FILE}", count.name)),
            Some(change) if change > MARGIN => Some(format!(
                "{} takes {:.1} instructions, {change:.1} % more than in {FILE}",
                count.name, count.instructions
            )),
            Some(_) => None,
        });
        let gone = self
            .instructions
            .keys()
            .filter(|name| !counts.iter().any(|count| count.name == **name))
            .map(|name| format!("{name} is in {FILE}, but was not counted"));
        counted.chain(gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, f64)]) -> Vec<Count> {
        all.iter()
            .map(|(name, instructions)| Count {
                name: (*name).to_owned(),
                what: format!("what {name} is"),
                instructions: *instructions,
            })
            .collect()
    }

    fn baseline() -> Baseline {
        let counts = counts(&[("entry-empty", 200.0), ("backtrace-frame", 27.096)]);
        let text = write("rustc 1.95.0 (0 2026-04-14)", "some-target", &counts);
        Baseline::read(&text).expect("what was written can be read")
    }

    #[test]
    fn what_was_written_is_what_is_read() {
        let baseline = baseline();
        assert_eq!(baseline.rustc, "rustc 1.95.0 (0 2026-04-14)");
        assert_eq!(baseline.target, "some-target");
        let same = [("entry-empty", 200.0), ("backtrace-frame", 27.1)];
        let read: Vec<_> = baseline.instructions.iter().collect();
        assert_eq!(
            read,
            [
                (&"backtrace-frame".to_owned(), &27.1),
                (&"entry-empty".to_owned(), &200.0)
            ]
        );
        assert_eq!(baseline.problems(&counts(&same)), [""; 0]);
    }

    #[test]
    fn a_path_may_become_dearer_by_the_margin_and_cheaper_by_anything() {
        let baseline = baseline();
        let with = |empty| counts(&[("entry-empty", empty), ("backtrace-frame", 1.0)]);
        assert_eq!(baseline.problems(&with(206.0)), [""; 0]);
        let problems = baseline.problems(&with(207.0));
        let expected = "entry-empty takes 207.0 instructions, 3.5 % more than in ";
        assert_eq!(problems, [format!("{expected}{FILE}")]);
    }

    #[test]
    fn paths_that_came_or_went_are_named() {
        let problems = baseline().problems(&counts(&[("entry-empty", 200.0), ("new", 1.0)]));
        assert_eq!(
            problems,
            [
                format!("new is not in {FILE}"),
                format!("backtrace-frame is in {FILE}, but was not counted"),
            ]
        );
    }

    #[test]
    fn the_table_has_both_figures_and_the_change() {
        let table = baseline().table(&counts(&[("entry-empty", 150.0), ("new", 7.0)]));
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let first = ["entry-empty", "200.0", "150.0", "-25.0", "%"];
        assert_eq!(lines[1][..5], first);
        assert_eq!(lines[2][..4], ["new", "-", "7.0", "-"]);
        assert!(table.contains("  what new is\n"));
    }

    #[test]
    fn a_file_that_says_something_else_is_an_error() {
        assert!(Baseline::read("rustc = \"1\"\n[instructions]\n").is_err());
        let text = "rustc = \"1\"\ntarget = \"2\"\n[instructions]\nentry-empty = \"3\"\n";
        assert!(Baseline::read(text).is_err());
    }
}
