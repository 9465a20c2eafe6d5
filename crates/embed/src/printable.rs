//! Text of guests, for places where a line is a line.

use core::fmt;

/// A name that a guest has chosen, or other text that may have one in it, as it can be printed to a
/// terminal, a log or a file that is read line by line.
///
/// Letters of all scripts, marks and symbols stay as they are. What would end the line, move the
/// cursor, change what others see or not be seen itself (control characters, line and paragraph
/// separators, directions of writing, characters without a width, spaces but for the usual one) is
/// escaped as in Rust: `\n`, `\u{1b}`, `\u{202e}`. An empty text is `""`.
///
/// The `Display` of backtraces and errors of this crate prints names like that, or in quotation
/// marks as `Debug` prints strings; who prints [`Module::name`](crate::Module::name) and the like has to
/// see to it.
///
/// ```
/// use trapline_embed::Printable;
///
/// assert_eq!(Printable("größer").to_string(), "größer");
/// assert_eq!(Printable("f\nerror: \u{1b}[31m").to_string(), "f\\nerror: \\u{1b}[31m");
/// assert_eq!(Printable("").to_string(), "\"\"");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Printable<'a>(pub &'a str);

/// What the standard library escapes for string literals only.
const HARMLESS: [char; 3] = ['"', '\'', '\\'];

/// What the standard library takes for letters, marks and symbols, and nobody sees: characters that
/// Unicode has displays ignore (`Default_Ignorable_Code_Point`), and two that are blank.
const fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{1d159}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("\"\"");
        }
        let is_other = |character| HARMLESS.contains(&character) || is_unseen(character);
        for piece in self.0.split_inclusive(is_other) {
            let text = piece.strip_suffix(is_other).unwrap_or(piece);
            let other = &piece[text.len()..];
            write!(f, "{}", text.escape_debug())?;
            if other.contains(is_unseen) {
                write!(f, "{}", other.escape_unicode())?;
            } else {
                f.write_str(other)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn nothing_that_changes_a_terminal_or_ends_a_line_is_left() {
        let harmful = [
            '\0',
            '\u{7}',
            '\u{8}',
            '\t',
            '\n',
            '\r',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{a0}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{fff9}',
            '\u{e0001}',
            '\u{34f}',
            '\u{115f}',
            '\u{17b5}',
            '\u{180d}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{ffa0}',
            '\u{1d159}',
            '\u{e01ef}',
        ];
        for character in harmful {
            let text = alloc::format!("a{character}b");
            let printed = Printable(&text).to_string();
            assert!(
                printed.starts_with("a\\") && printed.ends_with('b'),
                "{text:?}"
            );
            assert!(!printed.contains(character), "{text:?}");
        }
    }

    #[test]
    fn names_stay_as_they_are() {
        for name in [
            "f", "it's", "a \"b\"", "a\\b", "größer", "关于", "e\u{301}", "=>|!",
        ] {
            assert_eq!(Printable(name).to_string(), name);
        }
    }
}
