//! Leaving the handler by a jump, past the kernel.
//!
//! Part of the handler, with the rule of the parent module: no allocation, no lock, no
//! formatting, no thread-local, no panic. ([`find_out`] and the switch run in normal
//! context.)
//!
//! Returning from a handler is a system call that puts back all that the kernel saved.
//! For a trap, whose guest is left anyway, most of it is not needed: a jump costs half. It
//! has to make sure of the rest, or to leave it to the kernel:
//!
//! | what a return puts back | and a jump |
//! | --- | --- |
//! | pc, stack and frame pointer, payload | loads them |
//! | callee-saved registers | are reloaded where the guest is landed at |
//! | all other registers | are caller-saved: nobody looks at them |
//! | floating-point settings | are put back here, where the kernel resets them for a handler |
//! | the signal mask | ours blocks nothing; put back here unless it is known that no other handler was called first, which may have blocked something |
//! | the alternate stack | is in use while the stack pointer is on it; nothing to put back, but with `SS_AUTODISARM`: then the kernel returns |
//! | shadow stacks | where there are any, the kernel returns |
//! | access rights of protection keys | if the kernel changed them for the handler, it returns |
//! | frames of others | there must be none: if somebody else's handler called ours, it returns |
//!
//! That nobody is between the kernel and us, who would want to be returned to, shows by where
//! the details and the context are: right above our stack pointer when we were entered, as the
//! kernel lays out its frame. A handler that calls ours last of all may have left no frame
//! of its own; then there is nothing to return to, but its mask.
//!
//! One file per instruction set, with the same items in the same order.

use core::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_void, mcontext_t, siginfo_t, stack_t, ucontext_t};
use trapline_arch::Resume;

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        #[path = "x86_64.rs"]
        mod isa;
    } else if #[cfg(target_arch = "aarch64")] {
        #[path = "aarch64.rs"]
        mod isa;
    } else if #[cfg(target_arch = "riscv64")] {
        #[path = "riscv64.rs"]
        mod isa;
    } else if #[cfg(target_arch = "s390x")] {
        #[path = "s390x.rs"]
        mod isa;
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod through_libc;

/// What is installed as the handler: [`handle`](super::handle), which it tells where the
/// stack pointer was.
pub(crate) use isa::entry;
/// How it is installed. (In normal context.)
pub(crate) use isa::install;

/// How a handler leaves for the host of a guest that trapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WayOut {
    /// By a jump wherever that is sound, else as [`Return`](Self::Return). About
    /// half a microsecond faster.
    Jump,
    /// By a return to the kernel, with other registers.
    Return,
}

/// Whether [`WayOut::Jump`] is wanted.
static JUMP: AtomicBool = AtomicBool::new(isa::JUMPS_BY_DEFAULT);
/// Whether this machine has nothing that a jump could not put back.
static CAN_JUMP: AtomicBool = AtomicBool::new(false);

/// How the handlers leave for the hosts of guests, from now on, on all threads.
///
/// [`WayOut::Jump`] is the default on x86_64 and aarch64. On riscv64 and s390x it is
/// [`WayOut::Return`]: there, what Linux does to a handler's registers was read in its
/// source only, and jumps have been tried in an emulator only.
pub fn set_way_out(way: WayOut) {
    JUMP.store(way == WayOut::Jump, Ordering::Relaxed);
}

/// What [`set_way_out`] has set, or the default.
#[must_use]
pub fn way_out() -> WayOut {
    if JUMP.load(Ordering::Relaxed) {
        WayOut::Jump
    } else {
        WayOut::Return
    }
}

/// Asks the machine what it has. In normal context, before handlers are installed.
pub(crate) fn find_out() {
    CAN_JUMP.store(isa::find_out(), Ordering::Relaxed);
}

/// `SS_AUTODISARM`: the kernel takes the alternate stack away while a handler runs on
/// it (Linux, `linux/signal.h`; not in the `libc` crate for all targets).
const SS_AUTODISARM: c_int = 1 << 31;

/// Goes to `resume`, if that is sound from here; if it is not, returns and has changed
/// nothing.
///
/// # Safety
///
/// * `entry_sp` is what [`entry`] told, `info` and `context` what it was given.
/// * No frame from there to here has a destructor that must run, and nothing of them is
///   used any more.
/// * [`Resume::jump`]'s duties.
pub(super) unsafe fn try_jump(
    entry_sp: usize,
    info: *const siginfo_t,
    context: *const c_void,
    resume: &Resume,
) {
    let wanted = JUMP.load(Ordering::Relaxed) && CAN_JUMP.load(Ordering::Relaxed);
    if !wanted || !isa::is_kernels_frame(entry_sp, info.addr(), context.addr()) {
        return;
    }
    let context = context.cast::<ucontext_t>();
    // SAFETY: the kernel's, by this function's duty; only these parts are referred to.
    let (stack, registers): (&stack_t, &mcontext_t) =
        unsafe { (&(*context).uc_stack, &(*context).uc_mcontext) };
    if stack.ss_flags & SS_AUTODISARM != 0 {
        return;
    }
    // SAFETY: the registers are those of a signal frame of the kernel's.
    let Some(settings) = (unsafe { isa::Settings::of_interrupted(registers) }) else {
        return;
    };
    settings.put_back();
    // SAFETY: the stack pointer is that of the kernel's frame. The kernel's context has the mask
    // there, which is shorter than the C library's.
    unsafe {
        if !isa::is_ours(entry_sp) {
            put_back_mask((&raw const (*context).uc_sigmask).cast());
        }
    }
    // SAFETY: this function's duties; and nothing of what the kernel would put back is
    // missed, as the table above says.
    unsafe { resume.jump() }
}

/// Bytes of the kernel's signal masks (`_NSIG / 8`, `asm/signal.h`).
pub(crate) const MASK_BYTES: usize = 8;

/// Makes `mask` the mask of this thread.
///
/// # Safety
///
/// * There is a mask of the kernel's, of [`MASK_BYTES`].
unsafe fn put_back_mask(mask: *const u8) {
    // The C library's own function takes a larger mask, of which the kernel has given no more.
    // It can't fail with a mask that can be read; `errno` stays as it is.
    // SAFETY: this function's duty; the old mask is not asked for.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            mask,
            core::ptr::null_mut::<u8>(),
            MASK_BYTES,
        );
    }
}
