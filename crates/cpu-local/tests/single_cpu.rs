//! The bare-metal copy for images with one CPU, compiled into this hosted test
//! (with one thread for each static).

#![expect(unreachable_pub, reason = "public in the crate, private here")]

#[path = "../src/bare_metal/lazy.rs"]
mod lazy;
#[path = "../src/bare_metal/single_cpu.rs"]
mod single_cpu;
#[path = "../src/bare_metal/statics.rs"]
mod statics;

use std::cell::{Cell, RefCell};
use std::panic::catch_unwind;

pub use single_cpu::Slot;
use single_cpu::{area_layout, init_cpu, is_cpu_ready};
use statics::{CpuLocal, macro_support};

__cpu_local_const!(EARLY, Cell<usize>, { Cell::new(1) });
__cpu_local_lazy!(LATE, RefCell<Vec<usize>>, vec![initialise()].into());
__cpu_local_lazy!(ASKS_FOR_ITSELF, usize, ASKS_FOR_ITSELF.with(|n| *n));

__cpu_local_const!(RUNS, Cell<usize>, { Cell::new(0) });

fn initialise() -> usize {
    RUNS.with(|runs| runs.set(runs.get() + 1));
    7
}

#[test]
fn a_const_static_is_in_place_from_the_start_and_keeps_its_value() {
    EARLY.with(|cell| assert_eq!(cell.replace(2), 1));
    EARLY.with(|cell| assert_eq!(cell.get(), 2));
    let address = EARLY.with(std::ptr::from_ref);
    assert_eq!(EARLY.with(std::ptr::from_ref), address);
}

#[test]
fn a_lazy_static_is_initialised_once_when_first_asked_for() {
    RUNS.with(|runs| assert_eq!(runs.get(), 0));
    LATE.with(|list| list.borrow_mut().push(8));
    LATE.with(|list| assert_eq!(*list.borrow(), [7, 8]));
    RUNS.with(|runs| assert_eq!(runs.get(), 1));
}

#[test]
fn an_initialiser_that_asks_for_its_own_static_panics() {
    for _ in 0..2 {
        let payload = catch_unwind(|| ASKS_FOR_ITSELF.with(|n| *n)).unwrap_err();
        let message = payload.downcast_ref::<&str>().unwrap();
        assert!(message.contains("asks for itself"), "{message}");
    }
}

/// Kernels allocate what they are asked for, whatever the features.
#[test]
fn the_area_can_be_allocated() {
    let layout = area_layout();
    assert_ne!(
        layout.size(),
        0,
        "allocating nothing is undefined behaviour"
    );
    // SAFETY: not empty.
    let area = unsafe { std::alloc::alloc(layout) };
    assert!(!area.is_null());
    // SAFETY: whatever it is for, here it is nobody's any more.
    unsafe {
        init_cpu(area);
        std::alloc::dealloc(area, layout);
    }
}

#[test]
fn the_only_cpu_is_ready_from_the_start_and_uses_no_area() {
    assert!(is_cpu_ready());
    // SAFETY: there is nothing to promise.
    unsafe { init_cpu(std::ptr::null_mut()) };
    EARLY.with(|cell| cell.set(3));
    assert!(is_cpu_ready());
    EARLY.with(|cell| assert_eq!(cell.get(), 3));
}
