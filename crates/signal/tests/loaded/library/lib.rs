//! A library with a guest and its handlers, for programs that know nothing of either.

// The guest of the other tests.
#[expect(dead_code, reason = "the other tests use more of it")]
#[path = "../../hosted/support/guest/mod.rs"]
mod guest;
#[expect(dead_code, reason = "the other tests use more of it")]
#[path = "../../hosted/support/os.rs"]
mod os;

use guest::{Function, GuestStore};

/// Runs guests that trap on this thread; 0 if all traps were caught.
#[unsafe(no_mangle)]
pub extern "C" fn run_guests() -> i32 {
    trapline_signal::ensure_installed().unwrap();
    trapline_signal::prepare_thread().unwrap();
    let store = GuestStore::new();
    let address = store.in_guard();
    [(Function::Unreachable, 0), (Function::Load, address), (Function::Divide, 0)]
        .into_iter()
        .filter(|&(function, argument)| store.call(function, argument).is_ok())
        .count() as i32
}
