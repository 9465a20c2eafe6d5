//! A fiber: a stack of its own that is switched to and from with the jumps of
//! trapline-arch, on any thread.

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::ops::Range;
use core::ptr;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use trapline_activation::{ActivationMark, SuspendedActivations, suspend_activations};
use trapline_arch::{JmpBuf, Resume, VirtualAddress, call_with_setjmp, longjmp};

const SUSPENDED: i32 = 1;
const FINISHED: i32 = 2;

#[derive(Clone, Copy)]
#[repr(align(16))]
struct Block {
    _space: [usize; 2],
}

/// A stack for a fiber.
pub struct Stack {
    blocks: Arc<[UnsafeCell<Block>]>,
    part: Range<usize>,
}

/// Blocks of a stack: 256 KiB.
const BLOCKS: usize = 16 * 1024;

impl Stack {
    fn new() -> Self {
        let [stack] = Self::rising();
        stack
    }

    /// So many stacks, each of them above the one before.
    pub fn rising<const N: usize>() -> [Self; N] {
        let block = || UnsafeCell::new(Block { _space: [0; 2] });
        let blocks: Arc<[_]> = (0..N * BLOCKS).map(|_| block()).collect();
        std::array::from_fn(|nth| Self {
            blocks: Arc::clone(&blocks),
            part: nth * BLOCKS..(nth + 1) * BLOCKS,
        })
    }

    fn top(&self) -> VirtualAddress {
        VirtualAddress::from_ptr(self.blocks[self.part.clone()].as_ptr_range().end)
    }

    fn extent(&self) -> Extent {
        let blocks = &self.blocks[self.part.clone()];
        Extent {
            bottom: blocks.as_ptr().cast(),
            size: size_of_val(blocks),
        }
    }
}

/// Where a stack is.
#[derive(Clone, Copy)]
struct Extent {
    bottom: *const c_void,
    size: usize,
}

/// What address sanitizer keeps for a stack that does not run: where the locals of its frames are.
/// Who changes stacks has to say so, else it leaves them with the thread. Without it, null.
struct Locals(Cell<*mut c_void>);

unsafe extern "C" {
    static fake_fiber_start_switch:
        Option<unsafe extern "C" fn(*mut *mut c_void, *const c_void, usize)>;
    static fake_fiber_finish_switch:
        Option<unsafe extern "C" fn(*mut c_void, *mut *const c_void, *mut usize)>;
}

/// Says that the stack `to` goes on next, and that this one, whose locals `locals` keeps, will go on
/// later; or never, if there is nobody to keep them.
fn start_switch(locals: Option<&Locals>, to: Extent) {
    let kept = locals.map_or(ptr::null_mut(), |locals| locals.0.as_ptr());
    // SAFETY: constants of the program.
    if let Some(start) = unsafe { fake_fiber_start_switch } {
        // SAFETY: `kept` may be written; whoever calls this goes on on the stack `to`.
        unsafe { start(kept, to.bottom, to.size) }
    }
}

/// Says that this stack goes on, with the locals that were kept for it (a new one has none); the stack
/// that ran before.
fn finish_switch(locals: Option<&Locals>) -> Extent {
    let kept = locals.map_or(ptr::null_mut(), |locals| locals.0.get());
    let mut before = Extent {
        bottom: ptr::null(),
        size: 0,
    };
    // SAFETY: constants of the program.
    if let Some(finish) = unsafe { fake_fiber_finish_switch } {
        // SAFETY: `kept` is what was kept for this stack, and the rest may be written.
        unsafe { finish(kept, &raw mut before.bottom, &raw mut before.size) }
    }
    before
}

type Body<'a> = Box<dyn FnOnce(&Inside) + 'a>;

/// What both sides of the switch look at; never moves.
pub(super) struct Shared {
    /// Where `run` waits.
    outside: Cell<JmpBuf>,
    /// Where the fiber waits; null before its first run.
    inside: Cell<JmpBuf>,
    body: Cell<Option<Body<'static>>>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    /// The stack that `run` waits on.
    outside_stack: Cell<Extent>,
    outside_locals: Locals,
    inside_locals: Locals,
}

/// A fiber.
pub struct Fiber {
    stack: Stack,
    shared: Box<Shared>,
    suspended: Option<SuspendedActivations>,
    finished: bool,
}

// SAFETY: the tests put nothing in a fiber that may not run on another thread;
// what it has suspended comes with it.
unsafe impl Send for Fiber {}

/// The fiber, as its body sees it.
pub struct Inside(*const Shared);

impl Fiber {
    /// A fiber that has not started.
    ///
    /// # Safety
    ///
    /// * What `body` borrows lives until the fiber has finished; and if the
    ///   fiber is run on several threads, it may be used there.
    pub unsafe fn new<'a>(body: impl FnOnce(&Inside) + 'a) -> Self {
        // SAFETY: the caller's duty is the same.
        unsafe { Self::on(Stack::new(), body) }
    }

    /// A fiber that has not started, on this stack.
    ///
    /// # Safety
    ///
    /// * As for [`new`](Self::new).
    pub unsafe fn on<'a>(stack: Stack, body: impl FnOnce(&Inside) + 'a) -> Self {
        let body: Body<'a> = Box::new(body);
        // SAFETY: only the lifetime changes, which the caller vouches for.
        let body = unsafe { core::mem::transmute::<Body<'a>, Body<'static>>(body) };
        let none = || Locals(Cell::new(ptr::null_mut()));
        Self {
            shared: Box::new(Shared {
                outside: Cell::new(ptr::null()),
                inside: Cell::new(ptr::null()),
                body: Cell::new(Some(body)),
                panic: Cell::new(None),
                // Written when the fiber first runs.
                outside_stack: Cell::new(stack.extent()),
                outside_locals: none(),
                inside_locals: none(),
            }),
            stack,
            suspended: None,
            finished: false,
        }
    }

    /// Runs the fiber on this thread until it suspends or finishes; whether it
    /// has finished. Its activations come and go with it.
    pub fn run(&mut self) -> bool {
        let mark = ActivationMark::here();
        if let Some(suspended) = self.suspended.take() {
            // SAFETY: the fiber goes on right below.
            unsafe { suspended.resume() };
        }
        self.switch();
        // SAFETY: the mark was taken above, right before the fiber ran, and the
        // fiber does not run until it is resumed.
        let suspended = unsafe { suspend_activations(mark) };
        if self.finished {
            assert!(suspended.is_empty(), "a finished fiber is in no guest");
            if let Some(payload) = self.shared.panic.take() {
                resume_unwind(payload);
            }
        } else {
            self.suspended = Some(suspended);
        }
        self.finished
    }

    /// The same as a library of coroutines does it that knows nothing of activations: whatever
    /// is entered and left meanwhile stays so.
    pub fn run_with_activations_left_where_they_are(&mut self) -> bool {
        self.switch();
        if let Some(payload) = self.shared.panic.take() {
            resume_unwind(payload);
        }
        self.finished
    }

    fn switch(&mut self) {
        assert!(!self.finished);
        let shared = &*self.shared;
        let top = self.stack.top();
        start_switch(Some(&shared.outside_locals), self.stack.extent());
        let status = call_with_setjmp(|outside| {
            shared.outside.set(outside);
            let inside = shared.inside.get();
            if inside.is_null() {
                let start = Resume {
                    pc: super::addr(super::fake_fiber_start),
                    sp: top.get(),
                    fp: 0,
                    payload: [VirtualAddress::from_ptr(shared).get(), 0],
                };
                // SAFETY: nobody runs on the fiber's stack yet; nothing here
                // has a destructor.
                unsafe { start.jump() }
            }
            // SAFETY: the fiber waits there; nothing here has a destructor.
            unsafe { longjmp(inside, 1) }
        });
        finish_switch(Some(&shared.outside_locals));
        self.finished = status == FINISHED;
    }

    /// Whether the fiber, while it does not run, is in no guest.
    pub fn is_in_no_guest(&self) -> bool {
        self.suspended
            .as_ref()
            .is_none_or(SuspendedActivations::is_empty)
    }
}

impl Inside {
    /// Stops the fiber until it is run again, maybe by another thread.
    #[inline(never)]
    pub fn suspend(&self) {
        // SAFETY: lives as long as the fiber.
        let shared = unsafe { &*self.0 };
        start_switch(Some(&shared.inside_locals), shared.outside_stack.get());
        call_with_setjmp(|inside| {
            shared.inside.set(inside);
            // SAFETY: `run` waits there; nothing here has a destructor.
            unsafe { longjmp(shared.outside.get(), SUSPENDED) }
        });
        shared
            .outside_stack
            .set(finish_switch(Some(&shared.inside_locals)));
    }
}

/// Where a fiber starts, on its own stack.
pub(super) extern "C" fn main(shared: &Shared) -> ! {
    shared.outside_stack.set(finish_switch(None));
    {
        let body = shared.body.take().unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| body(&Inside(shared))));
        shared.panic.set(result.err());
    }
    start_switch(None, shared.outside_stack.get());
    // SAFETY: `run` waits there; nothing here has a destructor any more.
    unsafe { longjmp(shared.outside.get(), FINISHED) }
}
