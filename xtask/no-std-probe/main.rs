//! A program without `std`, libc and dynamic linker that links every `no_std`
//! crate of the workspace: if one of them, or a dependency of theirs, needed
//! more than `core` and `alloc`, this would not build.
//!
//! `cargo xtask test --only no-std` builds and runs it; it is no member of the
//! workspace, since features of other members would reach it there. It is
//! built for x86_64 Linux with `target_os = "none"` set in addition, so the
//! crates choose the code that they choose on bare metal.
#![no_std]
#![no_main]

extern crate alloc;

mod machine;

// Generated: one `extern crate` for each crate that is checked.
include!("crates.rs");

use alloc::sync::Arc;
use core::any::Any;
use core::cell::Cell;
use core::ops::Range;

use trapline_arch::{VirtualAddress, call_with_setjmp, longjmp};
use trapline_code_registry::{CodeAddress, CodeObject, TrapKind, lookup_code, register_code};
use trapline_cpu_local::cpu_local;

cpu_local! {
    static VISITS: Cell<u32> = const { Cell::new(0) };
}

/// Every byte of its text is an `unreachable`.
struct Code(Range<VirtualAddress>);

impl CodeObject for Code {
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

/// Uses what can be used without a guest; the result is the number of the first check that fails.
fn probe() -> Result<(), u8> {
    let check = |number, holds| if holds { Ok(()) } else { Err(number) };

    // SAFETY: the matching call_with_setjmp is running, and nothing between has a destructor.
    check(1, call_with_setjmp(|buf| unsafe { longjmp(buf, 42) }) == 42)?;

    VISITS.set(VISITS.get() + 1);
    check(2, VISITS.get() == 1)?;

    let text = VirtualAddress::new(0x1000)..VirtualAddress::new(0x2000);
    let registration = register_code(Arc::new(Code(text))).map_err(|_| 3)?;
    let (code, offset) = lookup_code(VirtualAddress::new(0x1010)).ok_or(4)?;
    check(
        5,
        code.lookup_trap_code(offset) == Some(TrapKind::UnreachableCodeReached),
    )?;
    drop(registration);
    check(6, lookup_code(VirtualAddress::new(0x1010)).is_none())
}
