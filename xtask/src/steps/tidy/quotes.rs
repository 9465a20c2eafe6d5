//! Code that a Markdown file quotes from a file of the repository is there,
//! word for word.
//!
//! A quotation is a fenced block right after a line that begins with
//! ``From [`NAME`](PATH)``, the path relative to the Markdown file. A line of `…`
//! (after any comment mark) stands for lines that are left out. Indentation that all
//! lines of a part share does not count.

use std::fs;
use std::path::Path;

use super::links::resolve;

/// The quotations of `text`, the content of `file`, that are not what is quoted.
pub(super) fn problems(root: &Path, file: &str, text: &str) -> Vec<String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    quotations(text)
        .filter_map(|quotation| {
            let source = resolve(folder, quotation.target);
            let what = match fs::read_to_string(root.join(&source)) {
                Err(error) => format!("cannot read {source}, which is quoted: {error}"),
                Ok(text) => format!(
                    "{source} has no lines as quoted here, from `{}` on",
                    first_difference(&quotation.lines, &text)?
                ),
            };
            Some(format!("{file}:{}: {what}", quotation.line_number))
        })
        .collect()
}

/// A fenced block, and the file that it says it is from.
struct Quotation<'t> {
    /// The line of the page on which the block starts.
    line_number: usize,
    target: &'t str,
    lines: Vec<&'t str>,
}

fn quotations(text: &str) -> impl Iterator<Item = Quotation<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len()).filter_map(move |at| {
        let (_, rest) = lines[at].strip_prefix("From [`")?.split_once("](")?;
        let (target, _) = rest.split_once(')')?;
        let block = at + 1 + lines[at + 1..].iter().position(|line| !line.is_empty())?;
        lines[block].starts_with("```").then(|| Quotation {
            line_number: block + 1,
            target,
            lines: lines[block + 1..]
                .iter()
                .copied()
                .take_while(|line| !line.starts_with("```"))
                .collect(),
        })
    })
}

/// The first line of the part that `source` does not have after the parts before it.
fn first_difference<'q>(quoted: &[&'q str], source: &str) -> Option<&'q str> {
    let source: Vec<&str> = source.lines().collect();
    let mut from = 0;
    for part in quoted.split(|line| is_gap(line)) {
        let part = trimmed(part);
        let Some(first) = part.first() else { continue };
        match (from..source.len()).find(|&at| stands_at(part, &source[at..])) {
            Some(at) => from = at + part.len(),
            None => return Some(first.trim()),
        }
    }
    None
}

/// Whether this line stands for lines that are left out.
fn is_gap(line: &str) -> bool {
    line.trim().trim_start_matches(['/', '#', '*', ' ']) == "…"
}

/// Without the empty lines at both ends.
fn trimmed<'p, 'q>(part: &'p [&'q str]) -> &'p [&'q str] {
    let used = |line: &&str| !line.trim().is_empty();
    let start = part.iter().position(used).unwrap_or(part.len());
    let end = part.iter().rposition(used).map_or(start, |last| last + 1);
    &part[start..end]
}

fn stands_at(part: &[&str], source: &[&str]) -> bool {
    let outer = |line: &str| line.len() - line.trim_start().len();
    let (Some(first), Some(there)) = (part.first(), source.first()) else {
        return false;
    };
    let deeper = outer(there) as isize - outer(first) as isize;
    part.len() <= source.len()
        && part.iter().zip(source).all(|(quoted, there)| {
            let shift = outer(there) as isize - outer(quoted) as isize;
            quoted.trim() == there.trim() && (quoted.trim().is_empty() || shift == deeper)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str =
        "mod a;\n\nimpl A {\n    fn f() {\n        one();\n        two();\n    }\n}\n";

    fn difference(quoted: &str) -> Option<String> {
        let lines: Vec<&str> = quoted.lines().collect();
        first_difference(&lines, SOURCE).map(str::to_owned)
    }

    #[test]
    fn what_is_there_may_be_quoted_with_another_indentation_and_with_gaps() {
        assert_eq!(difference("fn f() {\n    one();\n"), None);
        assert_eq!(difference("mod a;\n// …\nimpl A {\n    // …\n}\n"), None);
    }

    #[test]
    fn what_is_not_there_is_found() {
        assert_eq!(
            difference("fn f() {\n    three();"),
            Some("fn f() {".into())
        );
        assert_eq!(difference("two();\n// …\none();"), Some("one();".into()));
        assert_eq!(difference("fn f() {\none();"), Some("fn f() {".into()));
    }

    #[test]
    fn blocks_say_which_file_they_are_from() {
        let page = "x\n\nFrom [`a.rs`](../src/a.rs), the start:\n\n```rust\nmod a;\n```\n\n```rust\nmod b;\n```\n";
        let found: Vec<_> = quotations(page).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].target, "../src/a.rs");
        assert_eq!(found[0].lines, ["mod a;"]);
        assert_eq!(found[0].line_number, 5);
    }
}
