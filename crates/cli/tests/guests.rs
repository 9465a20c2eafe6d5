//! Every guest in `guests/` does, run by the program itself, what the file
//! beside it says: exit status, standard output and standard error.
//!
//! `NAME.expected` has sections, each begun by a line with its keyword:
//!
//! ```text
//! args: --backtrace-limit 3        (optional: options for `run`)
//! exit: 134
//! --- stdout
//! --- stderr
//! error: wasm trap: …
//! --- stderr, explicit checks      (optional: if it differs)
//! ```
//!
//! Run with `TRAPLINE_BLESS=1` to write what happens as what is expected; then
//! look at the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

const STDOUT: &str = "--- stdout\n";
const STDERR: &str = "--- stderr\n";
const STDERR_EXPLICIT: &str = "--- stderr, explicit checks\n";

/// What a guest is expected to do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Expected {
    args: Vec<String>,
    exit: i32,
    stdout: String,
    stderr: String,
    stderr_explicit: Option<String>,
}

impl Expected {
    fn parse(text: &str) -> Self {
        let mut expected = Self::default();
        let (head, rest) = text.split_once(STDOUT).expect("a section for stdout");
        let (stdout, rest) = rest.split_once(STDERR).expect("a section for stderr");
        for line in head.lines() {
            match line.split_once(": ").expect("`args: …` or `exit: …`") {
                ("args", args) => expected.args = args.split(' ').map(str::to_string).collect(),
                ("exit", status) => expected.exit = status.parse().expect("a status"),
                (other, _) => panic!("there is no keyword {other}"),
            }
        }
        expected.stdout = stdout.into();
        match rest.split_once(STDERR_EXPLICIT) {
            Some((stderr, explicit)) => {
                expected.stderr = stderr.into();
                expected.stderr_explicit = Some(explicit.into());
            }
            None => expected.stderr = rest.into(),
        }
        expected
    }

    fn write(&self) -> String {
        let mut text = String::new();
        if !self.args.is_empty() {
            text += &format!("args: {}\n", self.args.join(" "));
        }
        text += &format!(
            "exit: {}\n{STDOUT}{}{STDERR}{}",
            self.exit, self.stdout, self.stderr
        );
        if let Some(explicit) = &self.stderr_explicit {
            text += STDERR_EXPLICIT;
            text += explicit;
        }
        text
    }
}

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

/// Runs all guests with `options`, or what `file` makes of them, and compares;
/// `stderr` picks what is expected.
fn check(options: &[&str], file: impl Fn(&Path) -> PathBuf, stderr: impl Fn(&Expected) -> &str) {
    static BLESS: Once = Once::new();
    if std::env::var_os("TRAPLINE_BLESS").is_some() {
        BLESS.call_once(bless);
    }
    let mut wrong = Vec::new();
    for guest in guests() {
        let text = fs::read_to_string(guest.with_extension("expected"))
            .unwrap_or_else(|error| panic!("{}: {error}", guest.display()));
        let expected = Expected::parse(&text);
        let got = run(&file(&guest), options, &expected.args);
        let wanted = (
            expected.exit,
            expected.stdout.clone(),
            stderr(&expected).to_string(),
        );
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

fn explicit(expected: &Expected) -> &str {
    expected
        .stderr_explicit
        .as_deref()
        .unwrap_or(&expected.stderr)
}

fn bless() {
    for guest in guests() {
        let path = guest.with_extension("expected");
        let args = match fs::read_to_string(&path) {
            Ok(text) => Expected::parse(&text).args,
            Err(_) => Vec::new(),
        };
        let (exit, stdout, stderr) = run(&guest, &[], &args);
        let (_, _, explicit) = run(&guest, &["--explicit-checks"], &args);
        let stderr_explicit = (explicit != stderr).then_some(explicit);
        let expected = Expected {
            args,
            exit,
            stdout,
            stderr,
            stderr_explicit,
        };
        fs::write(&path, expected.write()).expect("the file can be written");
    }
}

#[test]
fn guests_do_as_expected_with_hardware_traps() {
    check(&[], Path::to_path_buf, |expected| &expected.stderr);
}

#[test]
fn guests_do_as_expected_with_explicit_checks() {
    check(&["--explicit-checks"], Path::to_path_buf, explicit);
}

#[test]
fn guests_do_as_expected_without_optimisation() {
    check(&["--opt-level", "none"], Path::to_path_buf, |expected| {
        &expected.stderr
    });
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
    check(&[], compile, |expected| &expected.stderr);
}

#[test]
fn expectations_survive_writing_and_parsing() {
    let expected = Expected {
        args: vec!["--backtrace-limit".into(), "3".into()],
        exit: 134,
        stdout: "1\n".into(),
        stderr: "error: x\n".into(),
        stderr_explicit: Some("error: y\n".into()),
    };
    assert_eq!(Expected::parse(&expected.write()), expected);
}
