//! Host functions that fail, panic, fault and call guests.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail, ensure};
use trapline::activation::panic;
use trapline::{TrapKind, VirtualAddress};
use trapline_embed::Caller;

use super::{Guest, Guests, frames};
use crate::isa::Cause;
use crate::kernel::traps::{expect_exception, take_last_trap};

/// An error of a host function.
#[derive(Debug)]
struct Refused(i32);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

impl core::error::Error for Refused {}

pub(super) fn host_error(guests: &Guests) -> anyhow::Result<()> {
    let mut guest = guests.calls_host((), |_, code| -> anyhow::Result<i32> {
        Err(anyhow::Error::new(Refused(code)))
    })?;
    for code in 0..100 {
        let error = guest.fail::<i32, i32>("call", code)?;
        let refused = error.host_error::<Refused>();
        ensure!(
            refused.is_some_and(|refused| refused.0 == code),
            "{error:?}"
        );
        ensure!(frames(&error) == "inner -", "frames: {}", frames(&error));
    }
    Ok(())
}

/// Counts when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn host_panic(guests: &Guests) -> anyhow::Result<()> {
    /// Panics some frames down, each of which has something to drop.
    #[inline(never)]
    fn deep(depth: i32, drops: &Arc<AtomicUsize>) -> i32 {
        let _dropped = Dropped(Arc::clone(drops));
        match depth {
            0 => panic!("at the bottom"),
            _ => deep(depth - 1, drops) + 1,
        }
    }

    let drops = Arc::new(AtomicUsize::new(0));
    let mut guest = guests.calls_host((), {
        let drops = Arc::clone(&drops);
        move |_, depth| -> anyhow::Result<i32> { Ok(deep(depth, &drops)) }
    })?;
    let call = guest.func::<i32, i32>("call")?;
    for round in 1..=3 {
        let outcome = panic::catch(|| {
            let _dropped = Dropped(Arc::clone(&drops));
            call.call(&mut guest.store, 4)
        });
        let Err(payload) = outcome else {
            bail!("the panic did not come through the guest");
        };
        let message = payload.downcast_ref::<String>().map(String::as_str);
        ensure!(
            message == Some("at the bottom"),
            "another payload: {message:?}"
        );
        // Five in the host function, one outside of the guest.
        let drops = drops.load(Ordering::Relaxed);
        ensure!(drops == 6 * round, "round {round}: {drops} destructors ran");
    }

    // A payload of any type stays what it is.
    let mut guest = guests.calls_host((), |_, code| -> anyhow::Result<i32> {
        panic::resume(alloc::boxed::Box::new(Refused(code)))
    })?;
    let call = guest.func::<i32, i32>("call")?;
    let Err(payload) = panic::catch(|| call.call(&mut guest.store, 7)) else {
        bail!("the panic did not come through the guest");
    };
    let refused = payload.downcast_ref::<Refused>();
    ensure!(
        refused.is_some_and(|refused| refused.0 == 7),
        "another payload"
    );
    Ok(())
}

pub(super) fn nested_activations(guests: &Guests) -> anyhow::Result<()> {
    // The guest's host function calls the guest again, down to a trap in another store;
    // level by level it is either dealt with or passed on.
    fn call(guest: &mut Caller<'_, Guest<()>>, level: i32) -> anyhow::Result<i32> {
        if level == 0 {
            let error = guest.data_mut().fail::<(), ()>("unreachable", ())?;
            return Err(error.into());
        }
        let export = guest
            .get_export("call")
            .and_then(trapline_embed::Extern::into_func);
        let func = export.context("no export `call`")?;
        let outcome = func.typed::<_, i32, i32>(guest)?.call(guest, level - 1);
        match outcome {
            Err(error) if level % 3 == 0 => {
                // Two frames of the innermost guest, those of this store are its own affair.
                ensure!(
                    error.kind() == Some(TrapKind::UnreachableCodeReached),
                    "{error}"
                );
                Ok(1000)
            }
            Err(error) => Err(error.into()),
            Ok(value) => Ok(value),
        }
    }

    let mut guest = guests.calls_host(guests.traps()?, |mut caller, level| {
        call(&mut caller, level)
    })?;
    let outer = guest.func::<i32, i32>("call")?;
    for _ in 0..20 {
        // Level 3 has caught it; each guest on the way out adds 1.
        let value = outer.call(&mut guest.store, 7)?;
        ensure!(value == 1000 + 5, "{value}");
        // Nobody has.
        let error = guest.fail::<i32, i32>("call", 2)?;
        ensure!(
            error.kind() == Some(TrapKind::UnreachableCodeReached),
            "{error}"
        );
        ensure!(
            frames(&error) == "unreachable -",
            "frames: {}",
            frames(&error)
        );
        // And one of the outermost guest's own.
        let error = guest.fail::<i32, ()>("call_and_trap", 7)?;
        ensure!(
            frames(&error) == "trap_after -",
            "frames: {}",
            frames(&error)
        );
    }
    Ok(())
}

pub(super) fn kernel_fault_is_no_trap(guests: &Guests) -> anyhow::Result<()> {
    let mut guest = guests.calls_host((), |_, address| -> anyhow::Result<i32> {
        // SAFETY: nothing in here has a destructor.
        let cause = unsafe {
            expect_exception(|| {
                with_exposed_provenance::<u8>(address as usize).read_volatile();
            })
        };
        let expected = Cause::PageFault(VirtualAddress::new(address as usize));
        Ok(i32::from(cause == Some(expected)))
    })?;
    let call = guest.func::<i32, i32>("call")?;
    take_last_trap();
    for _ in 0..100 {
        // An address at which a guest's fault would be a trap.
        let value = call.call(&mut guest.store, 0x10)?;
        ensure!(value == 2, "not the kernel's own fault: {value}");
        let trap = take_last_trap();
        ensure!(trap.is_none(), "taken for a guest's: {trap:x?}");
    }
    let error = guest.fail::<i32, ()>("call_and_trap", 0x10)?;
    ensure!(
        frames(&error) == "trap_after -",
        "frames: {}",
        frames(&error)
    );
    Ok(())
}
