//! Functions of the host that guests call.
//!
//! ```text
//!  guest ── exit trampoline ──► shim(context, caller's context, slots, len) -> bool
//!           (compiled, by type)   catch_unwind_and_record_trap, as an `Outcome`
//!                                   arguments from the slots
//!                                   the closure, with a Caller
//!                                   results to the slots
//!           ◄── false: raise ───  error or panic recorded in the activation
//! ```

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;
use core::slice;

use trapline_activation::{TrapReason, UnwindReason, VMContext, panic, record_unwind};
use trapline_host_result::{HostResult, catch_unwind_and_record_trap};
use trapline_wasmtime::vm::{
    VMArrayCallFunction, VMArrayCallHostFuncContext, VMArrayCallNative, VMFuncRef, VMOpaqueContext,
    VMWasmCallFunction, ValRaw, VmPtr,
};
use trapline_wasmtime::wasmtime_environ::VMSharedTypeIndex;

use crate::calls::caller::Caller;
use crate::calls::error::{Caught, Error, UsageError};
use crate::calls::typed::{HostReturn, IntoFunc, Values};
use crate::calls::value::Val;
use crate::engine::Engine;
use crate::store::store_core::StoreCore;
use crate::types::{FuncType, TypeIndex};

/// A function of the host's, not yet in any store.
pub(crate) struct HostFunc {
    ty: TypeIndex,
    erased: TypeIndex,
    shim: VMArrayCallNative,
    /// What the shim expects: a closure, behind a box.
    closure: Box<dyn Any + Send + Sync>,
}

impl HostFunc {
    /// A function that gets and returns values of any types.
    pub(crate) fn new<T, F>(engine: &Engine, ty: FuncType, func: F) -> Result<Self, UsageError>
    where
        T: 'static,
        F: Fn(Caller<'_, T>, &[Val], &mut [Val]) -> anyhow::Result<()> + Send + Sync + 'static,
    {
        let index = engine.types().register_func(&ty);
        let index = index.map_err(|index| UsageError::UnknownType { index })?;
        let closure = Box::new(Untyped { ty, func });
        Ok(Self::with_shim(
            engine,
            index,
            untyped_shim::<T, F>,
            closure,
        ))
    }

    /// A function whose types are those of a closure.
    pub(crate) fn wrap<T, P, R, F>(engine: &Engine, func: F) -> Self
    where
        T: 'static,
        F: IntoFunc<T, P, R>,
    {
        let ty = FuncType::new(F::Params::types(), F::Results::types());
        let index = engine.types().register_func(&ty);
        let index = index.expect("the types of Rust values name no defined type");
        Self::with_shim(engine, index, typed_shim::<T, P, R, F>, Box::new(func))
    }

    fn with_shim(
        engine: &Engine,
        ty: TypeIndex,
        shim: VMArrayCallNative,
        closure: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let erased = engine.types().erased(ty).expect("interned by the caller");
        Self {
            ty,
            erased,
            shim,
            closure,
        }
    }
}

impl fmt::Debug for HostFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFunc")
            .field("ty", &self.ty)
            .finish_non_exhaustive()
    }
}

/// A function of the host's in a store: what compiled code passes to the shim.
/// `repr(C)`: compiled code knows the record at the start.
#[repr(C)]
pub(crate) struct HostFuncContext {
    record: UnsafeCell<VMArrayCallHostFuncContext>,
    store: NonNull<StoreCore>,
    func: Arc<HostFunc>,
}

impl HostFuncContext {
    /// A context that must be [`link`](Self::link)ed once it is where it stays.
    pub(crate) fn new(store: NonNull<StoreCore>, func: Arc<HostFunc>) -> Self {
        let shim = NonNull::new(func.shim as *mut VMArrayCallFunction);
        let record = VMArrayCallHostFuncContext {
            magic: VMArrayCallHostFuncContext::MAGIC,
            func_ref: VMFuncRef {
                array_call: shim.expect("functions are not at address 0").into(),
                wasm_call: None,
                type_index: VMSharedTypeIndex::new(func.ty.0),
                vmctx: VmPtr::dangling(),
            },
        };
        Self {
            record: record.into(),
            store,
            func,
        }
    }

    /// Lets the function reference point to this context.
    pub(crate) fn link(&self) {
        let context = NonNull::from(self).cast::<VMOpaqueContext>();
        // SAFETY: nobody else uses the record yet.
        unsafe { (*self.record.get()).func_ref.vmctx = context.into() };
    }

    /// Gives the function an exit trampoline, if it has none yet and there is one.
    ///
    /// Compiled code that can call the function through a reference has one, of
    /// its own module, which the store knew before it ran.
    pub(crate) fn set_exit_trampoline(
        &self,
        find: impl FnOnce(TypeIndex) -> Option<VmPtr<VMWasmCallFunction>>,
    ) {
        // SAFETY: no guest is running that could use the record, and nobody
        // keeps a reference to it.
        let wasm_call = unsafe { &mut (*self.record.get()).func_ref.wasm_call };
        if wasm_call.is_none() {
            *wasm_call = find(self.func.erased);
        }
    }

    pub(crate) fn func_ref(&self) -> NonNull<VMFuncRef> {
        // SAFETY: the address of a field of a record is not null.
        unsafe { NonNull::new_unchecked(&raw mut (*self.record.get()).func_ref) }
    }

    /// The closure.
    ///
    /// # Safety
    ///
    /// * It is an `F`.
    unsafe fn closure<F: 'static>(&self) -> &F {
        let closure: *const (dyn Any + Send + Sync) = &*self.func.closure;
        debug_assert!(self.func.closure.is::<F>());
        // SAFETY: the caller's duty.
        unsafe { &*closure.cast::<F>() }
    }

    /// Runs what a shim is for, and tells compiled code how it went.
    #[inline]
    fn run(&self, body: impl FnOnce() -> Result<(), HostFailure>) -> bool {
        // SAFETY: the store is alive while its guests run.
        let store = unsafe { self.store.as_ref() };
        catch_unwind_and_record_trap(|| Outcome {
            result: body(),
            store,
        })
    }
}

impl fmt::Debug for HostFuncContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFuncContext")
            .field("func", &self.func)
            .finish_non_exhaustive()
    }
}

/// Why a function of the host has failed, as it is recorded.
#[derive(Debug)]
pub struct HostFailure(pub(crate) Failure);

#[derive(Debug)]
pub(crate) enum Failure {
    Reason(TrapReason),
    /// A trap of a nested guest, taken to pieces.
    Caught(TrapReason, Option<Box<Caught>>),
}

impl From<TrapReason> for HostFailure {
    #[inline]
    fn from(reason: TrapReason) -> Self {
        Self(Failure::Reason(reason))
    }
}

impl From<Error> for HostFailure {
    #[inline]
    fn from(error: Error) -> Self {
        Self(match error.into_parts() {
            Ok((reason, rest)) => Failure::Caught(reason, rest),
            Err(error) => Failure::Reason(TrapReason::User(anyhow::Error::new(error))),
        })
    }
}

impl HostFailure {
    /// A mistake of the host function's.
    #[cold]
    fn mistake(error: UsageError) -> Self {
        TrapReason::User(anyhow::Error::new(error)).into()
    }

    /// The reason, for those who record it without a store.
    fn into_reason(self) -> TrapReason {
        match self.0 {
            Failure::Reason(reason) => reason,
            Failure::Caught(reason, rest) => {
                TrapReason::User(anyhow::Error::new(Error::from_parts(reason, rest)))
            }
        }
    }
}

/// What a shim has to tell compiled code, and the store of what it fails with.
struct Outcome<'a> {
    result: Result<(), HostFailure>,
    store: &'a StoreCore,
}

impl HostResult for Outcome<'_> {
    /// As of a `Result<(), E>`.
    type Abi = bool;

    fn maybe_catch_unwind(f: impl FnOnce() -> Self) -> (bool, Option<UnwindReason>) {
        let failure = match panic::catch(f) {
            Ok(Outcome { result: Ok(()), .. }) => return (true, None),
            Ok(Outcome {
                result: Err(failure),
                ..
            }) => UnwindReason::Trap(failure.into_reason()),
            Err(payload) => UnwindReason::Panic(payload),
        };
        (false, Some(failure))
    }

    #[inline(always)]
    fn run_and_record(f: impl FnOnce() -> Self) -> bool {
        let caught = panic::catch(|| {
            let Outcome { result, store } = f();
            result.map_err(|failure| store.record(failure)).is_ok()
        });
        caught.unwrap_or_else(|payload| {
            record_unwind(UnwindReason::Panic(payload));
            false
        })
    }
}

/// What the shim of a typed closure does: see the module.
///
/// # Safety
///
/// * Called by compiled code, or by [`StoreCore::enter`], with the context
///   of a host function whose closure is an `F`, in a `Store<T>`.
/// * `slots` holds the arguments, and has room for the results.
unsafe extern "C" fn typed_shim<T, P, R, F>(
    context: NonNull<VMOpaqueContext>,
    caller: NonNull<VMContext>,
    slots: *mut ValRaw,
    _len: usize,
) -> bool
where
    T: 'static,
    F: IntoFunc<T, P, R>,
{
    // SAFETY: host functions' contexts live as long as their store.
    let context = unsafe { context.cast::<HostFuncContext>().as_ref() };
    context.run(|| {
        // SAFETY: this shim is that of an `F`; slots and store by our duties. The
        // context is the only one in use until the closure returns.
        let results = unsafe {
            let caller = Caller::new(context.store, caller);
            let id = caller.id();
            let params = F::Params::load(slots, id);
            context.closure::<F>().call(caller, params)
        };
        let results = results.into_result()?;
        // SAFETY: the store is alive while its guests run.
        let id = unsafe { context.store.as_ref() }.id();
        // SAFETY: there is room for the results, by our duties.
        unsafe { results.store(slots.cast(), id) }.map_err(HostFailure::mistake)
    })
}

/// A closure that gets and returns values of any types.
struct Untyped<F> {
    ty: FuncType,
    func: F,
}

/// What the shim of an untyped closure does: see the module.
///
/// # Safety
///
/// * As for [`typed_shim`], with an [`Untyped<F>`].
unsafe extern "C" fn untyped_shim<T, F>(
    context: NonNull<VMOpaqueContext>,
    caller: NonNull<VMContext>,
    slots: *mut ValRaw,
    len: usize,
) -> bool
where
    T: 'static,
    F: Fn(Caller<'_, T>, &[Val], &mut [Val]) -> anyhow::Result<()> + Send + Sync + 'static,
{
    // SAFETY: host functions' contexts live as long as their store.
    let context = unsafe { context.cast::<HostFuncContext>().as_ref() };
    context.run(|| {
        // SAFETY: this shim is that of an `Untyped<F>`.
        let Untyped { ty, func } = unsafe { context.closure::<Untyped<F>>() };
        // SAFETY: the slots are ours until we return, by our duties.
        let slots = unsafe { slice::from_raw_parts_mut(slots, len) };
        // SAFETY: the store is alive while its guests run.
        let core = unsafe { context.store.as_ref() };
        let params: Vec<Val> = (ty.params().iter().zip(&*slots))
            // SAFETY: compiled code put arguments of these types there.
            .map(|(ty, slot)| unsafe { Val::from_slot(*slot, core.id(), *ty) })
            .collect();
        let mut results: Vec<Val> = ty.results().iter().map(|ty| Val::zero(*ty)).collect();
        // SAFETY: a `Store<T>` by our duties; the context is the only one in use
        // until the closure returns.
        let caller = unsafe { Caller::new(context.store, caller) };
        func(caller, &params, &mut results).map_err(TrapReason::User)?;
        for ((ty, slot), result) in ty.results().iter().zip(slots).zip(results) {
            *slot = result
                .to_slot(core.engine(), core.id(), *ty)
                .map_err(HostFailure::mistake)?;
        }
        Ok(())
    })
}
