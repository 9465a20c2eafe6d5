//! What is mapped, and with which rights.

use alloc::sync::Arc;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU32, Ordering};

use anyhow::ensure;
use trapline::VirtualAddress;
use trapline_embed::platform::Platform as _;

use super::{Guest, Guests, keeps_no_memory};
use crate::isa::{self, Cause, PAGE};
use crate::kernel::platform::Machine;
use crate::kernel::stack::Stack;
use crate::kernel::traps::expect_exception;
use crate::kernel::{jobs, memory};

fn read(address: usize) -> Option<Cause> {
    // SAFETY: nothing here has a destructor.
    unsafe {
        expect_exception(|| {
            with_exposed_provenance_mut::<u8>(address).read_volatile();
        })
    }
}

fn write(address: usize) -> Option<Cause> {
    // SAFETY: as for `read`. What it would change if it were not protected, the
    // scenario fails for.
    unsafe {
        expect_exception(|| {
            let byte = with_exposed_provenance_mut::<u8>(address);
            byte.write_volatile(byte.read_volatile());
        })
    }
}

fn execute(address: usize) -> Option<Cause> {
    // SAFETY: as for `read`; what is there returns, if it can be executed at all.
    unsafe {
        expect_exception(|| {
            let function: extern "C" fn() =
                core::mem::transmute(with_exposed_provenance_mut::<u8>(address));
            function();
        })
    }
}

fn ensure_fault(what: &str, outcome: Option<Cause>, address: usize) -> anyhow::Result<()> {
    let expected = Some(Cause::PageFault(VirtualAddress::new(address)));
    ensure!(
        outcome == expected,
        "{what}: {outcome:x?} instead of {expected:x?}"
    );
    Ok(())
}

pub(super) fn page_zero_is_not_mapped() -> anyhow::Result<()> {
    for address in [1, 0x10, 0x18, PAGE - 1] {
        ensure_fault("read", read(address), address)?;
        ensure_fault("write", write(address), address)?;
    }
    Ok(())
}

/// An access far outside of every memory must not pass for one to page 0, which would
/// be a null reference's: its address is told, or told not to be known.
pub(super) fn impossible_addresses_are_told_apart() -> anyhow::Result<()> {
    for address in [1 << 48, 1 << 63, 1 << 63 | PAGE] {
        for outcome in [read(address), write(address)] {
            if outcome != Some(Cause::NonCanonicalAddress) {
                ensure_fault("access", outcome, address)?;
            }
        }
    }
    Ok(())
}

pub(super) fn image_is_protected() -> anyhow::Result<()> {
    static CONSTANT: [u8; 2] = *b"ro";
    static mut DATA: [usize; 2] = [0; 2];

    let code = image_is_protected as fn() -> anyhow::Result<()> as usize;
    ensure!(read(code).is_none(), "code cannot be read");
    ensure_fault("write to code", write(code), code)?;

    let constant = (&raw const CONSTANT).expose_provenance();
    ensure!(read(constant).is_none(), "constants cannot be read");
    ensure_fault("write to a constant", write(constant), constant)?;
    ensure_fault("execute a constant", execute(constant & !3), constant & !3)?;

    let data = (&raw mut DATA).expose_provenance();
    ensure!(write(data).is_none(), "data cannot be written");
    ensure_fault("execute data", execute(data), data)?;
    let heap = alloc::boxed::Box::new([0_usize; 2]);
    let heap = core::ptr::from_ref(&*heap).expose_provenance();
    ensure_fault("execute the heap", execute(heap), heap)
}

pub(super) fn stacks_have_guards() -> anyhow::Result<()> {
    keeps_no_memory(|| {
        let stack = Stack::new(4 * PAGE).map_err(anyhow::Error::msg)?;
        ensure!(
            write(stack.top() - 1).is_none(),
            "the first byte of a stack"
        );
        let last = stack.guard() + PAGE;
        ensure!(write(last).is_none(), "the last byte of a stack");
        ensure_fault("below a stack", write(last - 1), last - 1)
    })
}

pub(super) fn memory_is_zero_and_given_back() -> anyhow::Result<()> {
    const BYTES: usize = 4 << 30;
    keeps_no_memory(|| {
        let mut last = None;
        for round in 0..300 {
            let start = Machine.reserve(BYTES)?;
            ensure!(
                last.is_none_or(|last| last == start),
                "round {round}: addresses are not used again"
            );
            last = Some(start);
            // Across the end of what one table maps.
            for offset in [0, (2 << 20) - PAGE] {
                // SAFETY: in the range that was just reserved.
                unsafe {
                    let at = start.add(offset);
                    Machine.commit(at, 2 * PAGE)?;
                    let bytes = NonNull::slice_from_raw_parts(at, 2 * PAGE).as_mut();
                    ensure!(
                        bytes.iter().all(|byte| *byte == 0),
                        "round {round}: not zero"
                    );
                    bytes.fill(0xff);
                }
            }
            let outside = start.addr().get() + 2 * PAGE;
            ensure_fault("beyond what is committed", write(outside), outside)?;
            // SAFETY: reserved above, and not used any more.
            unsafe { Machine.release(start, BYTES) };
            let gone = start.addr().get();
            ensure_fault("after the release", read(gone), gone)?;
        }
        Ok(())
    })
}

pub(super) fn memory_runs_out_with_an_error() -> anyhow::Result<()> {
    const BYTES: usize = 4 << 30;
    keeps_no_memory(|| {
        let start = Machine.reserve(BYTES)?;
        // SAFETY: in the range that was just reserved.
        let outcome = unsafe { Machine.commit(start, BYTES) };
        ensure!(outcome.is_err(), "more memory than the machine has");
        // SAFETY: as above: nothing was committed there.
        unsafe { Machine.commit(start, PAGE)? };
        ensure!(
            write(start.addr().get()).is_none(),
            "the next attempt does not work"
        );
        // SAFETY: reserved above, and not used any more.
        unsafe { Machine.release(start, BYTES) };
        let all = Machine.reserve(usize::MAX & !(PAGE - 1));
        ensure!(all.is_err(), "more addresses than there are");
        Ok(())
    })
}

pub(super) fn released_memory_is_gone_on_all_cpus() -> anyhow::Result<()> {
    const ROUNDS: u32 = 200;
    let start = Machine.reserve(PAGE)?;
    let address = start.addr().get();
    // SAFETY: reserved and given back in the line before each.
    unsafe { Machine.release(start, PAGE) };

    // Even: the memory is there. Odd: it is gone.
    let turn = Arc::new(AtomicU32::new(0));
    let wait_for = |turn: &AtomicU32, value| {
        while turn.load(Ordering::Acquire) != value {
            isa::pause();
        }
    };
    let other = jobs::spawn({
        let turn = Arc::clone(&turn);
        move || -> anyhow::Result<()> {
            for round in 0..ROUNDS {
                wait_for(&turn, 4 * round + 1);
                let before = write(address);
                turn.store(4 * round + 2, Ordering::Release);
                wait_for(&turn, 4 * round + 3);
                let after = write(address);
                turn.store(4 * round + 4, Ordering::Release);
                ensure!(before.is_none(), "round {round}: {before:x?}");
                ensure_fault("memory that another CPU released", after, address)?;
            }
            Ok(())
        }
    });
    for round in 0..ROUNDS {
        let start = memory::reserve(PAGE);
        ensure!(start == Some(address), "addresses are not used again");
        memory::commit(address, PAGE).map_err(anyhow::Error::msg)?;
        turn.store(4 * round + 1, Ordering::Release);
        wait_for(&turn, 4 * round + 2);
        // SAFETY: reserved above; that the other CPU uses it is what is tried.
        unsafe { memory::release(address, PAGE) };
        turn.store(4 * round + 3, Ordering::Release);
        wait_for(&turn, 4 * round + 4);
    }
    other
        .join()
        .map_err(|_| anyhow::anyhow!("the other CPU panicked"))?
}

pub(super) fn published_code_is_read_only(guests: &Guests) -> anyhow::Result<()> {
    let module = guests.module("traps")?;
    let text = module.text().map_or(0, |text| text.start.get());
    ensure!(read(text).is_none(), "code cannot be read");
    ensure_fault("write to code", write(text), text)
}

pub(super) fn guests_give_memory_back(guests: &Guests) -> anyhow::Result<()> {
    // The first one fills what the engine keeps.
    drop(guests.traps()?);
    keeps_no_memory(|| {
        for _ in 0..100 {
            let mut guest: Guest<()> = guests.traps()?;
            guest.fail::<i32, i32>("load", -1)?;
        }
        Ok(())
    })
}
