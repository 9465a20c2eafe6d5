//! Both CPUs at once.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::ensure;
use trapline::TrapKind;
use trapline::cpu_local::cpu_local;

use super::{Guest, Guests, frames};
use crate::isa;
use crate::kernel::{cpus, jobs};

/// Runs `f` on both CPUs at the same time, with the number of the CPU.
pub(super) fn on_both<T: Send + 'static>(
    f: impl Fn(usize) -> anyhow::Result<T> + Send + Sync + 'static,
) -> anyhow::Result<[T; 2]> {
    let f = Arc::new(f);
    let there = Arc::new(AtomicUsize::new(0));
    let meet = move || {
        there.fetch_add(1, Ordering::AcqRel);
        while there.load(Ordering::Acquire) < 2 {
            isa::pause();
        }
    };
    let job = jobs::spawn({
        let (f, meet) = (Arc::clone(&f), meet.clone());
        move || {
            meet();
            let cpu = cpus::index();
            (cpu, f(cpu))
        }
    });
    meet();
    let here = f(cpus::index());
    let (cpu, there) = job
        .join()
        .map_err(|_| anyhow::anyhow!("the other CPU panicked"))?;
    ensure!(cpu != cpus::index(), "both ran on one CPU");
    Ok([here?, there?])
}

cpu_local! {
    static NUMBER: Cell<usize> = const { Cell::new(7) };
    /// Made by each CPU when it first asks.
    static LIST: RefCell<Box<[usize]>> = RefCell::new(Box::from([cpus::index()]));
}

pub(super) fn cpu_locals_are_distinct() -> anyhow::Result<()> {
    let places = on_both(|cpu| {
        ensure!(NUMBER.get() == 7, "another first value: {}", NUMBER.get());
        for count in 0..100_000 {
            NUMBER.set(2 * count + cpu);
            ensure!(
                NUMBER.get() == 2 * count + cpu,
                "CPU {cpu} sees the other one's"
            );
        }
        NUMBER.set(7);
        LIST.with(|list| ensure_list(&list.borrow(), cpu))?;
        Ok(NUMBER.with(|number| core::ptr::from_ref(number).addr()))
    })?;
    ensure!(places[0] != places[1], "one place: {:#x}", places[0]);
    ensure!(
        places[0].abs_diff(places[1]) >= 128,
        "the CPUs' places are next to each other: {places:x?}"
    );
    Ok(())
}

fn ensure_list(list: &[usize], cpu: usize) -> anyhow::Result<()> {
    ensure!(*list == [cpu], "the list of CPU {cpu} is {list:?}");
    Ok(())
}

/// One trap of each kind, `rounds` times.
fn trap_again_and_again(guest: &mut Guest<()>, rounds: usize) -> anyhow::Result<()> {
    let add = guest.func::<(i32, i32), i32>("add")?;
    for round in 0..rounds as i32 {
        let index = 0x10000 + round;
        let error = guest.fail::<i32, i32>("load", index)?;
        ensure!(error.kind() == Some(TrapKind::MemoryOutOfBounds), "{error}");
        let address = error
            .wasm_fault()
            .map_or(index as u64, |fault| fault.wasm_address);
        ensure!(address == index as u64, "round {round}: at {address:#x}");
        ensure!(frames(&error) == "load -", "frames: {}", frames(&error));
        let error = guest.fail::<(), ()>("unreachable", ())?;
        ensure!(
            error.kind() == Some(TrapKind::UnreachableCodeReached),
            "{error}"
        );
        let error = guest.fail::<(i32, i32), i32>("divide", (round, 0))?;
        ensure!(
            error.kind() == Some(TrapKind::IntegerDivisionByZero),
            "{error}"
        );
        ensure!(
            add.call(&mut guest.store, (round, 1))? == round + 1,
            "a wrong sum"
        );
    }
    Ok(())
}

pub(super) fn both_cpus_trap(guests: &Guests) -> anyhow::Result<()> {
    let guests = guests.clone();
    on_both(move |_| trap_again_and_again(&mut guests.traps()?, 2000))?;
    Ok(())
}

pub(super) fn registry_changes_meanwhile(guests: &Guests) -> anyhow::Result<()> {
    let done = AtomicBool::new(false);
    let guests = guests.clone();
    let [there, here] = on_both(move |cpu| {
        let mut rounds = 0_usize;
        if cpu == 0 {
            // Code comes and goes, also while other code stays.
            while rounds < 150 {
                let first = guests.module("registers")?;
                drop((guests.module("calls_host")?, first));
                rounds += 1;
            }
            done.store(true, Ordering::Release);
        } else {
            let mut guest = guests.traps()?;
            while !done.load(Ordering::Acquire) {
                trap_again_and_again(&mut guest, 1)?;
                rounds += 1;
            }
        }
        Ok(rounds)
    })?;
    ensure!(
        there > 10 && here > 10,
        "they hardly met: {there} and {here} rounds"
    );
    Ok(())
}
