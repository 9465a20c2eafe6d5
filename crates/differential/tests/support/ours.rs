//! trapline, with its reference embedder.

use std::panic::{AssertUnwindSafe, catch_unwind};

use trapline_embed::{
    Caller, Engine, Error, ExternType, Func, FuncType, InstantiateError, Linker, Module, Store,
    TypedFunc, Val, ValType,
};
use trapline_wasmtime::compile::CompileOptions;

use super::host::{self, Failed, NOT_CALLABLE};
use super::{Frame, Mode, Observed, Outcome, Reason, Value};

/// The options that both sides compile with.
pub fn options(mode: Mode) -> CompileOptions {
    match mode {
        Mode::HardwareTraps => CompileOptions::host(),
        Mode::ExplicitChecks => CompileOptions::host().explicit_checks(),
    }
}

/// Runs the module in `artifact`: instantiation, then each exported function.
pub fn run(artifact: &[u8]) -> Observed {
    let engine = Engine::new();
    // SAFETY: the compiler's own output, unchanged.
    let module = unsafe { Module::load(&engine, artifact) }.expect("an artifact of the compiler");
    let mut store = Store::new(&engine, ());
    store.set_max_wasm_stack(super::MAX_WASM_STACK);
    store.set_backtrace_limit(1 << 20);
    let linker = host_functions(&engine);

    let mut observed = Observed::default();
    let instantiated = catch_unwind(AssertUnwindSafe(|| linker.instantiate(&mut store, &module)));
    let instance = match instantiated {
        Ok(Ok(instance)) => instance,
        failed => {
            let outcome = match failed {
                Ok(Err(InstantiateError::Trap(error))) => outcome(Ok(Err(error))),
                Ok(Err(InstantiateError::Link(_))) => Outcome::NotLinked,
                Ok(Err(other)) => panic!("instantiation failed for another reason: {other:?}"),
                Ok(Ok(_)) => unreachable!("matched above"),
                Err(payload) => outcome(Err(payload)),
            };
            observed.0.push((String::from("instantiate"), outcome));
            return observed;
        }
    };
    observed
        .0
        .push((String::from("instantiate"), Outcome::Values(Vec::new())));

    let functions: Vec<(String, FuncType)> = module
        .exports()
        .filter_map(|export| match export.ty {
            ExternType::Func(ty) => Some((export.name.to_owned(), ty)),
            _ => None,
        })
        .collect();
    for (name, ty) in functions {
        let func = instance
            .get_func(&mut store, &name)
            .expect("an exported function");
        let arguments: Vec<Val> = ty.params().iter().copied().map(argument).collect();
        let called = catch_unwind(AssertUnwindSafe(|| func.call(&mut store, &arguments)));
        observed.0.push((name, outcome(called)));
    }
    observed
}

fn argument(ty: ValType) -> Val {
    match ty {
        ValType::I32 => Val::I32(super::ARGUMENT as i32),
        ValType::I64 => Val::I64(i64::from(super::ARGUMENT)),
        ValType::F32 => Val::F32((super::ARGUMENT as f32).to_bits()),
        ValType::F64 => Val::F64(f64::from(super::ARGUMENT).to_bits()),
        ValType::V128 => Val::V128(u128::from(super::ARGUMENT)),
        reference => Val::zero(reference),
    }
}

fn value(value: &Val) -> Value {
    match *value {
        Val::I32(v) => Value::I32(v),
        Val::I64(v) => Value::I64(v),
        Val::F32(v) => Value::F32(v),
        Val::F64(v) => Value::F64(v),
        Val::V128(v) => Value::V128(v),
        Val::FuncRef(v) => Value::Ref { null: v.is_none() },
        Val::ExternRef(v) => Value::Ref { null: v.is_none() },
    }
}

fn outcome(called: std::thread::Result<Result<Vec<Val>, Error>>) -> Outcome {
    let error = match called {
        Ok(Ok(values)) => return Outcome::Values(values.iter().map(value).collect()),
        Ok(Err(error)) => error,
        Err(payload) => {
            let reason = Reason::Panic(super::panic_text(&*payload));
            return Outcome::Left {
                reason,
                frames: Vec::new(),
            };
        }
    };
    let frames: Vec<Frame> = error
        .wasm_backtrace()
        .frames()
        .iter()
        .map(|frame| (frame.function_index(), frame.bytecode_offset()))
        .collect();
    let reason = match (
        error.kind(),
        error.host_error::<Failed>(),
        error.host_error::<Error>(),
    ) {
        (Some(kind), ..) => Reason::Trap(format!("wasm trap: {kind}")),
        (None, Some(failed), _) => Reason::Host(*failed),
        // A trap that a host function passed on.
        (None, None, Some(nested)) => Reason::Trap(nested.to_string()),
        (None, None, None) => panic!("neither a trap nor an error of ours: {error:?}"),
    };
    Outcome::Left { reason, frames }
}

fn host_functions(engine: &Engine) -> Linker<()> {
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
                FuncType::new([ty], []),
                |_, _, _| Ok(()),
            )
            .expect("types of the engine");
    }
    linker.func_wrap(host::MODULE, "fail", |_: Caller<'_, ()>, code: i32| {
        Err::<(), _>(anyhow::Error::new(Failed(code)))
    });
    linker.func_wrap(host::MODULE, "fail_now", |_: Caller<'_, ()>| {
        Err::<(), _>(anyhow::Error::new(Failed(0)))
    });
    linker.func_wrap(
        host::MODULE,
        "panic",
        |_: Caller<'_, ()>, code: i32| -> anyhow::Result<()> {
            std::panic::resume_unwind(Box::new(host::panic_message(code)))
        },
    );
    linker.func_wrap(
        host::MODULE,
        "call_back",
        |mut caller: Caller<'_, ()>, callee: Option<Func>| -> anyhow::Result<()> {
            Ok(callable(&caller, callee)?.call(&mut caller, ())?)
        },
    );
    linker.func_wrap(
        host::MODULE,
        "try_call",
        |mut caller: Caller<'_, ()>, callee: Option<Func>| -> anyhow::Result<i32> {
            let callee = callable(&caller, callee)?;
            Ok(i32::from(callee.call(&mut caller, ()).is_err()))
        },
    );
    linker.func_wrap(
        host::MODULE,
        "print_backtrace",
        |_: Caller<'_, ()>| -> anyhow::Result<()> { Ok(()) },
    );
    linker.func_wrap(
        host::MODULE,
        "seven",
        |_: Caller<'_, ()>| -> anyhow::Result<i32> { Ok(7) },
    );
    linker.func_wrap(
        host::MODULE,
        "same",
        |_: Caller<'_, ()>, value: i64| -> anyhow::Result<i64> { Ok(value) },
    );
    linker
}

/// The function to call back.
fn callable(caller: &Caller<'_, ()>, callee: Option<Func>) -> anyhow::Result<TypedFunc<(), ()>> {
    callee
        .and_then(|callee| callee.typed(caller).ok())
        .ok_or_else(|| anyhow::Error::new(NOT_CALLABLE))
}
