//! Saving a context, going back to it, and going anywhere.

use core::mem::ManuallyDrop;

use crate::address::VirtualAddress;
use crate::context::{JmpBuf, JmpBufStruct, Resume};
use crate::isa;

impl Resume {
    /// Goes there. Nothing of the current stack is unwound.
    ///
    /// # Safety
    ///
    /// * `pc` is an instruction that expects exactly these registers, and `sp`
    ///   the live stack that it expects.
    /// * No frame that is left by this has a destructor that must run.
    /// * The frames that are left are not used afterwards.
    #[inline]
    pub unsafe fn jump(self) -> ! {
        // SAFETY: the caller's duties are those of the assembly; `self` is
        // readable until the registers are loaded.
        unsafe { isa::resume_jump(&raw const self) }
    }
}

/// Saves the context, runs `f` with it, and returns what `f` returns; or, if
/// [`longjmp`] is called with this context meanwhile, the value given there.
///
/// All state that a function must keep for its caller is as before on both
/// ways, the control words of the floating-point units included. A panic in `f`
/// unwinds out of this function as out of any other.
///
/// After a jump, the frames between here and the `longjmp` are gone without
/// their destructors having run; this includes what `f` owned. Move values that
/// need to be dropped out of `f`'s way before (see [`longjmp`]'s duties).
#[inline]
pub fn call_with_setjmp<F>(f: F) -> i32
where
    F: FnOnce(&JmpBufStruct) -> i32,
{
    unsafe extern "C-unwind" fn body<F>(buf: JmpBuf, data: *mut u8) -> i32
    where
        F: FnOnce(&JmpBufStruct) -> i32,
    {
        // SAFETY: `data` points to the closure that call_with_setjmp holds for
        // us, and this is the only time it is taken.
        let f = unsafe { data.cast::<F>().read() };
        // SAFETY: the assembly made the buffer on its own frame, which lives
        // until this returns.
        f(unsafe { &*buf })
    }

    let mut f = ManuallyDrop::new(f);
    // SAFETY: `body::<F>` takes the closure that `data` points to, once.
    unsafe { isa::call_with_setjmp_raw((&raw mut f).cast(), body::<F>) }
}

/// Goes back to the [`call_with_setjmp`] that made `buf`, which then returns
/// `val` (1 if `val` is 0, as in C).
///
/// # Safety
///
/// * The `call_with_setjmp` that made `buf` has not returned or been jumped or
///   unwound out of.
/// * It is on the same stack, or on one that no other thread or CPU runs on.
/// * No frame between it and this call has a destructor that must run.
#[inline]
pub unsafe fn longjmp(buf: JmpBuf, val: i32) -> ! {
    let val = if val == 0 { 1 } else { val };
    // SAFETY: the buffer is alive, by the first duty.
    let landing = unsafe { (*buf).landing };
    // SAFETY: the landing point is call_with_setjmp's own, whose frame is
    // alive; the other duties are the caller's.
    unsafe { landing.with_payload(val as u32 as usize, 0).jump() }
}

/// The state to go on with so that code interrupted in the frame at `fp` does
/// not go on, but calls `f(arg)` on its own stack instead, below its frame
/// record, in normal context.
///
/// This is how an exception handler gets out of its own, narrow rules: it
/// returns with these registers, and what needs an allocator or a lock happens
/// in `f`. The frame record at `fp` and all that lies above it stay as they
/// are, so that the stack can be walked; what the interrupted function kept
/// below its frame record is overwritten.
///
/// Going there has the duties of [`Resume::jump`], which are: the interrupted
/// code runs on the stack that `fp` points into, its frame record is at `fp`,
/// and there is enough stack below for `f`.
#[inline]
#[must_use]
pub fn detour(fp: VirtualAddress, f: extern "C" fn(usize) -> !, arg: usize) -> Resume {
    Resume {
        pc: isa::detour_entry as *const () as usize,
        sp: isa::detour_stack_pointer(fp),
        fp: fp.get(),
        payload: [f as *const () as usize, arg],
    }
}

#[cfg(test)]
mod tests;
