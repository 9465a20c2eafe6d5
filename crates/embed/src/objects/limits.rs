//! How much a store may have.

use crate::types::{MemoryType, TableType};
use crate::usage::UsageError;

/// How much a store may have: see [`StoreContext::set_limits`](crate::StoreContext::set_limits).
///
/// | limit | by default |
/// | --- | --- |
/// | [`memory_bytes`](Self::memory_bytes) | none |
/// | [`table_elements`](Self::table_elements) | 10,000,000 |
/// | [`instances`](Self::instances), [`memories`](Self::memories), [`tables`](Self::tables) | 10,000 of each |
///
/// A memory is bounded by its type, takes room only where it is written, and what a guest is to
/// have is for its embedder to say. A table has no bound of its own that is worth the name, and all of it
/// takes room. The limits of the table are as browsers have them, the others as Wasmtime.
///
/// ```
/// use trapline_embed::{Engine, Store, StoreLimits};
///
/// let mut store = Store::new(&Engine::new(), ());
/// store.set_limits(StoreLimits::new().memory_bytes(64 << 20).table_elements(10_000));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLimits {
    memory_bytes: u64,
    table_elements: u64,
    instances: usize,
    memories: usize,
    tables: usize,
}

impl StoreLimits {
    /// The limits that a new store has.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            memory_bytes: u64::MAX,
            table_elements: 10_000_000,
            instances: 10_000,
            memories: 10_000,
            tables: 10_000,
        }
    }

    /// No limits but those of the machine.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            memory_bytes: u64::MAX,
            table_elements: u64::MAX,
            instances: usize::MAX,
            memories: usize::MAX,
            tables: usize::MAX,
        }
    }

    /// All memories together have at most so many bytes.
    #[must_use]
    pub const fn memory_bytes(self, bytes: u64) -> Self {
        Self {
            memory_bytes: bytes,
            ..self
        }
    }

    /// All tables together have at most so many elements.
    #[must_use]
    pub const fn table_elements(self, elements: u64) -> Self {
        Self {
            table_elements: elements,
            ..self
        }
    }

    /// There are at most so many instances.
    #[must_use]
    pub const fn instances(self, count: usize) -> Self {
        Self {
            instances: count,
            ..self
        }
    }

    /// There are at most so many memories, shared ones that are used here included.
    #[must_use]
    pub const fn memories(self, count: usize) -> Self {
        Self {
            memories: count,
            ..self
        }
    }

    /// There are at most so many tables.
    #[must_use]
    pub const fn tables(self, count: usize) -> Self {
        Self {
            tables: count,
            ..self
        }
    }

    /// Whether a store that has `used` may have `more`.
    pub(crate) fn check(&self, used: Amount, more: Amount) -> Result<(), UsageError> {
        let check = |what, limit: u64, used: u64, more: u64| {
            let wanted = used.saturating_add(more);
            // What is there already stays, also if the limit came later.
            if more > 0 && wanted > limit {
                Err(UsageError::Limit {
                    what,
                    limit,
                    wanted,
                })
            } else {
                Ok(())
            }
        };
        let count = |what, limit: usize, used: usize, more: usize| {
            check(what, limit as u64, used as u64, more as u64)
        };
        count("instances", self.instances, used.instances, more.instances)?;
        count("memories", self.memories, used.memories, more.memories)?;
        count("tables", self.tables, used.tables, more.tables)?;
        check(
            "bytes of memory",
            self.memory_bytes,
            used.memory_bytes,
            more.memory_bytes,
        )?;
        check(
            "elements of tables",
            self.table_elements,
            used.table_elements,
            more.table_elements,
        )
    }
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// How much a store has, or is to have in addition. Sums that are too large to tell are as large as
/// can be told.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Amount {
    instances: usize,
    memories: usize,
    memory_bytes: u64,
    tables: usize,
    table_elements: u64,
}

impl Amount {
    /// One instance more.
    pub(crate) fn instances(self, count: usize) -> Self {
        Self {
            instances: self.instances.saturating_add(count),
            ..self
        }
    }

    /// A memory of so many bytes more.
    pub(crate) fn memory(self, bytes: u64) -> Self {
        Self {
            memories: self.memories.saturating_add(1),
            ..self.memory_growth(bytes)
        }
    }

    /// A new memory more.
    pub(crate) fn new_memory(self, ty: MemoryType) -> Self {
        self.memory(page_bytes(ty, ty.limits.min))
    }

    /// A memory larger by so many bytes.
    pub(crate) fn memory_growth(self, bytes: u64) -> Self {
        Self {
            memory_bytes: self.memory_bytes.saturating_add(bytes),
            ..self
        }
    }

    /// A table of so many elements more.
    pub(crate) fn table(self, elements: u64) -> Self {
        Self {
            tables: self.tables.saturating_add(1),
            ..self.table_growth(elements)
        }
    }

    /// A new table more.
    pub(crate) fn new_table(self, ty: TableType) -> Self {
        self.table(ty.limits.min)
    }

    /// A table larger by so many elements.
    pub(crate) fn table_growth(self, elements: u64) -> Self {
        Self {
            table_elements: self.table_elements.saturating_add(elements),
            ..self
        }
    }
}

/// The bytes of so many pages.
pub(crate) fn page_bytes(ty: MemoryType, pages: u64) -> u64 {
    pages.saturating_mul(ty.page_size().unwrap_or(u64::MAX))
}
