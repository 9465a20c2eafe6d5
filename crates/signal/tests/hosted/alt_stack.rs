//! The alternate signal stacks of threads.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use libc::{c_int, c_void, siginfo_t};
use trapline_signal::{PrepareThreadError, ensure_installed, install, prepare_thread};
use trapline_test_support::fault;

use super::support::child::{in_child, say};
use super::support::guest::{Function, GuestStore};
use super::support::{os, recurse as use_up_the_stack};

const RW: c_int = libc::PROT_READ | libc::PROT_WRITE;

fn range(stack: &libc::stack_t) -> Range<usize> {
    stack.ss_sp.addr()..stack.ss_sp.addr() + stack.ss_size
}

/// Runs `f` on a thread that nobody has given a signal stack, and `at_end` on
/// it when its thread-locals have been destroyed.
fn on_bare_thread(f: fn(), at_end: fn()) {
    struct Work {
        f: fn(),
        at_end: fn(),
        key: libc::pthread_key_t,
    }
    extern "C" fn run(work: *mut c_void) -> *mut c_void {
        // SAFETY: `work` is the structure below, which outlives the thread; a
        // pthread key's destructor runs after those of thread-locals.
        unsafe {
            let work = work.cast::<Work>();
            assert_eq!(libc::pthread_setspecific((*work).key, work.cast()), 0);
            ((*work).f)();
        }
        ptr::null_mut()
    }
    unsafe extern "C" fn end(work: *mut c_void) {
        // SAFETY: as above.
        unsafe { ((*work.cast::<Work>()).at_end)() }
    }

    let mut key = 0;
    // SAFETY: the destructor gets what `run` puts there.
    let result = unsafe { libc::pthread_key_create(&raw mut key, Some(end)) };
    assert_eq!(result, 0);
    let mut work = Work { f, at_end, key };
    // (A number in glibc, a pointer in musl.)
    let mut thread = MaybeUninit::uninit();
    // SAFETY: `work` lives until the thread has been joined.
    unsafe {
        let work = (&raw mut work).cast();
        assert_eq!(
            libc::pthread_create(thread.as_mut_ptr(), ptr::null(), run, work),
            0
        );
        assert_eq!(libc::pthread_join(thread.assume_init(), ptr::null_mut()), 0);
        // There are not many of them.
        assert_eq!(libc::pthread_key_delete(key), 0);
    }
}

#[test]
fn a_stack_of_ours_is_large_and_has_a_guard_page() {
    thread::spawn(|| {
        prepare_thread().unwrap();
        let stack = range(&os::signal_stack());
        assert!(stack.len() >= 256 * 1024 + 2048);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let access_at = |address: usize| {
            maps.lines().find_map(|line| {
                let (range, rest) = line.split_once(' ').unwrap();
                let (from, to) = range.split_once('-').unwrap();
                let [from, to] = [from, to].map(|hex| usize::from_str_radix(hex, 16).unwrap());
                (from..to).contains(&address).then(|| rest[..4].to_owned())
            })
        };
        assert_eq!(access_at(stack.start).unwrap(), "rw-p");
        assert_eq!(access_at(stack.end - 1).unwrap(), "rw-p");
        assert_eq!(access_at(stack.start - 1).unwrap(), "---p");
    })
    .join()
    .unwrap();
}

#[test]
fn preparing_a_thread_again_changes_nothing() {
    thread::spawn(|| {
        prepare_thread().unwrap();
        let stack = range(&os::signal_stack());
        prepare_thread().unwrap();
        assert_eq!(range(&os::signal_stack()), stack);
    })
    .join()
    .unwrap();
}

#[test]
fn a_stack_that_is_large_enough_is_reused_and_left_alone() {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    on_bare_thread(
        || {
            let memory = os::map(128 * 1024, RW);
            GIVEN.store(memory.start, SeqCst);
            os::set_signal_stack(memory.clone());
            prepare_thread().unwrap();
            assert_eq!(range(&os::signal_stack()), memory);
        },
        || assert_eq!(os::signal_stack().ss_sp.addr(), GIVEN.load(SeqCst)),
    );
    assert_ne!(GIVEN.load(SeqCst), 0);
}

#[test]
fn a_stack_that_is_too_small_is_replaced_and_put_back() {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    static BACK: AtomicUsize = AtomicUsize::new(0);
    on_bare_thread(
        || {
            let memory = os::map(16 * 1024, RW);
            GIVEN.store(memory.start, SeqCst);
            os::set_signal_stack(memory.clone());
            prepare_thread().unwrap();
            assert_ne!(range(&os::signal_stack()).start, memory.start);
        },
        || BACK.store(os::signal_stack().ss_sp.addr(), SeqCst),
    );
    assert_ne!(BACK.load(SeqCst), 0);
    assert_eq!(BACK.load(SeqCst), GIVEN.load(SeqCst));
}

#[test]
fn no_stack_is_put_back_where_there_was_none() {
    static ENABLED: AtomicBool = AtomicBool::new(true);
    in_child!(|| {
        on_bare_thread(
            || prepare_thread().unwrap(),
            || ENABLED.store(os::signal_stack().ss_flags & libc::SS_DISABLE == 0, SeqCst),
        );
        assert!(!ENABLED.load(SeqCst));
    })
    .ran_to_its_end();
}

#[test]
fn a_stack_that_somebody_put_in_place_of_ours_is_left_alone() {
    static THEIRS: AtomicUsize = AtomicUsize::new(0);
    static AT_END: AtomicUsize = AtomicUsize::new(0);
    static OURS: AtomicUsize = AtomicUsize::new(0);
    in_child!(|| {
        on_bare_thread(
            || {
                prepare_thread().unwrap();
                OURS.store(os::signal_stack().ss_sp.addr(), SeqCst);
                let memory = os::map(32 * 1024, RW);
                THEIRS.store(memory.start, SeqCst);
                os::set_signal_stack(memory);
            },
            || AT_END.store(os::signal_stack().ss_sp.addr(), SeqCst),
        );
        assert_ne!(AT_END.load(SeqCst), 0);
        assert_eq!(AT_END.load(SeqCst), THEIRS.load(SeqCst));
        // Ours is gone all the same.
        let page = ptr::with_exposed_provenance_mut(OURS.load(SeqCst));
        let mut resident = 0_u8;
        // SAFETY: asks about one page.
        let result = unsafe { libc::mincore(page, 4096, &raw mut resident) };
        assert_eq!((result, os::errno()), (-1, libc::ENOMEM));
    })
    .ran_to_its_end();
}

#[test]
fn thousands_of_threads_leave_no_stack_behind() {
    fn a_thread() {
        prepare_thread().unwrap();
        assert!(GuestStore::new().call(Function::Unreachable, 0).is_err());
    }
    in_child!(|| {
        ensure_installed().unwrap();
        let run = |threads: usize| {
            for _ in 0..threads / 20 {
                let batch: Vec<_> = (0..20)
                    .map(|_| thread::spawn(|| prepare_thread().unwrap()))
                    .collect();
                batch.into_iter().for_each(|thread| thread.join().unwrap());
            }
        };
        thread::spawn(a_thread).join().unwrap();
        // The allocator gets its arenas, and threads their first stacks.
        run(200);
        let before = os::mappings();
        run(4000);
        for _ in 0..400 {
            on_bare_thread(|| prepare_thread().unwrap(), || ());
        }
        let after = os::mappings();
        // How many of the stacks of ended threads the C library keeps depends on
        // how many of a batch ran at a time.
        assert!(
            after < before + 200,
            "{before} mappings before, {after} after"
        );
    })
    .ran_to_its_end();
}

#[test]
fn a_thread_that_is_ending_is_told_so() {
    struct AtEnd;
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let result = prepare_thread();
            TOLD.store(
                matches!(result, Err(PrepareThreadError::ThreadEnding)),
                SeqCst,
            );
        }
    }
    static TOLD: AtomicBool = AtomicBool::new(false);
    thread_local!(static AT_END: AtEnd = const { AtEnd });

    thread::spawn(|| {
        // Destroyed in the opposite order.
        AT_END.with(|_| ());
        prepare_thread().unwrap();
    })
    .join()
    .unwrap();
    assert!(TOLD.load(SeqCst));
}

#[test]
fn a_handler_cannot_prepare_its_thread() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    unsafe extern "C" fn prepare(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        let result = prepare_thread();
        TOLD.store(matches!(result, Err(PrepareThreadError::InHandler)), SeqCst);
    }
    in_child!(|| {
        os::install(libc::SIGUSR1, prepare, libc::SA_ONSTACK, &[]);
        os::set_signal_stack(os::map(32 * 1024, RW));
        os::send_to_self(libc::SIGUSR1);
        assert!(TOLD.load(SeqCst));
        // Nothing has changed: afterwards it works.
        prepare_thread().unwrap();
        assert!(os::signal_stack().ss_size > 128 * 1024);
    })
    .ran_to_its_end();
}

#[test]
fn a_thread_that_ends_in_a_handler_keeps_its_stack() {
    unsafe extern "C" fn end(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        assert!(os::is_on_signal_stack());
        say("ending on the signal stack");
        // Runs the destructors of this thread's thread-locals, here.
        // SAFETY: no more than any handler that does this.
        unsafe { libc::exit(7) };
    }
    let ended = in_child!(|| {
        os::install(libc::SIGILL, end, 0, &[]);
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        fault::raise(libc::SIGILL);
    });
    assert!(ended.said("ending on the signal stack"), "{ended:#?}");
    ended.exited_with(7);
}

#[test]
fn a_handler_from_before_us_may_end_its_thread() {
    unsafe extern "C-unwind" {
        fn pthread_exit(value: *mut c_void) -> !;
    }
    unsafe extern "C-unwind" fn end(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        // SAFETY: the frames between here and the start of the thread have no
        // destructors.
        unsafe { pthread_exit(ptr::null_mut()) }
    }
    extern "C-unwind" fn thread(_: *mut c_void) -> *mut c_void {
        prepare_thread().unwrap();
        os::send_to_self(libc::SIGFPE);
        unreachable!()
    }
    in_child!(|| {
        let flags = libc::SA_SIGINFO;
        os::set_action(
            libc::SIGFPE,
            &os::action(end as *const () as usize, flags, &[]),
        );
        let _handlers = install().unwrap();
        let before = os::mappings();
        for _ in 0..100 {
            let mut id = MaybeUninit::uninit();
            // SAFETY: the function has the type that is wanted but for being
            // one that may be unwound out of, as `pthread_exit` does.
            unsafe {
                let start = std::mem::transmute::<
                    extern "C-unwind" fn(*mut c_void) -> *mut c_void,
                    extern "C" fn(*mut c_void) -> *mut c_void,
                >(thread);
                let nothing = ptr::null_mut();
                assert_eq!(
                    libc::pthread_create(id.as_mut_ptr(), ptr::null(), start, nothing),
                    0
                );
                assert_eq!(libc::pthread_join(id.assume_init(), ptr::null_mut()), 0);
            }
        }
        // musl does not unwind: thread-locals are destroyed in the handler, whose stack has to stay.
        if cfg!(not(target_env = "musl")) {
            assert!(os::mappings() < before + 20);
        }
    })
    .ran_to_its_end();
}

#[test]
fn a_handler_that_uses_up_the_signal_stack_meets_the_guard_page() {
    unsafe extern "C" fn recurse(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        use_up_the_stack(0);
    }
    in_child!(|| {
        os::install(libc::SIGILL, recurse, 0, &[]);
        let _handlers = install().unwrap();
        // Without a handler for it, as most programs outside of Rust.
        os::set_action(libc::SIGSEGV, &os::action(libc::SIG_DFL, 0, &[]));
        prepare_thread().unwrap();
        say("armed");
        fault::raise(libc::SIGILL);
    })
    .died_silently_of(libc::SIGSEGV);
}

#[test]
fn our_handler_needs_less_stack_than_we_say() {
    const PAINT: u8 = 0xa5;
    const SIZE: usize = 256 * 1024;
    thread_local!(static USED: Cell<usize> = const { Cell::new(0) });

    ensure_installed().unwrap();
    thread::spawn(|| {
        let memory = os::map(SIZE, RW);
        let stack = ptr::with_exposed_provenance_mut::<u8>(memory.start);
        // SAFETY: the memory is ours, and no signal comes before the fault.
        unsafe { stack.write_bytes(PAINT, SIZE) };
        os::set_signal_stack(memory.clone());
        prepare_thread().unwrap();
        assert_eq!(range(&os::signal_stack()), memory);

        assert!(GuestStore::new().call(Function::Unreachable, 0).is_err());

        // SAFETY: mapped; the handler has returned.
        let untouched = (0..SIZE).take_while(|&i| unsafe { stack.add(i).read() } == PAINT);
        USED.set(SIZE - untouched.count());
        // What the kernel pushes is counted, too: AT_MINSIGSTKSZ at most.
        // SAFETY: asks only.
        let frame = unsafe { libc::getauxval(51) } as usize;
        let used = USED.get();
        assert!(used > 512, "it ran there");
        assert!(
            used < frame + 16 * 1024,
            "{used} bytes used, the frame {frame} among them"
        );
    })
    .join()
    .unwrap();
}
