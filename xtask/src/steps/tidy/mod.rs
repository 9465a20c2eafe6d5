//! What a reader should never meet in this repository.

mod demo;
mod dependencies;
mod links;
mod names;
mod quotes;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use xshell::cmd;

use super::fail_with;
use crate::context::Context;
use crate::policy;
use crate::step::{Group, Report, Step};

pub(crate) const TIDY: Step = Step {
    name: "tidy",
    about: "no stubs, no machine's paths, no dead links, no names that nothing has, quotations as quoted, every dependency explained",
    group: Group::Lint,
    needs: &[],
    run,
};

/// Banned everywhere. Written in two halves, since this file is looked through as well.
const BANNED: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("SAFETY: TO", "DO"),
    concat!("#[ign", "ore"),
    concat!("FIX", "ME"),
    concat!("<<<<", "<<< "),
    concat!(">>>>", ">>> "),
];

/// Starts of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/tm", "p/target"),
];

fn run(context: &Context) -> Result<Report> {
    let files = tracked_files(context)?;
    let mut problems = Vec::new();
    let mut functions = BTreeSet::new();
    let mut pages = Vec::new();
    for file in &files {
        let Ok(bytes) = fs::read(context.root().join(file)) else {
            continue; // Deleted, and the deletion is not committed yet.
        };
        // Files that are not text are of no interest.
        if let Ok(text) = String::from_utf8(bytes) {
            problems.extend(file_problems(file, &text));
            if file.ends_with(".rs") {
                functions.extend(names::functions(&text));
            } else if file.ends_with(".md") {
                pages.push((file, text));
            }
        }
    }
    for (file, text) in &pages {
        problems.extend(links::dead_links(file, text, &files));
        problems.extend(names::unknown(file, text, &files, &functions));
        problems.extend(quotes::problems(context.root(), file, text));
    }
    problems.extend(left_out_and_unknown(policy::LEFT_OUT, &functions));
    problems.extend(dependencies::problems(context)?);
    problems.extend(demo::problems(context)?);
    fail_with(&problems)
}

/// The lines of a Markdown file that are in no fenced block, with their numbers.
fn outside_of_blocks(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        (!is_fence && !in_block).then_some((number + 1, line))
    })
}

/// Relative paths, with `/`, of all that git knows.
fn tracked_files(context: &Context) -> Result<Vec<String>> {
    let list = cmd!(context.shell, "git ls-files")
        .quiet()
        .read()
        .context("tidy asks git for the list of files")?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// Tests that the policy leaves out of a step, and that are no functions: renamed, or taken out.
fn left_out_and_unknown(
    left_out: &[(&str, &str, &str)],
    functions: &BTreeSet<String>,
) -> Vec<String> {
    left_out
        .iter()
        .filter(|(_, test, _)| !functions.contains(*test))
        .map(|(step, test, _)| format!("policy: {step} leaves out `{test}`, which is no function"))
        .collect()
}

fn file_problems(file: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut problem = |what: &str| problems.push(format!("{file}:{}: {what}", number + 1));
        for banned in BANNED.iter().filter(|banned| line.contains(*banned)) {
            problem(&format!("`{banned}` may not stand here"));
        }
        if let Some(path) = MACHINE_PATHS.iter().find(|path| names_path(line, path)) {
            problem(&format!("a path of one machine (`{path}…`)"));
        }
        if file.ends_with(".rs") && line.trim_end() != line {
            problem("trailing white space");
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        problems.push(format!("{file}: the last line has no line end"));
    }
    problems
}

/// Does an absolute path in `line` start with `path`? (`docs/work/` is not absolute.)
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~$}/".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_banned_is_found_with_its_line() {
        let text = format!("fn f() {{\n    {}\n}}\n", BANNED[0]);
        let problems = file_problems("a.rs", &text);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("a.rs:2: "), "{problems:?}");
    }

    #[test]
    fn only_tests_that_there_are_can_be_left_out() {
        let left_out = [("s", "a_test", "why"), ("s", "a_test_of_before", "why")];
        let functions = BTreeSet::from(["a_test".to_owned()]);
        let problems = left_out_and_unknown(&left_out, &functions);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("`a_test_of_before`"), "{problems:?}");
    }

    #[test]
    fn absolute_paths_of_one_machine_are_found_and_relative_ones_are_not() {
        let path = MACHINE_PATHS[0];
        assert!(names_path(&format!("see {path}me/x"), path));
        assert!(names_path(&format!("\"{path}me/x\""), path));
        assert!(!names_path(&format!("docs{path}me.md"), path));
        assert!(!names_path(&format!("https://example.org{path}"), path));
        assert!(!names_path(&format!("${{X}}{path}"), path));
    }
}
