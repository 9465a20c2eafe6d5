//! How many instructions operations take on bare metal: `docs/benchmarks-bare-metal.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::arch::Arch;
use crate::context::Context;
use crate::legs::bare::{self, Contents};
use crate::legs::bundle::Traps;
use crate::toolchain::Bare;
use crate::{generated, process, qemu};

/// From the workspace root.
const FILE: &str = "docs/benchmarks-bare-metal.md";
/// What writes the table in it.
const COMMAND: &str = "cargo xtask image counts --update";

/// What `crates/test-image/src/tests/mod.rs` calls `COUNT_INSTRUCTIONS`.
const ORDER: usize = 1000;
/// How long the image may run.
const LIMIT: Duration = Duration::from_secs(300);

/// What the image counts, in the order of `crates/test-image/src/tests/counts.rs`, and what it
/// is called in the table. The others are seen in relation to the first.
const ROWS: &[(&str, &str)] = &[
    (
        "entry-empty",
        "host → guest → host, empty function, typed call",
    ),
    ("entry-host-call", "the same with a host call inside"),
    ("host-error", "raised by a host function, no backtrace"),
    (
        "host-error-unread",
        "the same with a backtrace of 1 frame, never looked at",
    ),
    (
        "host-error-backtrace",
        "the same with a backtrace of 1 frame, with names and offsets",
    ),
    (
        "unreachable",
        "`unreachable` (illegal instruction), no backtrace",
    ),
    (
        "unreachable-explicit",
        "`unreachable` without hardware, no backtrace",
    ),
    (
        "out-of-bounds",
        "out of bounds load (page fault), no backtrace",
    ),
    (
        "backtrace-frame",
        "a frame of a backtrace, 1000 deep, as it is captured",
    ),
    (
        "backtrace-frame-resolved",
        "the same, with names and offsets",
    ),
    ("nested", "host and guest 10 deep, and back"),
    (
        "nested-error",
        "host and guest 10 deep, error from the bottom, no backtrace",
    ),
    (
        "nested-error-backtrace",
        "the same with a backtrace of all 10 frames, with names and offsets",
    ),
];

/// `cargo xtask image counts`: builds the image for each of `archs`, has it count, and prints
/// the table; or puts it into the page.
pub(crate) fn command(context: &Context, archs: &[Arch], update: bool) -> Result<()> {
    let contents = Contents {
        traps: &Traps::ALL,
        scripts: false,
    };
    let (mut measured, mut programs) = (Vec::new(), Vec::new());
    for &arch in archs {
        let bare = match context.bare(arch)? {
            Ok(bare) => bare,
            Err(reason) => bail!("{}: {reason}", arch.name()),
        };
        let image = bare::build(context, bare, contents)?;
        measured.push((arch, measure(bare, &image.file)?));
        programs.push(bare.compiler.version(&context.shell)?);
        programs.push(qemu::said(&bare.emulator)?);
    }
    programs.sort();
    programs.dedup();
    let text = table(&programs, &measured);
    if update {
        generated::update(context.root(), FILE, COMMAND, &text)
    } else {
        print!("{text}");
        Ok(())
    }
}

/// Has an image with guests of both kinds count: instructions for one operation of each row, all
/// of them above 0.
pub(crate) fn measure(bare: &Bare, image: &Path) -> Result<Vec<f64>> {
    let mut command = bare::emulator_with_order(bare, image, ORDER)?;
    // An instruction is a nanosecond of the emulated machine's clock, which stands still
    // otherwise.
    command.args(["-icount", "shift=0"]);
    let mut log = String::new();
    let end = process::run(command, LIMIT, |line| {
        print!("{line}");
        log.push_str(line);
    })?;
    let name = bare.arch.name();
    ensure!(
        bare::status(bare.arch, end) == Some(0),
        "the image on {name} did not count: {end}"
    );
    read(&log).with_context(|| format!("the counts on {name}"))
}

/// The counts in a log, which has lines like `count entry-empty: 2560000 in 10000`.
fn read(log: &str) -> Result<Vec<f64>> {
    let mut found = BTreeMap::new();
    for line in log.lines() {
        let line = line.trim_end();
        if let Some((name, count)) = line
            .strip_prefix("count ")
            .and_then(|line| line.split_once(": "))
        {
            let count = quotient(count).with_context(|| format!("no count: {line}"))?;
            ensure!(
                found.insert(name, count).is_none(),
                "`{name}` is counted twice"
            );
        }
    }
    let counts = ROWS.iter().map(|&(name, _)| {
        let count = found.remove(name);
        count.with_context(|| format!("`{name}` is not counted"))
    });
    let counts = counts.collect::<Result<_>>()?;
    ensure!(found.is_empty(), "nobody knows {found:?}");
    Ok(counts)
}

/// What `2560000 in 10000` says, if it is more than nothing.
fn quotient(text: &str) -> Option<f64> {
    let (instructions, operations) = text.split_once(" in ")?;
    let number = |text: &str| {
        Some(f64::from(
            text.parse::<u32>().ok().filter(|&number| number > 0)?,
        ))
    };
    Some(number(instructions)? / number(operations)?)
}

/// What the command writes into the page.
fn table(programs: &[String], measured: &[(Arch, Vec<f64>)]) -> String {
    let mut text = String::new();
    for program in programs {
        _ = writeln!(text, "* `{program}`");
    }
    text.push_str("\n| instructions |");
    for (arch, _) in measured {
        _ = write!(text, " {} | |", arch.name());
    }
    text.push_str("\n| --- |");
    text.push_str(&" --: | --: |".repeat(measured.len()));
    text.push('\n');
    for (row, (_, what)) in ROWS.iter().enumerate() {
        _ = write!(text, "| {what} |");
        for (_, counts) in measured {
            let relative = counts[row] / counts[0];
            _ = write!(
                text,
                " {} | {} × |",
                rounded(counts[row], 1),
                rounded(relative, 2)
            );
        }
        text.push('\n');
    }
    text
}

/// With so many digits after the point at most, and few if there are many before it.
fn rounded(number: f64, digits: usize) -> String {
    let digits = match number {
        100.0.. => 0,
        10.0.. => digits.min(1),
        _ => digits,
    };
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log in which one operation of each row takes 1000 instructions more than the one
    /// before it.
    fn log() -> String {
        let mut log = String::from("trapline on bare metal: riscv64\r\n");
        for (at, (name, _)) in ROWS.iter().enumerate() {
            _ = write!(log, "count {name}: {} in 50\r\n", (at + 1) * 50_000);
        }
        log
    }

    #[test]
    fn each_row_is_read() {
        let counts = read(&log()).expect("all are there");
        let expected: Vec<f64> = (1..=ROWS.len()).map(|at| at as f64 * 1000.0).collect();
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_row_that_is_missing_or_empty_is_a_failure() {
        let log = log();
        for (from, to) in [
            ("count nested: ", "counts nested: "),
            ("count nested: ", "count nest: "),
            ("count entry-empty: 50000", "count entry-empty: 0"),
            ("count entry-empty: 50000", "count entry-empty: FAILED: why"),
            ("count unreachable: ", "count entry-empty: "),
            ("trapline", "count more: 1 in 1\ntrapline"),
        ] {
            assert_ne!(log.replace(from, to), log);
            let counts = read(&log.replace(from, to));
            assert!(counts.is_err(), "{from:?}, {to:?}: {counts:?}");
        }
    }

    #[test]
    fn rows_are_seen_in_relation_to_the_first() {
        let counts = read(&log()).expect("all are there");
        let text = table(&["rustc 1".to_owned()], &[(Arch::Riscv64, counts)]);
        let begin = "* `rustc 1`\n\n| instructions | riscv64 | |\n| --- | --: | --: |\n";
        assert!(text.starts_with(begin), "{text}");
        let row = format!("| {} | 2000 | 2.00 × |\n", ROWS[1].1);
        assert!(text.contains(&row), "{text}");
        let row = format!("| {} | 12000 | 12.0 × |\n", ROWS[11].1);
        assert!(text.contains(&row), "{text}");
        assert_eq!(rounded(20.904, 1), "20.9");
        assert_eq!(rounded(256.0, 1), "256");
    }
}
