//! What the hardware says, and what becomes of it.

use alloc::format;

use anyhow::{Context as _, bail, ensure};
use trapline::{TrapKind, VirtualAddress};
use trapline_embed::{Error, TrapReasonRef};

use super::{Guest, Guests, frames};
use crate::isa::Cause;
use crate::kernel::traps::take_last_trap;

/// Whether the error is this trap, raised by the hardware for `cause`, with both of the frames.
/// Asks for what the hardware said of the last one.
fn ensure_trap(
    guest: &Guest<()>,
    error: &Error,
    kind: TrapKind,
    cause: Cause,
    inner: &str,
) -> anyhow::Result<()> {
    ensure!(error.kind() == Some(kind), "{kind} expected: {error}");
    let taken = take_last_trap();
    ensure!(taken == Some(cause), "{cause:x?} expected: {taken:x?}");
    let Some(TrapReasonRef::Jit {
        pc,
        faulting_addr,
        trap,
    }) = error.reason()
    else {
        bail!("not raised by the hardware: {error:?}");
    };
    ensure!(trap == kind, "{kind} expected: {trap}");
    let expected = match cause {
        Cause::PageFault(address) => Some(address),
        _ => None,
    };
    ensure!(
        faulting_addr == expected,
        "fault at {faulting_addr:x?}, expected at {expected:x?}"
    );
    let text = guest.module.text();
    ensure!(
        text.as_ref().is_some_and(|text| text.contains(&pc)),
        "pc {pc} is not in {text:x?}"
    );
    let innermost = error.wasm_backtrace().frames().first();
    ensure!(
        innermost.is_some_and(|frame| frame.pc() == pc),
        "pc {pc}, but the innermost frame is {innermost:?}"
    );
    let frames = frames(error);
    // The outer function is known by its export only.
    ensure!(frames == format!("{inner} -"), "frames: {frames}");
    Ok(())
}

pub(super) fn illegal_instruction(guests: &Guests) -> anyhow::Result<()> {
    let mut guest = guests.traps()?;
    for _ in 0..100 {
        let error = guest.fail::<(), ()>("unreachable", ())?;
        let (kind, cause) = (TrapKind::UnreachableCodeReached, Cause::IllegalInstruction);
        ensure_trap(&guest, &error, kind, cause, "unreachable")?;
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
    // A divisor of zero is checked for by compiled code if the division is signed, since its
    // trap would not be told from the overflow's.
    let error = guest.fail::<(i32, i32), i32>("divide", (i32::MIN, -1))?;
    let (kind, cause) = (TrapKind::IntegerOverflow, Cause::Division);
    ensure_trap(&guest, &error, kind, cause, "divide")?;
    let error = guest.fail::<(i32, i32), i32>("divide_unsigned", (7, 0))?;
    let kind = TrapKind::IntegerDivisionByZero;
    ensure_trap(&guest, &error, kind, cause, "divide_unsigned")
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
        let (kind, cause) = (TrapKind::MemoryOutOfBounds, Cause::PageFault(address));
        ensure_trap(&guest, &error, kind, cause, name)
            .with_context(|| format!("{name} {wasm_address:#x}"))?;
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
    for (name, index, kind, address) in [
        ("table_get", 2, TrapKind::TableOutOfBounds, 0),
        // Where a function's type stands.
        ("call_null", 1, TrapKind::IndirectCallToNull, 0x10),
    ] {
        let error = guest.fail::<i32, ()>(name, index)?;
        let cause = Cause::PageFault(VirtualAddress::new(address));
        ensure_trap(&guest, &error, kind, cause, name).context(name)?;
        ensure!(
            error.wasm_fault().is_none(),
            "{name}: not a fault of a memory"
        );
    }
    Ok(())
}

pub(super) fn stack_overflow(guests: &Guests) -> anyhow::Result<()> {
    let mut guest = guests.traps()?;
    guest.store.set_backtrace_limit(usize::MAX);
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
