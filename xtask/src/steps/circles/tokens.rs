//! The words and marks of a Rust file, without comments and literals.

/// What matters of a token here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token<'t> {
    /// A name or a keyword.
    Word(&'t str),
    /// `::`
    PathSeparator,
    /// Any other mark, one character of it.
    Mark(char),
    /// The text of a string, as it stands in the file.
    Text(&'t str),
}

impl<'t> Token<'t> {
    /// The name, if it is one.
    pub(super) fn word(self) -> Option<&'t str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// The tokens of `text`, which compiles.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() {
            first.len_utf8()
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            let length = quoted(rest, '"');
            tokens.push(Token::Text(rest[..length].trim_matches('"')));
            length
        } else if first == '\'' {
            quote(rest)
        } else if is_of_word(first) {
            let length = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
            // What stands right before a literal (`b"`, `c"`, `b'`) is no name.
            if !rest[length..].starts_with(['"', '\'']) {
                tokens.push(Token::Word(&rest[..length]));
            }
            length
        } else if rest.starts_with("::") {
            tokens.push(Token::PathSeparator);
            2
        } else {
            tokens.push(Token::Mark(first));
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment that `rest` starts with; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        let Some(next) = rest[at..].find(['*', '/']) else {
            return rest.len();
        };
        at += next;
        match rest.get(at..at + 2) {
            Some("*/") => (depth, at) = (depth - 1, at + 2),
            Some("/*") => (depth, at) = (depth + 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

/// The length of the raw string that `rest` starts with, if it does.
fn raw_string(rest: &str) -> Option<usize> {
    let start = ["r", "br", "cr"]
        .into_iter()
        .find_map(|prefix| Some((prefix.len(), rest.strip_prefix(prefix)?)));
    let (prefix, behind) = start?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    if !behind[hashes..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let open = prefix + hashes + 1;
    let length = rest[open..]
        .find(&end)
        .map_or(rest.len(), |at| open + at + end.len());
    Some(length)
}

/// The length of what stands between two marks, both included.
fn quoted(rest: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character, or of the mark of a lifetime or label.
fn quote(rest: &str) -> usize {
    let mut characters = rest.chars().skip(1);
    match (characters.next(), characters.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(rest, '\''),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_hold_no_words() {
        let text = r####"// a::b
/* c::d /* e */ f */ x::y "g::h \" i" r#"j " k"# b'l' '\'' 'm' 'life n br"o""####;
        assert_eq!(
            tokens(text),
            [
                Token::Word("x"),
                Token::PathSeparator,
                Token::Word("y"),
                Token::Text("g::h \\\" i"),
                Token::Word("life"),
                Token::Word("n"),
            ]
        );
    }
}
