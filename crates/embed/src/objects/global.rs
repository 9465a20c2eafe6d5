//! The globals of a store.

use trapline_wasmtime::vm::{VMFuncRef, VMGlobalDefinition, VMGlobalImport, VMGlobalKind, ValRaw};
use trapline_wasmtime::wasmtime_environ::DefinedGlobalIndex;

use crate::calls::error::{Error, UsageError};
use crate::calls::value::Val;
use crate::compiled::definition::Definition;
use crate::store::context::StoreContext;
use crate::store::store_core::{StoreCore, StoreId};
use crate::types::{GlobalType, ValType};

/// A global that a store knows.
#[derive(Debug)]
pub(crate) struct GlobalObject {
    ty: GlobalType,
    definition: Definition<VMGlobalDefinition>,
}

impl GlobalObject {
    pub(crate) fn new(ty: GlobalType, definition: Definition<VMGlobalDefinition>) -> Self {
        Self { ty, definition }
    }

    pub(crate) fn ty(&self) -> GlobalType {
        self.ty
    }

    /// What an instance that imports the global is told of it. (Whose it is,
    /// compiled code does not ask.)
    pub(crate) fn import(&self) -> VMGlobalImport {
        VMGlobalImport {
            from: self.definition.as_non_null().into(),
            vmctx: None,
            kind: VMGlobalKind::Host(DefinedGlobalIndex::from_u32(0)),
        }
    }

    /// The value. Compiled code keeps numbers and references in the byte order
    /// of the machine, vectors little-endian.
    fn get(&self) -> ValRaw {
        let value = self.definition.as_non_null();
        // SAFETY: 16 initialised bytes, aligned to 16, that hold a value of this
        // type; no guest is running.
        unsafe {
            match self.ty.value {
                ValType::I32 => ValRaw::i32(value.cast::<u32>().read()),
                ValType::I64 => ValRaw::i64(value.cast::<u64>().read()),
                ValType::F32 => ValRaw::f32(value.cast::<u32>().read()),
                ValType::F64 => ValRaw::f64(value.cast::<u64>().read()),
                ValType::V128 => ValRaw::v128(u128::from_le(value.cast::<u128>().read())),
                ValType::Ref(ty) if ty.heap.is_func() => {
                    ValRaw::funcref(value.cast::<*mut VMFuncRef>().read())
                }
                ValType::Ref(_) => ValRaw::externref(value.cast::<u32>().read()),
            }
        }
    }

    /// Changes the value to one of the global's type.
    fn set(&self, slot: ValRaw) {
        let value = self.definition.as_non_null();
        // SAFETY: as for `get`.
        unsafe {
            match self.ty.value {
                ValType::I32 => value.cast::<u32>().write(slot.get_i32()),
                ValType::I64 => value.cast::<u64>().write(slot.get_i64()),
                ValType::F32 => value.cast::<u32>().write(slot.get_f32()),
                ValType::F64 => value.cast::<u64>().write(slot.get_f64()),
                ValType::V128 => value.cast::<u128>().write(slot.get_v128().to_le()),
                ValType::Ref(ty) if ty.heap.is_func() => {
                    value.cast::<*mut VMFuncRef>().write(slot.get_funcref());
                }
                ValType::Ref(_) => value.cast::<u32>().write(slot.get_externref()),
            }
        }
    }
}

// The largest value, a vector, fits and is aligned.
const _: () = assert!(
    size_of::<VMGlobalDefinition>() == size_of::<u128>() && align_of::<VMGlobalDefinition>() == 16
);

/// A global of a store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Global {
    store: StoreId,
    index: usize,
}

impl Global {
    /// A new global with this value.
    ///
    /// # Errors
    ///
    /// If the value is not of the global's type or belongs to another store.
    pub fn new<T>(store: &mut StoreContext<T>, ty: GlobalType, value: Val) -> Result<Self, Error> {
        let core = store.core();
        let value = value.to_slot(core.engine(), core.id(), ty.value)?;
        let definition = Definition::own(VMGlobalDefinition { storage: [0; 16] });
        let object = GlobalObject::new(ty, definition);
        object.set(value);
        Ok(Self {
            store: core.id(),
            index: core.globals().push(object),
        })
    }

    pub(crate) const fn in_store(store: StoreId, index: usize) -> Self {
        Self { store, index }
    }

    /// The index in its store's list.
    pub(crate) const fn index(self) -> usize {
        self.index
    }

    /// The global, if it belongs to this store.
    pub(crate) fn object(self, core: &StoreCore) -> Result<&GlobalObject, UsageError> {
        core.globals()
            .get(self.index)
            .filter(|_| self.store == core.id())
            .ok_or(UsageError::ForeignStore { what: "global" })
    }

    fn own<T>(self, store: &StoreContext<T>) -> &GlobalObject {
        self.object(store.core())
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
        unsafe { Val::from_slot(object.get(), self.store, object.ty.value) }
    }

    /// Changes the value.
    ///
    /// # Errors
    ///
    /// If the global is immutable, if the value is not of its type, or if
    /// global or value belong to another store.
    pub fn set<T>(self, store: &mut StoreContext<T>, value: Val) -> Result<(), Error> {
        let core = store.core();
        let object = self.object(core)?;
        if !object.ty.mutable {
            return Err(UsageError::ImmutableGlobal.into());
        }
        object.set(value.to_slot(core.engine(), core.id(), object.ty.value)?);
        Ok(())
    }
}
