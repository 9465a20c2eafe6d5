//! The guide's guest (`docs/embedding.md`): all that it takes, in one piece.

use alloc::vec::Vec;

use anyhow::{Context as _, ensure};
use trapline::TrapKind;
use trapline_embed::{Engine, Error, Linker, Module, Store};
use trapline_script::Traps;
use trapline_wasmtime::{Artifact, Cpu, Isa};

use super::{Guests, frames};
use crate::isa;
use crate::kernel::serial::log;

/// Loads `guests/first.wat`, calls it, and gives the error of a call that has to trap.
fn run_first(engine: &Engine, artifact: Vec<u8>) -> anyhow::Result<Error> {
    let artifact = match (isa::CPU_FEATURES, Isa::HOST) {
        (Some(has_feature), Some(isa)) => {
            Artifact::parse_for(artifact, Cpu::new(isa, &has_feature))
        }
        _ => Artifact::parse(artifact),
    }?;
    // SAFETY: the compiler's own output, unchanged; and the CPU has what is said here.
    let module = unsafe { Module::from_artifact(engine, artifact) }?;
    let mut linker = Linker::new(engine);
    linker.func_wrap("kernel", "log", |address: i32| -> anyhow::Result<()> {
        log!("the guest reads at {address:#x}");
        Ok(())
    });
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let read = instance.get_typed_func::<i32, i32, _>(&mut store, "read")?;
    let value = read.call(&mut store, 0xfffc)?;
    ensure!(value == 0, "the last word is {value}");

    let error = read.call(&mut store, 0x10000).err();
    let error = error.context("there is no byte at 0x10000")?;
    log!("{error}, {:?}", error.wasm_fault());
    for frame in error.wasm_backtrace().frames() {
        log!("  at {:?}", frame.function_name());
    }
    Ok(error)
}

pub(super) fn first_trap(guests: &Guests) -> anyhow::Result<()> {
    let error = run_first(&guests.engine, guests.bundle.artifact("first")?)?;
    ensure!(error.kind() == Some(TrapKind::MemoryOutOfBounds), "{error}");
    ensure!(frames(&error) == "load -", "frames: {}", frames(&error));
    let fault = error.wasm_fault();
    let place = fault.map(|fault| (fault.wasm_address, fault.memory_size));
    // An explicit check does not say where.
    let expected = (guests.traps_by() == Traps::Hardware).then_some((0x10000, 0x10000));
    ensure!(place == expected, "at {place:x?}");
    Ok(())
}
