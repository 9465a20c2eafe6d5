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

#[test]
fn a_copy_is_dropped_once_when_its_thread_ends() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }
    cpu_local! {
        static DROPPED: RefCell<Option<Counted>> = const { RefCell::new(None) };
    }
    for ended in 1..=3 {
        std::thread::spawn(|| DROPPED.with(|slot| *slot.borrow_mut() = Some(Counted)))
            .join()
            .unwrap();
        assert_eq!(DROPS.load(Ordering::Relaxed), ended);
    }
}

#[test]
fn a_copy_need_be_neither_send_nor_sync_and_stays_where_it_is() {
    use std::rc::Rc;
    cpu_local! {
        static SHARED: Rc<Cell<u8>> = Rc::new(Cell::new(1));
    }
    let kept = SHARED.with(Rc::clone);
    kept.set(2);
    assert_eq!(SHARED.with(|shared| shared.get()), 2);
    let address = SHARED.with(std::ptr::from_ref);
    assert_eq!(SHARED.with(std::ptr::from_ref), address);
}

#[test]
fn statics_of_the_same_name_in_different_scopes_are_different() {
    fn one() -> usize {
        cpu_local! {
            static EARLY: Cell<usize> = const { Cell::new(10) };
        }
        EARLY.replace(11)
    }
    fn other() -> usize {
        cpu_local! {
            static EARLY: Cell<usize> = const { Cell::new(20) };
        }
        EARLY.replace(21)
    }
    assert_eq!((one(), other(), one(), other()), (10, 20, 11, 21));
}

#[test]
fn an_access_may_contain_another_one() {
    cpu_local! {
        static OUTER: Cell<u8> = const { Cell::new(1) };
        static INNER: Cell<u8> = Cell::new(OUTER.get() + 1);
    }
    let sum = OUTER.with(|outer| {
        INNER.with(|inner| OUTER.with(|again| outer.get() + inner.get() + again.get()))
    });
    assert_eq!(sum, 4);
}

#[test]
fn an_initialiser_that_panicked_is_run_again() {
    cpu_local! {
        static TRIES: Cell<usize> = const { Cell::new(0) };
        static SECOND_TIME_LUCKY: usize = {
            TRIES.set(TRIES.get() + 1);
            assert!(TRIES.get() > 1, "the first time");
            TRIES.get()
        };
    }
    std::panic::catch_unwind(|| SECOND_TIME_LUCKY.with(|n| *n)).unwrap_err();
    assert_eq!(SECOND_TIME_LUCKY.with(|n| *n), 2);
    assert_eq!(SECOND_TIME_LUCKY.with(|n| *n), 2);
}

#[test]
fn no_statics_are_declared_by_an_empty_call() {
    cpu_local! {}
    assert_eq!(format!("{USED:?}"), "CpuLocal { .. }");
}
