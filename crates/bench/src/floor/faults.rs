//! A fault, a handler, and the way back out of it: what the kernel and the processor take.
//!
//! The handler does nothing but leave: it rewrites the interrupted context and returns, or
//! jumps. It runs on an alternate stack, and no signal is blocked meanwhile, as in runtimes.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::io;

use anyhow::{Context as _, Result, ensure};

use super::isa;
use crate::measure::{Bench, Measured};
use crate::rows::Measure;

/// An instruction that faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A load from a page that may not be accessed.
    Load,
    /// A division whose quotient is too large.
    Division,
    /// An instruction that user code may not run: what ours traps by on purpose.
    Refused,
}

/// Where the fault is left for: program counter and stack pointer.
#[repr(C)]
pub(super) struct Landing {
    pub(super) pc: AtomicUsize,
    pub(super) sp: AtomicUsize,
}

/// Written by the function that faults, read by the handlers: on one thread.
static LANDING: Landing = Landing {
    pc: AtomicUsize::new(0),
    sp: AtomicUsize::new(0),
};

/// Executes one instruction that faults, after noting in the landing where it is to be left
/// for; returns from there. The second argument is an address that may not be accessed.
pub(super) type Faulting = unsafe extern "C" fn(*const Landing, *const c_void);

/// A handler as the kernel calls it.
type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// The fault, and a handler that rewrites the interrupted context and returns from the signal.
pub(crate) const fn fault_and_return(fault: Fault) -> Option<Measure> {
    match (isa::faulting(fault), fault) {
        (None, _) => None,
        (_, Fault::Load) => Some(|bench| measure(bench, Fault::Load, rewrite)),
        (_, Fault::Division) => Some(|bench| measure(bench, Fault::Division, rewrite)),
        (_, Fault::Refused) => Some(|bench| measure(bench, Fault::Refused, rewrite)),
    }
}

/// The fault, and a handler that jumps straight out of the signal.
pub(crate) const fn fault_and_jump(fault: Fault) -> Option<Measure> {
    match (isa::faulting(fault), fault) {
        (None, _) => None,
        (_, Fault::Load) => Some(|bench| measure(bench, Fault::Load, jump)),
        (_, Fault::Division) => Some(|bench| measure(bench, Fault::Division, jump)),
        (_, Fault::Refused) => Some(|bench| measure(bench, Fault::Refused, jump)),
    }
}

extern "C" fn rewrite(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's third argument under SA_SIGINFO, for the time of the handler.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let pc = LANDING.pc.load(Ordering::Relaxed);
    let sp = LANDING.sp.load(Ordering::Relaxed);
    isa::redirect(context, pc, sp);
}

extern "C" fn jump(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the landing point of the function that faulted, which has saved all that it has
    // to keep; no frame in between has a destructor. No signal is blocked, and the alternate
    // stack is free as soon as the stack pointer has left it.
    unsafe { isa::leave(&raw const LANDING) }
}

fn measure(bench: &Bench, fault: Fault, handler: Handler) -> Result<Measured> {
    let function = isa::faulting(fault).context("not written for this machine")?;
    let page = rustix::param::page_size();
    let protection = rustix::mm::ProtFlags::empty();
    let flags = rustix::mm::MapFlags::PRIVATE;
    // SAFETY: a new mapping, kept until the process ends.
    let inaccessible =
        unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), page, protection, flags) }?;
    alternate_stack()?;
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        handle(signal, handler)?;
    }
    // SAFETY: a signal of this thread, whose handler leaves for where the function says.
    let once = || unsafe { function(&raw const LANDING, inaccessible) };
    LANDING.pc.store(0, Ordering::Relaxed);
    once();
    ensure!(LANDING.pc.load(Ordering::Relaxed) != 0, "nothing faulted");
    Ok(bench.time(once).into())
}

/// An alternate stack for this thread, for as long as it lives.
fn alternate_stack() -> Result<()> {
    let stack = Vec::leak(vec![0_u8; 256 << 10]);
    let stack = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: stack.len(),
    };
    // SAFETY: memory that is never freed.
    let result = unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    ensure!(result == 0, io::Error::last_os_error());
    Ok(())
}

/// A handler that interrupts itself if it must, and blocks nothing.
fn handle(signal: c_int, handler: Handler) -> Result<()> {
    // SAFETY: all zero is a valid action.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: the handler allocates nothing and takes no lock.
    let result = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    ensure!(result == 0, io::Error::last_os_error());
    Ok(())
}
