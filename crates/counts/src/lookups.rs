//! From an instruction to the code that it belongs to, and to what is known of it.

use core::hint::black_box;
use core::ops::Range;
use std::sync::Arc;

use anyhow::{Result, ensure};
use trapline_arch::VirtualAddress;
use trapline_code_registry::{Registration, lookup_code, register_code};
use trapline_test_support::code::{DISTANCE, STRIDE, range};
use trapline_test_support::code_object;
use trapline_wasmtime::Artifact;

use crate::paths::Input;

/// How many places are looked up, in turn: every time, so that twice as many times are twice
/// the same work.
pub(crate) const PLACES: usize = 4096;

code_object! {
    /// Code that is at an address, and nothing else.
    Code
}

/// Which of so many things is the `nth`, in an order that is none.
fn shuffled(nth: usize, count: usize) -> usize {
    nth * STRIDE % count
}

/// So many ranges, in the registry for as long as these live.
fn registered(ranges: usize) -> Result<Vec<Registration>> {
    (0..ranges)
        .map(|nth| add(range(shuffled(nth, ranges))))
        .collect()
}

fn add(text: Range<usize>) -> Result<Registration> {
    Ok(register_code(Arc::new(Code(text)))?)
}

/// Looks up each of `places`, in turn.
fn look_up<R>(input: &Input<'_>, places: &[usize], look_up: impl Fn(usize) -> Option<R>) {
    for place in places.iter().cycle().take(input.times) {
        black_box(look_up(*place));
    }
}

pub(crate) fn code<const RANGES: usize>(input: &Input<'_>) -> Result<()> {
    let _registrations = registered(RANGES)?;
    let places: Vec<usize> = (0..PLACES)
        .map(|nth| range(shuffled(nth, RANGES)).start + shuffled(nth, DISTANCE / 2))
        .collect();
    let found = |pc| {
        let (code, offset) = lookup_code(VirtualAddress::new(pc))?;
        // As whoever asks does.
        black_box(&*code);
        Some(offset)
    };
    for nth in 0..RANGES.min(PLACES) {
        let text = range(nth);
        ensure!(found(text.start) == Some(0), "the start of {nth}");
        ensure!(found(text.end).is_none(), "behind the end of {nth}");
    }
    look_up(input, &places, found);
    Ok(())
}

pub(crate) fn register<const RANGES: usize>(input: &Input<'_>) -> Result<()> {
    let mut registrations = registered(RANGES)?;
    // Never to be moved while it grows.
    registrations.reserve_exact(RANGES);
    ensure!(input.times <= RANGES, "there are not so many gaps");
    for nth in 0..input.times {
        let gap = range(shuffled(nth, RANGES)).end;
        registrations.push(add(gap..gap + 16)?);
    }
    // Taking them out is not counted.
    core::mem::forget(registrations);
    Ok(())
}

/// Looks up places in the side tables of the guest, `all` of those that have an entry.
fn side_table<R>(
    input: &Input<'_>,
    all: fn(&Artifact) -> Vec<u32>,
    lookup: impl Fn(&Artifact, usize) -> Option<R>,
) -> Result<()> {
    let artifact = Artifact::parse(std::fs::read(input.hardware_traps)?)?;
    let all = all(&artifact);
    ensure!(all.len() > 1_000, "a small table, of {} entries", all.len());
    let places: Vec<usize> = (0..PLACES)
        .map(|nth| all[shuffled(nth, all.len())] as usize)
        .collect();
    for place in &places {
        ensure!(lookup(&artifact, *place).is_some(), "nothing at {place:#x}");
    }
    look_up(input, &places, |place| lookup(&artifact, place));
    Ok(())
}

pub(crate) fn trap_table(input: &Input<'_>) -> Result<()> {
    let all = |artifact: &Artifact| artifact.iter_traps().map(|site| site.text_offset).collect();
    side_table(input, all, Artifact::lookup_trap_code)
}

pub(crate) fn address_map(input: &Input<'_>) -> Result<()> {
    let all = |artifact: &Artifact| {
        let entries = artifact.iter_addresses();
        let entries = entries.filter(|entry| entry.bytecode_offset.is_some());
        entries.map(|entry| entry.text_offset).collect()
    };
    side_table(input, all, Artifact::lookup_bytecode_offset)
}
