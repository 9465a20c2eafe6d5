//! Guests that begin on one CPU and go on on another.

use alloc::sync::Arc;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail, ensure};
use spin::Mutex;
use trapline::{TrapKind, for_each_activation};
use trapline_embed::{Caller, Extern};

use super::super::fiber::{Fiber, Inside};
use super::{Guests, frames};
use crate::isa;
use crate::kernel::{cpus, jobs};

/// What the guest's host function needs.
struct Data {
    fiber: *const Inside,
    /// The CPUs that it went on on.
    seen: Arc<Mutex<alloc::vec::Vec<usize>>>,
}

// SAFETY: the fiber it points to is the one that it is used in.
unsafe impl Send for Data {}

/// Deeper into guests, level by level; stops there, and on each level on the way out.
fn call(caller: &mut Caller<'_, Data>, level: i32) -> anyhow::Result<i32> {
    let mut value = 0;
    if level > 0 {
        let export = caller.get_export("call").and_then(Extern::into_func);
        let func = export
            .context("no export `call`")?
            .typed::<_, i32, i32>(caller)?;
        value = func.call(caller, level - 1)?;
    }
    // SAFETY: this runs in the fiber.
    unsafe { &*caller.data().fiber }.suspend();
    caller.data_mut().seen.lock().push(cpus::index());
    Ok(value)
}

/// Runs `job` on the other CPU, and not on this one.
pub(in super::super) fn on_the_other<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let begun = Arc::new(AtomicBool::new(false));
    let handle = jobs::spawn({
        let begun = Arc::clone(&begun);
        move || {
            begun.store(true, Ordering::Release);
            job()
        }
    });
    while !begun.load(Ordering::Acquire) {
        isa::pause();
    }
    handle
        .join()
        .map_err(|_| anyhow::anyhow!("the other CPU panicked"))
}

fn activations() -> usize {
    let mut count = 0;
    _ = for_each_activation(|_| {
        count += 1;
        ControlFlow::<()>::Continue(())
    });
    count
}

pub(super) fn chain_moves_to_another_cpu(guests: &Guests) -> anyhow::Result<()> {
    const LEVEL: i32 = 3;
    for _ in 0..50 {
        let seen = Arc::default();
        let result = Arc::new(Mutex::new(None));
        let body = {
            let (guests, seen, result) = (guests.clone(), Arc::clone(&seen), Arc::clone(&result));
            move |fiber: &Inside| {
                let data = Data { fiber, seen };
                let run = || {
                    let mut guest =
                        guests.calls_host(data, |mut caller, level| call(&mut caller, level))?;
                    let sum = guest
                        .func::<i32, i32>("call")?
                        .call(&mut guest.store, LEVEL)?;
                    ensure!(sum == LEVEL + 1, "the guests returned {sum}");
                    guest.fail::<i32, ()>("call_and_trap", LEVEL)
                };
                *result.lock() = Some(run());
            }
        };
        // SAFETY: what is on its stack (the store, values of this module) may be used on
        // any CPU.
        let mut fiber = unsafe { Fiber::new(body) }.map_err(anyhow::Error::msg)?;
        let mut here = true;
        let mut in_guests = 0;
        loop {
            let next = if here {
                fiber.run()
            } else {
                on_the_other(|| fiber.run())?
            };
            ensure!(
                activations() == 0,
                "the fiber's activations are left on this CPU"
            );
            here = !here;
            match next {
                Some(next) => {
                    in_guests += usize::from(!next.is_in_no_guest());
                    fiber = next;
                }
                None => break,
            }
        }
        // Twice, on each level.
        let stops = 2 * (LEVEL as usize + 1);
        ensure!(in_guests == stops, "{in_guests} stops in guests");
        let seen = seen.lock();
        let expected = (0..stops).map(|stop| (stop + 1) % 2);
        ensure!(
            expected.eq(seen.iter().copied()),
            "went on on CPUs {seen:?}"
        );
        let Some(outcome) = result.lock().take() else {
            bail!("the fiber did not come to its end");
        };
        let error = outcome?;
        ensure!(
            error.kind() == Some(TrapKind::UnreachableCodeReached),
            "{error}"
        );
        ensure!(
            frames(&error) == "trap_after -",
            "frames: {}",
            frames(&error)
        );
    }
    Ok(())
}
