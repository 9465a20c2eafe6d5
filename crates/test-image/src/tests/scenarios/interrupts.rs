//! Interrupts: by the timer and by other CPUs, in guests and elsewhere.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use anyhow::ensure;
use trapline_embed::Linker;

use super::cpus::on_both;
use super::{Guest, Guests};
use crate::isa;
use crate::kernel::traps::{interrupts, tick};

const TICK: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `f` until `enough`, or until nobody can wait any longer.
fn until(
    enough: impl Fn() -> bool,
    mut f: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let start = isa::now();
    while !enough() {
        f()?;
        ensure!(
            isa::now() - start < PATIENCE,
            "too few interrupts: {:?}",
            interrupts()
        );
    }
    Ok(())
}

pub(super) fn interrupts_of_timer_and_cpus() -> anyhow::Result<()> {
    let done = AtomicUsize::new(0);
    on_both(move |cpu| {
        let before = interrupts();
        let interrupt_the_other = || {
            isa::send_ipi(1 - cpu);
            Ok(())
        };
        tick(TICK);
        let outcome = until(
            || {
                let now = interrupts();
                now.timer_in_kernel > before.timer_in_kernel + 20 && now.ipi > before.ipi + 20
            },
            interrupt_the_other,
        );
        tick(Duration::ZERO);
        // The other one may still wait for ours.
        done.fetch_add(1, Ordering::AcqRel);
        outcome.and_then(|()| until(|| done.load(Ordering::Acquire) == 2, interrupt_the_other))
    })?;
    Ok(())
}

pub(super) fn guests_are_interrupted(guests: &Guests) -> anyhow::Result<()> {
    const ROUNDS: i32 = 20_000;
    let guests = guests.clone();
    on_both(move |cpu| {
        let module = guests.module("registers")?;
        let mut guest = Guest::new(&Linker::new(&guests.engine), &module, ())?;
        let compute = guest.func::<i32, i64>("compute")?;
        let undisturbed = compute.call(&mut guest.store, ROUNDS)?;

        let before = interrupts();
        tick(TICK);
        let outcome = until(
            || interrupts().timer_in_guest > before.timer_in_guest + 100,
            || {
                isa::send_ipi(1 - cpu);
                let value = compute.call(&mut guest.store, ROUNDS)?;
                ensure!(
                    value == undisturbed,
                    "{value:#x} instead of {undisturbed:#x}"
                );
                Ok(())
            },
        );
        tick(Duration::ZERO);
        outcome
    })?;
    Ok(())
}
