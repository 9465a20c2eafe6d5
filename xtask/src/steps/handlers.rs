//! The rule for code that signal and exception handlers run: the head of its
//! file states it, and the code has no word that would break it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::fail_with;
use crate::context::Context;
use crate::policy;
use crate::step::{Group, Report, Step};

pub(crate) const HANDLERS: Step = Step {
    name: "handlers",
    about: "handler-reachable code neither allocates, locks, formats nor panics",
    group: Group::Lint,
    needs: &[],
    run,
};

/// What the head of such a file has to rule out, by the stem of the word.
const RULED_OUT: &[&str] = &["allocat", "lock", "format", "panic"];

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
            continue; // The layering step's to report.
        };
        for entry in policy.handler_modules {
            let path = package.dir().join(entry);
            if path.is_dir() {
                problems.extend(check(context, &path.join("mod.rs"), head_problem)?);
                for file in fs::read_dir(&path)? {
                    // A folder in it has a row of its own, and a head of its own.
                    let file = file?.path();
                    if file.is_file() {
                        problems.extend(check(context, &file, code_problems)?);
                    }
                }
            } else {
                problems.extend(check(context, &path, head_problem)?);
                problems.extend(check(context, &path, code_problems)?);
            }
        }
        for entry in policy.handler_parts {
            problems.extend(check(context, &package.dir().join(entry), head_problem)?);
        }
    }
    fail_with(&problems)
}

/// What `find` has against the text of a file, each with the file's name before it.
fn check(context: &Context, path: &Path, find: fn(&str) -> Vec<String>) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let shown = path.strip_prefix(context.root()).unwrap_or(path).display();
    Ok(find(&text)
        .into_iter()
        .map(|problem| format!("{shown}:{problem}"))
        .collect())
}

/// Line 1, if the head of a file (or of a folder's `mod.rs`) does not state the rule.
fn head_problem(text: &str) -> Vec<String> {
    let head: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .collect();
    let head = head.join("\n").to_lowercase();
    let missing: Vec<&str> = RULED_OUT
        .iter()
        .copied()
        .filter(|word| !head.contains(word))
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "1: the head has to state the rule for handler-reachable code; it does not rule out: {}",
        missing.join(", ")
    )]
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
    fn a_head_states_the_rule() {
        let none: [String; 0] = [];
        assert_eq!(
            head_problem("//! No allocation, no lock,\n//! no formatting, no panic.\n"),
            none
        );
        let problems = head_problem("//! No allocation.\nfn lock_format_panic() {}\n");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].ends_with("lock, format, panic"), "{problems:?}");
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
