//! From the chain of activations to the runs of frames of one store.

use core::mem;
use core::ops::ControlFlow;
use core::ptr::{self, NonNull};

use trapline_arch::{VirtualAddress, stack_pointer};
use trapline_backtrace::{Frame, RawBacktrace, Run, WalkEnd, walk};

use crate::activation::{Activation, head};
use crate::vm::StoreWords;
use crate::{Store, VMStoreContext};

/// The guest frames of `store` on this stack as they are now, innermost first:
/// in a host function, from the guest function that called it on; outside of
/// [`catch_traps`](crate::catch_traps), none. [`Store::backtrace_limit`] does not
/// apply.
///
/// Frames of other stores in between are left out.
///
/// In the closure of `catch_traps`, after the guest has returned to it, the
/// frames given are those of the guest's last call out, as far as they are still
/// recognisable: compiled code does not say that it has returned. The closure
/// enters the guest as the last thing it does, so that there is no such moment.
#[must_use]
pub fn capture_backtrace<S: Store>(store: &S) -> RawBacktrace {
    capture_backtrace_limited(store, usize::MAX)
}

/// The innermost `limit` frames of what [`capture_backtrace`] gives; nothing
/// beyond them is read.
#[must_use]
pub fn capture_backtrace_limited<S: Store>(store: &S, limit: usize) -> RawBacktrace {
    capture_backtrace_inline(store, limit)
}

/// The same with an inline depth of one's own: up to `INLINE` frames are captured without
/// allocating.
#[must_use]
pub fn capture_backtrace_inline<const INLINE: usize>(
    store: &impl Store,
    limit: usize,
) -> RawBacktrace<INLINE> {
    // SAFETY: `head` is this CPU's chain; a guest of the store that was left
    // for a host call stands where its words say, by the duties of `Store`.
    unsafe {
        RawBacktrace::capture_inline(
            Runs::of_store(head(), store.vm_store_context(), None, stack_pointer()),
            limit,
        )
    }
}

/// Visits the frames that [`capture_backtrace`] gives, innermost first, until
/// the visitor breaks off. Nothing beyond the last frame visited is read, and
/// nothing is allocated.
pub fn visit_frames<S: Store>(store: &S, visit: impl FnMut(Frame) -> ControlFlow<()>) -> WalkEnd {
    // SAFETY: as in `capture_backtrace_inline`.
    unsafe {
        walk(
            Runs::of_store(head(), store.vm_store_context(), None, stack_pointer()),
            usize::MAX,
            visit,
        )
    }
}

/// The same for a guest that has not called out, but was interrupted at
/// `start`: its frames from there on, and those of the store's older guests.
///
/// For handlers: a profiler's timer signal, a debugger. It holds to their rules
/// if `visit` does.
///
/// # Safety
///
/// * `start` has the program counter and the frame pointer of this CPU's
///   interrupted code, which is registered code of `store`, in a function whose
///   frame record is in place.
/// * `store` is that of this CPU's innermost activation.
pub unsafe fn visit_frames_from<S: Store>(
    store: &S,
    start: Frame,
    visit: impl FnMut(Frame) -> ControlFlow<()>,
) -> WalkEnd {
    // A handler may run on another stack: what is newer than the frames is not
    // known, but that they start at `start`.
    let runs = Runs::of_store(head(), store.vm_store_context(), Some(start), start.fp);
    // SAFETY: the caller's duties; the older guests stand where the words say.
    unsafe { walk(runs, usize::MAX, visit) }
}

/// Puts in the innermost `limit` frames of the store that a trap in the guest of `activation`
/// happened in.
///
/// # Safety
///
/// * `activation` is this CPU's innermost; its guest has called out, or trapped
///   by the hardware, and its frames are alive.
#[inline(never)]
pub(crate) unsafe fn capture_for_trap(
    activation: &Activation,
    limit: usize,
    backtrace: &mut Option<RawBacktrace>,
) {
    // SAFETY: the caller's duty.
    *backtrace = Some(unsafe {
        RawBacktrace::capture(
            Runs::of_store(
                activation,
                activation.vm_store_context(),
                None,
                stack_pointer(),
            ),
            limit,
        )
    });
}

/// The runs of one store's frames, innermost first.
///
/// The store's words describe its innermost activation. What they were for the
/// next older one, that innermost one has saved on entry; and so on.
#[derive(Clone)]
struct Runs {
    next: *const Activation,
    store_context: NonNull<VMStoreContext>,
    /// The words that belong to the next activation of the store; `None` until
    /// the first is met, since only then they may be read.
    words: Option<StoreWords>,
    /// Where the guest of the first activation was interrupted, if it was.
    start: Option<Frame>,
    /// Something that was pushed later than any frame of the next run.
    newer: VirtualAddress,
}

impl Runs {
    /// `newer` is below every frame of the newest activation's guest: the stack pointer
    /// of whoever walks, or the innermost frame itself.
    fn of_store(
        newest: *const Activation,
        store_context: NonNull<VMStoreContext>,
        start: Option<Frame>,
        newer: VirtualAddress,
    ) -> Self {
        Self {
            next: newest,
            store_context,
            words: None,
            start,
            newer,
        }
    }
}

impl Iterator for Runs {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        loop {
            // SAFETY: the chain's activations live further out on this stack
            // than whoever walks it.
            let activation = unsafe { self.next.as_ref() }?;
            self.next = activation.previous_ptr();
            let newer = mem::replace(&mut self.newer, activation.stack());
            if !ptr::eq(
                activation.vm_store_context().as_ptr(),
                self.store_context.as_ptr(),
            ) {
                continue;
            }
            let words = match self.words {
                Some(words) => words,
                // SAFETY: the first one met is the store's innermost.
                None => unsafe { activation.live_words() },
            };
            self.words = Some(activation.saved_words());
            if let Some(run) = run_of(activation, words, self.start.take(), newer) {
                return Some(run);
            }
        }
    }
}

/// The run of the guest frames of one activation; `None` if the guest was not
/// entered, or not left.
fn run_of(
    activation: &Activation,
    words: StoreWords,
    start: Option<Frame>,
    newer: VirtualAddress,
) -> Option<Run> {
    let entry_fp = VirtualAddress::new(words.entry_fp);
    // What is not below the `catch_traps` is of another entry, and its frames may be gone.
    if entry_fp > activation.stack() {
        return None;
    }
    // What is newer is below all of the frames, or on another stack: then it may
    // be above them, and says nothing.
    let lowest = if newer < entry_fp {
        newer
    } else {
        VirtualAddress::NULL
    };
    let interrupted = activation.hardware_trap().map(|trap| Frame {
        pc: trap.pc,
        fp: trap.fp,
    });
    let (left_at, interrupted) = match start.or(interrupted) {
        // The exit words are of an earlier call out, whose frames are gone.
        Some(frame) => (frame, true),
        None => (words.exit()?, false),
    };
    // What is not of this guest is on another stack, and nothing there is read.
    let stack = if activation.is_entered_at(left_at.fp) {
        lowest..activation.stack()
    } else {
        VirtualAddress::NULL..VirtualAddress::NULL
    };
    let Frame { pc, fp } = if interrupted {
        left_at
    } else {
        let frames = stack.start..entry_fp.min(stack.end);
        // SAFETY: by the duties of `Store`, the exit words are of a frame below the entry
        // frame, which is on the same stack.
        unsafe { StoreWords::guest_frame(left_at, activation.layout(), &frames) }
    };
    Some(Run {
        pc,
        fp,
        entry_fp,
        stack,
    })
}
