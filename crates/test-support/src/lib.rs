//! For the tests of this workspace: programs in processes of their own, on this
//! machine or in an emulator, host code that faults, made-up code ([`code`]), and
//! allocators that count ([`allocator`]).
//!
//! # Programs of the target
//!
//! A test that ends its process runs its own program again, and looks at how
//! that one ends. Where the tests are built for another instruction set, cargo
//! starts them through a *runner*, such as `qemu-aarch64 -L ROOT`, which it finds in
//! the environment as `CARGO_TARGET_<TRIPLE>_RUNNER`. Programs that tests start
//! inherit that variable and need the same runner; [`this_program`] and
//! [`program`] read it, so nobody has to be told twice. (A runner that is in a
//! configuration file of cargo is not seen: the processes then can't be started,
//! and the tests say so.)
//!
//! # What an emulator can't deliver
//!
//! A test of something that emulators of processes lack begins with
//! [`skipped_under_emulation!`], which says so past the test harness. The whole
//! list is in `docs/emulation.md`.

use std::any::type_name_of_val;
use std::env;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

pub mod allocator;
pub mod code;
#[cfg(target_os = "linux")]
pub mod fault;
#[cfg(unix)]
mod fork;
#[cfg(target_os = "linux")]
mod threads;

#[cfg(unix)]
pub use fork::{in_forked_child, on_a_new_thread};
#[cfg(target_os = "linux")]
pub use threads::{sleeps, thread_id};

/// Why a test that uses up the stack of a thread is skipped under emulation.
///
/// glibc 2.42 and later has Linux make the guard page by `madvise` with
/// `MADV_GUARD_INSTALL`; QEMU 7.2 says that it has done so, and does nothing. What
/// overflows then runs on into whatever lies below.
pub const NO_GUARD_PAGES: &str = "the stacks of threads have no guard pages there";

/// What cargo starts programs of this target with: program and arguments, split
/// as cargo splits them. Empty where programs are started directly.
fn runner() -> Vec<String> {
    let target = env!("TRAPLINE_TARGET").to_uppercase().replace('-', "_");
    env::var(format!("CARGO_TARGET_{target}_RUNNER"))
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// The name of the emulator that this process runs in, such as `qemu-s390x`;
/// `None` on a machine of the target's own kind.
#[must_use]
pub fn emulator() -> Option<String> {
    // Another program, such as one that limits the time, may start the emulator.
    runner().iter().find_map(|word| {
        let name = Path::new(word).file_name()?.to_str()?;
        name.starts_with("qemu-").then(|| name.to_owned())
    })
}

/// A command that runs `program`, built for the tests' own target.
pub fn program(program: impl AsRef<OsStr>) -> Command {
    let mut words = runner().into_iter();
    let Some(runner) = words.next() else {
        return Command::new(program);
    };
    let mut command = Command::new(runner);
    command.args(words).arg(program);
    command
}

/// A command that runs the program that calls this.
///
/// # Panics
///
/// If the operating system does not say which program this is.
#[must_use]
pub fn this_program() -> Command {
    program(env::current_exe().expect("the path of this program"))
}

/// The name of the test in which the item `here` is nested, as the test harness
/// knows it.
///
/// # Panics
///
/// If `here` is not inside of a function in a module.
#[must_use]
pub fn test_around<H>(here: &H) -> &'static str {
    // "binary::module::test::here"; what a macro puts around it is left out.
    let path = type_name_of_val(here);
    let (_, path) = path.split_once("::").expect("a path");
    let (test, _) = path.rsplit_once("::").expect("an item in a test");
    test
}

/// What a program wrote to standard error, without what the emulator adds when
/// a signal ends the program.
#[must_use]
pub fn standard_error(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if emulator().is_none() {
        return text.into_owned();
    }
    text.split_inclusive('\n')
        .filter(|line| {
            // Releases differ; where the signal is one that the emulator itself may cause,
            // newer ones take it for their own.
            let says = |what: &str| {
                line.split_once(": ")
                    .is_some_and(|(who, rest)| who.starts_with("qemu") && rest.starts_with(what))
            };
            !says("uncaught target signal ") && !says("QEMU internal SIG")
        })
        .collect()
}

/// Whether this process is emulated; then says on standard error, past the test
/// harness, that the test around `here` is skipped, and why. See
/// [`skipped_under_emulation!`].
pub fn is_skipped_under_emulation<H>(here: &H, reason: &str) -> bool {
    let Some(emulator) = emulator() else {
        return false;
    };
    let line = format!(
        "skipped under {emulator}: {}: {reason}\n",
        test_around(here)
    );
    // Nobody may be listening any more.
    let _ = std::io::stderr().write_all(line.as_bytes());
    true
}

/// Whether this process is emulated, for the rest of a test that needs what
/// emulators can't deliver: `if skipped_under_emulation!("why") { return; }`.
/// Names the test and the reason on standard error.
#[macro_export]
macro_rules! skipped_under_emulation {
    ($reason:expr) => {{
        fn here() {}
        $crate::is_skipped_under_emulation(&here, $reason)
    }};
}

/// Makes this process leave no core dump when a signal ends it.
///
/// # Panics
///
/// If the operating system refuses, which it has no reason to.
#[cfg(target_os = "linux")]
pub fn leave_no_core_dump() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads the structure.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    assert_eq!(result, 0);
}

/// Ends this process with `status`, from any thread.
///
/// Not by [`std::process::exit`]: that of toolchains before the change
/// rust-lang/rust#161037 unmaps the signal stack of the *main* thread, whichever
/// thread calls it. A handler that runs there at that moment (as one does for a
/// signal that was sent to the process) then ends the process by `SIGSEGV`.
#[cfg(target_os = "linux")]
pub fn exit(status: i32) -> ! {
    // SAFETY: runs what was registered to be run at the end, and ends the process; nobody
    // else does at the same time.
    unsafe { libc::exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_can_be_run_again() {
        let output = this_program()
            .args(["--exact", "no such test"])
            .output()
            .expect("a process");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(standard_error(&output.stderr), "");
    }

    #[test]
    fn a_test_is_named_as_the_harness_names_it() {
        fn here() {}
        assert_eq!(
            test_around(&here),
            "tests::a_test_is_named_as_the_harness_names_it"
        );
    }
}
