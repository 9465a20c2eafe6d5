//! What an embedder does with instances.

use alloc::string::String;
use alloc::vec::Vec;

use crate::calls::error::Error;
use crate::calls::typed::{TypedFunc, WasmValues};
use crate::module::Module;
use crate::objects::func::Func;
use crate::objects::handles::{Extern, Global, Instance, Memory, Table};
use crate::objects::instance::InstanceHeader;
use crate::objects::owned::KNOWN;
use crate::objects::shared_memory::SharedMemory;
use crate::store::context::StoreContext;
use crate::store::store_core::StoreCore;
use crate::usage::UsageError;

impl Instance {
    fn header(self, core: &StoreCore) -> Result<&InstanceHeader, UsageError> {
        let index = self.index_in(core.id())?;
        Ok(core.instances().get(index).expect(KNOWN).header())
    }

    /// What the instance exports under this name. `None` if there is no such
    /// export, or if the instance belongs to another store.
    #[must_use]
    pub fn get_export<T>(self, store: &mut StoreContext<T>, name: &str) -> Option<Extern> {
        self.header(store.core()).ok()?.export(name)
    }

    /// All exports, in the module's order; none if the instance belongs to
    /// another store.
    #[must_use]
    pub fn exports<T>(self, store: &mut StoreContext<T>) -> Vec<(String, Extern)> {
        let Ok(header) = self.header(store.core()) else {
            return Vec::new();
        };
        let exports = header.exports();
        exports.map(|(name, item)| (name.into(), item)).collect()
    }

    /// The module, `None` if the instance belongs to another store.
    #[must_use]
    pub fn module<T>(self, store: &StoreContext<T>) -> Option<&Module> {
        self.header(store.core()).ok()?.try_module()
    }

    /// The exported function of this name.
    #[must_use]
    pub fn get_func<T>(self, store: &mut StoreContext<T>, name: &str) -> Option<Func> {
        self.get_export(store, name)?.into_func()
    }

    /// The exported memory of this name, if it is not shared.
    #[must_use]
    pub fn get_memory<T>(self, store: &mut StoreContext<T>, name: &str) -> Option<Memory> {
        self.get_export(store, name)?.into_memory()
    }

    /// The exported shared memory of this name.
    #[must_use]
    pub fn get_shared_memory<T>(
        self,
        store: &mut StoreContext<T>,
        name: &str,
    ) -> Option<SharedMemory> {
        self.get_export(store, name)?.into_shared_memory()
    }

    /// The exported table of this name.
    #[must_use]
    pub fn get_table<T>(self, store: &mut StoreContext<T>, name: &str) -> Option<Table> {
        self.get_export(store, name)?.into_table()
    }

    /// The exported global of this name.
    #[must_use]
    pub fn get_global<T>(self, store: &mut StoreContext<T>, name: &str) -> Option<Global> {
        self.get_export(store, name)?.into_global()
    }

    /// The exported function of this name, with its types known when this is compiled.
    ///
    /// # Errors
    ///
    /// If there is no such function, if it has other types, or if the instance
    /// belongs to another store.
    pub fn get_typed_func<P: WasmValues, R: WasmValues, T>(
        self,
        store: &mut StoreContext<T>,
        name: &str,
    ) -> Result<TypedFunc<P, R>, Error> {
        self.header(store.core())?;
        match self.get_func(store, name) {
            Some(func) => func.typed(store),
            None => Err(UsageError::NoExport {
                name: name.into(),
                expected: "function",
            }
            .into()),
        }
    }
}
