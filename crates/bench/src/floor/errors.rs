//! A host function fails, bare: an error is made, the guest left for its entry trampoline's
//! landing pad, and the error dropped.
//!
//! Where the row has a backtrace, the host function walks the frame records and searches for
//! each frame's function and bytecode offset in sorted lists. Where the row is nested, host
//! functions enter the guest again: each keeps what the inner guest overwrites of the words
//! that the outer one needs.

use core::cell::Cell;
use core::hint::black_box;
use core::ptr::{self, NonNull};

use anyhow::{Context as _, Result, ensure};
use trapline_arch::{
    NEXT_OLDER_FP_FROM_FP_OFFSET, VirtualAddress, get_next_older_pc_from_fp, return_address,
};
use trapline_wasmtime::vm::{VMArrayCallNative, VMContext, VMOpaqueContext, ValRaw};

use super::guest::{Entry, Guest, Map, Place, Run, StoreContext, shared};
use crate::measure::{Artifact, Bench, Measured};
use crate::nesting::LEVELS;
use crate::sides::Failed;

/// The most frames that are captured: as in the rows.
const FRAMES: usize = 20;

/// What the host functions share.
#[derive(Default)]
struct Host {
    error: Cell<Option<anyhow::Error>>,
    /// The innermost frames, and how many there are.
    frames: [Cell<Place>; FRAMES],
    captured: Cell<usize>,
    /// Of the innermost host function that has entered the guest again.
    outer: Cell<Option<NonNull<Outer>>>,
    /// Set once the guest is there.
    guest: Cell<Option<&'static GuestParts>>,
}

/// What the host functions need of the guest.
struct GuestParts {
    words: StoreContext,
    map: Map,
    nest: Entry,
}

/// The frames of a guest whose host function has entered the guest again.
#[derive(Clone, Copy)]
struct Outer {
    frames: Run,
    outer: Option<NonNull<Self>>,
}

impl Host {
    #[inline]
    fn guest(&self) -> &'static GuestParts {
        let guest = self.guest.get();
        // SAFETY: set before the guest is entered; host functions are called by it.
        unsafe { guest.unwrap_unchecked() }
    }

    /// Keeps function and bytecode offset of at most `LIMIT` frames.
    #[inline]
    fn capture<const LIMIT: usize>(&self) {
        const { assert!(LIMIT <= FRAMES) };
        let GuestParts { words, map, .. } = self.guest();
        let mut run = words.frames();
        let mut outer = self.outer.get();
        let mut captured = 0;
        'runs: loop {
            // SAFETY: the exit trampoline's frame, which is live.
            let mut fp = unsafe { older_fp(run.exit_fp) };
            let mut pc = return_address(run.exit_pc);
            loop {
                self.frames[captured].set(map.of_return_address(pc));
                captured += 1;
                if captured == LIMIT {
                    break 'runs;
                }
                // SAFETY: a frame of the guest, which is live.
                let older = unsafe { older_fp(fp) };
                if older == run.entry_fp {
                    break;
                }
                // SAFETY: as above.
                pc = unsafe { get_next_older_pc_from_fp(VirtualAddress::new(fp)) };
                fp = older;
            }
            let Some(next) = outer else { break };
            // SAFETY: the host function that it belongs to is running.
            Outer { frames: run, outer } = unsafe { next.read() };
        }
        self.captured.set(captured);
    }
}

/// The frame pointer in the frame record at `fp`.
///
/// # Safety
///
/// * `fp` is the frame pointer of a live frame.
#[inline]
unsafe fn older_fp(fp: usize) -> usize {
    let record = ptr::with_exposed_provenance::<usize>(fp);
    // SAFETY: the caller's duty.
    unsafe { record.byte_add(NEXT_OLDER_FP_FROM_FP_OFFSET).read() }
}

/// Fails; captures at most `LIMIT` frames before it does.
unsafe extern "C" fn fail<const LIMIT: usize>(
    function: NonNull<VMOpaqueContext>,
    _: NonNull<VMContext>,
    _: *mut ValRaw,
    _: usize,
) -> bool {
    // SAFETY: called by a guest whose host functions share a `Host`.
    let host = unsafe { shared::<Host>(function) };
    if LIMIT > 0 {
        host.capture::<LIMIT>();
    }
    host.error.set(Some(anyhow::Error::new(Failed)));
    false
}

/// Enters the guest again, and fails if that does; what a backtrace needs is kept if one of
/// `LIMIT` frames is to be captured.
unsafe extern "C" fn again<const LIMIT: usize>(
    function: NonNull<VMOpaqueContext>,
    _: NonNull<VMContext>,
    slots: *mut ValRaw,
    _: usize,
) -> bool {
    // SAFETY: called by a guest whose host functions share a `Host`.
    let host = unsafe { shared::<Host>(function) };
    let GuestParts { words, nest, .. } = host.guest();
    let landing = words.landing();
    let outer = host.outer.get();
    let mut this = Outer {
        frames: words.frames(),
        outer,
    };
    if LIMIT > 0 {
        host.outer.set(Some(NonNull::from(&mut this)));
    }
    // SAFETY: one parameter, which compiled code has put there.
    let mut slots = [unsafe { slots.read() }];
    // SAFETY: one slot, for the function's parameter; what it calls is there.
    let returned = unsafe { nest.call(&mut slots) };
    if LIMIT > 0 {
        host.outer.set(outer);
    }
    words.set_landing(landing);
    returned
}

/// The time of a call of the function `name`, which has one parameter and fails with
/// `expected` frames in the function `name` captured of at most `LIMIT`.
fn failing_call<const LIMIT: usize>(
    bench: &Bench,
    name: &str,
    argument: i32,
    expected: usize,
) -> Result<f64> {
    let host: &'static Host = Box::leak(Box::default());
    let imports: [(&str, VMArrayCallNative); 2] =
        [("fail", fail::<LIMIT>), ("again", again::<LIMIT>)];
    let guest = Guest::new(bench, Artifact::HardwareTraps, &imports, host)?;
    host.guest.set(Some(Box::leak(Box::new(GuestParts {
        words: guest.store_context(),
        map: guest.map()?,
        nest: guest.entry("nest")?,
    }))));
    let entry = guest.entry(name)?;
    let call = || {
        let mut slots = [ValRaw::i32(argument.cast_unsigned())];
        // SAFETY: one slot, for the function's parameter; what it calls is there.
        let returned = unsafe { entry.call(&mut slots) };
        (returned, host.error.take())
    };
    let (returned, error) = call();
    let error = error.context("no error")?;
    ensure!(!returned && error.is::<Failed>(), "the call should fail");
    ensure!(
        host.captured.get() == expected,
        "{} frames",
        host.captured.get()
    );
    let index = guest.index(name)?;
    for (function, offset) in host.frames[..expected].iter().map(Cell::get) {
        ensure!(
            function == index && offset != u32::MAX,
            "a frame of function {function} at {offset:#x}"
        );
    }
    Ok(bench.time(|| drop(black_box(call()))))
}

/// Without a backtrace.
pub(crate) fn host_error(bench: &Bench) -> Result<Measured> {
    Ok(failing_call::<0>(bench, "fail_at", 1, 0)?.into())
}

/// With one frame, looked up.
pub(crate) fn host_error_with_backtrace(bench: &Bench) -> Result<Measured> {
    Ok(failing_call::<FRAMES>(bench, "fail_at", 1, 1)?.into())
}

/// Ten frames deep: what the frames add.
pub(crate) fn ten_frames(bench: &Bench) -> Result<Measured> {
    let without = failing_call::<0>(bench, "fail_at", 10, 0)?;
    let with = failing_call::<FRAMES>(bench, "fail_at", 10, 10)?;
    Ok((with - without).into())
}

/// For each of the levels.
pub(crate) fn nested(bench: &Bench) -> Result<Measured> {
    let time = failing_call::<0>(bench, "nest", LEVELS, 0)?;
    Ok((time / f64::from(LEVELS)).into())
}

/// The same with the innermost frames.
pub(crate) fn nested_with_backtrace(bench: &Bench) -> Result<Measured> {
    let time = failing_call::<FRAMES>(bench, "nest", LEVELS, FRAMES)?;
    Ok((time / f64::from(LEVELS)).into())
}

/// A trap that compiled code tells of by a call: its code is noted, nothing is made of it.
pub(crate) fn explicit_trap(bench: &Bench) -> Result<Measured> {
    let guest = Guest::new(bench, Artifact::ExplicitChecks, &[], &())?;
    let entry = guest.entry("unreachable")?;
    // SAFETY: no parameters; with explicit checks, nothing faults.
    let call = || unsafe { entry.call(&mut []) };
    ensure!(!call(), "the function should trap");
    let time = bench.time(|| {
        black_box(call());
    });
    Ok(time.into())
}
