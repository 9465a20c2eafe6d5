//! What is running, and why it stopped: entering a guest with
//! [`catch_traps`], and all the ways of leaving it.
//!
//! ```text
//!                    ┌───────────────────────────────────────────────┐
//!  host              │ catch_traps: Activation, saved context        │ ◄─────┐
//!                    ├───────────────────────────────────────────────┤       │
//!                    │ entry trampoline                              │       │
//!  guest             │ guest function                                │       │
//!                    │ guest function ── faults ──► exception handler│       │
//!                    ├───────────────────────────────────────────────┤       │
//!  host, in normal   │ leave_after_hardware_trap:                    │       │
//!  context again     │   backtrace, core dump, Trap ── land ─────────┼───────┘
//!                    └───────────────────────────────────────────────┘
//! ```
//!
//! # The ways out of a guest
//!
//! * **A value**: the closure given to [`catch_traps`] returns.
//! * **A fault of the hardware**: the exception vector or signal handler asks
//!   [`handle_wasm_exception`]. That notes the fault in the innermost
//!   [`Activation`] and has the interrupted code continue in a function of
//!   this crate, on the guest's own stack, below the frame that faulted. There,
//!   in normal context, the backtrace is captured from frames that are still
//!   alive, and the guest is left.
//! * **A trap found by a builtin, an error of a host function, a host panic**:
//!   recorded with [`record_unwind`], raised with [`raise_preexisting_trap`] once
//!   compiled code has the sentinel.
//!
//! All of them end in the `catch_traps` that entered the guest, which takes
//! the activation off the chain, restores the store's words, and returns `Err`
//! with a [`Trap`], or goes on with the panic.
//!
//! # Two places to land
//!
//! [`catch_traps`] saves a context to land at, which any compiled code allows.
//! [`catch_traps_with_landing_pad`] uses the landing pad that the compiled entry
//! trampoline has recorded in the store's words, which saves the save.
//!
//! # Several stacks
//!
//! The activations of a CPU (thread) are last in, first out: the innermost one is that of the guest
//! that was entered last, on the stack that runs. Who switches stacks while a guest is on one, as
//! coroutines and fibers do, takes its activations along: [`suspend_activations`] when it stops, and
//! [`SuspendedActivations::resume`] before it goes on, there or on another CPU.
//!
//! That is checked. These stop the process (a panic that may not unwind; on bare metal the image's panic handler) with
//! a message that names the rule:
//!
//! * a `catch_traps` returns, or is unwound out of, while its activation is not the innermost, or is suspended;
//! * a reason to leave a guest is recorded or raised, or the hardware finds a trap, on the stack of another guest
//!   than the innermost.
//!
//! It is noticed then, and not before: a coroutine that enters a guest, is switched away from, and goes on and
//! ends before anything of the above happens has done no harm. Nor can be noticed: that a stack with live
//! activations on it was freed without running what is on it (which nobody may do), and, but where
//! assertions are on, that a guest is left with a value on another CPU than the one where it was entered; or there for another
//! reason, while that CPU is in a guest on a stack that lies above, to which it is then ascribed. (Who moves a stack to
//! another CPU answers for all that is on it: an activation that is linked is not `Send`.)
//!
//! # What an embedder provides
//!
//! An implementation of [`Store`]: where the words of the trampolines lie, and
//! which addresses are the guest's. `trapline-signal` (hosted) or the kernel's
//! exception vectors call [`handle_wasm_exception`]; `trapline-host-result` wraps
//! host functions.
//!
//! # Example
//!
//! Guests without compiled code make for a short example: the "guest" below
//! raises its trap as a builtin of the runtime would.
//!
//! ```
//! use core::cell::UnsafeCell;
//! use core::ptr::NonNull;
//! use trapline_activation::{
//!     ExitFp, Store, TrapReason, VMContext, VMStoreContext, VMStoreContextLayout, WasmFault,
//!     catch_traps, raise_trap,
//! };
//! use trapline_arch::VirtualAddress;
//! use trapline_code_registry::TrapKind;
//!
//! /// Three words that the trampolines of this embedder would write.
//! struct MyStore(UnsafeCell<[usize; 3]>);
//!
//! // SAFETY: the layout is that of the array; there are no memories.
//! unsafe impl Store for MyStore {
//!     const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
//!         exit_fp: ExitFp::Guest(0),
//!         exit_pc: 8,
//!         entry_fp: 16,
//!         landing_pad: None,
//!     };
//!     fn default_caller(&self) -> NonNull<VMContext> {
//!         NonNull::dangling()
//!     }
//!     fn vm_store_context(&self) -> NonNull<VMStoreContext> {
//!         NonNull::from(&self.0).cast()
//!     }
//!     fn wasm_fault(&self, _: VirtualAddress) -> Option<WasmFault> {
//!         None
//!     }
//! }
//!
//! let store = MyStore(UnsafeCell::new([0; 3]));
//! assert_eq!(catch_traps(&store, |_caller| 6 * 7).unwrap(), 42);
//!
//! let trap = catch_traps(&store, |_caller| {
//!     // SAFETY: stands for a builtin called by compiled code; no destructor
//!     // lies between here and `catch_traps`.
//!     unsafe { raise_trap(TrapReason::Wasm(TrapKind::OutOfFuel)) }
//! })
//! .map(|never: core::convert::Infallible| match never {})
//! .unwrap_err();
//! assert_eq!(trap.to_string(), "wasm trap: all fuel consumed by WebAssembly");
//! ```
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod activation;
mod capture;
mod catch;
mod handler;
mod order;
pub mod panic;
mod passed_on;
mod raise;
mod slot;
mod store;
mod suspend;
mod trap;
mod vm;

pub use activation::{ACTIVATION, Activation, ActivationHead, for_each_activation};
pub use capture::{
    capture_backtrace, capture_backtrace_inline, capture_backtrace_limited, visit_frames,
    visit_frames_from,
};
pub use catch::{
    catch_traps, catch_traps_into, catch_traps_with_landing_pad, catch_traps_with_landing_pad_into,
};
pub use handler::{
    Interrupted, Outcome, handle_wasm_exception, handle_wasm_exception_with,
    try_handle_wasm_exception,
};
pub use passed_on::{CaughtError, Left, PassedOn};
pub use raise::{raise_preexisting_trap, raise_trap, record_trap, record_unwind};
pub use store::{FaultVerdict, GuestFault, Preparation, Store};
pub use suspend::{ActivationMark, SuspendedActivations, suspend_activations};
pub use trap::{CoreDump, NotATrap, SandboxEscape, Trap, TrapReason, UnwindReason, WasmFault};
pub use vm::{ExitFp, LandingPadWords, VMContext, VMStoreContext, VMStoreContextLayout};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
