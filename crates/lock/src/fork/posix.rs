//! `pthread_atfork`: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/pthread_atfork.html>.

use core::cell::UnsafeCell;
use core::hint;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::boxed::Box;
use std::sync::{
    Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};
use std::vec::Vec;

/// The right to have a lock, until dropped. `None` for a thread that forks, which has the gate for itself:
/// other people's handlers of the same fork may take locks.
pub(crate) struct Inside {
    _share: Option<RwLockReadGuard<'static, ()>>,
}

struct Gate {
    /// Shared by those that are inside. Replaced in a child, which nobody else is in.
    lock: UnsafeCell<RwLock<()>>,
    /// The thread that forks, 0 if none does.
    forking: AtomicUsize,
    /// That thread's.
    fork: UnsafeCell<Fork>,
}

// SAFETY: `fork` is used by the thread that has the lock for itself, and `lock` is written only where there is
// no other thread.
unsafe impl Sync for Gate {}

/// A fork that is under way.
struct Fork {
    gate: Option<RwLockWriteGuard<'static, ()>>,
    /// How often the handlers below are there beyond the first time: threads that take their first lock
    /// at the same moment may install them more than once.
    again: usize,
}

static GATE: Gate = Gate {
    lock: UnsafeCell::new(RwLock::new(())),
    forking: AtomicUsize::new(0),
    fork: UnsafeCell::new(Fork {
        gate: None,
        again: 0,
    }),
};

impl Gate {
    fn lock(&'static self) -> &'static RwLock<()> {
        // SAFETY: written only in a child, before its only thread comes here.
        unsafe { &*self.lock.get() }
    }

    /// Whether this thread is the one that forks.
    fn is_forked_here(&self) -> bool {
        // What other threads see here is never theirs, whatever the order.
        self.forking.load(Ordering::Relaxed) == this_thread()
    }
}

/// Whether the handlers of forks are there.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Installs the handlers when the program starts, or the library that this is in is loaded: before there are
/// locks to wait for. A fork that has begun before they are there does not wait, and nobody can tell that one is
/// under way.
#[used]
// SAFETY: what lies in these sections are functions that the loader calls, in normal context.
#[cfg_attr(
    target_vendor = "apple",
    unsafe(link_section = "__DATA,__mod_init_func")
)]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static AT_START: extern "C" fn() = at_start;

extern "C" fn at_start() {
    // What is installed last is called first when a fork begins. Whoever takes our locks under their own, and has
    // handlers that take those along, comes later than this. An allocator, which those use who are inside,
    // has to come earlier; its handlers, if it has some, come with the first allocation.
    drop(hint::black_box(Box::new(0_u8)));
    install();
}

/// Waits until nobody forks.
#[inline]
pub(crate) fn enter() -> Inside {
    // Where nothing is called at the start, or there was no memory then.
    if !INSTALLED.load(Ordering::Acquire) {
        install();
    }
    let share = match GATE.lock().try_read() {
        Ok(share) => Some(share),
        Err(TryLockError::Poisoned(share)) => Some(share.into_inner()),
        Err(TryLockError::WouldBlock) => wait(),
    };
    Inside { _share: share }
}

#[cold]
fn wait() -> Option<RwLockReadGuard<'static, ()>> {
    if GATE.is_forked_here() {
        return None;
    }
    Some(GATE.lock().read().unwrap_or_else(PoisonError::into_inner))
}

/// Installs the handlers, once or (several threads at the same time) more than once: waiting for one
/// another is what must not be done here, since a thread that another one waits for may not exist in a
/// child.
#[cold]
fn install() {
    // SAFETY: the handlers do what handlers of forks may do, in the thread that forks.
    let result = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    // Without memory for them the next one who comes tries again.
    if result == 0 {
        INSTALLED.store(true, Ordering::Release);
    }
}

fn this_thread() -> usize {
    // SAFETY: no preconditions.
    unsafe { libc::pthread_self() as usize }
}

extern "C" fn prepare() {
    if GATE.is_forked_here() {
        // SAFETY: this thread has the gate for itself.
        unsafe { (*GATE.fork.get()).again += 1 };
        return;
    }
    let gate = GATE.lock().write().unwrap_or_else(PoisonError::into_inner);
    GATE.forking.store(this_thread(), Ordering::Relaxed);
    // SAFETY: this thread has the gate for itself.
    unsafe { (*GATE.fork.get()).gate = Some(gate) };
}

/// The end of a fork: the gate, unless these handlers will be called again for it.
fn finish() -> Option<RwLockWriteGuard<'static, ()>> {
    if !GATE.is_forked_here() {
        // Installed in the middle of this fork, where a C library takes such handlers along.
        return None;
    }
    // SAFETY: this thread has had the gate for itself since `prepare`.
    let fork = unsafe { &mut *GATE.fork.get() };
    if fork.again > 0 {
        fork.again -= 1;
        return None;
    }
    GATE.forking.store(0, Ordering::Relaxed);
    fork.gate.take()
}

extern "C" fn in_parent() {
    drop(finish());
}

extern "C" fn in_child() {
    let Some(gate) = finish() else {
        return;
    };
    // Those who wait for the gate do not exist here, whatever it says of them: it is given up as it is.
    core::mem::forget(gate);
    // SAFETY: there is no other thread, and the only guard is gone.
    unsafe { GATE.lock.get().write(RwLock::new(())) };
    // Not under the lock: a hook may take any.
    let nth = |nth| hooks().get(nth).copied();
    for hook in (0..).map_while(nth) {
        hook();
    }
}

/// What is called in children. Whoever has the lock is inside, or alone.
static HOOKS: Mutex<Vec<extern "C" fn()>> = Mutex::new(Vec::new());

fn hooks() -> MutexGuard<'static, Vec<extern "C" fn()>> {
    HOOKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `hook` called in each child that is made from now on, before `fork` returns there; once or, if this
/// is called several times, more than once.
///
/// The thread that calls it is the only one of the child. For what other threads were in the middle of and
/// will never end. Must not be called with a lock of this crate taken.
pub fn call_in_children(hook: extern "C" fn()) {
    let _inside = enter();
    let mut hooks = hooks();
    // Without memory for it, children do without.
    if hooks.try_reserve(1).is_ok() {
        hooks.push(hook);
    }
}
