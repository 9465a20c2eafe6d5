//! Passing on what is not ours, as the kernel would have delivered it. (Part
//! of the handler: see the rule in the parent module.)
//!
//! | who was there before | raised by the processor | sent by a process |
//! | --- | --- | --- |
//! | a handler | called | called |
//! | `SIG_DFL` | default disposition restored; the instruction faults again and the process dies of it | default disposition restored, the signal is sent again, to be delivered on return |
//! | `SIG_IGN` | as `SIG_DFL`: the kernel forces it | nothing happens |

use core::ptr;

use libc::{c_int, c_long, c_void, siginfo_t, sigset_t};

use super::origin::Origin;
use super::previous::{self, SavedAction};

/// Does with a signal that is not ours what would have happened without us.
///
/// # Safety
///
/// * `info` and `context` are what the kernel passed to our handler for
///   `signal` on this thread.
/// * The caller returns to the kernel right after this, touching neither the
///   signal mask nor `errno`.
pub(super) unsafe fn forward(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
    origin: Origin,
) {
    loop {
        let action = previous::of(signal);
        match action.handler() {
            // SAFETY: `info` is the kernel's, by this function's duty.
            libc::SIG_DFL => unsafe { default_action(signal, info, origin) },
            // SAFETY: as above. The kernel does not let a process ignore what
            // it cannot go on from.
            libc::SIG_IGN if origin.forced => unsafe { default_action(signal, info, origin) },
            libc::SIG_IGN => {}
            _ => {
                // The kernel takes a one-shot handler out before it calls it.
                // Another thread may have been faster: then look again.
                if action.flags() & libc::SA_RESETHAND != 0
                    && !previous::take_one_shot(signal, action)
                {
                    continue;
                }
                // SAFETY: this function's duties are the callee's.
                unsafe { call(action, signal, info, context) };
            }
        }
        return;
    }
}

/// Calls the handler of `action`.
///
/// # Safety
///
/// As for [`forward`]; and `action` is a handler that was installed for
/// `signal`.
unsafe fn call(action: &SavedAction, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // Blocked while the handler runs: its own mask, and the signal itself
    // unless it said otherwise. Ours blocked nothing, so this is added to the
    // mask of the interrupted code, as the kernel would have done. It ends as
    // it would have without us, too: with the return to the kernel, which puts
    // back the mask that is in `context` then.
    let mut mask = action.action().sa_mask;
    if action.flags() & libc::SA_NODEFER == 0 {
        // SAFETY: an initialised set and a valid signal number.
        unsafe { libc::sigaddset(&raw mut mask, signal) };
    }
    block(&mask);

    if action.flags() & libc::SA_SIGINFO != 0 {
        type ThreeArguments = unsafe extern "C-unwind" fn(c_int, *mut siginfo_t, *mut c_void);
        // SAFETY: whoever installed it with SA_SIGINFO promised the kernel a
        // function of this type at this address.
        let handler = unsafe {
            core::mem::transmute::<*const c_void, ThreeArguments>(ptr::with_exposed_provenance(
                action.handler(),
            ))
        };
        // SAFETY: the arguments are the kernel's own.
        unsafe { handler(signal, info, context) };
    } else {
        type OneArgument = unsafe extern "C-unwind" fn(c_int);
        // SAFETY: as above, without SA_SIGINFO.
        let handler = unsafe {
            core::mem::transmute::<*const c_void, OneArgument>(ptr::with_exposed_provenance(
                action.handler(),
            ))
        };
        // SAFETY: the argument is the kernel's own.
        unsafe { handler(signal) };
    }
}

/// Makes the default action happen once we have returned, at the interrupted
/// instruction: the process dies of `signal`, and a core dump or a debugger
/// sees the true registers.
///
/// # Safety
///
/// * `info` is what the kernel passed to our handler for `signal`.
unsafe fn default_action(signal: c_int, info: *const siginfo_t, origin: Origin) {
    // SAFETY: asks for the number of this process.
    let pid = unsafe { libc::getpid() };
    // The first process of a PID namespace does not get signals that it has no
    // handler for, unless the kernel forces them.
    if !origin.forced && pid == 1 {
        return;
    }
    let action = previous::default_action();
    // SAFETY: a valid signal number and an initialised action.
    if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
        // The kernel refuses none with these arguments, but a filter on system calls may. A
        // process that dies of another signal is better than one that faults for ever.
        // SAFETY: may be called in a signal handler (POSIX.1, 2.4.3).
        unsafe { libc::abort() };
    }
    if !origin.repeats {
        // SAFETY: this function's duty.
        unsafe { send_again_on_return(pid, signal, info) };
    }
}

/// Queues the signal for this thread, with the details that it came with, and
/// keeps it blocked until the return from the handler restores the signal mask.
///
/// # Safety
///
/// * `info` is what the kernel passed to our handler for `signal`.
unsafe fn send_again_on_return(pid: libc::pid_t, signal: c_int, info: *const siginfo_t) {
    // Not by `sigemptyset` alone: musl's writes as much of the set as the kernel knows.
    let mut mask = previous::default_action().sa_mask;
    // SAFETY: an initialised set, empty as all zeros are in every C library here, and a valid number.
    unsafe { libc::sigaddset(&raw mut mask, signal) };
    block(&mask);
    // SAFETY: asks for the number of this thread. (The C library's own function
    // for it is younger than some that are in use.)
    let tid = unsafe { libc::syscall(libc::SYS_gettid) };
    let pid = c_long::from(pid);
    let signal = c_long::from(signal);
    // SAFETY: `info` is readable, by this function's duty. A process may queue
    // any details for itself.
    let queued = unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, tid, signal, info) };
    if queued != 0 {
        // SAFETY: sends a signal to this thread.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
    }
}

/// Adds `mask` to the signals that this thread blocks.
fn block(mask: &sigset_t) {
    // SAFETY: an initialised set; the old one is not asked for. Does not touch
    // `errno`.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, mask, ptr::null_mut()) };
}
