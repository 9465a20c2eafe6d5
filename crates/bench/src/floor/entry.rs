//! The compiled entry trampoline, called bare.

use core::hint::black_box;
use core::mem;
use core::ptr::NonNull;

use anyhow::{Context as _, Result, ensure};
use trapline_embed::{Engine, Module};
use trapline_wasmtime::vm::{
    VMArrayCallNative, VMCONTEXT_MAGIC, VMContext, VMOpaqueContext, VMStoreContext, ValRaw,
};
use trapline_wasmtime::wasmtime_environ::{EntityIndex, HostPtr, PtrSize as _};

use crate::measure::{Artifact, Bench, Measured};

/// The start of an instance: as much as a function that uses nothing of it needs.
#[repr(C, align(16))]
struct Instance([usize; 16]);

/// Calls the entry trampoline of the function `name` with slots that are filled in already,
/// and nothing around it: the function itself, and what the compiler has put before it.
fn call(bench: &Bench, name: &str, slots: &mut [ValRaw]) -> Result<f64> {
    let engine = Engine::new();
    // SAFETY: what the compiler made for this run, unchanged.
    let module = unsafe { Module::load(&engine, &bench.artifact(Artifact::HardwareTraps)?) }?;
    let artifact = module.artifact();
    let environ = artifact.module();
    let atom = environ.strings.get_atom(name).context("no such name")?;
    let Some(EntityIndex::Function(function)) = environ.exports.get(&atom) else {
        anyhow::bail!("{name} is no function");
    };
    let trampoline = environ
        .defined_func_index(*function)
        .and_then(|function| artifact.array_to_wasm_trampoline(function))
        .context("no entry trampoline")?;
    let text = module.text().context("no code")?.start;
    let address = text
        .checked_add(trampoline.start as usize)
        .context("address")?;
    // SAFETY: the address is that of a function of this type, which stays mapped as long as
    // `module` is there, which is until the end of this function.
    let code: VMArrayCallNative = unsafe { mem::transmute(address.as_ptr::<()>()) };

    // Words that trampolines write; no limit of the stack is as good as one.
    let mut store_context = [0_u8; size_of::<VMStoreContext>() + 16];
    let store_context = store_context
        .as_mut_ptr()
        .map_addr(|at| at.next_multiple_of(16));
    let mut instance = Instance([0; 16]);
    let start: *mut u8 = instance.0.as_mut_ptr().cast();
    // SAFETY: both offsets are below 48 bytes and aligned for what is written there: the
    // compiler's description of the head of an instance.
    unsafe {
        start
            .add(usize::from(HostPtr.vmctx_magic()))
            .cast::<u32>()
            .write(VMCONTEXT_MAGIC);
        start
            .add(usize::from(HostPtr.vmctx_store_context()))
            .cast::<*mut u8>()
            .write(store_context);
    }
    let context = NonNull::new(start).context("an address on the stack")?;
    let mut enter = || {
        let (slots, len) = (slots.as_mut_ptr(), slots.len());
        // SAFETY: the trampoline of a function with as many parameters and results as there
        // are slots, which uses nothing of its instance and cannot trap.
        unsafe {
            code(
                context.cast::<VMOpaqueContext>(),
                context.cast::<VMContext>(),
                slots,
                len,
            )
        }
    };
    ensure!(enter(), "the function returns");
    let time = bench.time(|| {
        black_box(enter());
    });
    drop(module);
    Ok(time)
}

/// Of the empty function.
pub(crate) fn trampoline(bench: &Bench) -> Result<Measured> {
    Ok(call(bench, "empty", &mut [])?.into())
}

/// Of the function with two parameters and a result.
pub(crate) fn trampoline_with_values(bench: &Bench) -> Result<Measured> {
    let mut slots = [ValRaw::i32(40), ValRaw::i32(2)];
    let time = call(bench, "add", &mut slots)?;
    Ok(time.into())
}
