//! A saved context, and a place to go on at, as plain data.

use core::fmt;

/// A place that a stack can be left for: an instruction, and the stack and
/// frame pointer that it expects.
///
/// Saved contexts have one ([`JmpBufStruct::landing_point`]), and so have the
/// landing pads of compiled entry trampolines, which reload callee-saved
/// registers themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct LandingPoint {
    /// Address of the instruction to go on with.
    pub pc: usize,
    /// The stack pointer there.
    pub sp: usize,
    /// The frame pointer there. On s390x, which has no register for it, what the
    /// word at the stack pointer says there.
    pub fp: usize,
}

impl LandingPoint {
    /// The full register state for going there with two words of payload.
    #[inline]
    #[must_use]
    pub const fn with_payload(self, first: usize, second: usize) -> Resume {
        Resume {
            pc: self.pc,
            sp: self.sp,
            fp: self.fp,
            payload: [first, second],
        }
    }
}

/// The registers to go on with: all that matters at a landing point.
///
/// Plain data. An exception handler writes it into the interrupted context and
/// returns from the exception; code in normal context calls
/// [`jump`](Self::jump).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Resume {
    /// Address of the instruction to go on with.
    pub pc: usize,
    /// The stack pointer there.
    pub sp: usize,
    /// The frame pointer there. On s390x there is no register to load it to: it
    /// is what the word at the stack pointer says there.
    pub fp: usize,
    /// The payload registers: `rax`, `rdx` on x86_64 (`x0`, `x1` on aarch64,
    /// `a0`, `a1` on riscv64, `r6`, `r7` on s390x). These are the registers in
    /// which landing pads compiled by Cranelift take the payload of an
    /// exception.
    pub payload: [usize; 2],
}

/// A saved context, on the stack of the
/// [`call_with_setjmp`](crate::call_with_setjmp) that made it.
///
/// Only the landing point is kept here: the registers that a function must
/// keep for its caller lie beside it, on the stack.
#[repr(C)]
pub struct JmpBufStruct {
    pub(crate) landing: LandingPoint,
}

/// Points to a saved context.
pub type JmpBuf = *const JmpBufStruct;

impl JmpBufStruct {
    /// Where to go to come back from
    /// [`call_with_setjmp`](crate::call_with_setjmp); the first payload word, as
    /// an `i32`, is what it then returns.
    #[inline]
    #[must_use]
    pub const fn landing_point(&self) -> LandingPoint {
        self.landing
    }
}

impl fmt::Debug for JmpBufStruct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JmpBufStruct").field(&self.landing).finish()
    }
}

/// What the assembly calls with the saved context.
pub(crate) type SetjmpBody = unsafe extern "C-unwind" fn(JmpBuf, *mut u8) -> i32;
