//! What calls and errors allocate: nothing for a call, and for an error no more than it needs.

mod common;

use common::MODES;
use std::fmt;
use trapline_code_registry::TrapKind;
use trapline_embed::{Caller, Engine, Error, Linker, Module, Store, TrapReasonRef, TypedFunc};
use trapline_test_support::allocator::{Counting, Uses, counted};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

const WAT: &str = r#"(module
    (import "host" "nothing" (func $nothing (param i32) (result i32)))
    (import "host" "fail" (func $fail))
    (import "host" "again" (func $again (param i32)))
    (memory 1)
    (func (export "call") (param i32) (result i32) (call $nothing (local.get 0)))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "nest") (param i32)
        (if (i32.eqz (local.get 0))
            (then (call $fail))
            (else (call $again (i32.sub (local.get 0) (i32.const 1)))))))"#;

/// What the host functions need. Their error is made before anything is counted: whether
/// `anyhow` captures a backtrace of the host, which allocates, is for the environment to say.
#[derive(Default)]
struct Data {
    nest: Option<TypedFunc<i32, ()>>,
    error: Option<anyhow::Error>,
}

#[test]
fn a_call_allocates_nothing_and_an_error_only_what_it_has() {
    for mode in MODES {
        let engine = Engine::new();
        // SAFETY: the compiler's own output, unchanged.
        let module = unsafe { Module::load(&engine, &mode.compile(WAT)) }.unwrap();
        let mut store = Store::new(&engine, Data::default());
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "nothing", |x: i32| x + 1);
        linker.func_wrap("host", "fail", |mut caller: Caller<'_, Data>| {
            Err::<(), _>(
                caller
                    .data_mut()
                    .error
                    .take()
                    .expect("set for each failure"),
            )
        });
        linker.func_wrap(
            "host",
            "again",
            |mut caller: Caller<'_, Data>, levels: i32| -> Result<(), Error> {
                let nest = caller.data().nest.expect("set below");
                nest.call(&mut caller, levels)
            },
        );
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let call = instance
            .get_typed_func::<i32, i32, _>(&mut store, "call")
            .unwrap();
        let load = instance
            .get_typed_func::<i32, i32, _>(&mut store, "load")
            .unwrap();
        let nest: TypedFunc<i32, ()> = instance.get_typed_func(&mut store, "nest").unwrap();
        store.data_mut().nest = Some(nest);
        let fail = |store: &mut Store<Data>, levels| {
            store.data_mut().error = Some(anyhow::Error::new(Failed));
            let (error, Uses { allocations, .. }) =
                counted(|| nest.call(store, levels).unwrap_err());
            assert!(error.host_error::<Failed>().is_some());
            (error, allocations)
        };
        // What a thread makes once.
        call.call(&mut store, 0).unwrap();

        let (sum, Uses { allocations, .. }) = counted(|| call.call(&mut store, 1));
        assert_eq!((sum.unwrap(), allocations), (2, 0), "{mode:?}");

        store.set_backtrace_limit(0);
        for levels in [0, 1, 20] {
            let (_, allocations) = fail(&mut store, levels);
            assert_eq!(allocations, 0, "{levels} levels, {mode:?}");
        }
        let (error, Uses { allocations, .. }) = counted(|| load.call(&mut store, -1).unwrap_err());
        assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds));
        // A trap of the hardware has addresses to be kept.
        let kept = usize::from(matches!(error.reason(), Some(TrapReasonRef::Jit { .. })));
        assert_eq!(allocations, kept, "{mode:?}");

        store.set_backtrace_limit(usize::MAX);
        let (error, allocations) = fail(&mut store, 0);
        assert_eq!(allocations, 1, "a place for its frame, {mode:?}");
        let ((frames, function, offset), Uses { allocations, .. }) = counted(|| {
            let frames = error.wasm_backtrace().frames();
            let innermost = &frames[0];
            (
                frames.len(),
                innermost.function_index(),
                innermost.bytecode_offset(),
            )
        });
        assert_eq!((frames, function), (1, 5));
        assert!(offset.is_some());
        assert_eq!(allocations, 0, "its frame in terms of the guest, {mode:?}");
        let (error, allocations) = fail(&mut store, 20);
        assert_eq!(
            allocations, 2,
            "more frames than that has room for, {mode:?}"
        );
        let (frames, Uses { allocations, .. }) = counted(|| error.wasm_backtrace().frames().len());
        assert_eq!((frames, allocations), (21, 1), "{mode:?}");
    }
}
