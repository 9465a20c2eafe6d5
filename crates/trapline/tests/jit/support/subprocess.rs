//! Tests that end their process: each runs itself again, in a process of its
//! own.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use trapline_test_support::{exit, leave_no_core_dump, standard_error, this_program};

use super::store::Entry;

/// Set in the process that is to end: the kind of entry to try.
const CHILD: &str = "TRAPLINE_JIT_TEST_CHILD";

/// Runs `crash` as the test `name` (its full path) in a process of its own for
/// each kind of entry, and gives what these processes left.
pub(crate) fn outputs_of(name: &str, crash: impl Fn(Entry)) -> [Output; 2] {
    if let Ok(entry) = env::var(CHILD) {
        leave_no_core_dump();
        Entry::BOTH
            .into_iter()
            .filter(|known| format!("{known:?}") == entry)
            .for_each(crash);
        println!("the process is still there");
        exit(0);
    }
    Entry::BOTH.map(|entry| {
        this_program()
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, format!("{entry:?}"))
            .env_remove("RUST_BACKTRACE")
            .output()
            .expect("the test program can be run")
    })
}

/// Runs `crash` the same way; the processes have to die by `signal`, with
/// nothing on their standard error.
pub(crate) fn assert_dies_silently(name: &str, signal: i32, crash: impl Fn(Entry)) {
    for output in outputs_of(name, crash) {
        assert_eq!(output.status.signal(), Some(signal), "{output:?}");
        assert_eq!(standard_error(&output.stderr), "", "{output:?}");
    }
}
