//! Files and functions that a Markdown file names in backquotes are there.
//!
//! A file may be named by the end of its path, with braces for several: `tests/{a,b}.rs`. A word
//! of four parts and more (`what_a_test_is_called`) is the name of a function: this is how the
//! documentation names the tests that show what it says.

use std::collections::BTreeSet;

use super::outside_of_blocks;

/// Names of others, that look like ours.
const OF_OTHERS: &[&str] = &[
    // Cranelift's.
    "isa/s390x/abi.rs",
    "gen_prologue_frame_setup",
];

/// Folders that builds make.
const MADE: &str = "target/";

/// Ends of files' names, by which a name without a folder is known as one.
const ENDS: &[&str] = &[".rs", ".md", ".toml", ".ld", ".yml", ".wat", ".expected"];

/// The functions that `text`, a Rust file, defines or declares.
pub(super) fn functions(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split("fn ").skip(1).map(|rest| {
        let end = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
        rest[..end].to_owned()
    })
}

/// The names in `text`, the content of `file`, that nothing has.
pub(super) fn unknown(
    file: &str,
    text: &str,
    files: &[String],
    functions: &BTreeSet<String>,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in outside_of_blocks(text) {
        for name in quoted(line).filter(|name| !OF_OTHERS.contains(name)) {
            let mut problem =
                |what: String| problems.push(format!("{file}:{number}: there is no {what}"));
            if is_file(name) {
                for path in alternatives(name) {
                    if !is_there(&path, files) {
                        problem(format!("file `{path}`"));
                    }
                }
            } else if let Some(function) = function(name)
                && !functions.contains(function)
            {
                problem(format!("function `{function}`"));
            }
        }
    }
    problems
}

/// What stands between backquotes in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether `name` is that of a file or a folder here: not an absolute one, none for which an
/// upper-case word stands.
fn is_file(name: &str) -> bool {
    let has_form = name.contains('/') || ENDS.iter().any(|end| name.ends_with(end));
    has_form
        && !name.starts_with(['/', '.'])
        && !name.starts_with(MADE)
        && !name.contains("NAME")
        && name.chars().all(|c| is_of_word(c) || "./{},-".contains(c))
}

/// `a{b,c}d` is `abd` and `acd`.
fn alternatives(name: &str) -> Vec<String> {
    let braces = name
        .split_once('{')
        .and_then(|(start, rest)| Some((start, rest.split_once('}')?)));
    let Some((start, (middle, end))) = braces else {
        return vec![name.to_owned()];
    };
    middle
        .split(',')
        .flat_map(|part| alternatives(&format!("{start}{part}{end}")))
        .collect()
}

/// Whether the path of a file, or of a folder, ends with `name`. The end of a Rust file's name may be
/// left out.
fn is_there(name: &str, files: &[String]) -> bool {
    let name = format!("/{}", name.trim_end_matches('/'));
    let ends = [name.clone(), format!("{name}.rs")];
    let folder = format!("{name}/");
    files.iter().any(|file| {
        let file = format!("/{file}");
        ends.iter().any(|end| file.ends_with(end)) || file.contains(&folder)
    })
}

/// The function that `name`, with or without its module, is the name of.
fn function(name: &str) -> Option<&str> {
    let last = name.rsplit("::").next()?;
    let parts = last.split('_');
    let is_one = parts.clone().count() >= 4
        && last.starts_with(|c: char| c.is_ascii_lowercase())
        && parts.clone().all(|part| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        });
    is_one.then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let files = ["crates/a/src/x/mod.rs", "crates/a/tests/y.rs", "docs/z.md"];
        let functions = functions("fn one_two_three_four() {}\nfn f() {}");
        unknown(
            "docs/z.md",
            text,
            &files.map(str::to_owned),
            &functions.collect(),
        )
    }

    #[test]
    fn what_is_there_may_be_named_by_the_end_of_its_path() {
        let text = "`a/src/x`, `x/mod.rs`, `a/tests/{y}.rs`, `a/tests/y`, `y::one_two_three_four`, `z.md`\n";
        assert_eq!(problems(text), [""; 0]);
    }

    #[test]
    fn what_is_not_there_is_found_with_its_line() {
        let text = "x\n`a/tests/{y,gone}.rs` and `y::one_two_three_five`\n";
        assert_eq!(
            problems(text),
            [
                "docs/z.md:2: there is no file `a/tests/gone.rs`",
                "docs/z.md:2: there is no function `one_two_three_five`",
            ]
        );
    }

    #[test]
    fn what_is_no_name_of_ours_is_left_alone() {
        let text = "`/proc/self/maps`, `n/a b`, `NAME.wat`, `0xa5_0_0_0`, `a_b`, `target/x`\n```\n`gone.rs`\n```\n";
        assert_eq!(problems(text), [""; 0]);
    }
}
