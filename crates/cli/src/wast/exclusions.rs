//! Lists of directives to leave out, each with its reason.

use core::fmt;
use core::ops::RangeInclusive;

/// A list of scripts, and of directives in scripts, that are not run.
///
/// The format has one entry a line: the script, for part of one a colon and
/// the line of the directive or the first and the last line of a range, and
/// after white space the reason, which must be there. A name that ends in a
/// slash stands for all scripts in that folder, `#` begins a comment.
///
/// ```text
/// # What needs a garbage-collected heap
/// gc/                         the proposal itself
/// wasm-v3/global.wast:373     reads a global of the same module
/// wasm-v3/elem.wast:178-185   the same, and its assertions
/// ```
///
/// A script's name matches if the entry's is all of it or, after a slash, its
/// end: `global.wast` matches `testsuite/global.wast`.
#[derive(Clone, Default, Debug)]
pub struct Exclusions {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    script: String,
    lines: Option<RangeInclusive<usize>>,
    reason: String,
}

impl Exclusions {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// Names the first line that is no entry.
    pub fn parse(text: &str) -> Result<Self, ExclusionError> {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let entry = parse_entry(line).ok_or_else(|| ExclusionError {
                line: index + 1,
                text: line.into(),
            })?;
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// The reason why the directive that begins on this line of the script is
    /// left out, if it is.
    #[must_use]
    pub fn directive(&self, script: &str, line: usize) -> Option<&str> {
        self.entries
            .iter()
            .find(|entry| {
                entry.names(script)
                    && entry
                        .lines
                        .as_ref()
                        .is_none_or(|lines| lines.contains(&line))
            })
            .map(|entry| &*entry.reason)
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    fn names(&self, script: &str) -> bool {
        let place = if self.script.ends_with('/') {
            script.rfind('/').map_or("", |slash| &script[..=slash])
        } else {
            script
        };
        place
            .strip_suffix(&*self.script)
            .is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }
}

fn parse_entry(line: &str) -> Option<Entry> {
    let (place, reason) = line.split_once(char::is_whitespace)?;
    let (script, lines) = match place.split_once(':') {
        None => (place, None),
        Some((script, lines)) => {
            let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (script, (first <= last).then_some(first..=last).map(Some)?)
        }
    };
    Some(Entry {
        script: script.into(),
        lines,
        reason: reason.trim().into(),
    })
}

/// A line of a list of exclusions that is not in the format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExclusionError {
    line: usize,
    text: String,
}

impl fmt::Display for ExclusionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: expected `SCRIPT[:LINE[-LINE]] REASON`, found `{}`",
            self.line, self.text
        )
    }
}

impl core::error::Error for ExclusionError {}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "
        # comment
        gc/                   needs a heap   # of garbage
        v3/global.wast:37     reads a global
        v3/elem.wast:10-20    the same
    ";

    #[test]
    fn scripts_lines_and_ranges_are_found_with_their_reasons() {
        let list = Exclusions::parse(LIST).unwrap();
        assert_eq!(list.directive("gc/array.wast", 3), Some("needs a heap"));
        assert_eq!(
            list.directive("data/gc/array.wast", 3),
            Some("needs a heap")
        );
        assert_eq!(list.directive("notgc/array.wast", 3), None);
        assert_eq!(list.directive("gc.wast", 3), None);
        assert_eq!(list.directive("v3/global.wast", 37), Some("reads a global"));
        assert_eq!(list.directive("v3/global.wast", 38), None);
        assert_eq!(list.directive("data/v3/elem.wast", 20), Some("the same"));
        assert_eq!(list.directive("v3/elem.wast", 21), None);
        assert_eq!(list.directive("nov3/elem.wast", 20), None);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        let error = Exclusions::parse("a.wast why\nb.wast:3\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: expected `SCRIPT[:LINE[-LINE]] REASON`, found `b.wast:3`"
        );
        assert!(Exclusions::parse("a.wast:9-3 backwards").is_err());
    }
}
