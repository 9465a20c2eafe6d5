//! The rule for code that signal and exception handlers run: the head of its
//! file states it, and the code has no word that would break it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::fail_with;
use crate::context::Context;
use crate::policy;
use crate::step::{Group, Report, Step};

pub(crate) const HANDLERS: Step = Step {
    name: "handlers",
    about: "handler-reachable code neither allocates, locks, formats nor panics",
    group: Group::Lint,
    run,
};

/// What the head of such a file has to rule out, by the stem of the word.
const RULED_OUT: &[&str] = &["allocat", "lock", "format", "panic"];

/// Or, in a folder with one rule for all its files:
const SEE_PARENT: &str = "rule in the parent module";

/// Words that break the rule. No proof that it is kept (calls are not
/// followed), but the ways in which it is broken by accident.
const BREAKS_IT: &[&str] = &[
    "Arc::new",
    "Box::new",
    "String",
    "Vec<",
    "Vec::",
    "to_owned",
    "to_string",
    "to_vec",
    "collect()",
    "format!",
    "print!",
    "println!",
    "vec!",
    "write!",
    "assert",
    "panic!",
    "unreachable!",
    ".expect(",
    ".unwrap()",
    "Condvar",
    "Mutex",
    "RwLock",
    "thread_local!",
    "tracing::",
];

fn run(context: &Context) -> Result<Report> {
    let mut problems = Vec::new();
    for policy in policy::CRATES {
        let Some(package) = context.workspace.package(policy.name) else {
            continue;
        };
        let whole = rust_files(package.dir(), policy.handler_modules)?;
        let parts = rust_files(package.dir(), policy.handler_parts)?;
        for (path, is_whole) in whole
            .iter()
            .map(|path| (path, true))
            .chain(parts.iter().map(|path| (path, false)))
        {
            let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
            let shown = path.strip_prefix(context.root()).unwrap_or(path).display();
            problems.extend(head_problem(&text).map(|problem| format!("{shown}: {problem}")));
            if is_whole {
                problems.extend(
                    code_problems(&text)
                        .into_iter()
                        .map(|problem| format!("{shown}:{problem}")),
                );
            }
        }
    }
    fail_with(&problems)
}

/// The files in `dir` that `entries` name, by themselves or by their folder.
fn rust_files(dir: &Path, entries: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in entries {
        let path = dir.join(entry);
        if path.is_dir() {
            for file in fs::read_dir(&path)? {
                let file = file?.path();
                files.extend(
                    file.extension()
                        .is_some_and(|extension| extension == "rs")
                        .then_some(file),
                );
            }
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn head_problem(text: &str) -> Option<String> {
    let head: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .flat_map(str::split_whitespace)
        .collect();
    let head = head.join(" ").to_lowercase();
    let missing: Vec<&str> = RULED_OUT
        .iter()
        .copied()
        .filter(|word| !head.contains(word))
        .collect();
    let stated = missing.is_empty() || head.contains(SEE_PARENT);
    (!stated).then(|| {
        format!(
            "its head has to state the rule for handler-reachable code; it does not rule out: {}",
            missing.join(", ")
        )
    })
}

/// Line number and offence, for code that breaks the rule. Tests may.
fn code_problems(text: &str) -> Vec<String> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.starts_with("const _: () = assert!("))
        .filter_map(|(number, line)| {
            let code = line.split("//").next()?;
            let word = BREAKS_IT.iter().find(|word| code.contains(*word))?;
            Some(format!(
                "{}: `{word}` in code that a handler reaches",
                number + 1
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_states_the_rule_or_points_to_it() {
        assert_eq!(
            head_problem("//! No allocation, no lock,\n//! no formatting, no panic.\n"),
            None
        );
        assert_eq!(
            head_problem("//! (See the rule in the parent\n//! module.)\n"),
            None
        );
        let problem = head_problem("//! No allocation.\n").expect("a problem");
        assert!(problem.ends_with("lock, format, panic"), "{problem}");
    }

    #[test]
    fn offences_are_found_in_code_and_not_in_comments_or_tests() {
        let text = "// vec!\nconst _: () = assert!(true);\nlet x = y.unwrap();\n#[cfg(test)]\nassert!(x);\n";
        assert_eq!(
            code_problems(text),
            ["3: `.unwrap()` in code that a handler reaches"]
        );
    }
}
