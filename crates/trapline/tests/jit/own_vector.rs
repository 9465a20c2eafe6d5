//! A client with an exception vector of its own, in place of
//! `trapline::signal`: what `handle_wasm_exception` decides for every kind of
//! exception, and that carrying it out is all there is to do. (In processes of
//! their own, since handlers are the whole process's.)

use std::ffi::{c_int, c_void};
use std::ops::ControlFlow;
use std::process::Output;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{siginfo_t, ucontext_t};
use trapline::{
    Interrupted, Outcome, TrapKind, VirtualAddress, handle_wasm_exception_with, signal,
};
use trapline_test_support::fault::reported;

use crate::support::subprocess::outputs_of;
use crate::support::{Guest, JitStore, LinearMemory, frames};

/// Where registers are in a `ucontext_t` is known once in this workspace.
#[path = "../../../signal/src/regs/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "a vector of one's own needs less of it"
)]
mod registers;

/// How many exceptions were traps, and how many were to be tried again.
static RESUMED: AtomicUsize = AtomicUsize::new(0);
static RETRIED: AtomicUsize = AtomicUsize::new(0);

/// Where the guest is told to get out of its sandbox.
static ESCAPE_ADDRESS: AtomicUsize = AtomicUsize::new(0);

/// What the process exits with when its vector is told of an escape, with the
/// right address and kind; with a wrong one; and when it is told that an
/// exception is not ours.
const ESCAPED: c_int = 42;
const WRONG: c_int = 43;
const NOT_OURS: c_int = 44;

unsafe extern "C" fn vector(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's, and ours until we return.
    let (context, info) = unsafe { (&mut (*context.cast::<ucontext_t>()).uc_mcontext, &*info) };
    let pc = VirtualAddress::new(registers::trap_pc(context, signal));
    // SAFETY: asked for only if this is a trap site of a guest; a memory fault has an address.
    let interrupted = |trap| unsafe {
        Interrupted {
            fp: VirtualAddress::new(registers::frame_pointer(context, signal, trap)),
            faulting_addr: (signal == libc::SIGSEGV)
                .then(|| VirtualAddress::from_ptr(info.si_addr())),
        }
    };
    // SAFETY: the registers of what was interrupted on this thread; what is
    // decided is carried out here.
    let outcome = unsafe { handle_wasm_exception_with(pc, interrupted) };
    match outcome {
        ControlFlow::Break(Outcome::Resume(resume)) => {
            RESUMED.fetch_add(1, Ordering::Relaxed);
            registers::write_resume(context, &resume);
        }
        ControlFlow::Break(Outcome::Retry) => {
            RETRIED.fetch_add(1, Ordering::Relaxed);
            registers::repeat_on_return(context, signal, info);
        }
        ControlFlow::Break(Outcome::SandboxEscape(escape)) => {
            let right = escape.pc == pc
                && escape.faulting_addr.get() == ESCAPE_ADDRESS.load(Ordering::Relaxed)
                && escape.trap == TrapKind::MemoryOutOfBounds;
            // SAFETY: ends the process.
            unsafe { libc::_exit(if right { ESCAPED } else { WRONG }) }
        }
        // SAFETY: ends the process.
        ControlFlow::Continue(()) => unsafe { libc::_exit(NOT_OURS) },
    }
}

/// Puts our vector in the place of the handlers of `trapline::signal`.
fn install_vector() {
    signal::ensure_installed().expect("signal handlers");
    for signal in [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE] {
        // SAFETY: a structure of integers and a set, for which zeros are a
        // value; the handler has the type that the flags promise.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = vector as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            assert_eq!(
                libc::sigaction(signal, &raw const action, ptr::null_mut()),
                0
            );
        }
    }
}

fn assert_exits_with(code: c_int, outputs: &[Output]) {
    for output in outputs {
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
}

fn guest() -> Guest {
    Guest::new(
        "function %divide(i64, i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64, v2: i64):
         @10 v3 = sdiv v1, v2
         @14 return v3
         }
         function %load(i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64):
         @20 v2 = load.i64 heap_oob v1
         @24 return v2
         }
         function %ask(i64, i64) -> i64 tail {
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @30 v2 = call fn0(v0, v1)
         @34 return v2
         }",
    )
}

#[test]
fn traps_retries_and_escapes_are_told_apart() {
    let name = "own_vector::traps_retries_and_escapes_are_told_apart";
    let outputs = outputs_of(name, |entry| {
        install_vector();
        let guest = guest();
        let memory = LinearMemory::new(4096);
        let end = memory.base().as_ptr().addr() as u64 + 4096;
        let store = JitStore::new().with_memory(memory);

        // Found by a comparison and by the division itself.
        for (arguments, kind) in [
            ([1, 0], TrapKind::IntegerDivisionByZero),
            ([i64::MIN as u64, u64::MAX], TrapKind::IntegerOverflow),
        ] {
            let trap = store
                .call(entry, &guest, "divide", &arguments)
                .expect_err("no quotient");
            assert_eq!(trap.kind(), Some(kind));
            assert_eq!(frames(&trap), ["divide@10"]);
        }
        let trap = store
            .call(entry, &guest, "load", &[end])
            .expect_err("out of bounds");
        assert_eq!(trap.wasm_fault.expect("a memory fault").wasm_address, 4096);
        assert_eq!(frames(&trap), ["load@20"]);
        assert_eq!(RESUMED.load(Ordering::Relaxed), 3);

        store.grow_on_fault(4096);
        let word = store.call(entry, &guest, "load", &[end]);
        assert_eq!(word.expect("accessible by now"), 0);
        assert_eq!(RETRIED.load(Ordering::Relaxed), 1);
        assert_eq!(RESUMED.load(Ordering::Relaxed), 3);

        let elsewhere = LinearMemory::new(0);
        let address = elsewhere.base().as_ptr().addr();
        ESCAPE_ADDRESS.store(reported(address), Ordering::Relaxed);
        let _ = store.call(entry, &guest, "load", &[address as u64]);
    });
    assert_exits_with(ESCAPED, &outputs);
}

#[test]
fn a_fault_of_a_host_function_is_left_to_whoever_comes_next() {
    let name = "own_vector::a_fault_of_a_host_function_is_left_to_whoever_comes_next";
    let outputs = outputs_of(name, |entry| {
        install_vector();
        let store = JitStore::new().with_host(|_, _| {
            let nowhere = LinearMemory::new(0);
            // SAFETY: not safe at all: ends the process.
            Ok(u32::from(unsafe { nowhere.base().read_volatile() }))
        });
        let _ = store.call(entry, &guest(), "ask", &[0]);
    });
    assert_exits_with(NOT_OURS, &outputs);
}
