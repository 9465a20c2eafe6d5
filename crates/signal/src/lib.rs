//! Hosted trap handling: POSIX signals become traps of guests, and everything
//! else that a signal may be stays what it is.
//!
//! WebAssembly compilers leave many checks to the hardware: a load beyond the
//! end of a memory meets a guard page, a division by zero the divider,
//! `unreachable` an instruction that does not exist, or (x86_64, where code was made to
//! [trap by `hlt`](trapline_code_registry::trap_by_hlt)) one that user code may not run. In a process all of these
//! arrive as signals. This crate installs handlers for `SIGSEGV`, `SIGBUS`,
//! `SIGILL` and `SIGFPE` that ask
//! [`handle_wasm_exception`](trapline_activation::handle_wasm_exception) what a
//! signal means, and carry out the answer.
//!
//! # How to use it
//!
//! [`ensure_installed`] once, and [`prepare_thread`] on every thread, before
//! entering guests whose traps are hardware traps. Both cost a few instructions
//! after the first time, so they can stand in front of every entry.
//!
//! ```
//! # fn enter_the_guest() {}
//! fn call_guest() -> Result<(), Box<dyn std::error::Error>> {
//!     trapline_signal::ensure_installed()?;
//!     trapline_signal::prepare_thread()?;
//!     // trapline_activation::catch_traps(&store, |caller| …): a trap in there
//!     // comes back as an `Err`.
//!     enter_the_guest();
//!     Ok(())
//! }
//!
//! call_guest().unwrap();
//! ```
//!
//! A library that wants to leave the process as it found it uses [`install()`]
//! instead, and [`SignalHandlers::uninstall`] at its end:
//!
//! ```
//! let handlers = trapline_signal::install()?;
//! // … guests …
//! if let Err(refused) = handlers.uninstall() {
//!     // For example: "cannot uninstall the signal handlers: SIGSEGV goes to the
//!     // handler at 0x7f12a0c01230 (on_crash + 0x0 in /usr/lib/libreport.so)".
//!     eprintln!("{refused}");
//! }
//! # Ok::<(), trapline_signal::InstallError>(())
//! ```
//!
//! # The way of a signal
//!
//! ```text
//!   an instruction faults              somebody calls kill(2)
//!            │ si_code > 0                      │ si_code ≤ 0
//!            ▼                                  │
//!   the kernel pushes the registers on the thread's alternate stack
//!            │                                  │
//!            ▼                                  │
//!   the fault was on that stack: ──── yes ──────┤
//!   in a handler?                               │
//!            │ no                               │
//!            ▼                                  │
//!   handle_wasm_exception:                      │
//!   registered code?                            │
//!   an entry in its trap table  ──── no ────────┤
//!   for just this instruction?                  │
//!   of a guest on this stack?                   │
//!            │ yes                              ▼
//!            │                        forwarded: what would have
//!            │                        happened without us happens
//!            │
//!            ├─► Retry: the store repaired the cause.
//!            │      Return; the instruction runs again.
//!            ├─► Resume: it is a trap.
//!            │      Load pc, sp, fp and payload, by a jump; or, where that is
//!            │      not sound, write them into the interrupted context and
//!            │      return. The guest is left in normal context.
//!            └─► SandboxEscape: the address is in none of its memories.
//!                   Say so on standard error, abort().
//! ```
//!
//! So a bug of the host is never taken for a trap: a wild pointer in a host
//! function that a guest called, in a handler of ours, or in any other code kills
//! the process by its own signal, at its own instruction, with nothing on standard
//! error that we wrote.
//!
//! # When a process dies without a word
//!
//! A guest that is entered wrongly traps like any other, and is nobody's: its signal goes on, and ends the process.
//! [`set_diagnosis`] has the handlers say on standard error which check found that a fault is no trap, and what to do
//! about it. [`missing_on_this_thread`] says beforehand what a thread lacks to have its guests' traps caught at all.
//!
//! # Forwarding
//!
//! Whoever had a handler before us still has it: it is called for all that is
//! no trap, with the arguments that the kernel gave us, with the signals
//! blocked that it asked for, and one time only if it asked for that. The
//! default action is taken where it stood; a signal that was ignored stays
//! ignored, unless the processor raised it, when the kernel would not have
//! ignored it either. System calls that a sent signal interrupts are restarted
//! if they would have been.
//!
//! What is not as without us, because a process cannot do it:
//!
//! * A handler that was installed without `SA_ONSTACK` runs on the alternate
//!   stack, not on the interrupted code's. There are at least 256 KiB for it (if
//!   the thread was prepared, and the stack is ours).
//!   Where the thread was not prepared, the stack may be one that the Rust standard library
//!   made for the main thread, and that is unmapped when *any* thread calls
//!   `std::process::exit` (before rust-lang/rust#161037): a handler that still runs there
//!   then ends the process by `SIGSEGV`. Call [`prepare_thread`] on the main thread too.
//! * A signal that is in a handler's mask and arrives during the few instructions
//!   for which our handler runs before it, is delivered before it.
//! * Programs that are started with `exec` inherit which signals are ignored, but
//!   no handlers: where a signal was ignored before us, it has its default action
//!   in them.
//! * The handler of the Rust standard library, which tells overflows of stacks
//!   from other faults of `SIGSEGV` and `SIGBUS`, steps aside after the first signal that is none,
//!   *for good*: it installs the default action, in place of us. That is without
//!   consequence after a fault, which then kills the process; but after somebody
//!   sent one of these with `kill`, which the process survives, the
//!   next trap of a guest kills it. Set the default action (or a handler
//!   of your own) before [`install()`], if that can happen.
//!
//! # Rules for embedders
//!
//! * **Install last.** Who installs handlers after us gets signals before us, and
//!   must forward what it does not know: with the arguments that it got, and
//!   with `SA_SIGINFO` and `SA_ONSTACK` among its own flags. [`SignalHandlers::on_top`]
//!   tells who is there. Crash reporters that end the process at the first
//!   `SIGSEGV` have to be installed before us.
//! * **Do not block** the four signals on threads that run guests: the kernel
//!   kills a process whose fault cannot be delivered.
//! * **Leave address 0 unmapped** (Linux does by itself): compiled code reads it on
//!   purpose, for null references.
//! * **Enter no guest on a signal stack**, that is, from a signal handler. Its
//!   faults are taken for faults of the handler.
//! * **Do not unload** a library that contains this crate while it is installed
//!   or while a prepared thread lives. Loaded with `dlopen` it works as linked in.
//! * **Forked processes** have the handlers of their parent, and the thread that forked has its
//!   signal stack: guests go on and trap there, and on new threads that are prepared. If the parent had
//!   more than one thread, make those by `pthread_create` ([why](trapline_lock#after-fork)).
//! * **Threads that are ending**: guests run in destructors of thread-locals. If the signal
//!   stack was given back before, their traps are handled on the thread's own stack.
//! * **Go programs** that contain a guest's host (cgo): the Go runtime installs its
//!   handlers when it starts, so ours are on top, and forward; they have
//!   `SA_ONSTACK`, which Go demands. The signal stack of a Go thread is smaller
//!   than what we want, so the thread gets one of ours; Go finds its way on
//!   foreign signal stacks. A Go library in a host of another language (`c-shared`, `c-archive`)
//!   forwards to us what did not happen in Go code: load it when you like.
//! * **Java programs** (JNI): the virtual machine uses `SIGSEGV` for its own checks
//!   and gets them from us, since it was there first. It complains about foreign
//!   handlers under `-Xcheck:jni`; preload `libjsig.so` to have it chain
//!   installations by itself.
//! * **Debuggers** stop at each trap first. In gdb: `handle SIGSEGV SIGILL SIGFPE
//!   SIGBUS nostop noprint pass`.
//! * **Valgrind** follows a handler that returns, and takes the stack of one that jumps for
//!   undefined: hundreds of thousands of false reports. So under Valgrind handlers return, as with
//!   [`set_way_out`]`(`[`WayOut::Return`]`)`; it is asked, once, when they are installed (on x86_64 and aarch64, where a
//!   jump is the default).
//!
//! # Platforms
//!
//! Linux on x86_64, aarch64, riscv64 and s390x; on other targets the crate is
//! empty. What depends on the instruction set is in one file each, in
//! `src/regs`.
//!
//! | | x86_64 | aarch64 | riscv64 | s390x |
//! | --- | --- | --- | --- | --- |
//! | explicit trap | `SIGILL` | `SIGILL` | `SIGILL` | `SIGILL`, `SIGFPE` |
//! | integer division | `SIGFPE` | has a result | has a result | `SIGFPE` |
//! | program counter of these | the instruction | the instruction | the instruction | the next one |
//! | frame pointer | `rbp` | `x29` | `s0` | the word that `r15` points to |
//! | faulting address | exact | without its top byte | exact | start of the page |
//! | one that is not canonical | not told | as any other | as any other | as any other |
//!
//! Where the program counter is past the instruction, the byte before it is looked
//! up: that is where compilers list such traps. Where the frame pointer is on the
//! stack, it is read only when the program counter is known to be a trap site of
//! compiled code: before that the stack pointer may be anything. An address that
//! is not told stands for one that is in no memory of a guest, and not for the page at
//! address 0 that the kernel's 0 would mean. aarch64's own checks of a branch's
//! target (BTI) are satisfied: an interrupted branch is forgotten.

cfg_if::cfg_if! {
    if #[cfg(all(
        target_os = "linux",
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64",
            target_arch = "s390x",
        ),
    ))] {
        mod alt_stack;
        mod handler;
        mod install;
        mod missing;
        mod regs;
        mod signals;

        pub use alt_stack::{PrepareThreadError, prepare_thread};
        pub use handler::diagnosis::set_diagnosis;
        pub use handler::direct::{WayOut, set_way_out, way_out};
        pub use install::{
            ActionOnTop, InstallError, OnTop, SignalHandlers, UninstallError, UninstallErrorKind,
            ensure_installed, install,
        };
        pub use missing::{Missing, missing_on_this_thread};
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
