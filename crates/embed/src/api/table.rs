//! What an embedder does with tables.

use crate::calls::error::Error;
use crate::calls::value::Val;
use crate::compiled::definition::Definition;
use crate::objects::handles::Table;
use crate::objects::limits::Amount;
use crate::objects::table::{Elements, TableObject};
use crate::store::context::StoreContext;
use crate::types::{TableType, ValType};
use crate::usage::UsageError;

impl Table {
    /// A new table, all elements of which are `init`.
    ///
    /// # Errors
    ///
    /// If the type names a defined type that the engine does not know, if its minimum is above its maximum, if
    /// `init` is not of the element's type or belongs to another store, if there is no room, or if the
    /// store's [limits](crate::StoreLimits) do not allow it.
    pub fn new<T>(store: &mut StoreContext<T>, ty: TableType, init: Val) -> Result<Self, Error> {
        let core = store.core();
        core.engine()
            .types()
            .check_known(ValType::Ref(ty.element))?;
        let init = init.to_slot(core.engine(), core.id(), ValType::Ref(ty.element))?;
        core.check_limits(Amount::default().new_table(ty))?;
        let elements = Elements::new(ty)?;
        let definition = Definition::own(elements.describe());
        let object = TableObject::new(
            elements,
            definition,
            core.host_owner(core.objects().tables().len()),
        );
        object.fill(0, init);
        let index = core.objects().tables().push(object);
        Ok(Self::in_store(core.id(), index))
    }

    fn own<T>(self, store: &StoreContext<T>) -> &TableObject {
        store
            .core()
            .objects()
            .table(self)
            .expect("the table belongs to the store that it is used with")
    }

    /// The type that the table was made with.
    ///
    /// # Panics
    ///
    /// If the table belongs to another store.
    #[must_use]
    pub fn ty<T>(self, store: &StoreContext<T>) -> TableType {
        self.own(store).ty()
    }

    /// The number of elements.
    ///
    /// # Panics
    ///
    /// If the table belongs to another store.
    #[must_use]
    pub fn size<T>(self, store: &StoreContext<T>) -> u64 {
        self.own(store).len()
    }

    /// The element with this index, `None` beyond the last one.
    ///
    /// # Panics
    ///
    /// If the table belongs to another store.
    #[must_use]
    pub fn get<T>(self, store: &StoreContext<T>, index: u64) -> Option<Val> {
        let object = self.own(store);
        let slot = object.get(index)?;
        // SAFETY: compiled code of the store, or `set`, put it there.
        Some(unsafe { Val::from_slot(slot, store.id(), ValType::Ref(object.ty().element)) })
    }

    /// Changes the element with this index.
    ///
    /// # Errors
    ///
    /// If there is no such element, if the value is not of the element's type, or
    /// if table or value belong to another store.
    pub fn set<T>(self, store: &mut StoreContext<T>, index: u64, value: Val) -> Result<(), Error> {
        let core = store.core();
        let object = core.objects().table(self)?;
        let slot = value.to_slot(core.engine(), core.id(), ValType::Ref(object.ty().element))?;
        object.set(index, slot).ok_or_else(|| {
            let size = object.len();
            UsageError::OutOfBounds {
                what: "table",
                index,
                len: 1,
                size,
            }
            .into()
        })
    }

    /// Adds `delta` elements, which are `init`; returns the previous number.
    ///
    /// # Errors
    ///
    /// If there would be more than its type, the store's [limits](crate::StoreLimits) or the
    /// machine allow, if `init` is
    /// not of the element's type, or if table or value belong to another store.
    pub fn grow<T>(self, store: &mut StoreContext<T>, delta: u64, init: Val) -> Result<u64, Error> {
        let core = store.core();
        let object = core.objects().table(self)?;
        let init = init.to_slot(core.engine(), core.id(), ValType::Ref(object.ty().element))?;
        let previous = core.objects().grow_table(object, delta)?;
        object.fill(previous, init);
        Ok(previous)
    }
}
