//! Scenarios that run in a process of their own.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use trapline_test_support::{exit, leave_no_core_dump, standard_error, test_around, this_program};

use super::os;

/// Set in a child: the number that its scenario gets.
const NUMBER: &str = "TRAPLINE_SIGNAL_TEST_CHILD";

/// After this many seconds a child is taken to hang. The slowest takes some, but a machine
/// that has other things to do may give it a hundredth of a processor.
const PATIENCE: u32 = 3000;

/// For address and thread sanitizer, where the tests are built with one: no handlers and signal stacks
/// of theirs, which come before the endings that the scenarios are about, and no search for leaks at
/// the end, which makes system calls that scenarios forbid.
const SANITIZERS: [&str; 2] = ["ASAN_OPTIONS", "TSAN_OPTIONS"];
const LEAVE_SIGNALS_ALONE: &str = "handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:\
    handle_abort=0:use_sigaltstack=0:detect_leaks=0";

/// Runs `scenario`, a `fn(i32)`, with `number` in a child, and returns how the
/// child ended. In the child, does not return.
///
/// To be used in a test's own body, in one place: the child is made to run the
/// test of which this is a part, up to the first use.
macro_rules! in_child {
    ($scenario:expr) => {
        $crate::support::child::in_child!(0, |_| $scenario())
    };
    ($number:expr, $scenario:expr) => {{
        fn here() {}
        $crate::support::child::run(&here, $number, $scenario)
    }};
}
pub(crate) use in_child;

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// What `in_child` expands to.
pub(crate) fn run<H>(here: &H, number: i32, scenario: fn(i32)) -> Ended {
    if let Ok(number) = env::var(NUMBER) {
        leave_no_core_dump();
        os::alarm(PATIENCE);
        scenario(number.parse().unwrap());
        say("end of scenario");
        exit(0);
    }
    let output = this_program()
        .args([
            test_around(here),
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(NUMBER, number.to_string())
        .envs(SANITIZERS.map(|name| (name, LEAVE_SIGNALS_ALONE)))
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    Ended {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: standard_error(&output.stderr),
    }
}

/// Writes a line to standard output, past the test harness, from anywhere.
pub(crate) fn say(line: &str) {
    os::write(1, line);
    os::write(1, "\n");
}

impl Ended {
    /// It ran to its end, and wrote nothing to standard error.
    #[track_caller]
    pub(crate) fn ran_to_its_end(&self) {
        assert!(
            self.status.success() && self.said("end of scenario"),
            "{self:#?}"
        );
        assert_eq!(self.stderr, "", "{self:#?}");
    }

    /// It was ended by `signal`, after it had said "armed", and nobody wrote
    /// anything to standard error.
    #[track_caller]
    pub(crate) fn died_silently_of(&self, signal: i32) {
        assert_eq!(self.status.signal(), Some(signal), "{self:#?}");
        assert!(
            self.said("armed") && !self.said("end of scenario"),
            "{self:#?}"
        );
        assert_eq!(self.stderr, "", "{self:#?}");
    }

    /// It was ended by `signal` after these words on standard error.
    #[track_caller]
    pub(crate) fn died_of(&self, signal: i32, words: &str) {
        assert_eq!(self.status.signal(), Some(signal), "{self:#?}");
        assert!(self.stderr.contains(words), "{self:#?}");
    }

    /// How many lines there are on standard error.
    pub(crate) fn lines_of_stderr(&self) -> usize {
        self.stderr.lines().count()
    }

    /// It ended with this exit code.
    #[track_caller]
    pub(crate) fn exited_with(&self, code: i32) {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        assert_eq!(self.stderr, "", "{self:#?}");
    }

    /// Whether it said this line.
    pub(crate) fn said(&self, line: &str) -> bool {
        // The harness may have left a line open before.
        self.stdout.lines().any(|said| said.ends_with(line))
    }

    /// What it wrote to standard error.
    pub(crate) fn stderr(&self) -> &str {
        &self.stderr
    }
}
