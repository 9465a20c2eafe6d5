//! Bugs and broken sandboxes: the kernel has to stop for them, with a message that says what
//! it was. Each takes a boot of its own.

use core::ptr::with_exposed_provenance_mut;

use anyhow::{Context as _, bail, ensure};
use trapline_script::{Bundle, Traps};

use super::bundles;
use super::scenarios::Guests;
use super::scenarios::moving::on_the_other;
use crate::kernel::heap;
use crate::kernel::memory::RANGES;
use crate::kernel::serial::log;
use crate::kernel::traps::fault_in_the_handler;

/// What an order stands for. If it returns, the kernel has not stopped.
type Stop = fn(&Guests) -> anyhow::Result<()>;

/// By their numbers, from 1. `xtask/src/legs/bare.rs` has the same list, with the messages.
const STOPS: &[Stop] = &[
    fault_in_a_host_function,
    panic_that_nobody_catches,
    fault_in_the_handler_of_a_fault,
    kernel_stack_used_up,
    |guests| escape(guests, RANGES.end),
    // No page table can map it.
    |guests| escape(guests, 1 << 63),
];

/// What the image ends with that did not stop.
const WENT_ON: u8 = 2;

/// Does what the kernel has to stop for.
pub(super) fn run(order: u64) -> u8 {
    let outcome = try_to(order);
    log!("the kernel did not stop for order {order}: {outcome:?}");
    WENT_ON
}

fn try_to(order: u64) -> anyhow::Result<()> {
    let stop = (order as usize).checked_sub(1).and_then(|at| STOPS.get(at));
    let stop = stop.context("nobody knows this order")?;
    let hardware = |bundle: &Bundle| bundle.traps() == Traps::Hardware;
    let bundle = bundles::all().filter_map(Result::ok).find(hardware);
    stop(&Guests::new(&bundle.context(
        "there are no guests with hardware traps in the image",
    )?))
}

/// On the other CPU, so that it is seen to take all down.
fn fault_in_a_host_function(guests: &Guests) -> anyhow::Result<()> {
    let guests = guests.clone();
    on_the_other(move || {
        let mut guest = guests.calls_host((), |_, address| -> anyhow::Result<i32> {
            let null = with_exposed_provenance_mut::<u8>(address as usize);
            // SAFETY: there is nothing, and the kernel stops for the attempt to read it.
            Ok(unsafe { null.read_volatile() }.into())
        })?;
        let call = guest.func::<i32, i32>("call")?;
        // A null reference's address, if a guest accesses it.
        let value = call.call(&mut guest.store, 0x10)?;
        bail!("there is {value}")
    })?
}

fn panic_that_nobody_catches(_: &Guests) -> anyhow::Result<()> {
    panic!("for a reason")
}

#[expect(clippy::unnecessary_wraps, reason = "one of many")]
fn fault_in_the_handler_of_a_fault(_: &Guests) -> anyhow::Result<()> {
    fault_in_the_handler();
    Ok(())
}

/// The handler has a stack of its own.
fn kernel_stack_used_up(_: &Guests) -> anyhow::Result<()> {
    #[expect(unconditional_recursion, reason = "that is the point")]
    #[inline(never)]
    fn recurse(depth: usize) -> usize {
        core::hint::black_box(recurse(core::hint::black_box(depth + 1)) + 1)
    }
    bail!("{} calls fit", recurse(0))
}

/// Has a guest access its memory at a place that is not its memory's, as if the record that it
/// reads its memory's place from had been overwritten.
fn escape(guests: &Guests, to: usize) -> anyhow::Result<()> {
    const SIZE: usize = 0x10000;
    let mut guest = guests.traps()?;
    let memory = guest.instance.get_memory(&mut guest.store, "memory");
    let memory = memory.context("there is no memory")?;
    let data = memory.data(&guest.store);
    ensure!(data.len() == SIZE, "a memory of {} bytes", data.len());
    let record = [data.as_ptr().addr(), SIZE];

    // The store, which has the record, is in the kernel's heap.
    let mut found = 0;
    for address in heap::range().step_by(align_of::<usize>()) {
        let at = with_exposed_provenance_mut::<usize>(address);
        // SAFETY: memory of the kernel, the second word of the last pair too, which lies in
        // the pages after the heap. This is the bug that overwrites it.
        unsafe {
            if [at.read_volatile(), at.add(1).read_volatile()] == record {
                at.write_volatile(to);
                found += 1;
            }
        }
    }
    ensure!(found > 0, "there is no record of the memory");
    let load = guest.func::<i32, i32>("load")?;
    let value = load.call(&mut guest.store, 0)?;
    bail!("there is {value}")
}
