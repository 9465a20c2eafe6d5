//! What is paid once, and what is taken up.

use core::cell::UnsafeCell;
use core::hint::black_box;
use core::ptr::NonNull;
use std::sync::OnceLock;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use trapline_activation::{
    Activation, ExitFp, LandingPadWords, Store, Trap, VMContext, VMStoreContext,
    VMStoreContextLayout, WasmFault, catch_traps, catch_traps_with_landing_pad,
};
use trapline_arch::VirtualAddress;

use crate::measure::{Artifact, Bench, Measured};
use crate::sides::{Backtraces, Reason, Side};
use crate::statistics::median;

/// When `main` began.
static START: OnceLock<Instant> = OnceLock::new();

/// The first thing that a process does.
pub(crate) fn note_start() {
    START.get_or_init(Instant::now);
}

/// From `main` to a first trap that was caught, with its frames: the engine, the artifact from
/// a file, an instance, a call.
pub(crate) fn first_trap_of_process<S: Side>(bench: &Bench) -> Result<Measured> {
    Ok(first_trap::<S>(bench)?.0.into())
}

/// Of that, the call that traps.
pub(crate) fn first_trap_alone<S: Side>(bench: &Bench) -> Result<Measured> {
    Ok(first_trap::<S>(bench)?.1.into())
}

/// From `main`, and from the call.
fn first_trap<S: Side>(bench: &Bench) -> Result<(f64, f64)> {
    let start = *START.get().context("noted by `main`")?;
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::DEFAULT)?;
    let call = Instant::now();
    let result = guest.load(1 << 16);
    if let Err(error) = &result {
        S::resolve(error);
    }
    let end = Instant::now();
    let found = result.err().as_ref().and_then(S::describe);
    ensure!(
        found == Some((Reason::OutOfBounds, 1)),
        "no trap: {found:?}"
    );
    Ok((
        (end - start).as_nanos() as f64,
        (end - call).as_nanos() as f64,
    ))
}

/// A thread's first call: what each thread needs for hardware traps is made then.
pub(crate) fn first_call_on_thread<S: Side>(bench: &Bench) -> Result<Measured> {
    const THREADS: usize = 21;
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::DEFAULT)?;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..THREADS {
        let guest = &mut guest;
        let (a, b) = thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let mut time = || {
                    let start = Instant::now();
                    drop(black_box(guest.empty()));
                    start.elapsed().as_nanos() as f64
                };
                (time(), time())
            });
            thread.join().expect("the call does not panic")
        });
        first.push(a);
        second.push(b);
    }
    Ok(Measured::from(median(&mut first)).with("second", median(&mut second)))
}

/// The stack between a caller and a host function that the guest calls: the way in, the
/// compiled trampolines, the way out.
pub(crate) fn stack_to_host_function<S: Side>(bench: &Bench) -> Result<Measured> {
    let mut guest = S::new(bench, Artifact::HardwareTraps, Backtraces::DEFAULT)?;
    let outer = here();
    let inner = guest.call_where()?;
    Ok((outer.checked_sub(inner).context("stacks grow down")? as f64).into())
}

/// An address in the frame of this function, which lies where its caller's ends.
#[inline(never)]
pub(crate) fn here() -> usize {
    let local = 0_u8;
    black_box(&raw const local).addr()
}

/// What `catch_traps` puts between its caller and the guest.
pub(crate) fn stack_of_catch_traps(_: &Bench) -> Result<Measured> {
    /// A frame of its own, since `catch_traps` is inlined.
    #[inline(never)]
    fn entry(store: &Words) -> Result<usize, Trap> {
        catch_traps(store, |_| here())
    }
    let outer = here();
    let inner = entry(&Words::default())?;
    Ok(((outer - inner) as f64).into())
}

/// The same for guests with a landing pad.
pub(crate) fn stack_with_landing_pad(_: &Bench) -> Result<Measured> {
    #[inline(never)]
    fn entry(store: &Words) -> Result<usize, Trap> {
        catch_traps_with_landing_pad(store, |_| Some(here()))
    }
    let outer = here();
    let inner = entry(&Words::default())?;
    Ok(((outer - inner) as f64).into())
}

/// The record of an entry, which is most of that.
pub(crate) fn size_of_activation(_: &Bench) -> Result<Measured> {
    Ok((size_of::<Activation>() as f64).into())
}

/// What a caught trap is returned as.
pub(crate) fn size_of_trap(_: &Bench) -> Result<Measured> {
    Ok((size_of::<Trap>() as f64).into())
}

/// The words of a store that has no compiled code.
#[derive(Default)]
struct Words(UnsafeCell<[usize; 5]>);

// SAFETY: the layout is that of the array; there are no memories, and no code that runs.
unsafe impl Store for Words {
    const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
        exit_fp: ExitFp::Guest(0),
        exit_pc: size_of::<usize>(),
        entry_fp: 2 * size_of::<usize>(),
        landing_pad: Some(LandingPadWords {
            entry_sp: 3 * size_of::<usize>(),
            entry_trap_handler: 4 * size_of::<usize>(),
        }),
    };

    fn default_caller(&self) -> NonNull<VMContext> {
        NonNull::dangling()
    }

    fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        NonNull::from(&self.0).cast()
    }

    fn wasm_fault(&self, _: VirtualAddress) -> Option<WasmFault> {
        None
    }
}
