//! The alternate signal stack of each thread. (Normal context only.)
//!
//! ```text
//!  higher addresses
//!  ┌──────────────────────────────┐ ◄─ the kernel starts pushing here
//!  │ signal frame (registers)     │    AT_MINSIGSTKSZ bytes at most
//!  │ our handler                  │    under 16 KiB, unoptimised
//!  │ handlers we forward to,      │
//!  │ frames of nested signals     │
//!  │            ▼                 │
//!  ├──────────────────────────────┤ ◄─ ss_sp
//!  │ guard page, no access        │
//!  └──────────────────────────────┘
//!  lower addresses
//! ```

use core::cell::Cell;
use core::ffi::c_void;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr;
use std::io;

use libc::stack_t;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use trapline_arch::stack_pointer;

/// What we leave beside the kernel's signal frame on a stack that we make.
///
/// Our own handler needs little, but the handlers that we forward to run on
/// this stack as well, and some of them (crash reporters) unwind and symbolise.
/// 256 KiB is what has proved enough in the field; what is not touched takes
/// address space only.
const ROOM_TO_MAKE: usize = 256 * 1024;

/// What must be there beside the kernel's signal frame on a stack that somebody
/// else made, for us to be content with it.
///
/// That is four times what our handler needs in an unoptimised build; whoever
/// made the stack has thought of their own handler. The stacks that the Rust
/// standard library gives to its threads (8 KiB) are smaller.
const ROOM_TO_REUSE: usize = 64 * 1024;

thread_local! {
    /// Made by `prepare_thread` in normal context, never by the handler.
    static THREAD: ThreadStack = const {
        ThreadStack {
            prepared: Cell::new(false),
            made: Cell::new(None),
        }
    };
}

/// Makes sure that signals of this thread are handled on an alternate stack
/// that is large enough.
///
/// If the thread has such a stack, it is left as it is. If not, one is made,
/// with a guard page below; when the thread ends, the previous one is put back
/// and ours unmapped. A stack that somebody puts in place of ours meanwhile is
/// left alone.
///
/// Call it on every thread before it enters a guest whose traps are hardware
/// traps. Without it such traps still work, as long as the thread's own stack
/// has room for a handler; an overflow of that stack is then fatal without any
/// handler being called. A few instructions after the first time on a thread;
/// what others do to the thread's signal stack after that is not looked at
/// again.
///
/// # Errors
///
/// * [`PrepareThreadError::ThreadEnding`] if the thread is running the
///   destructors of its thread-locals and ours has run already.
/// * [`PrepareThreadError::InHandler`] if this is called on the thread's
///   alternate stack, that is from a signal handler.
/// * [`PrepareThreadError::Os`] if there is no memory.
///
/// On an error nothing has changed.
pub fn prepare_thread() -> Result<(), PrepareThreadError> {
    THREAD
        .try_with(ThreadStack::prepare)
        .map_err(|_| PrepareThreadError::ThreadEnding)?
}

/// Whether [`prepare_thread`] has succeeded on this thread.
pub(crate) fn is_prepared() -> bool {
    THREAD
        .try_with(|thread| thread.prepared.get())
        .unwrap_or(false)
}

/// The thread's signal stack was not prepared; nothing has changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum PrepareThreadError {
    /// The thread is ending.
    ThreadEnding,
    /// The thread is in a signal handler.
    InHandler,
    /// The operating system refused.
    Os(io::Error),
}

impl fmt::Display for PrepareThreadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot prepare this thread's signal stack: ")?;
        match self {
            Self::ThreadEnding => f.write_str("the thread is ending"),
            Self::InHandler => f.write_str("the thread is in a signal handler"),
            Self::Os(_) => f.write_str("the operating system refuses"),
        }
    }
}

impl std::error::Error for PrepareThreadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Os(error) => Some(error),
            Self::ThreadEnding | Self::InHandler => None,
        }
    }
}

/// What was done about this thread's signal stack.
struct ThreadStack {
    /// Whether there is one that is large enough.
    prepared: Cell<bool>,
    /// It, if it is one of ours.
    made: Cell<Option<Made>>,
}

/// A stack of ours, and what the thread had before.
struct Made {
    stack: Mapping,
    previous: stack_t,
}

impl ThreadStack {
    #[inline]
    fn prepare(&self) -> Result<(), PrepareThreadError> {
        if !self.prepared.get() {
            self.made.set(make_unless_large_enough()?);
            self.prepared.set(true);
        }
        Ok(())
    }
}

#[cold]
fn make_unless_large_enough() -> Result<Option<Made>, PrepareThreadError> {
    let previous = current().map_err(PrepareThreadError::Os)?;
    if previous.ss_flags & libc::SS_ONSTACK != 0 {
        return Err(PrepareThreadError::InHandler);
    }
    let frame = signal_frame_size();
    if is_enabled(&previous) && previous.ss_size >= frame + ROOM_TO_REUSE {
        return Ok(None);
    }
    let stack = Mapping::new(frame + ROOM_TO_MAKE).map_err(PrepareThreadError::Os)?;
    // SAFETY: the memory is mapped, used for nothing else, and stays until the
    // thread's end, where it is unmapped only if it is not in use.
    unsafe { set(&stack.as_signal_stack()) }.map_err(PrepareThreadError::Os)?;
    Ok(Some(Made { stack, previous }))
}

impl Drop for ThreadStack {
    fn drop(&mut self) {
        let Some(Made { stack, previous }) = self.made.take() else {
            return;
        };
        // The thread may be ending inside a signal handler, which then runs on
        // our stack: it must stay, mapped and known to the kernel.
        if stack.contains(stack_pointer().get()) {
            stack.leak();
            return;
        }
        // Somebody put another one in place of ours, or none (the Rust standard
        // library does, at the end of its threads): theirs stays.
        if current().is_ok_and(|now| now.ss_sp.addr() != stack.usable().addr()) {
            return;
        }
        // SAFETY: it was this thread's signal stack when we came, and who made it
        // must keep it mapped while the thread may have it. (Who unmaps it
        // earlier tells the kernel so, which is the case above.) None at all,
        // where the kernel does not take it back, needs no memory.
        let put_back = unsafe { set(&previous).or_else(|_| set(&disabled())) };
        if put_back.is_err() {
            // The kernel keeps it.
            stack.leak();
        }
    }
}

/// The most that the kernel pushes when a signal arrives on this processor: the
/// registers, vector units included.
fn signal_frame_size() -> usize {
    // AT_MINSIGSTKSZ; 0 from kernels that do not say, whose frames have room in
    // the constant.
    rustix::param::linux_minsigstksz().max(libc::MINSIGSTKSZ)
}

/// Memory for a stack with a guard page below it.
struct Mapping {
    base: *mut c_void,
    size: usize,
    guard: usize,
}

impl Mapping {
    /// At least `usable` bytes of it can be used.
    fn new(usable: usize) -> io::Result<Self> {
        let guard = rustix::param::page_size();
        let size = guard + usable.next_multiple_of(guard);
        // NORESERVE: most of it is never touched.
        let flags = MapFlags::PRIVATE | MapFlags::STACK | MapFlags::NORESERVE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let base = unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), size, ProtFlags::empty(), flags)?
        };
        // From here on dropped, and so unmapped, on an error.
        let mapping = Self { base, size, guard };
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the part above the guard, of a mapping that nobody else knows.
        unsafe { rustix::mm::mprotect(mapping.usable(), size - guard, access)? };
        Ok(mapping)
    }

    /// The lowest address above the guard page.
    fn usable(&self) -> *mut c_void {
        self.base.wrapping_byte_add(self.guard)
    }

    fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.base.addr()) < self.size
    }

    fn as_signal_stack(&self) -> stack_t {
        stack_t {
            ss_sp: self.usable(),
            ss_flags: 0,
            ss_size: self.size - self.guard,
        }
    }

    /// Leaves it mapped for ever.
    fn leak(self) {
        core::mem::forget(self);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Guard and stack are two mappings for the kernel, as they differ in access, whatever
        // it has joined each of them with: to take both away needs no new one, which it would
        // refuse to a process that has as many as it may. A stack that could not be made
        // accessible may be in the middle of one; what is lost then is address space.
        // SAFETY: the whole of a mapping of ours, which nobody refers to any more.
        let _ = unsafe { rustix::mm::munmap(self.base, self.size) };
    }
}

fn is_enabled(stack: &stack_t) -> bool {
    stack.ss_flags & libc::SS_DISABLE == 0
}

/// What tells the kernel to use no signal stack.
fn disabled() -> stack_t {
    stack_t {
        ss_sp: ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    }
}

/// The signal stack of this thread.
fn current() -> io::Result<stack_t> {
    let mut stack = MaybeUninit::<stack_t>::uninit();
    // SAFETY: asks only; `stack` is writable.
    if unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled in by the successful call.
    Ok(unsafe { stack.assume_init() })
}

/// Makes `stack` the signal stack of this thread.
///
/// # Safety
///
/// * The memory, if it is not disabled, is mapped and used for nothing else
///   until the thread has another signal stack or has ended.
unsafe fn set(stack: &stack_t) -> io::Result<()> {
    // SAFETY: the memory is good for it, by this function's duty.
    if unsafe { libc::sigaltstack(stack, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
