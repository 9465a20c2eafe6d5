//! The tests themselves.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};
use xshell::Cmd;

use crate::context::Context;
use crate::step::{Group, Report, Step, TestCounts};

pub(crate) const TEST: Step = Step {
    name: "test",
    about: "unit, integration and documentation tests",
    group: Group::Test,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    let command = context
        .cargo()
        .args(["test", "--workspace", "--all-features", "--no-fail-fast"]);
    let tests = run_counted(command)?;
    ensure!(tests.passed > 0, "no test was run");
    Ok(Report {
        tests,
        ..Report::default()
    })
}

/// Runs a `cargo test`, passes its output on as it comes, and adds up its result lines.
pub(crate) fn run_counted(command: Cmd<'_>) -> Result<TestCounts> {
    // A backtrace of the host for each of thousands of errors would take
    // minutes, and nothing here looks at one.
    let command = command.env("RUST_LIB_BACKTRACE", "0");
    let shown = command.to_string();
    eprintln!("$ {shown}");
    let mut child = Command::from(command).stdout(Stdio::piped()).spawn()?;
    let mut counts = TestCounts::default();
    let mut output = BufReader::new(child.stdout.take().expect("stdout was piped"));
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        if let Some(found) = result_line(&text) {
            counts += found;
        }
        line.clear();
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "command failed with {status}: `{shown}` ({} tests failed)",
            counts.failed
        );
    }
    Ok(counts)
}

/// The counts in a line like `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn result_line(line: &str) -> Option<TestCounts> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts
            .split(';')
            .find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
    };
    Some(TestCounts {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_result_lines_only() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.1s\n";
        assert_eq!(
            result_line(line),
            Some(TestCounts {
                passed: 12,
                failed: 3,
                ignored: 1
            })
        );
        assert_eq!(result_line("test copies::each_thread ... ok\n"), None);
        assert_eq!(result_line("running 2 tests\n"), None);
    }
}
