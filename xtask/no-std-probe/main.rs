//! A program without `std`, libc and dynamic linker that links every `no_std`
//! crate of the workspace: if one of them, or a dependency of theirs, needed
//! more than `core` and `alloc`, this would not build.
//!
//! `cargo xtask test --only no-std` builds and runs it; it is no member of the
//! workspace, since features of other members would reach it there. It is
//! built for x86_64 Linux with `target_os = "none"` set in addition, so the
//! crates choose the code that they choose on bare metal. CPU-locals get their
//! section by the crate's own linker script; the base register, which only a
//! kernel may write, is a variable here.
#![no_std]
#![no_main]

extern crate alloc;

mod cpus;
mod machine;

// Generated: one `extern crate` for each crate that is checked.
include!("crates.rs");

use alloc::string::ToString;
use alloc::sync::Arc;
use core::any::Any;
use core::cell::UnsafeCell;
use core::convert::Infallible;
use core::ops::Range;
use core::ptr::NonNull;

use trapline::arch::{VirtualAddress, call_with_setjmp, longjmp};
use trapline::code_registry::{CodeAddress, CodeObject, TrapKind, lookup_code, register_code};
use trapline::{
    ExitFp, Store, TrapReason, VMContext, VMStoreContext, VMStoreContextLayout, WasmFault,
    catch_traps, raise_trap,
};

/// Every byte of its text is an `unreachable`.
struct Code(Range<VirtualAddress>);

// SAFETY: nothing is executed in its range, which stays as it is; handlers are not there.
unsafe impl CodeObject for Code {
    fn text(&self) -> Range<VirtualAddress> {
        self.0.clone()
    }

    fn lookup_trap_code(&self, _: usize) -> Option<TrapKind> {
        Some(TrapKind::UnreachableCodeReached)
    }

    fn lookup_address(&self, _: usize) -> Option<CodeAddress> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The words that trampolines write, and nothing else.
struct Words(UnsafeCell<[usize; 3]>);

// SAFETY: the layout is that of the array; there are no memories.
unsafe impl Store for Words {
    const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
        exit_fp: ExitFp::Guest(0),
        exit_pc: 8,
        entry_fp: 16,
        landing_pad: None,
    };

    fn default_caller(&self) -> NonNull<VMContext> {
        NonNull::dangling()
    }

    fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        NonNull::from(&self.0).cast()
    }

    fn wasm_fault(&self, _: VirtualAddress) -> Option<WasmFault> {
        None
    }
}

/// Uses what can be used without compiled code. An error is the number of the check that failed.
fn probe() -> Result<(), u8> {
    let check = |number, holds| if holds { Ok(()) } else { Err(number) };

    // SAFETY: the matching call_with_setjmp is running, and nothing between has a destructor.
    let value = call_with_setjmp(|buf| unsafe { longjmp(buf, 42) });
    check(1, value == 42)?;

    check(2, cpus::probe())?;

    let text = VirtualAddress::new(0x1000)..VirtualAddress::new(0x2000);
    let registration = register_code(Arc::new(Code(text))).map_err(|_| 3)?;
    let (code, offset) = lookup_code(VirtualAddress::new(0x1010)).ok_or(4)?;
    check(
        5,
        code.lookup_trap_code(offset) == Some(TrapKind::UnreachableCodeReached),
    )?;
    drop((code, registration));
    check(6, lookup_code(VirtualAddress::new(0x1010)).is_none())?;

    let store = Words(UnsafeCell::new([0; 3]));
    check(
        7,
        catch_traps(&store, |_| 42).is_ok_and(|value| value == 42),
    )?;
    let trapped: Result<Infallible, _> = catch_traps(&store, |_| {
        // SAFETY: stands for a builtin called by a guest; no destructor lies
        // between here and catch_traps.
        unsafe { raise_trap(TrapReason::Wasm(TrapKind::OutOfFuel)) }
    });
    let Err(trap) = trapped;
    check(
        8,
        trap.to_string() == "wasm trap: all fuel consumed by WebAssembly",
    )
}
