//! Functions of the host that guests call.
//!
//! ```text
//!  guest ── exit trampoline ──► shim(context, caller's context, slots, len) -> bool
//!           (compiled, by type)   catch_unwind_and_record_trap
//!                                   arguments from the slots
//!                                   the closure, with a Caller
//!                                   results to the slots
//!           ◄── false: raise ───  error or panic recorded in the activation
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::slice;

use trapline_activation::{UnwindReason, VMContext};
use trapline_host_result::catch_unwind_and_record_trap;
use trapline_wasmtime::vm::{VMOpaqueContext, ValRaw};

use crate::calls::caller::Caller;
use crate::calls::error::Error;
use crate::calls::typed::{HostReturn, IntoFunc, Values};
use crate::calls::value::Val;
use crate::engine::Engine;
use crate::objects::host_func::{HostFunc, HostFuncContext};
use crate::store::store_core::StoreCore;
use crate::types::FuncType;
use crate::usage::UsageError;

impl HostFunc {
    /// A function that gets and returns values of any types.
    pub(crate) fn new<T, F>(engine: &Engine, ty: FuncType, func: F) -> Result<Self, UsageError>
    where
        T: 'static,
        F: Fn(Caller<'_, T>, &[Val], &mut [Val]) -> anyhow::Result<()> + Send + Sync + 'static,
    {
        let index = engine.types().register_func(&ty)?;
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
}

/// A mistake of the host function's, which is one of the reasons to leave the guest that called it.
#[cold]
fn mistake(error: UsageError) -> UnwindReason {
    Error::from(error).into()
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
    let context = unsafe { context.cast::<HostFuncContext<StoreCore>>().as_ref() };
    catch_unwind_and_record_trap(|| -> Result<(), UnwindReason> {
        // SAFETY: this shim is that of an `F`; slots and store by our duties. The
        // context is the only one in use until the closure returns.
        let results = unsafe {
            let caller = Caller::new(context.store(), caller);
            let id = caller.id();
            let params = F::Params::load(slots, id);
            context.closure::<F>().call(caller, params)
        };
        let results = results.into_result()?;
        // SAFETY: the store is alive while its guests run.
        let id = unsafe { context.store().as_ref() }.id();
        // SAFETY: there is room for the results, by our duties.
        unsafe { results.store(slots.cast(), id) }.map_err(mistake)
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
    let context = unsafe { context.cast::<HostFuncContext<StoreCore>>().as_ref() };
    catch_unwind_and_record_trap(|| -> Result<(), UnwindReason> {
        // SAFETY: this shim is that of an `Untyped<F>`.
        let Untyped { ty, func } = unsafe { context.closure::<Untyped<F>>() };
        // SAFETY: the slots are ours until we return, by our duties.
        let slots = unsafe { slice::from_raw_parts_mut(slots, len) };
        // SAFETY: the store is alive while its guests run.
        let core = unsafe { context.store().as_ref() };
        let params: Vec<Val> = (ty.params().iter().zip(&*slots))
            // SAFETY: compiled code put arguments of these types there.
            .map(|(ty, slot)| unsafe { Val::from_slot(*slot, core.id(), *ty) })
            .collect();
        let mut results: Vec<Val> = ty.results().iter().map(|ty| Val::zero(*ty)).collect();
        // SAFETY: a `Store<T>` by our duties; the context is the only one in use
        // until the closure returns.
        let caller = unsafe { Caller::new(context.store(), caller) };
        func(caller, &params, &mut results)?;
        for ((ty, slot), result) in ty.results().iter().zip(slots).zip(results) {
            *slot = result
                .to_slot(core.engine(), core.id(), *ty)
                .map_err(mistake)?;
        }
        Ok(())
    })
}
