//! What `cpu_local!` promises on a hosted target.

use std::cell::{Cell, RefCell};

use trapline_cpu_local::cpu_local;

mod elsewhere {
    use std::cell::Cell;

    trapline_cpu_local::cpu_local! {
        /// Visible outside of its module.
        pub(crate) static SHARED_NAME: Cell<u8> = const { Cell::new(9) };
    }
}

cpu_local! {
    static EARLY: Cell<usize> = const { Cell::new(1) };
    static LATE: Cell<usize> = Cell::new(initialise());
    #[cfg(any())]
    static LEFT_OUT: Cell<NoSuchType> = const { Cell::new(NoSuchType) };
    /// Attributes are kept: the one above is compiled out.
    static USED: Cell<u8> = const { Cell::new(0) };
    static LIST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) }
}

cpu_local! {
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

fn initialise() -> usize {
    RUNS.set(RUNS.get() + 1);
    7
}

#[test]
fn each_thread_has_its_own_copy() {
    EARLY.set(5);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(EARLY.get(), 1);
            EARLY.set(6);
        });
    });
    assert_eq!(EARLY.get(), 5);
}

#[test]
fn a_lazy_initialiser_runs_once_on_each_thread_and_only_when_asked_for() {
    let runs = || {
        assert_eq!(RUNS.get(), 0);
        assert_eq!(LATE.get(), 7);
        assert_eq!(LATE.get(), 7);
        assert_eq!(RUNS.get(), 1);
    };
    std::thread::scope(|scope| {
        scope.spawn(runs);
        scope.spawn(runs);
    });
}

#[test]
fn cells_have_get_set_take_and_replace() {
    EARLY.set(3);
    assert_eq!(EARLY.replace(4), 3);
    assert_eq!(EARLY.take(), 4);
    assert_eq!(EARLY.get(), 0);
    assert_eq!(USED.get(), 0);
    assert_eq!(elsewhere::SHARED_NAME.get(), 9);
}

#[test]
fn other_types_are_reached_by_shared_reference() {
    LIST.with(|list| list.borrow_mut().push(2));
    assert_eq!(LIST.with(|list| list.borrow().clone()), [2]);
}
