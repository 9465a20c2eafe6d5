//! The Wasmtime runtime, with the engine's settings that the artifact was compiled with.

use core::hint::black_box;
use core::num::NonZeroUsize;

use wasmtime::{
    Caller, Engine, Error, Linker, Module, Result, Store, Trap, TypedFunc, WasmBacktrace,
    format_err,
};

use super::{Backtraces, Capture, Failed, MAX_WASM_STACK, Reason, Side};
use crate::measure::{Artifact, Bench};

pub(crate) struct Peer {
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
    time: f64,
    place: usize,
    nest: Option<TypedFunc<i32, ()>>,
}

impl Peer {
    fn load(
        bench: &Bench,
        artifact: Artifact,
        bytes: &[u8],
        backtraces: Backtraces,
    ) -> Result<Self> {
        let mut config = crate::artifacts::options(artifact).config()?;
        config.max_wasm_stack(MAX_WASM_STACK);
        config.wasm_backtrace_max_frames(match backtraces {
            Backtraces::Off => None,
            Backtraces::Innermost(frames) => NonZeroUsize::new(frames),
        });
        let engine = Engine::new(&config)?;
        // SAFETY: what the compiler made for this run, unchanged.
        let module = unsafe { Module::deserialize(&engine, bytes) }?;
        let mut store = Store::new(
            &engine,
            Data {
                bench: bench.clone(),
                time: f64::NAN,
                place: 0,
                nest: None,
            },
        );
        let instance = linker(&engine)?.instantiate(&mut store, &module)?;
        let nest: TypedFunc<i32, ()> = instance.get_typed_func(&mut store, "nest")?;
        store.data_mut().nest = Some(nest.clone());
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
}

impl Side for Peer {
    type Error = Error;

    fn new(bench: &Bench, artifact: Artifact, backtraces: Backtraces) -> anyhow::Result<Self> {
        let bytes = bench.artifact(artifact)?;
        Self::load(bench, artifact, &bytes, backtraces).map_err(into_anyhow)
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

    /// The peer has no backtrace without resolved frames, but it resolves no more than the
    /// engine's limit: which of the two is measured is up to how the engine was made.
    fn capture_at(&mut self, depth: i32, _: Capture) -> anyhow::Result<f64> {
        let called = self.capture_at.call(&mut self.store, depth);
        called.map_err(into_anyhow)?;
        Ok(self.store.data().time)
    }

    fn call_where(&mut self) -> anyhow::Result<usize> {
        let called = self.call_where.call(&mut self.store, ());
        called.map_err(into_anyhow)?;
        Ok(self.store.data().place)
    }

    /// The peer's errors come with resolved frames.
    #[inline]
    fn resolve(_: &Error) {}

    fn describe(error: &Error) -> Option<(Reason, usize)> {
        let reason = match error.downcast_ref::<Trap>() {
            Some(Trap::MemoryOutOfBounds) => Reason::OutOfBounds,
            Some(Trap::IntegerOverflow) => Reason::IntegerOverflow,
            Some(Trap::IntegerDivisionByZero) => Reason::DivisionByZero,
            Some(Trap::UnreachableCodeReached) => Reason::Unreachable,
            Some(_) => return None,
            None => error.downcast_ref::<Failed>().map(|Failed| Reason::Host)?,
        };
        let backtrace = error.downcast_ref::<WasmBacktrace>();
        Some((reason, backtrace.map_or(0, |frames| frames.frames().len())))
    }
}

fn linker(engine: &Engine) -> Result<Linker<Data>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "nothing", || ())?;
    linker.func_wrap("host", "where", |mut caller: Caller<'_, Data>| {
        caller.data_mut().place = crate::startup::here();
    })?;
    linker.func_wrap("host", "fail", || -> Result<()> { Err(Error::new(Failed)) })?;
    linker.func_wrap(
        "host",
        "again",
        |mut caller: Caller<'_, Data>, levels: i32| -> Result<()> {
            let nest = caller.data().nest.clone();
            let nest = nest.ok_or_else(|| format_err!("set after instantiation"))?;
            nest.call(&mut caller, levels)
        },
    )?;
    linker.func_wrap("host", "capture", |mut caller: Caller<'_, Data>| {
        let bench = caller.data().bench.clone();
        let time = bench.time(|| {
            black_box(WasmBacktrace::force_capture(&caller));
        });
        caller.data_mut().time = time;
    })?;
    Ok(linker)
}

/// The peer has an error type of its own.
fn into_anyhow(error: Error) -> anyhow::Error {
    anyhow::anyhow!("{error:?}")
}
