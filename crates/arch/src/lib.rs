//! The machine's side of leaving compiled code: saving a context and jumping
//! back to it, continuing at any register state, and the shape of a stack
//! frame, for each instruction set.
//!
//! This is the lowest layer of trapline. It knows nothing of WebAssembly, of
//! stores or of traps; it needs neither `std` nor an allocator.
//!
//! # The pieces
//!
//! * [`call_with_setjmp`] runs a closure that may be left by [`longjmp`] from
//!   any depth. It is one call that returns one time: the jump comes back
//!   through the same epilogue as the normal return, so the compiler never sees
//!   a function that returns twice (the trouble with C's `setjmp`).
//! * [`Resume`] is a register state to go on with, as plain data: an exception
//!   handler writes it into the interrupted context, normal code
//!   [jumps](Resume::jump) there. [`LandingPoint`] is the part of it that says
//!   where; saved contexts and the landing pads of compiled entry trampolines
//!   are both landing points.
//! * [`detour`] makes interrupted code "call" a function of ours on its own
//!   stack, in normal context, once the exception handler has returned.
//! * [`get_next_older_pc_from_fp`] and the `NEXT_OLDER_*` offsets describe the
//!   frame record that a frame pointer points to.
//!
//! ```text
//!  higher addresses
//!  │ caller of call_with_setjmp         │
//!  ├────────────────────────────────────┤
//!  │ return address                     │
//!  │ callee-saved registers             │  saved by call_with_setjmp
//!  │ floating-point control words       │
//!  │ JmpBufStruct { pc, sp, fp } ───────┼─► pc: the landing point inside
//!  ├────────────────────────────────────┤       call_with_setjmp's epilogue
//!  │ the closure's frames               │
//!  │ compiled code's frames             │
//!  │   … longjmp(buf, 7)                │  all of this is dropped as it is:
//!  ▼                                    ▼  no destructor of it runs
//!  lower addresses
//! ```
//!
//! # Example
//!
//! ```
//! use trapline_arch::{JmpBufStruct, call_with_setjmp, longjmp};
//!
//! fn deep_down(buf: &JmpBufStruct, depth: u32) -> i32 {
//!     if depth > 0 {
//!         return deep_down(buf, depth - 1) + 1;
//!     }
//!     // SAFETY: the matching call_with_setjmp is still running, on this
//!     // stack, and nothing in between has a destructor.
//!     unsafe { longjmp(buf, 42) }
//! }
//!
//! assert_eq!(call_with_setjmp(|buf| deep_down(buf, 10)), 42);
//! assert_eq!(call_with_setjmp(|_| 7), 7);
//! ```
//!
//! # Supported instruction sets
//!
//! One file per instruction set in `src/isa`, each with the same items in the
//! same order. What they make of the above:
//!
//! | | x86_64 | aarch64 | riscv64 | s390x |
//! | --- | --- | --- | --- | --- |
//! | ABI | System V | AAPCS64 | RISC-V ELF psABI | s390x ELF |
//! | kept: integers | `rbx`, `rbp`, `r12` to `r15` | `x19` to `x29` | `s0` to `s11` | `r6` to `r13` |
//! | kept: floating point | | lower halves of `v8` to `v15` | `fs0` to `fs11` | `f8` to `f15` |
//! | kept: settings | MXCSR, x87 control word | FPCR | rounding mode | FPC |
//! | frame pointer | `rbp` | `x29` | `s0` | the word at `r15` |
//! | its alignment | 16 | 16 | 16 | 8 |
//! | caller's frame pointer at | 0 | 0 | 0 | 0 |
//! | return address at | 8 | 8, maybe signed | 8 | 112 |
//! | caller's stack pointer | + 16 | + 16 | + 16 | + 0 |
//! | payload | `rax`, `rdx` | `x0`, `x1` | `a0`, `a1` | `r6`, `r7` |
//! | mark at landing points | `endbr64` | `bti jc` | | |
//!
//! Stack and frame pointer and the return address are kept on all of them. Floating
//! point is left out where the target has none (`x86_64-unknown-none` still has
//! the control registers, which guests may use).
//!
//! On s390x no register is a frame pointer: what is called so is the back chain,
//! the caller's stack pointer. The `fp` of a [`LandingPoint`] or a [`Resume`] is
//! then what code there will find, not something to load.
#![no_std]

mod address;
mod context;
mod isa;
mod jump;

pub use address::VirtualAddress;
pub use context::{JmpBuf, JmpBufStruct, LandingPoint, Resume};
pub use isa::{FP_ALIGN, NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_SP_FROM_FP_OFFSET, is_canonical};
pub use jump::{call_with_setjmp, detour, longjmp};

/// The return address in the frame record at `fp`: the address in the caller
/// at which the function that owns the frame returns.
///
/// Pointer-authentication bits are stripped where the instruction set has them.
///
/// # Safety
///
/// * `fp` is the frame pointer of a live frame on a stack that this code may
///   read, so that both words of the frame record at `fp` are readable.
#[inline]
#[must_use]
pub unsafe fn get_next_older_pc_from_fp(fp: VirtualAddress) -> VirtualAddress {
    // SAFETY: the frame record at `fp` is readable, by this function's duty.
    let word = unsafe {
        fp.as_ptr::<u8>()
            .add(isa::NEXT_OLDER_PC_FROM_FP_OFFSET)
            .cast::<usize>()
            .read()
    };
    return_address(word)
}

/// The code address in a return-address word as it lies in a frame record,
/// without the bits that pointer authentication put there.
#[inline]
#[must_use]
pub fn return_address(word: usize) -> VirtualAddress {
    isa::strip_return_address(word)
}

/// Byte offset from a frame pointer to the return address in its frame record.
pub const NEXT_OLDER_PC_FROM_FP_OFFSET: usize = isa::NEXT_OLDER_PC_FROM_FP_OFFSET;

/// The stack pointer of the function that calls this, wherever that is.
///
/// This, and not the address of a local variable, says where on the stack something is:
/// AddressSanitizer keeps locals elsewhere (`detect_stack_use_after_return`). It is at or below all of
/// the function's frame (but for a red zone), and above the frames of what the function calls later.
///
/// Under Miri, whose machine has no stack, it is always [`VirtualAddress::NULL`].
#[inline(always)]
#[must_use]
pub fn stack_pointer() -> VirtualAddress {
    if cfg!(miri) {
        return VirtualAddress::NULL;
    }
    VirtualAddress::new(isa::stack_pointer())
}

/// Whether `fp` has the alignment that the ABI gives to frame pointers.
#[inline]
#[must_use]
pub const fn is_fp_aligned(fp: VirtualAddress) -> bool {
    fp.is_aligned_to(FP_ALIGN)
}

/// Panics unless `fp` has the alignment that the ABI gives to frame pointers
/// (16 bytes; 8 on s390x).
///
/// Not for handlers: they ask [`is_fp_aligned`].
///
/// # Panics
///
/// If `fp` is not aligned; the message names it.
#[track_caller]
pub fn assert_fp_is_aligned(fp: VirtualAddress) {
    assert!(
        is_fp_aligned(fp),
        "frame pointer {fp} is not aligned to {} bytes",
        FP_ALIGN
    );
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
