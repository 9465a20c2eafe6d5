//! Every guest in `guests/` does, run by the program itself, what the file
//! beside it says: exit status, standard output and standard error.
//!
//! The format of `NAME.expected` is that of [`Expected`].
//!
//! Run with `TRAPLINE_BLESS=1` to write what happens as what is expected; then
//! look at the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Once;

use trapline_script::{Expected, Traps};
use trapline_wasmtime::Isa;

fn guests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let files = fs::read_dir(&folder).expect("the folder of guests");
    let mut guests: Vec<_> = files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wat"))
        .collect();
    guests.sort();
    guests
}

fn trapline(args: &[&str]) -> Output {
    trapline_test_support::program(env!("CARGO_BIN_EXE_trapline"))
        .args(args)
        .env_remove("TRAPLINE_LOG")
        .output()
        .expect("the program runs")
}

fn run(file: &Path, options: &[&str], args: &[String]) -> (i32, String, String) {
    let mut command = vec!["run"];
    command.extend(options);
    command.extend(args.iter().map(String::as_str));
    command.push(file.to_str().expect("a name in UTF-8"));
    let output = trapline(&command);
    (
        output
            .status
            .code()
            .unwrap_or_else(|| panic!("{}: {}", file.display(), output.status)),
        String::from_utf8(output.stdout).expect("text"),
        String::from_utf8(output.stderr).expect("text"),
    )
}

/// Runs all guests with `options`, or what `file` makes of them, and compares.
fn check(options: &[&str], file: impl Fn(&Path) -> PathBuf, traps: Traps) {
    let isa = Isa::HOST.expect("the compiler knows this machine");
    static BLESS: Once = Once::new();
    if std::env::var_os("TRAPLINE_BLESS").is_some() {
        BLESS.call_once(bless);
    }
    let mut wrong = Vec::new();
    for guest in guests() {
        let text = fs::read_to_string(guest.with_extension("expected"))
            .unwrap_or_else(|error| panic!("{}: {error}", guest.display()));
        let expected =
            Expected::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", guest.display()));
        let got = run(&file(&guest), options, &expected.args);
        let stderr = expected.stderr_on(isa, traps);
        let wanted = (i32::from(expected.exit), expected.stdout, stderr);
        if got != wanted {
            wrong.push(format!(
                "{}\nexpected: {}\n{}{}\ngot: {}\n{}{}",
                guest.display(),
                wanted.0,
                wanted.1,
                wanted.2,
                got.0,
                got.1,
                got.2,
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} guests differ:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

fn bless() {
    for guest in guests() {
        let path = guest.with_extension("expected");
        let args = match fs::read_to_string(&path) {
            Ok(text) => Expected::parse(&text).expect("the format").args,
            Err(_) => Vec::new(),
        };
        let (exit, stdout, stderr) = run(&guest, &[], &args);
        let (_, _, explicit) = run(&guest, &["--explicit-checks"], &args);
        let stderr_explicit = (explicit != stderr).then_some(explicit);
        let expected = Expected {
            args,
            exit: exit.try_into().expect("a status"),
            stdout,
            stderr,
            stderr_explicit,
        };
        fs::write(&path, expected.to_string()).expect("the file can be written");
    }
}

#[test]
fn guests_do_as_expected_with_hardware_traps() {
    check(&[], Path::to_path_buf, Traps::Hardware);
}

#[test]
fn guests_do_as_expected_with_explicit_checks() {
    check(&["--explicit-checks"], Path::to_path_buf, Traps::Explicit);
}

#[test]
fn guests_do_as_expected_without_optimisation() {
    check(&["--opt-level", "none"], Path::to_path_buf, Traps::Hardware);
}

#[test]
fn guests_compiled_ahead_of_time_do_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let compile = |guest: &Path| {
        let name = guest.file_stem().expect("a name");
        let artifact = folder.path().join(name).with_extension("cwasm");
        let (from, to) = (guest.to_str().unwrap(), artifact.to_str().unwrap());
        let output = trapline(&["compile", from, "-o", to]);
        assert!(output.status.success(), "{output:?}");
        artifact
    };
    check(&[], compile, Traps::Hardware);
}
