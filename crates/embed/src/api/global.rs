//! What an embedder does with globals.

use trapline_wasmtime::vm::VMGlobalDefinition;

use crate::calls::error::Error;
use crate::calls::value::Val;
use crate::compiled::definition::Definition;
use crate::objects::global::GlobalObject;
use crate::objects::handles::Global;
use crate::store::context::StoreContext;
use crate::types::GlobalType;
use crate::usage::UsageError;

impl Global {
    /// A new global with this value.
    ///
    /// # Errors
    ///
    /// If the type names a defined type that the engine does not know, or if the value is not of
    /// the global's type or belongs to another store.
    pub fn new<T>(store: &mut StoreContext<T>, ty: GlobalType, value: Val) -> Result<Self, Error> {
        let core = store.core();
        core.engine().types().check_known(ty.value)?;
        let value = value.to_slot(core.engine(), core.id(), ty.value)?;
        let definition = Definition::own(VMGlobalDefinition { storage: [0; 16] });
        let object = GlobalObject::new(ty, definition);
        object.set(value);
        let index = core.objects().globals().push(object);
        Ok(Self::in_store(core.id(), index))
    }

    fn own<T>(self, store: &StoreContext<T>) -> &GlobalObject {
        store
            .core()
            .objects()
            .global(self)
            .expect("the global belongs to the store that it is used with")
    }

    /// The type of the global.
    ///
    /// # Panics
    ///
    /// If the global belongs to another store.
    #[must_use]
    pub fn ty<T>(self, store: &StoreContext<T>) -> GlobalType {
        self.own(store).ty()
    }

    /// The value.
    ///
    /// # Panics
    ///
    /// If the global belongs to another store.
    #[must_use]
    pub fn get<T>(self, store: &StoreContext<T>) -> Val {
        let object = self.own(store);
        // SAFETY: compiled code of the store, or `set`, put it there.
        unsafe { Val::from_slot(object.get(), store.id(), object.ty().value) }
    }

    /// Changes the value.
    ///
    /// # Errors
    ///
    /// If the global is immutable, if the value is not of its type, or if
    /// global or value belong to another store.
    pub fn set<T>(self, store: &mut StoreContext<T>, value: Val) -> Result<(), Error> {
        let core = store.core();
        let object = core.objects().global(self)?;
        if !object.ty().mutable {
            return Err(UsageError::ImmutableGlobal.into());
        }
        object.set(value.to_slot(core.engine(), core.id(), object.ty().value)?);
        Ok(())
    }
}
