//! The paths that are counted, all of them, in one place.

use anyhow::Result;

use crate::{calls, lookups};

/// What a path is run with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    /// How many times.
    pub(crate) times: usize,
    /// The file with the guest, compiled to trap by hardware.
    pub(crate) hardware_traps: &'a str,
    /// The same, compiled to find traps by explicit checks.
    pub(crate) explicit_checks: &'a str,
}

/// One path.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// How many times are enough: the figure is a mean where operations differ.
    pub(crate) times: usize,
    /// How many of what is counted one time does.
    pub(crate) parts: usize,
    pub(crate) run: fn(&Input<'_>) -> Result<()>,
}

/// A path whose operation is one thing that is counted.
const fn path(
    name: &'static str,
    what: &'static str,
    times: usize,
    run: fn(&Input<'_>) -> Result<()>,
) -> Path {
    Path {
        name,
        what,
        times,
        parts: 1,
        run,
    }
}

/// The names are those of the benchmark's rows, where it has such a row.
pub(crate) const PATHS: &[Path] = &[
    path(
        "entry-empty",
        "typed call of an empty guest function",
        1_000,
        calls::empty,
    ),
    path(
        "entry-host-call",
        "the same with a host call inside",
        1_000,
        calls::host_call,
    ),
    path(
        "trap-host-error",
        "raised by a host function, no backtrace",
        1_000,
        calls::host_error,
    ),
    path(
        "trap-host-error-unread",
        "the same with a backtrace of 1 frame, never looked at",
        1_000,
        calls::host_error_unread,
    ),
    path(
        "trap-host-error-backtrace",
        "the same, the frame resolved",
        1_000,
        calls::host_error_with_backtrace,
    ),
    path(
        "trap-explicit",
        "`unreachable` by explicit checks, no backtrace",
        1_000,
        calls::unreachable,
    ),
    Path {
        parts: calls::DEEP,
        ..path(
            "backtrace-frame",
            "capturing a backtrace 1000 deep, for each frame",
            20,
            calls::capture,
        )
    },
    path(
        "backtrace-ten",
        "resolving a backtrace of 10 frames",
        200,
        calls::resolve_ten,
    ),
    path(
        "lookup-1",
        "`lookup_code` among 1 range",
        lookups::PLACES,
        lookups::code::<1>,
    ),
    path(
        "lookup-1000",
        "`lookup_code` among 1 000",
        lookups::PLACES,
        lookups::code::<1_000>,
    ),
    path(
        "lookup-100000",
        "`lookup_code` among 100 000",
        lookups::PLACES,
        lookups::code::<100_000>,
    ),
    path(
        "register-100000",
        "registering one range when 100 000 are there",
        1_000,
        lookups::register::<100_000>,
    ),
    path(
        "trap-table",
        "from an instruction to its trap kind",
        lookups::PLACES,
        lookups::trap_table,
    ),
    path(
        "address-map",
        "from an instruction to its bytecode offset",
        lookups::PLACES,
        lookups::address_map,
    ),
    path(
        "setjmp-longjmp",
        "`call_with_setjmp` and `longjmp`",
        1_000,
        calls::set_and_jump,
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_single_words_and_unique() {
        let names: BTreeSet<&str> = PATHS.iter().map(|path| path.name).collect();
        assert_eq!(names.len(), PATHS.len());
        assert!(names.iter().all(|name| !name.contains(char::is_whitespace)));
    }
}
