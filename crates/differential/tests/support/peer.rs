//! The Wasmtime runtime, on the very artifact that trapline runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use trapline_wasmtime::compile::CompileOptions;
use wasmtime::{
    Caller, Engine, Func, FuncType, Linker, Module, Store, StoreLimits, StoreLimitsBuilder, Trap,
    TypedFunc, Val, ValType, WasmBacktrace,
};

use super::host::{self, Failed, NOT_CALLABLE};
use super::{Frame, Observed, Outcome, Reason, Value};

/// How many elements all tables together may have, as by default on our side.
const TABLE_ELEMENTS: usize = 10_000_000;

/// Runs the module in `artifact`: instantiation, then each exported function.
pub fn run(artifact: &[u8], options: &CompileOptions) -> Observed {
    let mut config = options.config().expect("the compiler took these options");
    config.max_wasm_stack(super::MAX_WASM_STACK);
    config.wasm_backtrace_max_frames(core::num::NonZeroUsize::new(1 << 20));
    let engine = Engine::new(&config).expect("an engine for the options of the artifact");
    // SAFETY: the artifact was made by this compiler right before.
    let module = unsafe { Module::deserialize(&engine, artifact) }.expect("its own artifact");
    // Room for more would be had, and filled.
    let limits = StoreLimitsBuilder::new().table_elements(TABLE_ELEMENTS);
    let mut store = Store::new(&engine, limits.build());
    store.limiter(|limits| limits);
    let linker = host_functions(&engine);

    let mut observed = Observed::default();
    if module
        .imports()
        .any(|import| linker.get_by_import(&mut store, &import).is_none())
    {
        observed
            .0
            .push((String::from("instantiate"), Outcome::NotLinked));
        return observed;
    }
    let instance = match catch_unwind(AssertUnwindSafe(|| linker.instantiate(&mut store, &module)))
    {
        Ok(Ok(instance)) => instance,
        failed => {
            let outcome = outcome(failed.map(|done| done.map(|_| Vec::new())));
            observed.0.push((String::from("instantiate"), outcome));
            return observed;
        }
    };
    observed
        .0
        .push((String::from("instantiate"), Outcome::Values(Vec::new())));

    let exports: Vec<(String, Func)> = module
        .exports()
        .filter_map(|export| {
            let func = instance.get_func(&mut store, export.name())?;
            Some((export.name().to_owned(), func))
        })
        .collect();
    for (name, func) in exports {
        let ty = func.ty(&store);
        let arguments: Vec<Val> = ty.params().map(|ty| argument(&ty)).collect();
        let mut results = vec![Val::I32(0); ty.results().len()];
        let called = catch_unwind(AssertUnwindSafe(|| {
            func.call(&mut store, &arguments, &mut results)
                .map(|()| results.clone())
        }));
        observed.0.push((name, outcome(called)));
    }
    observed
}

fn argument(ty: &ValType) -> Val {
    match ty {
        ValType::I32 => Val::I32(super::ARGUMENT as i32),
        ValType::I64 => Val::I64(super::ARGUMENT as i64),
        ValType::F32 => Val::F32((super::ARGUMENT as f32).to_bits()),
        ValType::F64 => Val::F64((super::ARGUMENT as f64).to_bits()),
        ValType::V128 => Val::V128(u128::from(super::ARGUMENT).into()),
        ValType::Ref(ty) => Val::null_ref(ty.heap_type()),
    }
}

fn value(value: &Val) -> Value {
    match value {
        Val::I32(v) => Value::I32(*v),
        Val::I64(v) => Value::I64(*v),
        Val::F32(v) => Value::F32(*v),
        Val::F64(v) => Value::F64(*v),
        Val::V128(v) => Value::V128(v.as_u128()),
        other => Value::Ref {
            null: other.ref_().is_none_or(|reference| reference.is_null()),
        },
    }
}

fn outcome(called: std::thread::Result<wasmtime::Result<Vec<Val>>>) -> Outcome {
    let error = match called {
        Ok(Ok(values)) => return Outcome::Values(values.iter().map(value).collect()),
        Ok(Err(error)) => error,
        Err(payload) => {
            return Outcome::Left {
                reason: Reason::Panic(super::panic_text(&*payload)),
                frames: Vec::new(),
            };
        }
    };
    let frames: Vec<Frame> = error
        .downcast_ref::<WasmBacktrace>()
        .map(|backtrace| {
            backtrace
                .frames()
                .iter()
                .map(|frame| {
                    (
                        frame.func_index(),
                        frame.module_offset().map(|at| at as u32),
                    )
                })
                .collect()
        })
        .unwrap_or_default();
    let reason = if let Some(trap) = error.downcast_ref::<Trap>() {
        Reason::Trap(trap.to_string())
    } else if let Some(failed) = error.downcast_ref::<Failed>() {
        Reason::Host(*failed)
    } else {
        panic!("neither a trap nor an error of ours: {error:?}")
    };
    Outcome::Left { reason, frames }
}

fn host_functions(engine: &Engine) -> Linker<StoreLimits> {
    let mut linker = Linker::new(engine);
    for (name, ty) in [
        ("print_i32", ValType::I32),
        ("print_i64", ValType::I64),
        ("print_f32", ValType::F32),
        ("print_f64", ValType::F64),
    ] {
        linker
            .func_new(
                host::MODULE,
                name,
                FuncType::new(engine, [ty], []),
                |_, _, _| Ok(()),
            )
            .expect("one definition a name");
    }
    let define = |linker: &mut Linker<StoreLimits>| -> wasmtime::Result<()> {
        linker.func_wrap(host::MODULE, "fail", |code: i32| -> wasmtime::Result<()> {
            Err(wasmtime::Error::new(Failed(code)))
        })?;
        linker.func_wrap(host::MODULE, "fail_now", || -> wasmtime::Result<()> {
            Err(wasmtime::Error::new(Failed(0)))
        })?;
        linker.func_wrap(host::MODULE, "panic", |code: i32| -> wasmtime::Result<()> {
            std::panic::resume_unwind(Box::new(host::panic_message(code)))
        })?;
        linker.func_wrap(
            host::MODULE,
            "call_back",
            |mut caller: Caller<'_, StoreLimits>, callee: Option<Func>| {
                callable(&caller, callee)?.call(&mut caller, ())
            },
        )?;
        linker.func_wrap(
            host::MODULE,
            "try_call",
            |mut caller: Caller<'_, StoreLimits>, callee: Option<Func>| -> wasmtime::Result<i32> {
                let callee = callable(&caller, callee)?;
                Ok(i32::from(callee.call(&mut caller, ()).is_err()))
            },
        )?;
        linker.func_wrap(host::MODULE, "print_backtrace", || {})?;
        linker.func_wrap(host::MODULE, "seven", || 7_i32)?;
        linker.func_wrap(host::MODULE, "same", |value: i64| value)?;
        Ok(())
    };
    define(&mut linker).expect("one definition a name");
    linker
}

/// The function to call back.
fn callable(
    caller: &Caller<'_, StoreLimits>,
    callee: Option<Func>,
) -> wasmtime::Result<TypedFunc<(), ()>> {
    callee
        .and_then(|callee| callee.typed(caller).ok())
        .ok_or_else(|| wasmtime::Error::new(NOT_CALLABLE))
}
