//! The compiled entry trampoline, called bare: the function, and what the compiler has put
//! before it and behind it.

use core::hint::black_box;
use core::ptr::NonNull;

use anyhow::{Result, ensure};
use trapline_wasmtime::vm::{VMArrayCallNative, VMContext, VMOpaqueContext, ValRaw};

use super::guest::Guest;
use crate::measure::{Artifact, Bench, Measured};

/// Calls the function `name` with slots that are filled in already.
fn call(bench: &Bench, name: &str, slots: &mut [ValRaw]) -> Result<Measured> {
    let imports = [("nothing", nothing as VMArrayCallNative)];
    let guest = Guest::new(bench, Artifact::HardwareTraps, &imports, &())?;
    let entry = guest.entry(name)?;
    // SAFETY: as many slots as the function has parameters, which are filled in; it cannot
    // trap, and the only function that it calls is there.
    let mut enter = || unsafe { entry.call(slots) };
    ensure!(enter(), "the function returns");
    let time = bench.time(|| {
        black_box(enter());
    });
    Ok(time.into())
}

/// A host function that does nothing, and returns.
unsafe extern "C" fn nothing(
    _: NonNull<VMOpaqueContext>,
    _: NonNull<VMContext>,
    _: *mut ValRaw,
    _: usize,
) -> bool {
    true
}

/// Of the empty function.
pub(crate) fn trampoline(bench: &Bench) -> Result<Measured> {
    call(bench, "empty", &mut [])
}

/// Of the function with two parameters and a result.
pub(crate) fn trampoline_with_values(bench: &Bench) -> Result<Measured> {
    call(bench, "add", &mut [ValRaw::i32(40), ValRaw::i32(2)])
}

/// Of the function that calls the host, through the compiled exit trampoline.
pub(crate) fn trampoline_with_host_call(bench: &Bench) -> Result<Measured> {
    call(bench, "call_host", &mut [])
}
