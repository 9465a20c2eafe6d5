//! Bundles for the machine that the tests run on come to the same as the
//! program `trapline`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use trapline_bundle::{Options, bundle, scripts_of_folder, suite};
use trapline_cli::wast;
use trapline_embed::Engine;
use trapline_script::{
    Bundle, Env, GuestTally, Kind, OsThreads, Outcome, Traps, run_guests, run_scripts,
};

const ALL: [Traps; 2] = [Traps::Hardware, Traps::Explicit];

/// The options for this machine, with nothing in the bundle.
fn options(traps: Traps) -> Options {
    let isa = trapline_wasmtime::Isa::HOST.expect("the compiler knows this machine");
    Options {
        target: format!("{isa}-unknown-linux-gnu"),
        traps,
        guests: None,
        scripts: Vec::new(),
        scenarios: None,
    }
}

fn made(options: &Options) -> Bundle {
    let bytes = bundle(options).expect("a bundle");
    // SAFETY: just made.
    unsafe { Bundle::parse(bytes.leak()) }.expect("what was just made")
}

/// Runs guests and scripts; returns the log.
fn run(bundle: &Bundle, catches_panics: bool) -> (GuestTally, Outcome, String) {
    let mut log = String::new();
    let mut env = Env {
        engine: &Engine::new(),
        threads: Arc::new(OsThreads),
        workers: 2,
        catches_panics,
        max_wasm_stack: None,
        filter: "",
        log: &mut log,
    };
    let guests = run_guests(bundle, &mut env);
    let scripts = run_scripts(bundle, &mut env);
    (guests, scripts, log)
}

/// A script in which many things go wrong, each in its own way.
const SCRIPT: &str = r#"(module $mem (memory (export "shared") 1 1 shared))
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
  (assert_return (invoke "wait") (i32.const 43)))
(wait $t1)
(wait $t2)
(module (func (result i32)))
(module quote "(func")
(module (import "nobody" "x" (func)))
(module (func (export "f") (param f32) (result f32) (local.get 0)) (func (export "boom") unreachable))
(assert_return (invoke "f" (f32.const 1)) (f32.const 2))
(assert_return (invoke "f" (f32.const nan)) (f32.const nan:canonical))
(assert_trap (invoke "boom") "out of bounds memory access")
(assert_exhaustion (invoke "boom") "call stack exhausted")
(assert_trap (module (func $f unreachable) (start $f)) "unreachable")
(assert_invalid (module (func)) "type mismatch")
(assert_malformed (module quote "(func)") "unexpected token")
(assert_unlinkable (module) "unknown import")
(assert_exception (invoke "boom"))
(invoke "nothing")
(register "m" $nobody)
"#;

fn folder_with(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join(name), text).expect("the file can be written");
    folder
}

#[test]
fn a_script_comes_to_the_same_in_a_bundle() {
    let folder = folder_with("script.wast", SCRIPT);
    for traps in ALL {
        let scripts = scripts_of_folder(folder.path()).unwrap();
        let bundle = made(&Options {
            scripts,
            ..options(traps)
        });
        assert!(bundle.script(0).unwrap().has_threads());
        let (_, outcome, log) = run(&bundle, true);

        let runner = wast::Runner::new(wast::Options {
            explicit_checks: traps == Traps::Explicit,
            ..wast::Options::default()
        });
        let mut expected = runner.unwrap().run("script.wast", SCRIPT);
        expected.failures.sort_by_key(|failure| failure.line);
        assert_eq!(outcome, expected);

        let lines: Vec<_> = log.lines().collect();
        let [guests, failures @ .., summary] = &lines[..] else {
            panic!("{log}")
        };
        assert_eq!(*guests, "guests: 0 passed, 0 failed");
        let shown: Vec<_> = expected.failures.iter().map(ToString::to_string).collect();
        assert_eq!(*failures, shown);
        assert_eq!(
            *summary,
            "scripts: 13 passed, 12 failed, 1 skipped (module 4, register 2, invoke 1, \
             assert_return 1, assert_trap 1, thread 2, wait 2)"
        );
    }
}

#[test]
fn the_guests_do_as_expected_and_those_that_panic_are_skipped_where_nobody_catches() {
    for traps in ALL {
        let bundle = made(&Options {
            guests: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/guests")),
            ..options(traps)
        });
        assert!(bundle.guests().len() >= 49);
        let (tally, _, log) = run(&bundle, true);
        assert_eq!(tally.passed, bundle.guests().len(), "{log}");

        let (tally, _, log) = run(&bundle, false);
        assert_eq!((tally.failed, tally.skipped), (0, 2), "{log}");
        assert!(log.contains("guest host_panic: skipped: "), "{log}");
        let summary = format!("guests: {} passed, 0 failed, 2 skipped\n", tally.passed);
        assert!(log.contains(&summary), "{log}");
    }
}

#[test]
fn a_guest_that_does_something_else_is_a_failure_with_both_outputs() {
    let seven = r#"(module (func (export "f") (result i32) (i32.const 7)))"#;
    let folder = folder_with("seven.wat", seven);
    let expected = "args: --backtrace-limit 3\nexit: 0\n--- stdout\n8\n--- stderr\n";
    fs::write(folder.path().join("seven.expected"), expected).unwrap();
    let bundle = made(&Options {
        guests: Some(folder.path().into()),
        ..options(Traps::Explicit)
    });
    assert_eq!(bundle.guests().next().unwrap().options().backtrace_limit, 3);
    let (tally, _, log) = run(&bundle, true);
    assert_eq!((tally.passed, tally.failed), (0, 1));
    assert!(
        log.starts_with("guest seven: expected: exit 0\n8\ngot: exit 0\n7\n"),
        "{log}"
    );

    // What cannot be made is named.
    fs::write(folder.path().join("seven.expected"), "exit: 0\n").unwrap();
    let error = bundle_error(folder.path());
    assert!(
        error.contains("seven.expected: there is no section"),
        "{error}"
    );
    fs::write(folder.path().join("seven.expected"), expected).unwrap();
    fs::write(
        folder.path().join("seven.wat"),
        "(module (func (result i32)))",
    )
    .unwrap();
    let error = bundle_error(folder.path());
    assert!(
        error.contains("cannot compile ") && error.contains("seven.wat"),
        "{error}"
    );
}

fn bundle_error(guests: &Path) -> String {
    let error = bundle(&Options {
        guests: Some(guests.into()),
        ..options(Traps::Explicit)
    });
    format!("{:#}", error.expect_err("nothing to make a bundle of"))
}

#[test]
fn scenarios_are_artifacts_by_name() {
    let folder = folder_with("one.wat", "(module $one (func (export \"f\")))");
    let bundle = made(&Options {
        scenarios: Some(folder.path().into()),
        ..options(Traps::Hardware)
    });
    let names: Vec<_> = bundle.artifact_names().collect();
    assert_eq!(names, ["one"]);
    let module = bundle.load_artifact(&Engine::new(), "one").unwrap();
    assert_eq!(module.name(), Some("one"));
    let error = bundle.load_artifact(&Engine::new(), "two").unwrap_err();
    assert!(error.contains("`two`"), "{error}");
}

#[test]
fn the_same_input_makes_the_same_file() {
    let mut scripts = suite::scripts();
    scripts.retain(|script| script.name.contains("/memory"));
    assert!(scripts.len() > 10);
    let options = Options {
        scripts,
        ..options(Traps::Hardware)
    };
    let bytes = bundle(&options).unwrap();
    assert_eq!(bundle(&options).unwrap(), bytes);
    // SAFETY: just made.
    let bundle = unsafe { Bundle::parse(bytes.leak()) }.unwrap();
    let (_, outcome, log) = run(&bundle, true);
    assert_eq!(outcome.failures, [], "{log}");
    assert_eq!(outcome.total(), bundle.directives().unwrap());
    assert!(outcome.tally(Kind::AssertReturn).passed > 100);
}
