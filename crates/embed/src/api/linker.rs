//! Imports by name.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;

use crate::calls::caller::Caller;
use crate::calls::error::Error;
use crate::calls::instantiate_error::InstantiateError;
use crate::calls::typed::IntoFunc;
use crate::calls::value::Val;
use crate::engine::Engine;
use crate::module::Module;
use crate::objects::func::Func;
use crate::objects::handles::{Extern, Instance};
use crate::objects::host_func::HostFunc;
use crate::store::context::StoreContext;
use crate::store::store_core::StoreCore;
use crate::types::FuncType;
use crate::usage::UsageError;

/// What modules can import, by the names of module and item, for stores with
/// data of type `T`.
///
/// Host functions that are defined here belong to no store: they can be used
/// in any number of them. Everything else belongs to one store.
///
/// A linker for one type is not one for a subtype or a supertype: what a host
/// function puts into a store's data has the type that the function was
/// compiled for, lifetimes included.
///
/// ```compile_fail
/// use trapline_embed::Linker;
///
/// type Long = fn(&'static str);
/// type Any = for<'a> fn(&'a str);
///
/// fn shorten(linker: Linker<Long>) -> Linker<Any> {
///     linker
/// }
/// ```
pub struct Linker<T: 'static> {
    engine: Engine,
    definitions: BTreeMap<String, BTreeMap<String, Definition>>,
    _data: PhantomData<fn(T) -> T>,
}

#[derive(Clone, Debug)]
enum Definition {
    Item(Extern),
    HostFunc(Arc<HostFunc>),
}

impl Definition {
    fn item(&self, core: &StoreCore) -> Extern {
        match self {
            Self::Item(item) => item.clone(),
            Self::HostFunc(func) => {
                // SAFETY: made for this store.
                Extern::Func(unsafe { Func::new_in(core.id(), core.host_func(func)) })
            }
        }
    }
}

impl<T> Linker<T> {
    /// A linker that knows nothing.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        Self {
            engine: engine.clone(),
            definitions: BTreeMap::new(),
            _data: PhantomData,
        }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Defines an item. It takes the place of an earlier one of the same name.
    pub fn define(&mut self, module: &str, name: &str, item: impl Into<Extern>) -> &mut Self {
        self.insert(module, name, Definition::Item(item.into()))
    }

    /// Defines a function of the host's whose types are those of the closure: see
    /// [`IntoFunc`]. It takes the place of an earlier item of the same name.
    pub fn func_wrap<P, R>(
        &mut self,
        module: &str,
        name: &str,
        func: impl IntoFunc<T, P, R>,
    ) -> &mut Self {
        let func = Arc::new(HostFunc::wrap(&self.engine, func));
        self.insert(module, name, Definition::HostFunc(func))
    }

    /// Defines a function of the host's with any type: see [`Func::new`]. It
    /// takes the place of an earlier item of the same name.
    ///
    /// # Errors
    ///
    /// If the type names a defined type that the engine does not know.
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Self, Error> {
        let func = Arc::new(HostFunc::new(&self.engine, ty, func)?);
        Ok(self.insert(module, name, Definition::HostFunc(func)))
    }

    /// Defines all that an instance exports under the name of a module. What else
    /// is defined there stays, unless it has the name of an export.
    ///
    /// # Errors
    ///
    /// If the instance belongs to another store.
    pub fn instance(
        &mut self,
        store: &mut StoreContext<T>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Self, Error> {
        if instance.module(store).is_none() {
            return Err(UsageError::ForeignStore { what: "instance" }.into());
        }
        for (name, item) in instance.exports(store) {
            self.insert(module, &name, Definition::Item(item));
        }
        Ok(self)
    }

    /// Defines, under the name of a module, all that is defined under another one
    /// now.
    pub fn alias(&mut self, module: &str, existing: &str) -> &mut Self {
        let items = self.definitions.get(existing).cloned().unwrap_or_default();
        self.definitions
            .entry(module.into())
            .or_default()
            .extend(items);
        self
    }

    fn insert(&mut self, module: &str, name: &str, definition: Definition) -> &mut Self {
        self.definitions
            .entry(module.into())
            .or_default()
            .insert(name.into(), definition);
        self
    }

    /// What is defined under this name, as an item of the store.
    #[must_use]
    pub fn get(&self, store: &mut StoreContext<T>, module: &str, name: &str) -> Option<Extern> {
        if !store.engine().same(&self.engine) {
            return None;
        }
        Some(self.definitions.get(module)?.get(name)?.item(store.core()))
    }

    /// Instantiates a module with what is defined here.
    ///
    /// # Errors
    ///
    /// If an import is not defined or is not what the module asks for, if there
    /// is no room, if the module's startup traps, or if store, module and
    /// linker are not of one engine.
    ///
    /// # Panics
    ///
    /// Goes on with the panic of a host function that the module's startup
    /// called.
    pub fn instantiate(
        &self,
        store: &mut StoreContext<T>,
        module: &Module,
    ) -> Result<Instance, InstantiateError> {
        if !store.engine().same(&self.engine) {
            return Err(InstantiateError::ForeignEngine);
        }
        Instance::with_imports(store, module, |core, module, name| {
            Some(self.definitions.get(module)?.get(name)?.item(core))
        })
    }
}

impl<T> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            definitions: self.definitions.clone(),
            _data: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linker")
            .field("definitions", &self.definitions)
            .finish_non_exhaustive()
    }
}
