//! The script runner can fail: each kind of directive with a wrong expectation
//! is a failure with its line, and nothing else is.

use trapline_cli::features;
use trapline_cli::wast::{Exclusions, Kind, Options, Outcome, Runner};

fn run_with(options: Options, script: &str) -> Outcome {
    Runner::new(options)
        .expect("a runner")
        .run("test.wast", script)
}

fn run(script: &str) -> Outcome {
    run_with(Options::default(), script)
}

/// The lines and kinds of the failures.
fn failed(outcome: &Outcome) -> Vec<(usize, Option<Kind>)> {
    outcome
        .failures
        .iter()
        .map(|failure| (failure.line, failure.kind))
        .collect()
}

/// A module that most of the scripts use; it takes one line.
const MODULE: &str = r#"(module (memory 1) (table 1 funcref) (global (export "g") i32 (i32.const 3)) (func (export "one") (result i32) (i32.const 1)) (func (export "nan") (result f32) (f32.const nan:0x200000)) (func (export "id") (param externref) (result externref) (local.get 0)) (func (export "boom") unreachable) (func (export "div") (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0))) (func $deep (export "deep") (call $deep)))"#;

#[test]
fn right_expectations_pass() {
    let outcome = run(&format!(
        r#"{MODULE}
        (assert_return (invoke "one") (i32.const 1))
        (assert_return (get "g") (i32.const 3))
        (assert_return (invoke "id" (ref.extern 5)) (ref.extern 5))
        (assert_trap (invoke "boom") "unreachable")
        (assert_trap (invoke "div" (i32.const 0)) "integer divide by zero")
        (assert_exhaustion (invoke "deep") "call stack exhausted")
        (assert_trap (module (memory 1) (data (i32.const 65536) "x")) "out of bounds memory access")
        (assert_invalid (module (func (result i32))) "type mismatch")
        (assert_malformed (module quote "(func (i32.const 0x1_0000_0000))") "constant out of range")
        (assert_malformed (module binary "\00asm\02\00\00\00") "unknown binary version")
        (assert_unlinkable (module (import "nobody" "x" (func))) "unknown import")
        (assert_unlinkable (module (import "spectest" "global_i32" (func))) "incompatible import type")
        (module $named (func (export "f")))
        (register "named" $named)
        (module (import "named" "f" (func)))
        (module definition $two (global (export "x") (mut i32) (i32.const 0)) (func (export "inc") (result i32) (global.set 0 (i32.add (global.get 0) (i32.const 1))) (global.get 0)))
        (module instance $a $two)
        (module instance $b $two)
        (invoke $a "inc")
        (assert_return (invoke $a "inc") (i32.const 2))
        (assert_return (invoke $b "inc") (i32.const 1))
        "#
    ));
    assert_eq!(outcome.failures, []);
    assert_eq!(
        outcome.total().to_string(),
        "22 passed, 0 failed, 0 skipped"
    );
}

/// Snapshots of the specification's tests differ in what they call the same mistake.
#[test]
fn a_wrong_lane_matches_by_what_each_snapshot_calls_it() {
    let mut script = String::new();
    for lane in ["256", "-1", "15.0", "0.5", "-inf", "inf", "nan"] {
        for words in [
            "i8 constant out of range",
            "malformed lane index",
            "unexpected token",
        ] {
            script += &format!(
                r#"(assert_malformed (module quote "(func (result v128) (i8x16.shuffle {lane} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 (v128.const i64x2 0 0) (v128.const i64x2 0 0)))") "{words}")
                "#
            );
        }
    }
    for (lane, words) in [
        ("256", "i8 constant out of range"),
        ("256", "malformed lane index"),
        ("-1", "unexpected token"),
    ] {
        script += &format!(
            r#"(assert_malformed (module quote "(func (result i32) (i8x16.extract_lane_s {lane} (v128.const i64x2 0 0)))") "{words}")
            "#
        );
    }
    assert_eq!(run(&script).failures, []);
    // A lane that is a number, but too large for its shape, is another mistake.
    let other = run(
        r#"(assert_malformed (module quote "(func (result i32) (i8x16.extract_lane_s 16 (v128.const i64x2 0 0)))") "i8 constant out of range")"#,
    );
    assert_eq!(failed(&other), [(1, Some(Kind::AssertMalformed))]);
}

#[test]
fn wrong_values_fail() {
    let outcome = run(&format!(
        r#"{MODULE}
        (assert_return (invoke "one") (i32.const 2))
        (assert_return (invoke "one") (i64.const 1))
        (assert_return (invoke "one"))
        (assert_return (invoke "one") (i32.const 1) (i32.const 1))
        (assert_return (get "g") (i32.const 4))
        (assert_return (invoke "nan") (f32.const nan:canonical))
        (assert_return (invoke "nan") (f32.const nan:arithmetic))
        (assert_return (invoke "id" (ref.extern 5)) (ref.extern 6))
        (assert_return (invoke "id" (ref.null extern)) (ref.extern))
        (assert_return (invoke "id" (ref.extern 5)) (ref.null extern))
        (assert_return (invoke "one") (either (i32.const 2) (i32.const 3)))
        (assert_return (invoke "boom"))
        (assert_return (invoke "nothing"))
        (assert_return (get "one") (i32.const 1))
        "#
    ));
    let lines: Vec<_> = (2..=15)
        .map(|line| (line, Some(Kind::AssertReturn)))
        .collect();
    assert_eq!(failed(&outcome), lines);
}

#[test]
fn wrong_traps_fail() {
    let outcome = run(&format!(
        r#"{MODULE}
        (assert_trap (invoke "one") "unreachable")
        (assert_trap (invoke "boom") "integer overflow")
        (assert_trap (invoke "div" (i32.const 0)) "out of bounds memory access")
        (assert_trap (module (memory 1) (data (i32.const 65536) "x")) "unreachable")
        (assert_trap (module) "unreachable")
        (assert_exhaustion (invoke "one") "call stack exhausted")
        (assert_exhaustion (invoke "boom") "call stack exhausted")
        (invoke "boom")
        "#
    ));
    let kinds = [
        (2, Kind::AssertTrap),
        (3, Kind::AssertTrap),
        (4, Kind::AssertTrap),
        (5, Kind::AssertTrap),
        (6, Kind::AssertTrap),
        (7, Kind::AssertExhaustion),
        (8, Kind::AssertExhaustion),
        (9, Kind::Invoke),
    ];
    assert_eq!(
        failed(&outcome),
        kinds.map(|(line, kind)| (line, Some(kind)))
    );
}

#[test]
fn wrong_refusals_fail() {
    let outcome = run(r#"(assert_invalid (module (func)) "type mismatch")
        (assert_invalid (module (func (result i32))) "unknown function")
        (assert_invalid (module (type (struct))) "type mismatch")
        (assert_malformed (module quote "(func)") "unexpected token")
        (assert_malformed (module quote "(func (i32.const 0x1_0000_0000))") "unknown operator")
        (assert_malformed (module binary "\00asm\01\00\00\00") "unknown binary version")
        (assert_malformed (module binary "\00asm\02\00\00\00") "magic header not detected")
        (assert_unlinkable (module) "unknown import")
        (assert_unlinkable (module (import "nobody" "x" (func))) "incompatible import type")
        (assert_unlinkable (module (func $f unreachable) (start $f)) "unknown import")
        "#);
    let kinds = [
        (1, Kind::AssertInvalid),
        (2, Kind::AssertInvalid),
        (3, Kind::AssertInvalid),
        (4, Kind::AssertMalformed),
        (5, Kind::AssertMalformed),
        (6, Kind::AssertMalformed),
        (7, Kind::AssertMalformed),
        (8, Kind::AssertUnlinkable),
        (9, Kind::AssertUnlinkable),
        (10, Kind::AssertUnlinkable),
    ];
    assert_eq!(
        failed(&outcome),
        kinds.map(|(line, kind)| (line, Some(kind)))
    );
}

#[test]
fn modules_that_cannot_be_used_fail_and_so_does_what_follows() {
    let outcome = run(r#"(module (func (export "f")))
        (module (func (export "f") (result i32)))
        (module (import "nobody" "x" (func)))
        (invoke "f")
        (register "m" $nobody)
        (module definition (func (result i32)))
        (module instance $a $nobody)
        (wait $nobody)
        "#);
    let kinds = [
        (2, Kind::Module),
        (3, Kind::Module),
        (4, Kind::Invoke),
        (5, Kind::Register),
        (6, Kind::ModuleDefinition),
        (7, Kind::ModuleInstance),
        (8, Kind::Wait),
    ];
    assert_eq!(
        failed(&outcome),
        kinds.map(|(line, kind)| (line, Some(kind)))
    );
}

#[test]
fn a_script_that_does_not_parse_is_one_failure() {
    let outcome = run("(module)\n(assert_sooner)");
    assert_eq!(failed(&outcome), [(2, None)]);
    assert_eq!(outcome.total().to_string(), "0 passed, 1 failed, 0 skipped");
}

#[test]
fn threads_share_memories_and_their_failures_count() {
    let script = r#"
        (module $mem (memory (export "shared") 1 1 shared))
        (thread $t1 (shared (module $mem))
          (register "mem" $mem)
          (module
            (import "mem" "shared" (memory 1 1 shared))
            (func (export "store") (i32.atomic.store (i32.const 0) (i32.const 42))
              (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))))
          (invoke "store"))
        (thread $t2 (shared (module $mem))
          (register "mem" $mem)
          (module
            (import "mem" "shared" (memory 1 1 shared))
            (func (export "wait") (result i32)
              (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))
              (i32.atomic.load (i32.const 0))))
          (assert_return (invoke "wait") (i32.const 42))
          (assert_return (invoke "wait") (i32.const 43)))
        (wait $t1)
        (wait $t2)"#;
    let outcome = run(script);
    assert_eq!(failed(&outcome), [(18, Some(Kind::AssertReturn))]);
    assert_eq!(outcome.tally(Kind::Thread).passed, 2);
    assert_eq!(outcome.tally(Kind::Wait).passed, 2);
    assert_eq!(outcome.tally(Kind::Module).passed, 3);
}

#[test]
fn exceptions_are_skipped_not_passed() {
    let outcome = run("(module (func (export \"f\")))\n(assert_exception (invoke \"f\"))");
    assert_eq!(outcome.total().to_string(), "1 passed, 0 failed, 1 skipped");
}

#[test]
fn exclusions_skip_scripts_and_directives() {
    let script = "(module (func (export \"f\") unreachable))\n(invoke \"f\")";
    let exclude = |list: &str| Options {
        exclusions: Exclusions::parse(list).expect("a list"),
        ..Options::default()
    };
    let outcome = run_with(exclude("test.wast:2 traps on purpose"), script);
    assert_eq!(outcome.total().to_string(), "1 passed, 0 failed, 1 skipped");
    let outcome = run_with(exclude("test.wast traps on purpose"), script);
    assert_eq!(outcome.total().to_string(), "0 passed, 0 failed, 2 skipped");
}

#[test]
fn features_decide_what_is_valid() {
    let script = "(module (memory 1) (memory 1))";
    let features = |list: &str| Options {
        features: features::parse(list).expect("a list"),
        ..Options::default()
    };
    assert_eq!(run_with(features("wasm3"), script).total().failed, 0);
    assert_eq!(run_with(features("wasm2"), script).total().failed, 1);
}

/// In every mode memories do what they should; where they move, growth leaves
/// nothing at the old place.
#[test]
fn all_modes_agree_about_memories_that_grow() {
    let script = r#"
        (module
          (memory 1 16)
          (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
          (func (export "store") (param i32) (i32.store (local.get 0) (local.get 0)))
          (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))
        (invoke "store" (i32.const 0x1000))
        (assert_trap (invoke "load" (i32.const 0x10000)) "out of bounds memory access")
        (assert_return (invoke "grow" (i32.const 3)) (i32.const 1))
        (assert_return (invoke "load" (i32.const 0x1000)) (i32.const 0x1000))
        (assert_return (invoke "load" (i32.const 0x3fffc)) (i32.const 0))
        (assert_trap (invoke "load" (i32.const 0x3fffd)) "out of bounds memory access")
        (assert_return (invoke "grow" (i32.const 13)) (i32.const -1))"#;
    for explicit_checks in [false, true] {
        for move_memories in [false, true] {
            let options = Options {
                explicit_checks,
                move_memories,
                ..Options::default()
            };
            assert_eq!(run_with(options, script).failures, []);
        }
    }
}
