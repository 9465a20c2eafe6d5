//! Every row runs, and the tables have all of them.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trapline-bench"));
    command
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints UTF-8")
}

/// The rows' names, and what their lines in the tables begin with.
fn rows() -> Vec<(String, String)> {
    let list = bench(&["--list"]);
    assert!(list.status.success());
    let rows: Vec<(String, String)> = (text(&list.stdout).lines())
        .filter_map(|line| line.split_once(' '))
        .map(|(name, what)| (name.to_owned(), what.trim().to_owned()))
        .collect();
    assert!(rows.len() > 30, "only {} rows", rows.len());
    rows
}

#[test]
fn every_row_runs_and_is_in_a_table() {
    let output = bench(&["--quick"]);
    let (tables, progress) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{tables}\n{progress}");
    assert!(!tables.contains("not run"), "{tables}");
    let lines: Vec<&str> = tables.lines().collect();
    for (name, what) in rows() {
        let cell = |line: &str, nth| line.split('|').nth(nth).map(|cell| cell.trim().to_owned());
        let mut lines = lines
            .iter()
            .filter(|line| cell(line, 1).as_ref() == Some(&what));
        let line = lines.next().unwrap_or_else(|| panic!("{name}: {tables}"));
        assert!(lines.next().is_none(), "{name} is there twice: {tables}");
        let ours = cell(line, 2);
        let digit = ours
            .as_deref()
            .and_then(|ours| ours.trim_start_matches('-').chars().next());
        assert!(
            digit.is_some_and(|digit| digit.is_ascii_digit()),
            "{name}: {tables}"
        );
    }
}

#[test]
fn a_name_selects_rows_and_an_unknown_one_is_an_error() {
    let output = bench(&["--quick", "size-trap"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("| size of a `Trap` | "));
    assert!(!text(&output.stdout).contains("Entering"));

    let output = bench(&["--quick", "no-such-row"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("no row has \"no-such-row\" in its name"));
}

#[test]
fn a_row_that_cannot_run_is_a_failure() {
    // Where artifacts ought to be there is nothing.
    let nowhere = ["--artifacts", "no such folder", "--quick"];
    let output = bench(
        &[
            &["--measure", "entry-empty", "--side", "ours"],
            &nowhere[..],
        ]
        .concat(),
    );
    assert!(!output.status.success());
    let output = bench(&[&["--measure", "size-trap", "--side", "peer"], &nowhere[..]].concat());
    assert!(text(&output.stderr).contains("size-trap has no such side"));
}
