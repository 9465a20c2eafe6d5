//! The memories, tables and globals of one store.

use core::cell::Cell;

use crate::append_list::AppendList;
use crate::objects::global::GlobalObject;
use crate::objects::handles::{Global, Memory, Table};
use crate::objects::id::StoreId;
use crate::objects::limits::{Amount, StoreLimits, page_bytes};
use crate::objects::memory::MemoryObject;
use crate::objects::table::TableObject;
use crate::usage::UsageError;

/// What the instances of a store use. All of it lives as long as the store.
#[derive(Debug)]
pub(crate) struct Objects {
    id: StoreId,
    limits: Cell<StoreLimits>,
    /// Whether memories that may move do so on each growth.
    always_move: Cell<bool>,
    memories: AppendList<MemoryObject>,
    tables: AppendList<TableObject>,
    globals: AppendList<GlobalObject>,
}

impl Objects {
    /// Nothing, for a new store.
    pub(crate) fn new() -> Self {
        Self {
            id: StoreId::unique(),
            limits: Cell::default(),
            always_move: Cell::new(false),
            memories: AppendList::new(),
            tables: AppendList::new(),
            globals: AppendList::new(),
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    pub(crate) fn memories(&self) -> &AppendList<MemoryObject> {
        &self.memories
    }

    pub(crate) fn tables(&self) -> &AppendList<TableObject> {
        &self.tables
    }

    pub(crate) fn globals(&self) -> &AppendList<GlobalObject> {
        &self.globals
    }

    /// The memory, if it belongs to this store.
    pub(crate) fn memory(&self, memory: Memory) -> Result<&MemoryObject, UsageError> {
        let index = memory.index_in(self.id)?;
        Ok(self.memories.get(index).expect(KNOWN))
    }

    /// The table, if it belongs to this store.
    pub(crate) fn table(&self, table: Table) -> Result<&TableObject, UsageError> {
        let index = table.index_in(self.id)?;
        Ok(self.tables.get(index).expect(KNOWN))
    }

    /// The global, if it belongs to this store.
    pub(crate) fn global(&self, global: Global) -> Result<&GlobalObject, UsageError> {
        let index = global.index_in(self.id)?;
        Ok(self.globals.get(index).expect(KNOWN))
    }

    pub(crate) fn set_always_move(&self, always: bool) {
        self.always_move.set(always);
    }

    pub(crate) fn limits(&self) -> StoreLimits {
        self.limits.get()
    }

    pub(crate) fn set_limits(&self, limits: StoreLimits) {
        self.limits.set(limits);
    }

    /// Whether there may be so much more, beside this many instances.
    //
    // What there is is counted, not kept count of: shared memories grow behind the store's back,
    // and whatever else asks has more to do than that.
    pub(crate) fn check_limits(&self, instances: usize, more: Amount) -> Result<(), UsageError> {
        let used = Amount::default().instances(instances);
        let memories = self.memories.iter().map(|memory| memory.len() as u64);
        let used = memories.fold(used, Amount::memory);
        let tables = self.tables.iter().map(TableObject::len);
        let used = tables.fold(used, Amount::table);
        self.limits.get().check(used, more)
    }

    /// Grows a memory of this store by `delta` pages; returns the previous size in pages.
    pub(crate) fn grow_memory(&self, memory: &MemoryObject, delta: u64) -> Result<u64, UsageError> {
        let bytes = page_bytes(memory.ty(), delta);
        self.check_limits(0, Amount::default().memory_growth(bytes))?;
        memory
            .grow(delta, self.always_move.get())
            .ok_or_else(|| UsageError::CannotGrow {
                what: "memory",
                size: memory.pages(),
                delta,
            })
    }

    /// Grows a table of this store by `delta` elements, which are null until the caller fills them
    /// in; returns the previous number.
    pub(crate) fn grow_table(&self, table: &TableObject, delta: u64) -> Result<u64, UsageError> {
        self.check_limits(0, Amount::default().table_growth(delta))?;
        table.grow(delta).ok_or_else(|| UsageError::CannotGrow {
            what: "table",
            size: table.len(),
            delta,
        })
    }
}

/// Why an index of a handle, or of the host's, is that of a member.
pub(crate) const KNOWN: &str = "the store's lists only grow";
