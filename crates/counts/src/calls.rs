//! Into guests, and out of them.

use core::fmt;
use core::hint::black_box;

use anyhow::{Result, ensure};
use trapline_arch::{call_with_setjmp, longjmp};
use trapline_code_registry::TrapKind;
use trapline_embed::{Caller, Engine, Linker, Module, Store, TypedFunc, WasmBacktrace};

use crate::paths::Input;

/// How deep the guest is where backtraces of many frames are captured.
pub(crate) const DEEP: usize = 1_000;

/// Room for that, on the stack.
const MAX_WASM_STACK: usize = 1 << 20;

/// What a host function does at the bottom of `capture_at`.
#[derive(Clone, Copy)]
enum Task {
    /// Captures a backtrace so many times.
    Capture(usize),
    /// Captures one, and resolves it so many times.
    Resolve(usize),
}

/// What host functions need, and leave behind.
struct Data {
    task: Task,
    frames: usize,
}

/// What a host function fails with.
#[derive(Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl core::error::Error for Failed {}

struct Guest {
    store: Store<Data>,
    instance: trapline_embed::Instance,
}

impl Guest {
    /// The guest in `artifact`, whose traps come with at most `frames` frames.
    fn new(artifact: &str, frames: usize) -> Result<Self> {
        let engine = Engine::new();
        let bytes = std::fs::read(artifact)?;
        // SAFETY: what the compiler made for this program, unchanged.
        let module = unsafe { Module::load(&engine, &bytes) }?;
        let data = Data {
            task: Task::Capture(0),
            frames: 0,
        };
        let mut store = Store::new(&engine, data);
        store.set_max_wasm_stack(MAX_WASM_STACK);
        store.set_backtrace_limit(frames);
        let instance = linker(&engine).instantiate(&mut store, &module)?;
        Ok(Self { store, instance })
    }

    fn func(&mut self, name: &str) -> Result<TypedFunc<(), ()>> {
        Ok(self.instance.get_typed_func(&mut self.store, name)?)
    }
}

fn linker(engine: &Engine) -> Linker<Data> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "nothing", || ());
    linker.func_wrap("host", "fail", || -> Result<()> {
        Err(anyhow::Error::new(Failed))
    });
    linker.func_wrap("host", "capture", |mut caller: Caller<'_, Data>| {
        let backtrace = caller.capture_backtrace();
        match caller.data().task {
            Task::Capture(times) => {
                for _ in 0..times {
                    black_box(caller.capture_backtrace());
                }
                caller.data_mut().frames = backtrace.len();
            }
            Task::Resolve(times) => {
                for _ in 0..times {
                    read(&black_box(caller.resolve(&backtrace)));
                }
                caller.data_mut().frames = caller.resolve(&backtrace).frames().len();
            }
        }
    });
    linker
}

/// Calls a function that returns.
fn call(input: &Input<'_>, name: &str) -> Result<()> {
    let mut guest = Guest::new(input.hardware_traps, 0)?;
    let func = guest.func(name)?;
    for _ in 0..input.times {
        func.call(&mut guest.store, ())?;
    }
    Ok(())
}

pub(crate) fn empty(input: &Input<'_>) -> Result<()> {
    call(input, "empty")
}

pub(crate) fn host_call(input: &Input<'_>) -> Result<()> {
    call(input, "call_host")
}

/// Asks each frame for its name and offset, which are looked up then.
fn read(backtrace: &WasmBacktrace) {
    for frame in backtrace.frames() {
        black_box((frame.function_name(), frame.bytecode_offset()));
    }
}

/// Calls a function whose host function fails, one frame deep.
fn fail(input: &Input<'_>, frames: usize, resolve: bool) -> Result<()> {
    let mut guest = Guest::new(input.hardware_traps, frames)?;
    let func = guest.func("fail")?;
    let Err(error) = func.call(&mut guest.store, ()) else {
        anyhow::bail!("the host function did not fail");
    };
    ensure!(error.host_error::<Failed>().is_some(), "{error}");
    let found = error.wasm_backtrace().frames().len();
    ensure!(found == frames, "{found} frames");
    for _ in 0..input.times {
        let result = black_box(func.call(&mut guest.store, ()));
        if resolve && let Err(error) = &result {
            read(error.wasm_backtrace());
        }
    }
    Ok(())
}

pub(crate) fn host_error(input: &Input<'_>) -> Result<()> {
    fail(input, 0, false)
}

pub(crate) fn host_error_unread(input: &Input<'_>) -> Result<()> {
    fail(input, 1, false)
}

pub(crate) fn host_error_with_backtrace(input: &Input<'_>) -> Result<()> {
    fail(input, 1, true)
}

pub(crate) fn unreachable(input: &Input<'_>) -> Result<()> {
    let mut guest = Guest::new(input.explicit_checks, 0)?;
    let func = guest.func("unreachable")?;
    let kind = |result: Result<(), trapline_embed::Error>| result.err()?.kind();
    for _ in 0..input.times {
        let found = kind(black_box(func.call(&mut guest.store, ())));
        ensure!(
            found == Some(TrapKind::UnreachableCodeReached),
            "the trap is {found:?}"
        );
    }
    Ok(())
}

/// Has a host function do something with a backtrace of so many frames.
fn at_depth(input: &Input<'_>, depth: usize, task: Task) -> Result<()> {
    let mut guest = Guest::new(input.hardware_traps, depth)?;
    guest.store.data_mut().task = task;
    let store = &mut guest.store;
    let func: TypedFunc<i32, ()> = guest.instance.get_typed_func(store, "capture_at")?;
    func.call(store, i32::try_from(depth)?)?;
    let frames = store.data().frames;
    ensure!(frames == depth, "{frames} frames, not {depth}");
    Ok(())
}

pub(crate) fn capture(input: &Input<'_>) -> Result<()> {
    at_depth(input, DEEP, Task::Capture(input.times))
}

pub(crate) fn resolve_ten(input: &Input<'_>) -> Result<()> {
    at_depth(input, 10, Task::Resolve(input.times))
}

pub(crate) fn set_and_jump(input: &Input<'_>) -> Result<()> {
    for _ in 0..input.times {
        let value = call_with_setjmp(|buffer| {
            // SAFETY: `call_with_setjmp` waits for this closure, on this stack; nothing
            // between here and there has a destructor.
            unsafe { longjmp(buffer, 7) }
        });
        ensure!(value == 7, "the jump brought {value}");
    }
    Ok(())
}
