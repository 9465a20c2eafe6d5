//! By what an embedder names the things in a store. What can be done with them is in `api`.

use crate::objects::func::Func;
use crate::objects::id::StoreId;
use crate::objects::shared_memory::SharedMemory;
use crate::usage::UsageError;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident: $what:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub struct $name {
            store: StoreId,
            index: usize,
        }

        impl $name {
            pub(crate) const fn in_store(store: StoreId, index: usize) -> Self {
                Self { store, index }
            }

            /// The index in the list of the store, if it is this one.
            pub(crate) fn index_in(self, store: StoreId) -> Result<usize, UsageError> {
                if self.store == store {
                    Ok(self.index)
                } else {
                    Err(UsageError::ForeignStore { what: $what })
                }
            }
        }
    )* };
}

handles! {
    /// A memory of a store, not a shared one.
    Memory: "memory";
    /// A table of a store.
    Table: "table";
    /// A global of a store.
    Global: "global";
    /// An instance of a module in a store.
    Instance: "instance";
}

/// Something that can be exported and imported.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A memory.
    Memory(Memory),
    /// A memory that several stores may use.
    SharedMemory(SharedMemory),
    /// A table.
    Table(Table),
    /// A global.
    Global(Global),
}

impl Extern {
    /// The function, if it is one.
    #[must_use]
    pub fn into_func(self) -> Option<Func> {
        if let Self::Func(func) = self {
            Some(func)
        } else {
            None
        }
    }

    /// The memory, if it is one, and not shared.
    #[must_use]
    pub fn into_memory(self) -> Option<Memory> {
        if let Self::Memory(memory) = self {
            Some(memory)
        } else {
            None
        }
    }

    /// The shared memory, if it is one.
    #[must_use]
    pub fn into_shared_memory(self) -> Option<SharedMemory> {
        if let Self::SharedMemory(memory) = self {
            Some(memory)
        } else {
            None
        }
    }

    /// The table, if it is one.
    #[must_use]
    pub fn into_table(self) -> Option<Table> {
        if let Self::Table(table) = self {
            Some(table)
        } else {
            None
        }
    }

    /// The global, if it is one.
    #[must_use]
    pub fn into_global(self) -> Option<Global> {
        if let Self::Global(global) = self {
            Some(global)
        } else {
            None
        }
    }
}

macro_rules! extern_from {
    ($($name:ident)*) => { $(
        impl From<$name> for Extern {
            fn from(item: $name) -> Self {
                Self::$name(item)
            }
        }
    )* };
}

extern_from! { Func Memory SharedMemory Table Global }
