//! A bug of the host must look like one: whatever guests ran or are running, a
//! fault in host code kills the process by its own signal, and nothing of ours is
//! printed.
//!
//! Each scenario runs in a process of its own: this test program, started again
//! with the scenario's name in its environment.

use std::hint::black_box;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use trapline_embed::{Engine, Instance, Linker, Module, Store};
use trapline_wasmtime::compile::{CompileOptions, compile};

/// Names the scenario that a process is to run.
const SCENARIO: &str = "TRAPLINE_CRASH_SCENARIO";

/// What a scenario prints when it comes to the point of its crash.
const MARKER: &str = "about to crash";

/// Runs this program with one scenario and gives what it printed and how it
/// died.
fn run(scenario: &str) -> Output {
    trapline_test_support::this_program()
        .args(["--exact", "scenarios", "--nocapture"])
        .env(SCENARIO, scenario)
        .output()
        .expect("a process")
}

/// Runs a scenario that must die by `signal`, having printed the marker, and
/// nothing on standard error but what `expected_stderr` accepts.
fn dies(scenario: &str, signal: i32, expected_stderr: impl Fn(&str) -> bool) {
    let output = run(scenario);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        trapline_test_support::standard_error(&output.stderr),
    );
    let all = format!(
        "{scenario}: {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
        output.status
    );
    assert_eq!(output.status.signal(), Some(signal), "{all}");
    assert!(stdout.contains(MARKER), "{all}");
    assert!(expected_stderr(&stderr), "{all}");
    assert!(!stderr.contains("trapline"), "{all}");
}

#[test]
fn a_segfault_in_a_host_function_called_by_a_guest_kills_the_process_by_sigsegv() {
    dies("in_host_function", libc::SIGSEGV, str::is_empty);
}

#[test]
fn a_segfault_in_plain_rust_before_any_guest_kills_the_process_by_sigsegv() {
    dies("before_use", libc::SIGSEGV, str::is_empty);
}

#[test]
fn a_segfault_in_plain_rust_after_guests_have_trapped_kills_the_process_by_sigsegv() {
    dies("after_use", libc::SIGSEGV, str::is_empty);
}

#[test]
fn a_recursion_in_host_code_is_reported_by_std_as_without_us() {
    if trapline_test_support::skipped_under_emulation!(trapline_test_support::NO_GUARD_PAGES) {
        return;
    }
    // std's own handler, which was there before ours, prints and aborts.
    dies("host_recursion", libc::SIGABRT, |stderr| {
        stderr.contains("has overflowed its stack")
    });
}

#[test]
fn an_illegal_instruction_in_a_host_function_kills_the_process_by_sigill() {
    dies("host_illegal_instruction", libc::SIGILL, str::is_empty);
}

#[test]
fn a_signal_sent_to_a_thread_in_a_guest_kills_the_process_by_that_signal() {
    dies("sent", libc::SIGFPE, str::is_empty);
}

/// Not a test of its own: what [`run`] starts. Without a scenario it does
/// nothing.
#[test]
fn scenarios() {
    let Ok(scenario) = std::env::var(SCENARIO) else {
        return;
    };
    trapline_test_support::leave_no_core_dump();
    match scenario.as_str() {
        "in_host_function" => call_host(segfault),
        "before_use" => segfault(),
        "after_use" => {
            trap_a_few_times();
            segfault();
        }
        "host_recursion" => call_host(recurse),
        "host_illegal_instruction" => call_host(illegal_instruction),
        "sent" => call_host(|| {
            marker();
            // To this thread: one sent to the process may arrive at another, and
            // any time later.
            // SAFETY: sends a signal to the calling thread.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGFPE) };
        }),
        other => panic!("no scenario {other}"),
    }
}

fn marker() {
    println!("{MARKER}");
    std::io::stdout().flush().expect("standard output");
}

fn segfault() {
    marker();
    // SAFETY: none: this is the bug of the host.
    unsafe { black_box(core::ptr::without_provenance_mut::<u8>(0x10)).write_volatile(1) };
}

fn illegal_instruction() {
    marker();
    trapline_test_support::fault::illegal_instruction();
}

fn recurse() {
    #[expect(unconditional_recursion, reason = "the bug of the host")]
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        deeper(depth + 1) + frame[(depth % 64) as usize]
    }
    marker();
    black_box(deeper(0));
}

fn instance(host: impl Fn() + Send + Sync + 'static) -> (Store<()>, Instance) {
    let wat = r#"(module
        (import "host" "call" (func $call))
        (memory 1)
        (func $trap (export "trap") (drop (i32.load (i32.const 65536))))
        (func $inner (call $call))
        (func $run (export "run") (call $inner)))"#;
    let engine = Engine::new();
    let artifact = compile(wat.as_bytes(), &CompileOptions::host()).expect("a valid module");
    take_out_the_compilers_handlers();
    // SAFETY: the compiler's own output, unchanged.
    let module = unsafe { Module::load(&engine, &artifact) }.expect("an artifact of the compiler");
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "call", host);
    let instance = linker
        .instantiate(&mut store, &module)
        .expect("it instantiates");
    (store, instance)
}

/// Where the `wasmtime` crate is built with its runtime, as it is for the whole
/// workspace, an engine that compiles installs handlers of its own. Ours would
/// forward to them, and they do with a signal that somebody sends as they please:
/// they restore the default action and return, and the signal is lost. What is
/// tested here is a process that has our handlers and those of `std` (for the
/// two other signals).
fn take_out_the_compilers_handlers() {
    for signal in [libc::SIGILL, libc::SIGFPE] {
        // SAFETY: the default action; none of our handlers is installed yet.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Has a guest call `host`, after it has trapped.
fn call_host(host: impl Fn() + Send + Sync + 'static) {
    let (mut store, instance) = instance(host);
    let trap = instance.get_func(&mut store, "trap").expect("an export");
    trap.call(&mut store, &[]).expect_err("it traps");
    let run = instance.get_func(&mut store, "run").expect("an export");
    run.call(&mut store, &[])
        .expect("unless the process is dead, the host returned");
}

fn trap_a_few_times() {
    let (mut store, instance) = instance(|| {});
    let trap = instance.get_func(&mut store, "trap").expect("an export");
    for _ in 0..5 {
        trap.call(&mut store, &[]).expect_err("it traps");
    }
}
