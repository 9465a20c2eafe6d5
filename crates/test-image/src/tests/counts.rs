//! What operations cost, in instructions.
//!
//! For an emulator whose clock goes on by a nanosecond with each instruction (QEMU's
//! `-icount shift=0`), and for one CPU: those of another would count, too.

use core::fmt;
use core::hint::black_box;
use core::time::Duration;

use anyhow::{Context as _, bail, ensure};
use trapline::TrapKind;
use trapline_embed::{Caller, Error, Linker, Store, TypedFunc, WasmBacktrace, WasmValues};
use trapline_script::{Bundle, Traps};

use super::bundles;
use crate::isa;
use crate::kernel::serial::log;

/// What counts the instructions of an operation.
type Row = fn(&mut Guest) -> anyhow::Result<Count>;

/// By their names, with the guests that they need. `xtask/src/counts.rs` has the same list.
const ROWS: &[(&str, Traps, Row)] = &[
    ("entry-empty", Traps::Hardware, entry_empty),
    ("entry-host-call", Traps::Hardware, entry_host_call),
    ("host-error", Traps::Hardware, |guest| {
        host_error(guest, Look::NoBacktrace)
    }),
    ("host-error-unread", Traps::Hardware, |guest| {
        host_error(guest, Look::Unread)
    }),
    ("host-error-backtrace", Traps::Hardware, |guest| {
        host_error(guest, Look::Resolved)
    }),
    ("unreachable", Traps::Hardware, unreachable),
    ("unreachable-explicit", Traps::Explicit, unreachable),
    ("out-of-bounds", Traps::Hardware, out_of_bounds),
    ("backtrace-frame", Traps::Hardware, |guest| {
        backtrace_frame(guest, false)
    }),
    ("backtrace-frame-resolved", Traps::Hardware, |guest| {
        backtrace_frame(guest, true)
    }),
    ("nested", Traps::Hardware, nested),
    ("nested-error", Traps::Hardware, |guest| {
        nested_error(guest, Look::NoBacktrace)
    }),
    ("nested-error-backtrace", Traps::Hardware, |guest| {
        nested_error(guest, Look::Resolved)
    }),
];

/// Operations in a batch: so many that the clock's resolution (100 instructions where it is
/// lowest) makes no difference.
const BATCH: u64 = 10_000;
/// The same for captures of a thousand frames.
const CAPTURES: u64 = 50;
/// Frames, beside one, in those captures.
const FRAMES: u64 = 1000;
/// Entries into the guest, each from a host function that the previous one called.
const LEVELS: i32 = 10;

/// Instructions of so many operations together.
#[derive(Clone, Copy, Debug)]
struct Count {
    instructions: u64,
    operations: u64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.instructions, self.operations)
    }
}

/// Counts everything, and logs a line for each row. 0 if all could be counted.
pub(super) fn run() -> u8 {
    let mut status = 0;
    for &(name, traps, count) in ROWS {
        match Guest::new(traps).and_then(|mut guest| count(&mut guest)) {
            Ok(count) => log!("count {name}: {count}"),
            Err(error) => {
                log!("count {name}: FAILED: {error:#}");
                status = 1;
            }
        }
    }
    status
}

/// Instructions of a batch of operations, without those around it: the difference between a
/// batch of twice as many and one of so many.
fn count(operations: u64, mut operation: impl FnMut()) -> anyhow::Result<Count> {
    let mut batch = |operations| {
        let start = isa::now();
        for _ in 0..operations {
            operation();
        }
        isa::now() - start
    };
    // What is made on first use is there then, and the heap has got its shape.
    batch(operations);
    let (once, twice) = (batch(operations), batch(2 * operations));
    let instructions = instructions(twice)
        .checked_sub(instructions(once))
        .with_context(|| alloc::format!("{once:?}, and {twice:?} for twice as many"))?;
    Ok(Count {
        instructions,
        operations,
    })
}

fn instructions(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// What becomes of an error's backtrace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    /// There is none.
    NoBacktrace,
    /// It is captured, and nobody looks at it.
    Unread,
    /// It is captured, and asked for functions and offsets.
    Resolved,
}

/// An error of a host function.
#[derive(Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl core::error::Error for Failed {}

/// What the host functions need, and what they leave.
struct Data {
    nest: Option<TypedFunc<(i32, i32), ()>>,
    /// Whether captured backtraces are resolved.
    resolves: bool,
    captures: Option<anyhow::Result<Count>>,
}

/// An instance of `guests/counts.wat`, in a store of its own.
struct Guest {
    store: Store<Data>,
    instance: trapline_embed::Instance,
}

impl Guest {
    fn new(traps: Traps) -> anyhow::Result<Self> {
        let wanted = |bundle: &Bundle| bundle.traps() == traps;
        let bundle = bundles::all().filter_map(Result::ok).find(wanted);
        let bundle = bundle.with_context(|| alloc::format!("no guests with {traps} in here"))?;
        let engine = bundles::engine(traps);
        let module = bundle.load_artifact(&engine, "counts");
        let module = module.map_err(anyhow::Error::msg)?;

        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "nothing", || ());
        linker.func_wrap("host", "fail", || -> anyhow::Result<()> {
            Err(anyhow::Error::new(Failed))
        });
        linker.func_wrap("host", "again", again);
        linker.func_wrap("host", "capture", |mut caller: Caller<'_, Data>| {
            let captures = if caller.data().resolves {
                count(CAPTURES, || {
                    read(&black_box(caller.resolve(&caller.capture_backtrace())));
                })
            } else {
                count(CAPTURES, || {
                    black_box(caller.capture_backtrace());
                })
            };
            caller.data_mut().captures = Some(captures);
        });
        let data = Data {
            nest: None,
            resolves: false,
            captures: None,
        };
        let mut store = Store::new(&engine, data);
        let instance = linker.instantiate(&mut store, &module)?;
        Ok(Self { store, instance })
    }

    fn func<P: WasmValues, R: WasmValues>(
        &mut self,
        name: &str,
    ) -> anyhow::Result<TypedFunc<P, R>> {
        Ok(self.instance.get_typed_func(&mut self.store, name)?)
    }

    /// Counts calls that succeed.
    fn count<P: WasmValues + Copy>(&mut self, name: &str, params: P) -> anyhow::Result<Count> {
        let func = self.func::<P, ()>(name)?;
        func.call(&mut self.store, params)?;
        count(BATCH, || {
            // Seen to succeed above.
            _ = black_box(func.call(&mut self.store, black_box(params)));
        })
    }

    /// Counts calls that fail, for the reason and with as many frames as expected.
    fn count_failing<P: WasmValues + Copy, R: WasmValues>(
        &mut self,
        name: &str,
        params: P,
        look: Look,
        reason: impl FnOnce(&Error) -> bool,
        frames: usize,
    ) -> anyhow::Result<Count> {
        let (limit, frames) = match look {
            Look::NoBacktrace => (0, 0),
            Look::Unread | Look::Resolved => (usize::MAX, frames),
        };
        self.store.set_backtrace_limit(limit);
        let func = self.func::<P, R>(name)?;
        let Err(error) = func.call(&mut self.store, params) else {
            bail!("`{name}` did not fail");
        };
        ensure!(reason(&error), "`{name}` failed otherwise: {error}");
        let found = error.wasm_backtrace().frames().len();
        ensure!(found == frames, "{found} frames, not {frames}");
        count(BATCH, || {
            let outcome = black_box(func.call(&mut self.store, black_box(params)));
            if let (Look::Resolved, Err(error)) = (look, &outcome) {
                read(error.wasm_backtrace());
            }
        })
    }
}

/// Asks each frame for its name and offset, which are looked up then.
fn read(backtrace: &WasmBacktrace) {
    for frame in backtrace.frames() {
        black_box((frame.function_name(), frame.bytecode_offset()));
    }
}

/// The host function that calls the guest again.
fn again(mut caller: Caller<'_, Data>, levels: i32, fails: i32) -> Result<(), Error> {
    let nest = caller.data().nest.expect("set before the first call");
    nest.call(&mut caller, (levels, fails))
}

fn entry_empty(guest: &mut Guest) -> anyhow::Result<Count> {
    guest.count("empty", ())
}

fn entry_host_call(guest: &mut Guest) -> anyhow::Result<Count> {
    guest.count("call_host", ())
}

fn is_failed(error: &Error) -> bool {
    error.host_error::<Failed>().is_some()
}

fn host_error(guest: &mut Guest, look: Look) -> anyhow::Result<Count> {
    guest.count_failing::<(), ()>("fail", (), look, is_failed, 1)
}

fn unreachable(guest: &mut Guest) -> anyhow::Result<Count> {
    let reason = |error: &Error| error.kind() == Some(TrapKind::UnreachableCodeReached);
    guest.count_failing::<(), ()>("unreachable", (), Look::NoBacktrace, reason, 0)
}

fn out_of_bounds(guest: &mut Guest) -> anyhow::Result<Count> {
    /// Where a memory of one page ends.
    const END: i32 = 0x10000;
    let reason = |error: &Error| error.kind() == Some(TrapKind::MemoryOutOfBounds);
    guest.count_failing::<i32, i32>("load", END, Look::NoBacktrace, reason, 0)
}

/// A frame more: captures with [`FRAMES`] more frames than one, divided among them.
fn backtrace_frame(guest: &mut Guest, resolves: bool) -> anyhow::Result<Count> {
    guest.store.data_mut().resolves = resolves;
    let capture_at = guest.func::<i32, ()>("capture_at")?;
    let mut captures = |depth: u64| {
        capture_at.call(&mut guest.store, depth as i32)?;
        let captures = guest.store.data_mut().captures.take();
        captures.context("the host captured nothing")?
    };
    let (one, many) = (captures(1)?, captures(1 + FRAMES)?);
    let instructions = many.instructions.checked_sub(one.instructions);
    Ok(Count {
        instructions: instructions.with_context(|| alloc::format!("{many}, and {one}"))?,
        operations: one.operations * FRAMES,
    })
}

fn nested(guest: &mut Guest) -> anyhow::Result<Count> {
    let nest = guest.func("nest")?;
    guest.store.data_mut().nest = Some(nest);
    guest.count("nest", (LEVELS, 0))
}

fn nested_error(guest: &mut Guest, look: Look) -> anyhow::Result<Count> {
    let nest = guest.func("nest")?;
    guest.store.data_mut().nest = Some(nest);
    let frames = LEVELS as usize;
    guest.count_failing::<(i32, i32), ()>("nest", (LEVELS, 1), look, is_failed, frames)
}
