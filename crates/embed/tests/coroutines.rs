//! Host functions that switch stacks with a crate of safe coroutines: what is in order stays so, and
//! what leaves guests in another order than it entered them stops the process, with a message.
//!
//! Each scenario that has to stop runs in a process of its own.
#![cfg(all(target_os = "linux", not(target_arch = "s390x")))]
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "loads what the compiler wrote")]
mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::sync::{Arc, Mutex};

use anyhow::anyhow;
use common::{MODES, Mode};
use generator::{Generator, Gn};
use trapline_embed::{Engine, Error, Linker, Module, Store, TypedFunc};
use trapline_test_support::{leave_no_core_dump, standard_error, test_around, this_program};

/// Calls the host, then loads from an address.
const GUEST: &str = r#"(module
    (import "host" "call" (func $call))
    (memory 1)
    (func $inner (param i32) (result i32) (call $call) (i32.load (local.get 0)))
    (func (export "go") (param i32) (result i32) (call $inner (local.get 0))))"#;

/// No address of the memory.
const OUTSIDE: i32 = 0x2_0000;

/// Set in a process that runs a scenario: which of the modes.
const MODE: &str = "TRAPLINE_COROUTINES_TEST_MODE";

/// Words of stack for a coroutine: 1 MiB, for guests and for a panic's message.
const WORDS: usize = 0x2_0000;

type Coroutine = Generator<'static, (), ()>;

/// What loads the guest, in one of the modes.
#[derive(Clone)]
struct Guests {
    mode: Mode,
    engine: Engine,
    module: Module,
}

impl Guests {
    fn new(mode: Mode) -> Self {
        let engine = mode.engine();
        let module = mode.module(&engine, GUEST);
        Self {
            mode,
            engine,
            module,
        }
    }

    /// Calls the guest, in a store of its own, with this host function.
    fn go(
        &self,
        address: i32,
        host: impl Fn() -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Result<i32, Error> {
        let (mut store, go) = self.guest(host);
        go.call(&mut store, address)
    }

    fn guest(
        &self,
        host: impl Fn() -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> (Store<()>, TypedFunc<i32, i32>) {
        let mut linker = Linker::new(&self.engine);
        linker.func_wrap("host", "call", host);
        let mut store = self.mode.store(&self.engine, ());
        // What is left of a coroutine's stack.
        store.set_max_wasm_stack(WORDS * size_of::<usize>() / 4);
        let instance = linker.instantiate(&mut store, &self.module).unwrap();
        let go = instance.get_typed_func(&mut store, "go").unwrap();
        (store, go)
    }

    /// A coroutine that waits in a host function of its guest.
    fn coroutine_in_a_guest(&self) -> Coroutine {
        let guests = self.clone();
        let mut coroutine = Gn::new_opt(WORDS, move || {
            let yields = || {
                #[expect(
                    deprecated,
                    reason = "the other one can't be used in what lives for ever"
                )]
                generator::yield_with(());
                Ok(())
            };
            guests.go(0, yields).unwrap();
        });
        coroutine.resume();
        assert!(!coroutine.is_done());
        coroutine
    }
}

/// A coroutine that a host function may have.
fn shared(coroutine: Coroutine) -> Arc<Mutex<Option<Coroutine>>> {
    Arc::new(Mutex::new(Some(coroutine)))
}

macro_rules! assert_stops {
    ($words:expr, $scenario:expr) => {{
        fn here() {}
        assert_stops(test_around(&here), $words, $scenario)
    }};
}

/// Runs the scenario in a process of its own for each mode. It has to stop by itself, with these words
/// and the rule on standard error, before the scenario is at its end.
fn assert_stops(test: &str, words: &str, scenario: impl Fn(Guests)) {
    if let Ok(mode) = std::env::var(MODE) {
        leave_no_core_dump();
        scenario(Guests::new(MODES[mode.parse::<usize>().unwrap()]));
        println!("end of scenario");
        std::process::exit(0);
    }
    for (nth, mode) in MODES.into_iter().enumerate() {
        let output = this_program()
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(MODE, nth.to_string())
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let stderr = standard_error(&output.stderr);
        let all = format!("{mode:?}: {}\n{stderr}", output.status);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{all}");
        assert!(stderr.contains(words), "{all}");
        for words in ["last in, first out", "suspend_activations", "resume"] {
            assert!(stderr.contains(words), "{all}");
        }
    }
}

const LEFT: &str = "a guest was left that is not the one entered last";
const RECORDED: &str = "was recorded on a stack that this guest does not run on";

/// The head of the chain would be an activation on a stack that is gone.
#[test]
fn a_coroutine_that_leaves_its_guest_below_a_newer_one_stops_the_process() {
    assert_stops!(LEFT, |guests| {
        let coroutine = shared(guests.coroutine_in_a_guest());
        let finish = move || {
            if let Some(mut coroutine) = coroutine.lock().unwrap().take() {
                coroutine.resume();
            }
            Ok(())
        };
        let _ = guests.go(0, finish);
    });
}

#[test]
fn a_guest_that_is_left_while_a_coroutine_is_in_a_newer_one_stops_the_process() {
    assert_stops!(LEFT, |guests| {
        let coroutine = shared_none();
        let start = {
            let (guests, coroutine) = (guests.clone(), coroutine.clone());
            move || {
                *coroutine.lock().unwrap() = Some(guests.coroutine_in_a_guest());
                Ok(())
            }
        };
        let _ = guests.go(0, start);
    });
}

#[test]
fn an_error_while_a_coroutine_is_in_a_newer_guest_stops_the_process() {
    assert_stops!(RECORDED, |guests| {
        let coroutine = shared_none();
        let start_and_fail = {
            let (guests, coroutine) = (guests.clone(), coroutine.clone());
            move || {
                *coroutine.lock().unwrap() = Some(guests.coroutine_in_a_guest());
                Err(anyhow!("on purpose"))
            }
        };
        let _ = guests.go(0, start_and_fail);
    });
}

#[test]
fn a_trap_while_a_coroutine_is_in_a_newer_guest_stops_the_process() {
    // By the hardware, or by a check.
    assert_stops!("", |guests| {
        let coroutine = shared_none();
        let start = {
            let (guests, coroutine) = (guests.clone(), coroutine.clone());
            move || {
                *coroutine.lock().unwrap() = Some(guests.coroutine_in_a_guest());
                Ok(())
            }
        };
        let _ = guests.go(OUTSIDE, start);
    });
}

/// A coroutine that is dropped is unwound, through its guest.
#[test]
fn a_coroutine_that_is_dropped_below_a_newer_guest_stops_the_process() {
    assert_stops!(RECORDED, |guests| {
        let coroutine = shared(guests.coroutine_in_a_guest());
        let drop_it = move || {
            drop(coroutine.lock().unwrap().take());
            Ok(())
        };
        let _ = guests.go(0, drop_it);
    });
}

fn shared_none() -> Arc<Mutex<Option<Coroutine>>> {
    Arc::new(Mutex::new(None))
}

#[test]
fn a_coroutine_that_is_done_with_its_guest_before_the_older_one_goes_on_is_in_order() {
    for guests in MODES.map(Guests::new) {
        let inner = guests.clone();
        let start_and_finish = move || {
            let mut coroutine = inner.coroutine_in_a_guest();
            coroutine.resume();
            assert!(coroutine.is_done());
            // Or is dropped.
            drop(inner.coroutine_in_a_guest());
            anyhow::ensure!(inner.go(OUTSIDE, || Ok(())).is_err());
            Err(anyhow!("on purpose"))
        };
        let error = guests.go(0, start_and_finish).unwrap_err();
        assert_eq!(error.into_host_error().unwrap().to_string(), "on purpose");
    }
}

/// Traps and errors of a guest on a coroutine's stack come out there.
#[test]
fn a_guest_on_a_coroutines_stack_is_left_as_on_any_other() {
    for guests in MODES.map(Guests::new) {
        let inner = guests.clone();
        let on_a_coroutine = move || {
            let inner = inner.clone();
            let mut coroutine: Generator<'_, (), bool> = Gn::new_opt(WORDS, move || {
                let trap = inner.go(OUTSIDE, || Ok(())).unwrap_err();
                assert_eq!(trap.wasm_backtrace().frames().len(), 2);
                let error = inner.go(0, || Err(anyhow!("on purpose"))).unwrap_err();
                error.into_host_error().is_ok()
            });
            anyhow::ensure!(coroutine.resume() == Some(true));
            Ok(())
        };
        assert_eq!(guests.go(0, on_a_coroutine).unwrap(), 0);
    }
}
