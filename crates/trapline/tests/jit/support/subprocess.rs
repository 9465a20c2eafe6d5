//! Tests that end their process: each runs itself again, in a process of its
//! own.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

/// Set in the process that is to end.
const CHILD: &str = "TRAPLINE_JIT_TEST_CHILD";

/// Runs `crash` in a process of its own, as the test `name` (its full path),
/// and gives what that process left.
///
/// # Panics
///
/// If `crash` returns.
pub(crate) fn output_of(name: &str, crash: impl FnOnce()) -> Output {
    if env::var_os(CHILD).is_some() {
        let no_core_dump = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: reads the structure.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core_dump) };
        crash();
        println!("still there");
        std::process::exit(0);
    }
    Command::new(env::current_exe().expect("the test program"))
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("the test program can be run")
}

/// Runs `crash` the same way; it has to die by `signal`, with nothing on its
/// standard error.
pub(crate) fn assert_dies_silently(name: &str, signal: i32, crash: impl FnOnce()) {
    let output = output_of(name, crash);
    assert_eq!(output.status.signal(), Some(signal), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{output:?}");
}
