//! What an embedder does with functions.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use trapline_wasmtime::vm::ValRaw;

use crate::calls::caller::Caller;
use crate::calls::error::Error;
use crate::calls::typed::{IntoFunc, TypedFunc, WasmValues};
use crate::calls::value::Val;
use crate::objects::func::Func;
use crate::objects::host_func::HostFunc;
use crate::store::context::StoreContext;
use crate::types::{FuncType, ValType};
use crate::usage::UsageError;

impl Func {
    /// A function of the host's whose types are those of the closure: see
    /// [`IntoFunc`].
    pub fn wrap<T, P, R>(store: &mut StoreContext<T>, func: impl IntoFunc<T, P, R>) -> Self {
        let core = store.core();
        let func = Arc::new(HostFunc::wrap(core.engine(), func));
        // SAFETY: made for this store.
        unsafe { Self::new_in(core.id(), core.host_func(&func)) }
    }

    /// A function of the host's with any type. `func` gets the arguments, and a
    /// slice for the results, which are zero or null at first.
    ///
    /// # Errors
    ///
    /// If the type names a defined type that the store's engine does not know.
    pub fn new<T>(
        store: &mut StoreContext<T>,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let core = store.core();
        let func = Arc::new(HostFunc::new(core.engine(), ty, func)?);
        // SAFETY: made for this store.
        Ok(unsafe { Self::new_in(core.id(), core.host_func(&func)) })
    }

    /// The type of the function.
    ///
    /// # Panics
    ///
    /// If the function belongs to another store.
    #[must_use]
    pub fn ty<T>(self, store: &StoreContext<T>) -> FuncType {
        self.check(store.id())
            .expect("the function belongs to the store that it is used with");
        self.func_type(store)
    }

    fn func_type<T>(self, store: &StoreContext<T>) -> FuncType {
        let ty = store.engine().types().func(self.type_index());
        (*ty.expect("the types of a store's functions are interned")).clone()
    }

    /// Calls the function.
    ///
    /// # Errors
    ///
    /// The trap, or the host's error, that the call ended with; a mistake
    /// ([`Error::usage`]) if number or types of the arguments are not those of
    /// the function's parameters, or if something belongs to another store.
    ///
    /// # Panics
    ///
    /// Goes on with the panic of a host function that was called by the guest.
    pub fn call<T>(self, store: &mut StoreContext<T>, args: &[Val]) -> Result<Vec<Val>, Error> {
        let core = store.core();
        self.check(core.id())?;
        let ty = core.engine().types().func(self.type_index());
        let ty = ty.expect("the types of a store's functions are interned");
        if args.len() != ty.params().len() {
            let (expected, found) = (ty.params().len(), args.len());
            return Err(UsageError::ValueCount {
                what: "arguments",
                expected,
                found,
            }
            .into());
        }
        let mut slots = vec![ValRaw::default(); ty.slots()];
        for ((arg, ty), slot) in args.iter().zip(ty.params()).zip(&mut slots) {
            *slot = arg.to_slot(core.engine(), core.id(), *ty)?;
        }
        // SAFETY: the function is this store's; the slots are as many as its
        // type asks for and hold arguments of the right types.
        unsafe { core.call(self.func_ref(), slots.as_mut_ptr(), slots.len())? };
        let result = |(ty, slot): (&ValType, &ValRaw)| {
            // SAFETY: the callee put results of its types there.
            unsafe { Val::from_slot(*slot, core.id(), *ty) }
        };
        Ok(ty.results().iter().zip(&slots).map(result).collect())
    }

    /// The function with its parameters `P` and results `R` known when this is
    /// compiled: see [`WasmValues`].
    ///
    /// # Errors
    ///
    /// If they are not those of the function, or it belongs to another store.
    pub fn typed<T, P, R>(self, store: &StoreContext<T>) -> Result<TypedFunc<P, R>, Error>
    where
        P: WasmValues,
        R: WasmValues,
    {
        self.check(store.id())?;
        TypedFunc::check(self, store)
    }
}
