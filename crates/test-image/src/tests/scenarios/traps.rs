//! What the hardware says, and what becomes of it.

use anyhow::{bail, ensure};
use trapline::{TrapKind, TrapReason, VirtualAddress};
use trapline_embed::Error;

use super::{Guests, frames};
use crate::isa::Cause;
use crate::kernel::traps::take_last_trap;

/// Whether the error is this trap, raised by the hardware, with both of the frames.
fn ensure_trap(error: &Error, kind: TrapKind, inner: &str) -> anyhow::Result<()> {
    ensure!(error.kind() == Some(kind), "{kind} expected: {error}");
    let jit = matches!(
        error.trap().map(|trap| &trap.reason),
        Some(TrapReason::Jit { .. })
    );
    ensure!(jit, "not raised by the hardware: {error:?}");
    let frames = frames(error);
    // The outer function is known by its export only.
    ensure!(frames == alloc::format!("{inner} -"), "frames: {frames}");
    Ok(())
}

pub(super) fn illegal_instruction(guests: &Guests) -> anyhow::Result<()> {
    let mut guest = guests.traps()?;
    for _ in 0..100 {
        let error = guest.fail::<(), ()>("unreachable", ())?;
        let cause = take_last_trap();
        ensure!(cause == Some(Cause::IllegalInstruction), "{cause:x?}");
        ensure_trap(&error, TrapKind::UnreachableCodeReached, "unreachable")?;
    }
    let sum = guest.func::<(i32, i32), i32>("add")?;
    ensure!(
        sum.call(&mut guest.store, (2, 3))? == 5,
        "and the guest goes on"
    );
    Ok(())
}

pub(super) fn hardware_division(guests: &Guests) -> anyhow::Result<()> {
    let mut guest = guests.traps()?;
    let error = guest.fail::<(i32, i32), i32>("divide", (i32::MIN, -1))?;
    let cause = take_last_trap();
    ensure!(cause == Some(Cause::Division), "{cause:x?}");
    ensure_trap(&error, TrapKind::IntegerOverflow, "divide")
}

pub(super) fn page_fault(guests: &Guests) -> anyhow::Result<()> {
    const SIZE: u64 = 0x10000;
    let mut guest = guests.traps()?;
    let Some(memory) = guest.instance.get_memory(&mut guest.store, "memory") else {
        bail!("there is no memory");
    };
    let base = memory.data(&guest.store).as_ptr().addr();

    // The first byte that is not there; one in the middle of the reservation; the
    // last one that an index of 32 bits reaches; one in the guard region after it.
    for (name, index, offset) in [
        ("load", 0x10000, 0),
        ("store", 0x10000, 0),
        ("load", 0x1234_5678, 0),
        ("store", -1, 0),
        ("load_far", 0x7fff_ffff, 0x7fff_0000),
    ] {
        let error = match name {
            "load" => guest.fail::<i32, i32>(name, index)?,
            "store" => guest.fail::<i32, ()>(name, index)?,
            _ => guest.fail::<i32, i64>(name, index)?,
        };
        let wasm_address = u64::from(index as u32) + offset;
        let address = VirtualAddress::new(base + wasm_address as usize);
        let cause = take_last_trap();
        ensure!(
            cause == Some(Cause::PageFault(address)),
            "{name} {wasm_address:#x}: {cause:x?}, expected at {address:#x}"
        );
        ensure_trap(&error, TrapKind::MemoryOutOfBounds, name)?;
        let Some(fault) = error.wasm_fault() else {
            bail!("{name} {wasm_address:#x}: not in terms of the guest");
        };
        ensure!(
            (fault.memory_size, fault.wasm_address) == (SIZE, wasm_address),
            "{name} {wasm_address:#x}: {fault}"
        );
    }
    Ok(())
}

pub(super) fn fault_in_page_zero(guests: &Guests) -> anyhow::Result<()> {
    let mut guest = guests.traps()?;
    for (name, index, kind) in [
        ("table_get", 2, TrapKind::TableOutOfBounds),
        ("call_null", 1, TrapKind::IndirectCallToNull),
    ] {
        let error = guest.fail::<i32, ()>(name, index)?;
        let cause = take_last_trap();
        ensure!(
            matches!(cause, Some(Cause::PageFault(address)) if address.get() < 4096),
            "{name}: {cause:x?}"
        );
        ensure_trap(&error, kind, name)?;
        ensure!(
            error.wasm_fault().is_none(),
            "{name}: not a fault of a memory"
        );
    }
    Ok(())
}

pub(super) fn stack_overflow(guests: &Guests) -> anyhow::Result<()> {
    let mut guest = guests.traps()?;
    for round in 0..5 {
        let error = guest.fail::<i32, i32>("recurse", 0)?;
        ensure!(error.kind() == Some(TrapKind::StackOverflow), "{error}");
        let frames = error.wasm_backtrace().frames();
        ensure!(
            frames.len() > 1000,
            "round {round}: {} frames",
            frames.len()
        );
        let (outer, inner) = (&frames[frames.len() - 1], &frames[..frames.len() - 1]);
        let recursion = inner
            .iter()
            .all(|frame| frame.function_name() == Some("recurse"));
        ensure!(recursion && outer.function_name().is_none(), "other frames");
    }
    Ok(())
}
