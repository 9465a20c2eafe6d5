//! trapline, with its reference embedder.

use core::hint::black_box;

use anyhow::Result;
use trapline_code_registry::TrapKind;
use trapline_embed::{Caller, Engine, Error, Linker, Module, Store, TypedFunc, WasmBacktrace};

use super::{Backtraces, Capture, Failed, MAX_WASM_STACK, Reason, Side};
use crate::measure::{Artifact, Bench};

pub(crate) struct Ours {
    store: Store<Data>,
    empty: TypedFunc<(), ()>,
    add: TypedFunc<(i32, i32), i32>,
    call_host: TypedFunc<(), ()>,
    call_where: TypedFunc<(), ()>,
    fail_at: TypedFunc<i32, ()>,
    capture_at: TypedFunc<i32, ()>,
    nest: TypedFunc<i32, ()>,
    load: TypedFunc<i32, i32>,
    divide: TypedFunc<(i32, i32), i32>,
    unreachable: TypedFunc<(), ()>,
}

/// What the host functions need.
struct Data {
    bench: Bench,
    capture: Capture,
    time: f64,
    place: usize,
    nest: Option<TypedFunc<i32, ()>>,
}

impl Side for Ours {
    type Error = Error;

    fn new(bench: &Bench, artifact: Artifact, backtraces: Backtraces) -> Result<Self> {
        let engine = Engine::new();
        // SAFETY: what the compiler made for this run, unchanged.
        let module = unsafe { Module::load(&engine, &bench.artifact(artifact)?) }?;
        let mut store = Store::new(
            &engine,
            Data {
                bench: bench.clone(),
                capture: Capture::Raw,
                time: f64::NAN,
                place: 0,
                nest: None,
            },
        );
        store.set_max_wasm_stack(MAX_WASM_STACK);
        store.set_backtrace_limit(match backtraces {
            Backtraces::Off => 0,
            Backtraces::Innermost(frames) => frames,
        });
        let instance = linker(&engine).instantiate(&mut store, &module)?;
        let nest = instance.get_typed_func(&mut store, "nest")?;
        store.data_mut().nest = Some(nest);
        Ok(Self {
            empty: instance.get_typed_func(&mut store, "empty")?,
            add: instance.get_typed_func(&mut store, "add")?,
            call_host: instance.get_typed_func(&mut store, "call_host")?,
            call_where: instance.get_typed_func(&mut store, "call_where")?,
            fail_at: instance.get_typed_func(&mut store, "fail_at")?,
            capture_at: instance.get_typed_func(&mut store, "capture_at")?,
            nest,
            load: instance.get_typed_func(&mut store, "load")?,
            divide: instance.get_typed_func(&mut store, "divide")?,
            unreachable: instance.get_typed_func(&mut store, "unreachable")?,
            store,
        })
    }

    #[inline]
    fn empty(&mut self) -> Result<(), Error> {
        self.empty.call(&mut self.store, ())
    }

    #[inline]
    fn add(&mut self, a: i32, b: i32) -> Result<i32, Error> {
        self.add.call(&mut self.store, (a, b))
    }

    #[inline]
    fn call_host(&mut self) -> Result<(), Error> {
        self.call_host.call(&mut self.store, ())
    }

    #[inline]
    fn fail_at(&mut self, depth: i32) -> Result<(), Error> {
        self.fail_at.call(&mut self.store, depth)
    }

    #[inline]
    fn nest(&mut self, levels: i32) -> Result<(), Error> {
        self.nest.call(&mut self.store, levels)
    }

    #[inline]
    fn load(&mut self, address: i32) -> Result<i32, Error> {
        self.load.call(&mut self.store, address)
    }

    #[inline]
    fn divide(&mut self, a: i32, b: i32) -> Result<i32, Error> {
        self.divide.call(&mut self.store, (a, b))
    }

    #[inline]
    fn unreachable(&mut self) -> Result<(), Error> {
        self.unreachable.call(&mut self.store, ())
    }

    fn capture_at(&mut self, depth: i32, capture: Capture) -> Result<f64> {
        self.store.data_mut().capture = capture;
        self.capture_at.call(&mut self.store, depth)?;
        Ok(self.store.data().time)
    }

    fn call_where(&mut self) -> Result<usize> {
        self.call_where.call(&mut self.store, ())?;
        Ok(self.store.data().place)
    }

    #[inline]
    fn resolve(error: &Error) {
        read(error.wasm_backtrace());
    }

    fn describe(error: &Error) -> Option<(Reason, usize)> {
        let reason = match error.kind() {
            Some(TrapKind::MemoryOutOfBounds) => Reason::OutOfBounds,
            Some(TrapKind::IntegerOverflow) => Reason::IntegerOverflow,
            Some(TrapKind::IntegerDivisionByZero) => Reason::DivisionByZero,
            Some(TrapKind::UnreachableCodeReached) => Reason::Unreachable,
            Some(_) => return None,
            None => error.host_error::<Failed>().map(|Failed| Reason::Host)?,
        };
        Some((reason, error.wasm_backtrace().frames().len()))
    }
}

/// Asks each frame for what the peer's frames have from the start: ours look it up then.
#[inline]
fn read(backtrace: &WasmBacktrace) {
    for frame in backtrace.frames() {
        black_box((frame.function_name(), frame.bytecode_offset()));
    }
}

fn linker(engine: &Engine) -> Linker<Data> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "nothing", || ());
    linker.func_wrap("host", "where", |mut caller: Caller<'_, Data>| {
        caller.data_mut().place = crate::startup::here();
    });
    linker.func_wrap("host", "fail", || -> Result<()> {
        Err(anyhow::Error::new(Failed))
    });
    linker.func_wrap(
        "host",
        "again",
        |mut caller: Caller<'_, Data>, levels: i32| -> Result<(), Error> {
            let nest = caller.data().nest.expect("set after instantiation");
            nest.call(&mut caller, levels)
        },
    );
    linker.func_wrap("host", "capture", |mut caller: Caller<'_, Data>| {
        let bench = caller.data().bench.clone();
        let time = match caller.data().capture {
            Capture::Raw => bench.time(|| {
                black_box(caller.capture_backtrace());
            }),
            Capture::Resolved => bench.time(|| {
                read(&black_box(caller.resolve(&caller.capture_backtrace())));
            }),
        };
        caller.data_mut().time = time;
    });
    linker
}
