//! All that happens when guest code traps, for any WebAssembly runtime, kernel
//! or Cranelift JIT: catch it, leave the guest, say what happened and where,
//! keep running.
//!
//! This crate re-exports the layers with one list of features. Each layer is a
//! crate of its own and can be used alone.
//!
//! ```text
//!  facade            trapline
//!                      │
//!  guest boundary    host_result     what host functions return to compiled code
//!                      │
//!  records           activation      catch_traps, Trap, handle_wasm_exception
//!                      │         │
//!  mechanisms        backtrace   code_registry   cpu_local
//!                      │
//!  machine           arch            saved contexts, jumps, the frame ABI
//! ```
//!
//! # From nothing to a caught trap
//!
//! 1. Implement [`Store`] for your store type: where the words of the compiled
//!    trampolines lie, and which addresses are the guest's memory.
//! 2. Give each piece of compiled code to [`register_code`] as a [`CodeObject`].
//! 3. Have faults reach [`handle_wasm_exception`]: with feature `signal`,
//!    `signal::install` does; a kernel calls it from its exception vectors.
//! 4. Enter guests inside [`catch_traps`]; wrap host functions that they call
//!    in [`catch_unwind_and_record_trap`].
//!
//! The integration tests of this crate do this for functions compiled with
//! `cranelift-jit`; `trapline-embed` does it for artifacts of the Wasmtime
//! compiler.
//!
//! # Features
//!
//! | feature | default | what |
//! | --- | --- | --- |
//! | `std` | yes | hosted: host panics are caught and carried through guest frames; who registers code sleeps while others do, and forked children may register, too |
//! | `signal` | no | `trapline-signal`: POSIX signals as the source of hardware traps |
//! | `unwinding` | no | bare metal: host panics are caught and carried through guest frames (see `activation::panic`) |
//! | `custom-base` | no | bare metal: a function of the embedder knows where a CPU's own data is; wins over the two below |
//! | `single-cpu` | no | bare metal: the image uses one CPU |
//! | `tpidr-el2` | no | bare metal, aarch64: the kernel runs at EL2 |
//! | `tracing` | no | log events, in normal context only |
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub use trapline_activation as activation;
pub use trapline_arch as arch;
pub use trapline_backtrace as backtrace;
pub use trapline_code_registry as code_registry;
pub use trapline_cpu_local as cpu_local;
pub use trapline_host_result as host_result;
#[cfg(feature = "signal")]
pub use trapline_signal as signal;

pub use trapline_activation::{
    ACTIVATION, Activation, ActivationHead, ActivationMark, CaughtError, CoreDump, ExitFp,
    FaultVerdict, GuestFault, Interrupted, LandingPadWords, Left, NotATrap, Outcome, PassedOn,
    Preparation, SandboxEscape, Store, SuspendedActivations, Trap, TrapReason, UnwindReason,
    VMContext, VMStoreContext, VMStoreContextLayout, WasmFault, capture_backtrace,
    capture_backtrace_inline, capture_backtrace_limited, catch_traps, catch_traps_into,
    catch_traps_with_landing_pad, catch_traps_with_landing_pad_into, for_each_activation,
    handle_wasm_exception, handle_wasm_exception_with, raise_preexisting_trap, raise_trap,
    record_trap, record_unwind, suspend_activations, try_handle_wasm_exception, visit_frames,
    visit_frames_from,
};
pub use trapline_arch::{
    JmpBuf, JmpBufStruct, LandingPoint, NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_SP_FROM_FP_OFFSET,
    Resume, VirtualAddress, assert_fp_is_aligned, call_with_setjmp, get_next_older_pc_from_fp,
    is_canonical, longjmp, stack_pointer,
};
pub use trapline_backtrace::{Cursor, Frame, INLINE_FRAMES, RawBacktrace, Run, WalkEnd, walk};
pub use trapline_code_registry::{
    CodeAddress, CodeObject, CodeRef, RegisterError, Registration, TrapKind, is_hlt, lookup_code,
    register_code, trap_by_hlt,
};
pub use trapline_cpu_local::cpu_local;
pub use trapline_host_result::{
    HostResult, HostResultHasUnwindSentinel, catch_unwind_and_record_trap,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
