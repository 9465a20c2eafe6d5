//! The report in the README is what the program prints: the text that the
//! tests of trapline-cli hold the same guest to.

use std::fs;

use anyhow::{Context as _, Result};

use crate::context::Context;

const PAGE: &str = "README.md";
const EXPECTED: &str = "crates/cli/guests/demo.expected";

pub(super) fn problems(context: &Context) -> Result<Option<String>> {
    let read = |path: &str| fs::read_to_string(context.root().join(path)).context(path.to_owned());
    let shown = read(PAGE)?.contains(&printed(&read(EXPECTED)?));
    Ok((!shown).then(|| format!("{PAGE}: shows another report than {EXPECTED}")))
}

/// Standard output, then standard error, out of the sections of an `.expected` file.
fn printed(expected: &str) -> String {
    let section = |head: &str| {
        let rest = expected.split_once(head).map_or("", |(_, rest)| rest);
        rest.split("--- ").next().unwrap_or(rest)
    };
    section("--- stdout\n").to_owned() + section("--- stderr\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_both_streams_without_their_heads() {
        let expected = "exit: 134\n--- stdout\n7\n--- stderr\nerror: x\n--- stderr, explicit checks\nerror: y\n";
        assert_eq!(printed(expected), "7\nerror: x\n");
    }
}
