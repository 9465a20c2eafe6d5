//! Whether a module was refused for the reason that a script expects.
//!
//! Scripts name errors in the words of the specification's own interpreter.
//! A message matches when it contains those words. Where this implementation
//! words an error differently, a table below says so; whatever is in neither
//! does not match, so that a module refused for another reason than the
//! expected one is a failure.

use core::fmt;

/// Why a module was refused, in the words of who refused it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The text could not be parsed.
    Parser(String),
    /// The binary could not be read, or is not valid.
    Validator(String),
}

impl Refusal {
    /// Whether this is what `expected` describes.
    #[must_use]
    pub fn matches(&self, expected: &str) -> bool {
        let (actual, reworded) = match self {
            Self::Parser(actual) => (actual, REWORDED_BY_PARSER),
            Self::Validator(actual) => (actual, REWORDED_BY_VALIDATOR),
        };
        actual.contains(expected)
            || reworded
                .iter()
                .filter(|(words, _)| expected.starts_with(words))
                .any(|(_, others)| others.iter().any(|other| actual.contains(other)))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parser(message) | Self::Validator(message) => f.write_str(message),
        }
    }
}

/// The beginnings of expected messages, and how the parser of the text format
/// puts the same.
const REWORDED_BY_PARSER: &[(&str, &[&str])] = &[
    ("empty identifier", &["invalid character in string"]),
    ("empty annotation id", &["invalid character in string"]),
    ("illegal character", &["unexpected character"]),
    ("unclosed string", &["unexpected end-of-file"]),
    // Of lanes. One that is no integer has been "unexpected token", then "malformed lane
    // index", and is now this.
    (
        "i8 constant out of range",
        &[
            "number: constant out of range",
            "malformed lane index",
            "expected a u8",
        ],
    ),
    (
        "i64 constant out of range",
        &["number: constant out of range"],
    ),
    (
        "malformed lane index",
        &["expected a u8", "number: constant out of range"],
    ),
    (
        "invalid lane length",
        &["expected a u8", "expected an instruction"],
    ),
    (
        "wrong number of lane indices",
        &["expected a u8", "expected an instruction"],
    ),
    (
        "wrong number of lane literals",
        &[
            "expected a ",
            "expected an instruction",
            "number: constant out of range",
        ],
    ),
    (
        "unexpected token",
        &[
            "expected ",
            "extra tokens remaining",
            "number: constant out of range",
        ],
    ),
    (
        "unknown operator",
        &[
            "expected ",
            "u8 constant out of range",
            "u64 constant out of range",
            "unknown operator or unexpected token",
        ],
    ),
    ("invalid UTF-8 encoding", &["malformed UTF-8 encoding"]),
];

/// The beginnings of expected messages, and how the validator puts the same.
///
/// Some modules are wrong in a way that looks different from another side:
/// whoever reads a count that is too large next finds that the section ends
/// too early. Such pairs are here, too.
const REWORDED_BY_VALIDATOR: &[(&str, &[&str])] = &[
    // What can't be read.
    ("invalid UTF-8 encoding", &["malformed UTF-8 encoding"]),
    (
        "integer representation too long",
        &[
            "invalid leading byte",
            "limits flags",
            "malformed section id",
            "trailing bytes at end of section",
            "unexpected end-of-file",
        ],
    ),
    (
        "integer too large",
        &[
            "limits flags",
            "malformed section id",
            "trailing bytes at end of section",
            "unexpected end-of-file",
        ],
    ),
    (
        "i32 constant",
        &["integer too large", "table size must be at most"],
    ),
    (
        "malformed limits flags",
        &["limits flags", "unexpected end-of-file"],
    ),
    ("malformed memop flags", &["malformed memop alignment"]),
    (
        "malformed mutability",
        &[
            "malformed global flags",
            "shared globals require the shared-everything-threads proposal",
        ],
    ),
    (
        "invalid mutability",
        &[
            "malformed global flags",
            "shared globals require the shared-everything-threads proposal",
            "unexpected end-of-file",
        ],
    ),
    (
        "malformed import kind",
        &["for external kind", "unexpected end-of-file"],
    ),
    (
        "malformed elements segment kind",
        &["unexpected end-of-file"],
    ),
    ("malformed section id", &["unexpected end-of-file"]),
    ("invalid section id", &["malformed section id"]),
    ("invalid value type", &["unexpected end-of-file"]),
    (
        "illegal opcode",
        &[
            "illegal opcode: 0x",
            "unexpected end-of-file",
            "non-constant operator",
        ],
    ),
    (
        "END opcode expected",
        &["control frames remain at end of function body or expression"],
    ),
    (
        "unexpected end",
        &[
            "control frames remain at end of function body or expression",
            "unexpected end-of-file",
            "unknown label: branch depth too large",
        ],
    ),
    (
        "section size mismatch",
        &["control frames remain at end of function body or expression"],
    ),
    (
        "length out of bounds",
        &[
            "unexpected end-of-file",
            "expected section, got wasm magic number",
        ],
    ),
    ("junk after last section", &["section out of order"]),
    ("multiple start sections", &["section out of order"]),
    (
        "unexpected content after last section",
        &[
            "section out of order",
            "function and code section have inconsistent lengths",
        ],
    ),
    (
        "function and code section have inconsistent lengths",
        &[
            "function section has non-zero count but code section is absent",
            "function section is absent but code section has non-zero count",
        ],
    ),
    (
        "data count and data section have inconsistent lengths",
        &["data count is non-zero but data section is absent"],
    ),
    (
        "zero flag expected",
        &[
            "trailing bytes at end of section",
            "unknown table",
            "zero byte expected",
        ],
    ),
    // What can be read, but is not valid.
    (
        "constant expression required",
        &["type mismatch: expected funcref, found i32"],
    ),
    ("immutable global", &["global is immutable"]),
    ("invalid lane index", &["SIMD index out of bounds"]),
    (
        "memory size must be at most 65536 pages",
        &["memory size must be at most 0x10000 "],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_another_reason_does_not_match() {
        let parser = |message: &str| Refusal::Parser(message.into());
        let validator = |message: &str| Refusal::Validator(message.into());
        let mismatch = "type mismatch: expected i32, found i64";
        assert!(validator(mismatch).matches("type mismatch"));
        assert!(validator("global is immutable: cannot modify it").matches("immutable global"));
        assert!(!validator("gc support is not enabled").matches("type mismatch"));
        assert!(!validator("unknown memory 0").matches("unknown table"));
        assert!(parser("expected a float").matches("unknown operator"));
        assert!(!validator(mismatch).matches("unknown operator"));
    }
}
