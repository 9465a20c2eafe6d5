//! Both CPUs at once.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use core::time::Duration;

use anyhow::ensure;
use trapline::TrapKind;
use trapline::cpu_local::cpu_local;
use trapline_script::Traps;

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

/// One trap of each kind; `round` makes them differ.
fn trap(guest: &mut Guest<()>, traps: Traps, round: i32) -> anyhow::Result<()> {
    let index = 0x10000 + round;
    let error = guest.fail::<i32, i32>("load", index)?;
    ensure!(error.kind() == Some(TrapKind::MemoryOutOfBounds), "{error}");
    // An explicit check does not say where.
    let expected = (traps == Traps::Hardware).then_some(index as u64);
    let address = error.wasm_fault().map(|fault| fault.wasm_address);
    ensure!(address == expected, "round {round}: at {address:x?}");
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
    let add = guest.func::<(i32, i32), i32>("add")?;
    let sum = add.call(&mut guest.store, (round, 1))?;
    ensure!(sum == round + 1, "a wrong sum: {sum}");
    Ok(())
}

/// Both go on until each has done its rounds, and has seen the other one get on between two of
/// its own often enough.
pub(super) fn both_cpus_trap(guests: &Guests) -> anyhow::Result<()> {
    const ROUNDS: i32 = 2000;
    const MEETINGS: i32 = 20;
    const PATIENCE: Duration = Duration::from_secs(120);
    let guests = guests.clone();
    let progress = [const { AtomicI32::new(0) }; 2];
    let (satisfied, gone) = (AtomicUsize::new(0), AtomicBool::new(false));
    on_both(move |cpu| {
        let _gone = Done(&gone);
        let mut guest = guests.traps()?;
        let start = isa::now();
        let (mut round, mut meetings, mut seen, mut enough) = (0, 0, 0, false);
        while satisfied.load(Ordering::Acquire) < 2 && !gone.load(Ordering::Acquire) {
            trap(&mut guest, guests.traps_by(), round % ROUNDS)?;
            round += 1;
            progress[cpu].store(round, Ordering::Release);
            let other = progress[1 - cpu].load(Ordering::Acquire);
            meetings += i32::from(other != seen);
            seen = other;
            if !enough && round >= ROUNDS && meetings >= MEETINGS {
                enough = true;
                satisfied.fetch_add(1, Ordering::AcqRel);
            }
            ensure!(
                isa::now() - start < PATIENCE,
                "CPU {cpu}: {round} rounds, the other one got on in {meetings} of them"
            );
        }
        Ok(())
    })?;
    Ok(())
}

/// Says that this CPU is done, whether it is by success, error or panic: the other one waits
/// for it.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

pub(super) fn registry_changes_meanwhile(guests: &Guests) -> anyhow::Result<()> {
    let done = AtomicBool::new(false);
    let guests = guests.clone();
    let [there, here] = on_both(move |cpu| {
        let mut rounds = 0_usize;
        if cpu == 0 {
            let _done = Done(&done);
            // Code comes and goes, also while other code stays.
            while rounds < 150 {
                let first = guests.module("registers")?;
                drop((guests.module("calls_host")?, first));
                rounds += 1;
            }
        } else {
            let mut guest = guests.traps()?;
            while !done.load(Ordering::Acquire) {
                trap(&mut guest, guests.traps_by(), rounds as i32)?;
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
