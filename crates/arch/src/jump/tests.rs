//! What the assembly promises about registers: set to patterns before, ruined
//! inside, compared after. Each instruction set's `registers` knows its own.

extern crate std;

use std::boxed::Box;
use std::panic::{catch_unwind, resume_unwind};

use super::longjmp;
use crate::context::{JmpBuf, SetjmpBody};
use crate::isa::registers::{
    PATTERNS, RETURN_ADDRESS_BYTES, ruin_and_call, store_stack_pointer, with_registers,
};
use crate::isa::{FP_ALIGN, call_with_setjmp_raw};

/// What [`ruin_and_call`] calls.
type Then = extern "C-unwind" fn(JmpBuf) -> !;

extern "C-unwind" fn jump_back(buf: JmpBuf) -> ! {
    // SAFETY: `with_registers` is in the call that made the context; nothing in
    // between has a destructor.
    unsafe { longjmp(buf, 77) }
}

extern "C-unwind" fn panic_on_purpose(_: JmpBuf) -> ! {
    resume_unwind(Box::new(()))
}

/// `call_with_setjmp_raw`, with 78 for a panic.
unsafe extern "C-unwind" fn call_and_catch(data: *mut u8, body: SetjmpBody) -> i32 {
    // SAFETY: the caller's duty is the same.
    catch_unwind(|| unsafe { call_with_setjmp_raw(data, body) }).unwrap_or(78)
}

#[test]
fn a_jump_brings_back_every_register_that_a_callee_keeps() {
    let mut kept = PATTERNS;
    let then: Then = jump_back;
    // SAFETY: `kept` is alive; the body jumps back to the context it is given.
    let value = unsafe {
        with_registers(
            &mut kept,
            then as *mut u8,
            ruin_and_call,
            call_with_setjmp_raw,
        )
    };
    assert_eq!(value, 77);
    assert_eq!(kept.without_status(), PATTERNS);
}

#[test]
fn a_return_keeps_every_register_that_a_callee_keeps() {
    let mut kept = PATTERNS;
    let mut sp = 0_usize;
    // SAFETY: `kept` is alive; the body stores a word at `data`.
    let value = unsafe {
        with_registers(
            &mut kept,
            (&raw mut sp).cast(),
            store_stack_pointer,
            call_with_setjmp_raw,
        )
    };
    assert_eq!(value, 79);
    assert_eq!(kept.without_status(), PATTERNS);
}

#[test]
fn a_panic_finds_every_register_that_a_callee_keeps_in_the_frame() {
    let mut kept = PATTERNS;
    let then: Then = panic_on_purpose;
    // SAFETY: `kept` is alive; the body panics, which is caught.
    let value =
        unsafe { with_registers(&mut kept, then as *mut u8, ruin_and_call, call_and_catch) };
    assert_eq!(value, 78);
    // Unwinding restores registers, and leaves settings alone.
    assert_eq!(kept.without_settings(), PATTERNS);
}

#[test]
fn the_body_is_called_on_an_aligned_stack() {
    let mut sp = 0_usize;
    // SAFETY: the body stores a word at `data`.
    let value = unsafe { call_with_setjmp_raw((&raw mut sp).cast(), store_stack_pointer) };
    assert_eq!(value, 79);
    assert_eq!((sp + RETURN_ADDRESS_BYTES) % FP_ALIGN, 0);
    assert_ne!(sp, 0);
}
