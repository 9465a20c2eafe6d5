//! The command line: exit statuses, arguments and results, files.

use std::fs;
use std::path::{Path, PathBuf};

/// Exit status, standard output, standard error.
fn trapline(args: &[&str]) -> (i32, String, String) {
    let output = trapline_test_support::program(env!("CARGO_BIN_EXE_trapline"))
        .args(args)
        .env_remove("TRAPLINE_LOG")
        .output()
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let status = output.status.code().expect("the program exits by itself");
    (status, text(output.stdout), text(output.stderr))
}

/// A folder with one file in it.
fn folder_with(name: &str, contents: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, contents).expect("the file can be written");
    (folder, path)
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("a name in UTF-8")
}

const ARITHMETIC: &str = r#"(module $arithmetic
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "div") (param i64 i64) (result i64) (i64.div_s (local.get 0) (local.get 1)))
  (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
  (func (export "same") (param f32 v128 externref) (result externref v128 f32)
    (local.get 2) (local.get 1) (local.get 0)))"#;

#[test]
fn arguments_are_read_and_results_printed_by_type() {
    let (_folder, path) = folder_with("a.wat", ARITHMETIC);
    let file = utf8(&path);
    let run = |args: &[&str]| trapline(&[&["run", file, "--invoke"], args].concat());
    assert_eq!(run(&["add", "2", "3"]), (0, "5\n".into(), String::new()));
    assert_eq!(run(&["add", "0xffffffff", "-1"]).1, "-2\n");
    assert_eq!(run(&["add", "4294967295", "-2147483648"]).1, "2147483647\n");
    assert_eq!(run(&["div", "-7", "2"]).1, "-3\n");
    assert_eq!(run(&["half", "1e-3"]).1, "0.0005\n");
    assert_eq!(run(&["half", "-inf"]).1, "-inf\n");
    assert_eq!(
        run(&["same", "0x7fc00001", "0x1_0000_0002", "7"]).1,
        "externref:7\n0x00000000000000000000000100000002\nnan:0x400001\n"
    );
    assert_eq!(
        run(&["same", "1", "0x0", "null"]).1.lines().next(),
        Some("null")
    );
    let (status, out, err) = run(&["div", "1", "0"]);
    assert_eq!((status, &*out), (134, ""));
    assert!(
        err.starts_with("error: wasm trap: integer divide by zero\n"),
        "{err}"
    );
}

#[test]
fn a_command_line_that_does_not_fit_is_a_usage_error() {
    let (_folder, path) = folder_with("a.wat", ARITHMETIC);
    let file = utf8(&path);
    let usage = |args: &[&str], says: &str| {
        let (status, out, err) = trapline(args);
        assert_eq!((status, &*out), (2, ""), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: {err}");
    };
    usage(
        &["run", file],
        "which function? Give --invoke one of: `add`, `div`",
    );
    usage(&["run", file, "--invoke", "sub"], "no function `sub`");
    usage(
        &["run", file, "--invoke", "add", "1"],
        "2 arguments expected, 1 given",
    );
    usage(
        &["run", file, "--invoke", "half"],
        "1 argument expected, 0 given",
    );
    usage(
        &["run", file, "--invoke", "add", "1", "x"],
        "`x` is not a value of type i32",
    );
    usage(
        &["run", file, "--invoke", "add", "1", "4294967296"],
        "of type i32",
    );
    usage(&["run"], "Usage");
    usage(&["fly"], "fly");
    usage(
        &["wast", "--features", "telepathy", "x.wast"],
        "`telepathy`",
    );
}

#[test]
fn files_that_cannot_be_used_are_failures_with_their_causes() {
    let (_folder, path) = folder_with("a.wat", "(module (func (result i32)))");
    let failure = |args: &[&str], says: &str| {
        let (status, out, err) = trapline(args);
        assert_eq!((status, &*out), (1, ""), "{args:?}: {err}");
        assert!(
            err.starts_with("error: ") && err.contains(says),
            "{args:?}: {err}"
        );
    };
    failure(&["run", utf8(&path)], "type mismatch");
    failure(
        &["run", "there/is/no.wat"],
        "there/is/no.wat\ncaused by: No such file",
    );
    fs::write(&path, "(modul)").unwrap();
    failure(
        &["run", utf8(&path)],
        "is not a WebAssembly module\ncaused by: ",
    );
    fs::write(&path, b"\x7fELF and then nothing").unwrap();
    failure(&["run", utf8(&path)], "caused by: ");
    failure(&["inspect", utf8(&path)], "caused by: ");
    fs::write(&path, "(module)").unwrap();
    failure(
        &["compile", utf8(&path), "-o", "there/is/no/place"],
        "there/is/no/place",
    );
    failure(
        &[
            "compile",
            utf8(&path),
            "-o",
            "x",
            "--target",
            "pdp11-dec-unix",
        ],
        "pdp11",
    );
}

#[test]
fn a_module_without_functions_is_only_instantiated() {
    let (_folder, path) = folder_with("a.wat", "(module (memory (export \"m\") 1))");
    assert_eq!(
        trapline(&["run", utf8(&path)]),
        (0, String::new(), String::new())
    );
}

#[test]
fn the_backtrace_has_as_many_frames_as_asked_for() {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/host_error.wat");
    let frames = |limit: &str| {
        let (status, _, err) = trapline(&["run", utf8(&guest), "--backtrace-limit", limit]);
        assert_eq!(status, 134);
        err.lines()
            .filter(|line| line.contains("host_error!"))
            .count()
    };
    assert_eq!(
        [frames("0"), frames("1"), frames("2"), frames("9")],
        [0, 1, 2, 3]
    );
}

#[test]
fn the_stack_limit_decides_how_deep_guests_recurse() {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/stack_overflow.wat");
    let frames = |bytes: &str| {
        let limits = ["--max-wasm-stack", bytes, "--backtrace-limit", "1000000"];
        let (status, _, err) = trapline(&[&["run", utf8(&guest)], &limits[..]].concat());
        assert_eq!(status, 134);
        err.lines().filter(|line| line.contains("!descend")).count()
    };
    let large_stack = ["--max-wasm-stack", "67108864"];
    let (status, _, err) = trapline(&[&["run", utf8(&guest)], &large_stack[..]].concat());
    assert_eq!(status, 134, "{err}");
    let (small, large) = (frames("16384"), frames("131072"));
    assert!(small > 50, "{small}");
    assert!(
        (7 * small..9 * small).contains(&large),
        "{small} and {large}"
    );
}

#[test]
fn compile_replaces_its_output_as_a_whole_and_leaves_nothing_else() {
    let (folder, path) = folder_with("a.wat", ARITHMETIC);
    let output = folder.path().join("a.cwasm");
    fs::write(&output, "something that was there before").unwrap();
    assert_eq!(
        trapline(&["compile", utf8(&path), "-o", utf8(&output)]).0,
        0
    );
    assert!(fs::read(&output).unwrap().starts_with(b"\x7fELF"));
    assert_eq!(
        trapline(&["run", utf8(&output), "--invoke", "add", "1", "2"]).1,
        "3\n"
    );

    // A module that does not compile leaves the old output.
    fs::write(&path, "(module (func (result i32)))").unwrap();
    assert_eq!(
        trapline(&["compile", utf8(&path), "-o", utf8(&output)]).0,
        1
    );
    assert_eq!(
        trapline(&["run", utf8(&output), "--invoke", "add", "1", "2"]).1,
        "3\n"
    );
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["a.cwasm", "a.wat"]);

    // What is compiled is not compiled again, and options for it are refused.
    assert_eq!(trapline(&["compile", utf8(&output), "-o", "x"]).0, 2);
    assert_eq!(trapline(&["run", utf8(&output), "--explicit-checks"]).0, 2);
    assert_eq!(
        trapline(&["inspect", utf8(&output), "--opt-level", "none"]).0,
        2
    );
}

#[test]
fn an_artifact_for_another_machine_can_be_inspected_but_not_run() {
    let (folder, path) = folder_with("a.wat", ARITHMETIC);
    let target = if cfg!(target_arch = "aarch64") {
        "x86_64-unknown-linux-gnu"
    } else {
        "aarch64-unknown-linux-gnu"
    };
    let output = folder.path().join("a.cwasm");
    assert_eq!(
        trapline(&[
            "compile",
            utf8(&path),
            "-o",
            utf8(&output),
            "--target",
            target
        ])
        .0,
        0
    );
    let (status, out, _) = trapline(&["inspect", utf8(&output)]);
    assert_eq!(status, 0);
    assert!(
        out.starts_with(&format!("module   arithmetic, {target}, hardware traps, ")),
        "{out}"
    );
    let (status, _, err) = trapline(&["run", utf8(&output), "--invoke", "add", "1", "2"]);
    assert_eq!(status, 1, "{err}");
    assert!(err.starts_with("error: cannot load "), "{err}");
}

#[test]
fn inspect_lists_functions_traps_and_addresses() {
    let (_folder, path) = folder_with("a.wat", ARITHMETIC);
    let (status, out, err) = trapline(&["inspect", utf8(&path)]);
    assert_eq!((status, &*err), (0, ""));
    let lines = |keyword: &str| out.lines().filter(|line| line.starts_with(keyword)).count();
    assert_eq!(lines("module "), 1);
    assert_eq!(
        out.lines()
            .filter(|line| line.contains(" function "))
            .count(),
        4
    );
    assert_eq!(
        out.lines()
            .filter(|line| line.contains(" entry trampoline"))
            .count(),
        4
    );
    assert!(out.contains(" integer divide by zero\n") && out.contains(" integer overflow\n"));
    assert!(lines("address ") > 4);
    assert_eq!(
        lines("module ") + lines("function ") + lines("trap ") + lines("address "),
        out.lines().count()
    );

    // The same as JSON.
    let (status, json, _) = trapline(&["inspect", utf8(&path), "--json"]);
    assert_eq!(status, 0);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["module"], "arithmetic");
    assert_eq!(json["hardware_traps"], true);
    assert_eq!(
        json["functions"].as_array().unwrap().len(),
        lines("function ")
    );
    assert_eq!(json["traps"].as_array().unwrap().len(), lines("trap "));
    assert_eq!(
        json["addresses"].as_array().unwrap().len(),
        lines("address ")
    );
    let kinds: Vec<_> = json["traps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["kind"])
        .collect();
    assert!(
        kinds.iter().any(|kind| *kind == "IntegerDivisionByZero"),
        "{kinds:?}"
    );

    // Explicit checks leave few instructions that trap.
    let (_, explicit, _) = trapline(&["inspect", utf8(&path), "--explicit-checks"]);
    assert!(explicit.lines().next().unwrap().contains("explicit checks"));
}

#[test]
fn wast_ends_with_the_sum_and_fails_if_a_directive_does() {
    let good = "(module (func (export \"f\")))\n(assert_return (invoke \"f\"))\n";
    let (_folder, path) = folder_with("a.wast", good);
    let (status, out, _) = trapline(&["wast", utf8(&path), utf8(&path)]);
    assert_eq!(status, 0);
    assert_eq!(out.lines().last(), Some("4 passed, 0 failed, 0 skipped"));

    fs::write(
        &path,
        good.to_owned() + "(assert_trap (invoke \"f\") \"unreachable\")\n",
    )
    .unwrap();
    let (status, out, _) = trapline(&["wast", utf8(&path), "--explicit-checks", "--move-memories"]);
    assert_eq!(status, 1);
    assert_eq!(out.lines().last(), Some("2 passed, 1 failed, 0 skipped"));
    let failure = format!(
        "{}:3: assert_trap: expected the trap \"unreachable\", got []",
        utf8(&path)
    );
    assert_eq!(out.lines().next(), Some(&*failure));

    let list = path.with_extension("txt");
    fs::write(&list, "a.wast:3 does not trap").unwrap();
    let (status, out, _) = trapline(&["wast", utf8(&path), "--exclusions", utf8(&list)]);
    assert_eq!(status, 0);
    assert_eq!(out.lines().last(), Some("2 passed, 0 failed, 1 skipped"));
    fs::write(&list, "a.wast:3").unwrap();
    let (status, _, err) = trapline(&["wast", utf8(&path), "--exclusions", utf8(&list)]);
    assert_eq!(status, 1);
    assert!(err.contains("line 1: expected"), "{err}");
}

#[test]
fn what_a_guest_prints_goes_to_stdout_and_the_log_to_stderr() {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/demo.wat");
    let (status, out, err) = trapline(&["run", utf8(&guest), "--log", "trace"]);
    assert_eq!((status, &*out), (134, "7\n18\n41\n"));
    assert!(
        err.contains("error: wasm trap: out of bounds memory access\n"),
        "{err}"
    );
    assert!(err.contains("code registered"), "{err}");
}

/// Under a limit that has room for the program, but not for the address space
/// that memories get for hardware traps.
#[test]
fn with_explicit_checks_little_address_space_is_enough() {
    let wat = "(module (memory 1)
        (func (export \"load\") (param i32) (result i32) (i32.load (local.get 0))))";
    let (_folder, path) = folder_with("memory.wat", wat);
    if trapline_test_support::emulator().is_some() {
        // Which needs address space of its own.
        let args = ["run", "--explicit-checks", utf8(&path), "0"];
        assert_eq!(trapline(&args), (0, "0\n".into(), String::new()));
        return;
    }
    let limited = |options: &[&str]| {
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", "ulimit -v 1000000 && exec \"$@\"", "sh"])
            .args([env!("CARGO_BIN_EXE_trapline"), "run"])
            .args(options)
            .args([utf8(&path), "0"])
            .env_remove("TRAPLINE_LOG");
        let output = command.output().expect("a shell");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    for options in [
        ["--explicit-checks"].as_slice(),
        &[
            "--memory-reservation=0",
            "--memory-guard-size=0",
            "--memory-reservation-for-growth=64K",
        ],
        &["--memory-reservation=1M", "--memory-guard-size=64K"],
        &["--explicit-checks", "--memory-reservation", "16M"],
    ] {
        let ran = (Some(0), "0\n".into(), String::new());
        assert_eq!(limited(options), ran, "{options:?}");
    }
    let (status, _, err) = limited(&[]);
    assert_eq!(status, Some(1), "{err}");
    assert!(err.contains("code compiled with explicit checks"), "{err}");
}

#[test]
fn sizes_of_memories_that_make_no_sense_are_refused() {
    let (_folder, path) = folder_with("a.wat", "(module (memory 1))");
    let (status, _, err) = trapline(&["run", "--memory-guard-size", "much", utf8(&path)]);
    assert_eq!(status, 2);
    assert!(err.contains("such as 65536, 64K, 16M or 4G"), "{err}");
    for option in [
        "--memory-guard-size",
        "--memory-reservation",
        "--memory-reservation-for-growth",
    ] {
        let (status, _, err) = trapline(&["run", option, &u64::MAX.to_string(), utf8(&path)]);
        assert_eq!(status, 1, "{err}");
        assert!(err.contains("from 0 to 0x100000000000000 bytes"), "{err}");
    }
}

#[test]
fn flags_of_a_target_let_riscv64_copy_by_vectors() {
    let wat = "(module (memory 1) (func $copy (export \"f\") (param i32 i32)
        (memory.copy (local.get 0) (local.get 1) (i32.const 16))))";
    let (folder, path) = folder_with("copy.wat", wat);
    let output = folder.path().join("copy.cwasm");
    let compile = |flags: &[&str]| {
        let target = ["compile", "--target", "riscv64gc-unknown-none-elf"];
        let files = [utf8(&path), "-o", utf8(&output)];
        trapline(&[&target, flags, &files].concat())
    };
    let (status, _, err) = compile(&[]);
    assert_eq!(status, 1, "{err}");
    assert!(
        err.contains("panicked at function 0 (\"copy\")") && err.contains("has_v to true"),
        "{err}"
    );
    assert!(
        !err.contains("stack backtrace") && !err.contains("thread '"),
        "{err}"
    );
    assert!(!output.exists());
    assert_eq!(
        compile(&["--isa-flag", "has_v=true"]),
        (0, String::new(), String::new())
    );
    let (_, lines, _) = trapline(&["inspect", utf8(&output)]);
    assert!(
        lines.starts_with("module   <unknown>, riscv64gc-unknown-none-elf"),
        "{lines}"
    );
    let (status, _, err) = compile(&["--isa-flag", "has_wings=true"]);
    assert!(status == 1 && err.contains("has_zbb"), "{err}");
    let (status, _, err) = compile(&["--isa-flag", "has_v"]);
    assert!(status == 2 && err.contains("has_v=true"), "{err}");
}

#[test]
fn artifacts_that_are_damaged_or_unchecked_are_not_run() {
    let (folder, path) = folder_with("a.wat", ARITHMETIC);
    let output = folder.path().join("a.cwasm");
    assert_eq!(
        trapline(&["compile", utf8(&path), "-o", utf8(&output)]).0,
        0
    );
    let good = fs::read(&output).unwrap();
    let run = |bytes: &[u8]| {
        fs::write(&output, bytes).unwrap();
        trapline(&["run", utf8(&output), "--invoke", "add", "1", "2"])
    };
    assert_eq!(run(&good), (0, "3\n".into(), String::new()));
    let mut damaged = good.clone();
    damaged[good.len() / 3] ^= 0x10;
    let (status, out, err) = run(&damaged);
    assert_eq!((status, &*out), (1, ""), "{err}");
    assert!(
        err.contains("a damaged artifact") && err.contains("checksum 0x"),
        "{err}"
    );
    // As Wasmtime's compiler writes it, or this program did before.
    let mut unchecked = good;
    unchecked[9..16].fill(0);
    let (status, out, err) = run(&unchecked);
    assert_eq!((status, &*out), (1, ""), "{err}");
    assert!(err.contains("carries no checksum"), "{err}");
    assert_eq!(trapline(&["inspect", utf8(&output)]).0, 0);
}

/// Every kind of value, given back as it came.
const SAME: &str = r#"(module
    (func (export "i32") (param i32) (result i32) (local.get 0))
    (func (export "i64") (param i64) (result i64) (local.get 0))
    (func (export "f32") (param f32) (result f32) (local.get 0))
    (func (export "f64") (param f64) (result f64) (local.get 0))
    (func (export "v128") (param v128) (result v128) (local.get 0))
    (func (export "externref") (param externref) (result externref) (local.get 0))
    (func (export "funcref") (param funcref) (result funcref) (local.get 0)))"#;

#[test]
fn values_are_read_as_they_are_printed() {
    let (_folder, path) = folder_with("same.wat", SAME);
    let print = |ty: &str, value: &str| trapline(&["run", utf8(&path), "--invoke", ty, value]);
    for (ty, values) in [
        ("i32", &["0", "-1", "2147483647", "-2147483648"][..]),
        ("i64", &["9223372036854775807", "-9223372036854775808"]),
        (
            "f32",
            &[
                "nan:0x400000",
                "-nan:0x400000",
                "nan:0x1",
                "-nan:0x7fffff",
                "inf",
                "-inf",
                "-0.0",
                "1e-45",
                "3.4028235e38",
                "0.1",
            ],
        ),
        (
            "f64",
            &[
                "nan:0x8000000000000",
                "-nan:0x1",
                "nan:0xfffffffffffff",
                "inf",
                "-inf",
                "-0.0",
                "5e-324",
                "1.7976931348623157e308",
                "0.1",
            ],
        ),
        (
            "v128",
            &[
                "0x00000000000000000000000100000002",
                "0xffffffffffffffffffffffffffffffff",
            ],
        ),
        ("externref", &["externref:5", "externref:0", "null"]),
        ("funcref", &["null"]),
    ] {
        for value in values {
            let expected = (0, format!("{value}\n"), String::new());
            assert_eq!(print(ty, value), expected, "{ty} {value}");
        }
    }
}

#[test]
fn underscores_may_be_between_the_digits_of_every_number_and_nowhere_else() {
    let (_folder, path) = folder_with("same.wat", SAME);
    let print = |ty: &str, value: &str| trapline(&["run", utf8(&path), "--invoke", ty, value]);
    for (ty, value, printed) in [
        ("i32", "1_000", "1000"),
        ("i32", "-1_000", "-1000"),
        ("i32", "0xff_ff", "65535"),
        ("i64", "1_0_0", "100"),
        ("f32", "1_000.2_5", "1000.25"),
        ("f64", "1_0e1_0", "100000000000.0"),
        ("f32", "nan:0x40_0000", "nan:0x400000"),
        ("f64", "0x7ff8_0000_0000_0000", "nan:0x8000000000000"),
        ("v128", "0x1_0", "0x00000000000000000000000000000010"),
        ("externref", "1_0", "externref:10"),
        ("externref", "externref:1_0", "externref:10"),
    ] {
        assert_eq!(print(ty, value).1, format!("{printed}\n"), "{ty} {value}");
    }
    for (ty, value) in [
        ("i32", "_1"),
        ("i32", "1_"),
        ("i32", "1__0"),
        ("i32", "-_1"),
        ("i32", "-+1"),
        ("i32", "0x_1"),
        ("i32", "0x+1"),
        ("i32", "0x"),
        ("i32", "_"),
        ("f32", "1_.5"),
        ("f32", "1._5"),
        ("f64", "1e_5"),
        ("f32", "nan:0x0"),
        ("f32", "nan:0x800000"),
        ("f64", "nan:0x"),
        ("f64", "nan:5"),
        ("v128", "0x1_"),
        ("externref", "externref:"),
        ("externref", "externref:externref:1"),
        ("funcref", "funcref"),
    ] {
        let (status, _, err) = print(ty, value);
        assert_eq!(status, 2, "{ty} {value}: {err}");
        assert!(
            err.contains(&format!("`{value}` is not a value of type {ty}")),
            "{err}"
        );
    }
}

#[test]
fn names_of_guests_forge_no_lines_and_send_no_commands_to_terminals() {
    let guest = r#"(module (@name "mod\nule\1b[2J")
        (func (@name "f\nerror: wasm trap: forged\n   9: 0x1 - x!y") (export "go\1b]0;title\07") unreachable)
        (func (@name "\u{202e}rtl\u{9b}") (export "other\r") call 0)
        (func (@name "") (export "") call 0))"#;
    let (_folder, path) = folder_with("names.wat", guest);
    let file = utf8(&path);
    let harmless = |text: &str| {
        let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(harmful), "{text:?}");
        for line in text.lines() {
            assert!(!line.starts_with("error: wasm trap: forged"), "{text:?}");
            assert!(!line.starts_with("   9:"), "{text:?}");
        }
    };
    let (status, _, err) = trapline(&["run", file, "--invoke", ""]);
    assert_eq!(status, 134, "{err}");
    harmless(&err);
    assert!(
        err.contains(r" - mod\nule\u{1b}[2J!f\nerror: wasm trap: forged\n   9: 0x1 - x!y"),
        "{err}"
    );
    assert!(err.ends_with("!\"\"\n"), "an empty name is one: {err}");
    let (status, out, _) = trapline(&["inspect", file]);
    assert_eq!(status, 0);
    harmless(&out);
    assert!(out.contains(" function 1 \\u{202e}rtl\\u{9b}\n"), "{out}");
    assert!(out.contains(" function 2 \"\"\n"), "{out}");
    let (status, json, _) = trapline(&["inspect", file, "--json"]);
    assert_eq!(status, 0);
    harmless(&json);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["module"], "mod\nule\u{1b}[2J");
    assert_eq!(json["functions"][1]["name"], "\u{202e}rtl\u{9b}");
    // Names of exports and imports, in errors of every maker.
    let (status, _, err) = trapline(&["run", file]);
    assert_eq!(status, 2);
    harmless(&err);
    assert!(
        err.contains(r"`go\u{1b}]0;title\u{7}`, `other\r`, `"),
        "{err}"
    );
    for (wat, says) in [
        (
            r#"(module (import "a\nb\1b" "c\07" (func)))"#,
            r#""a\nb\u{1b}" "c\u{7}""#,
        ),
        (
            r#"(module (func (export "x\1b[31m\nerror: wasm trap: forged")) (func (export "x\1b[31m\nerror: wasm trap: forged")))"#,
            r"x\u{1b}[31m",
        ),
    ] {
        fs::write(&path, wat).unwrap();
        let (status, _, err) = trapline(&["run", file]);
        assert_eq!(status, 1, "{err}");
        harmless(&err);
        assert!(err.contains(says), "{err}");
    }
    fs::write(
        path.with_extension("wast"),
        r#"(module) (assert_return (invoke "no\nerror: wasm trap: forged\1b[2J"))"#,
    )
    .unwrap();
    let (status, out, _) = trapline(&["wast", utf8(&path.with_extension("wast"))]);
    assert_eq!(status, 1);
    harmless(&out);
}

#[test]
fn the_target_of_an_artifact_forges_no_lines_either() {
    let (_folder, path) = folder_with("names.wat", ARITHMETIC);
    let compiled = path.with_extension("cwasm");
    let target = "aarch64-unknown-linux-gnu";
    let compile = ["compile", utf8(&path), "-o", utf8(&compiled)];
    let (status, _, err) = trapline(&[&compile[..], &["--target", target]].concat());
    assert_eq!(status, 0, "{err}");
    let mut artifact = fs::read(&compiled).unwrap();
    // Without a checksum, as the Wasmtime compiler writes them.
    artifact[9..16].fill(0);
    let mut places = artifact.windows(target.len());
    let at = places.position(|bytes| bytes == target.as_bytes()).unwrap();
    artifact[at..][..target.len()].copy_from_slice(b"aarch64-x\nfunction \x1b[2J\xc2\x9b");
    fs::write(&compiled, artifact).unwrap();
    for (json, says) in [
        (None, r"aarch64-x\nfunction \u{1b}[2J\u{9b}, "),
        (Some("--json"), r#""aarch64-x\nfunction \u001b[2J\u009b""#),
    ] {
        let args: Vec<_> = ["inspect", utf8(&compiled)]
            .into_iter()
            .chain(json)
            .collect();
        let (status, out, err) = trapline(&args);
        assert_eq!(status, 0, "{err}");
        assert!(out.contains(says), "{out}");
        assert!(
            !out.contains(|c: char| c.is_control() && c != '\n'),
            "{out:?}"
        );
    }
}

#[test]
fn what_a_module_needs_and_cannot_have_is_named() {
    let (_folder, path) = folder_with("a.wat", "");
    for (wat, says) in [
        (
            "(component)",
            "a.wat is a WebAssembly component, not a module: components are not supported",
        ),
        (
            "(module (type (struct (field i32))) (func (param (ref null 0))))",
            "the module needs what is not supported: garbage collection (`gc`)",
        ),
        (
            "(module (tag (param i32)))",
            "the module needs what is not supported: exception handling (`exceptions`)",
        ),
    ] {
        fs::write(&path, wat).unwrap();
        for binary in [false, true] {
            if binary {
                fs::write(&path, wat::parse_str(wat).unwrap()).unwrap();
            }
            for command in ["run", "inspect"] {
                let (status, _, err) = trapline(&[command, utf8(&path)]);
                assert_eq!(status, 1, "{err}");
                assert!(err.contains(says), "{err}");
            }
        }
    }
}

#[test]
fn a_backtrace_says_that_it_is_limited_only_if_something_is_left_out() {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/host_error.wat");
    let report = |limit: &str| trapline(&["run", utf8(&guest), "--backtrace-limit", limit]).2;
    assert!(report("2").contains(
        "\n  (limited to the innermost 2 frames)\nnote: `--backtrace-limit N` keeps more frames\n"
    ));
    assert!(report("1").contains("\n  (limited to the innermost 1 frame)\n"));
    for limit in ["0", "3", "4"] {
        assert!(!report(limit).contains("limit"), "{limit}");
    }
}

#[test]
fn a_deep_recursion_does_not_flood_the_terminal() {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/stack_overflow.wat");
    let (status, _, err) = trapline(&["run", utf8(&guest), "--max-wasm-stack", "16777216"]);
    assert_eq!(status, 134);
    assert_eq!(
        err.lines().filter(|line| line.contains("!descend")).count(),
        100
    );
    assert!(
        err.contains("(limited to the innermost 100 frames)"),
        "{err}"
    );
}
