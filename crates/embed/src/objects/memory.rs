//! The memories of a store.

use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use trapline_arch::VirtualAddress;
use trapline_wasmtime::vm::{VMMemoryDefinition, VMMemoryImport};
use trapline_wasmtime::wasmtime_environ::DefinedMemoryIndex;

use crate::calls::error::{Error, UsageError};
use crate::compiled::definition::{Definition, Owner};
use crate::linear_memory::{LinearMemory, MemorySettings};
use crate::objects::shared_memory::SharedMemory;
use crate::store::context::StoreContext;
use crate::store::store_core::{StoreCore, StoreId};
use crate::types::MemoryType;

/// A memory that a store knows: one of its own, or a shared one.
#[derive(Debug)]
pub(crate) enum MemoryObject {
    Local {
        memory: UnsafeCell<LinearMemory>,
        definition: Definition<VMMemoryDefinition>,
        owner: Owner,
    },
    Shared {
        memory: SharedMemory,
        owner: Owner,
    },
}

impl MemoryObject {
    /// What compiled code is told of a memory.
    pub(crate) fn describe(memory: &LinearMemory) -> VMMemoryDefinition {
        VMMemoryDefinition {
            base: memory.base().into(),
            current_length: AtomicUsize::new(memory.len()),
        }
    }

    fn local(memory: &UnsafeCell<LinearMemory>) -> &LinearMemory {
        // SAFETY: only `grow` makes another reference, and calls nothing that
        // could get here while it has it.
        unsafe { &*memory.get() }
    }

    pub(crate) fn ty(&self) -> MemoryType {
        match self {
            Self::Local { memory, .. } => Self::local(memory).ty(),
            Self::Shared { memory, .. } => memory.ty(),
        }
    }

    pub(crate) fn settings(&self) -> &MemorySettings {
        match self {
            Self::Local { memory, .. } => Self::local(memory).settings(),
            Self::Shared { memory, .. } => memory.settings(),
        }
    }

    /// The size in pages.
    pub(crate) fn pages(&self) -> u64 {
        match self {
            Self::Local { memory, .. } => Self::local(memory).pages(),
            Self::Shared { memory, .. } => memory.size(),
        }
    }

    /// The size in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Local { memory, .. } => Self::local(memory).len(),
            Self::Shared { memory, .. } => memory.data_size(),
        }
    }

    pub(crate) fn as_shared(&self) -> Option<&SharedMemory> {
        match self {
            Self::Local { .. } => None,
            Self::Shared { memory, .. } => Some(memory),
        }
    }

    /// What an instance that imports the memory is told of it.
    pub(crate) fn import(&self) -> VMMemoryImport {
        let (definition, owner) = match self {
            Self::Local {
                definition, owner, ..
            } => (definition.as_non_null(), owner),
            Self::Shared { memory, owner } => (memory.definition(), owner),
        };
        VMMemoryImport {
            from: definition.into(),
            vmctx: owner.vmctx.into(),
            index: DefinedMemoryIndex::from_u32(owner.index),
        }
    }

    /// Grows the memory by `delta` pages; returns the previous size in pages,
    /// `None` if it cannot grow.
    pub(crate) fn grow(&self, delta: u64, always_move: bool) -> Option<u64> {
        match self {
            Self::Local {
                memory, definition, ..
            } => {
                // SAFETY: no reference that `local` made is alive, see there.
                let memory = unsafe { &mut *memory.get() };
                let previous = memory.grow(delta, always_move)?;
                // SAFETY: the record is the memory's own, and no guest is running
                // that could read it.
                unsafe { definition.as_non_null().write(Self::describe(memory)) };
                Some(previous)
            }
            Self::Shared { memory, .. } => memory.try_grow(delta),
        }
    }

    /// All addresses that belong to the memory, guard region included.
    pub(crate) fn range(&self) -> Range<VirtualAddress> {
        match self {
            Self::Local { memory, .. } => Self::local(memory).range(),
            Self::Shared { memory, .. } => memory.range(),
        }
    }
}

/// A memory of a store, not a shared one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Memory {
    store: StoreId,
    index: usize,
}

impl Memory {
    /// A new memory, zeroed, with the engine's settings for memories of the host.
    ///
    /// # Errors
    ///
    /// If the type is that of a shared memory (see [`SharedMemory::new`]), or
    /// there is no room.
    pub fn new<T>(store: &mut StoreContext<T>, ty: MemoryType) -> Result<Self, Error> {
        if ty.shared {
            return Err(UsageError::SharedMemoryType { ty }.into());
        }
        let core = store.core();
        let engine = core.engine();
        let memory = LinearMemory::new(engine.platform(), ty, engine.config().host_memory)
            .map_err(UsageError::Memory)?;
        let definition = Definition::own(MemoryObject::describe(&memory));
        let owner = core.host_owner(core.memories().len());
        let object = MemoryObject::Local {
            memory: memory.into(),
            definition,
            owner,
        };
        Ok(Self {
            store: core.id(),
            index: core.memories().push(object),
        })
    }

    pub(crate) const fn in_store(store: StoreId, index: usize) -> Self {
        Self { store, index }
    }

    /// The index in its store's list.
    pub(crate) const fn index(self) -> usize {
        self.index
    }

    /// The memory, if it belongs to this store.
    pub(crate) fn object(self, core: &StoreCore) -> Result<&MemoryObject, UsageError> {
        core.memories()
            .get(self.index)
            .filter(|_| self.store == core.id())
            .ok_or(UsageError::ForeignStore { what: "memory" })
    }

    fn own<T>(self, store: &StoreContext<T>) -> &MemoryObject {
        self.object(store.core())
            .expect("the memory belongs to the store that it is used with")
    }

    /// The type that the memory was made with.
    ///
    /// # Panics
    ///
    /// If the memory belongs to another store.
    #[must_use]
    pub fn ty<T>(self, store: &StoreContext<T>) -> MemoryType {
        self.own(store).ty()
    }

    /// The size in pages.
    ///
    /// # Panics
    ///
    /// If the memory belongs to another store.
    #[must_use]
    pub fn size<T>(self, store: &StoreContext<T>) -> u64 {
        self.own(store).pages()
    }

    /// The size in bytes.
    ///
    /// # Panics
    ///
    /// If the memory belongs to another store.
    #[must_use]
    pub fn data_size<T>(self, store: &StoreContext<T>) -> usize {
        self.own(store).len()
    }

    /// The bytes.
    ///
    /// # Panics
    ///
    /// If the memory belongs to another store.
    #[must_use]
    pub fn data<T>(self, store: &StoreContext<T>) -> &[u8] {
        let (base, len) = self.raw(store);
        // SAFETY: the bytes are accessible, and no guest of the store runs and
        // nobody grows the memory while the store is borrowed.
        unsafe { core::slice::from_raw_parts(base.as_ptr(), len) }
    }

    /// The bytes, to be changed.
    ///
    /// # Panics
    ///
    /// If the memory belongs to another store.
    #[must_use]
    pub fn data_mut<T>(self, store: &mut StoreContext<T>) -> &mut [u8] {
        let (base, len) = self.raw(store);
        // SAFETY: as for `data`, and the store is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(base.as_ptr(), len) }
    }

    /// Where the bytes are, until the memory grows.
    fn raw<T>(self, store: &StoreContext<T>) -> (NonNull<u8>, usize) {
        let definition = self.own(store).import().from.get();
        // SAFETY: the record lives as long as the store.
        let definition = unsafe { definition.as_ref() };
        (
            definition.base.get(),
            definition.current_length.load(Ordering::Relaxed),
        )
    }

    /// Reads bytes.
    ///
    /// # Errors
    ///
    /// If they are not all in the memory, or it belongs to another store.
    pub fn read<T>(
        self,
        store: &StoreContext<T>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        self.object(store.core())?;
        let data = self.data(store);
        let range = check_range(offset, buffer.len(), data.len())?;
        buffer.copy_from_slice(&data[range]);
        Ok(())
    }

    /// Writes bytes.
    ///
    /// # Errors
    ///
    /// If they are not all in the memory, or it belongs to another store.
    pub fn write<T>(
        self,
        store: &mut StoreContext<T>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Error> {
        self.object(store.core())?;
        let data = self.data_mut(store);
        let range = check_range(offset, bytes.len(), data.len())?;
        data[range].copy_from_slice(bytes);
        Ok(())
    }

    /// Grows the memory by `delta` pages and returns the previous size in pages.
    ///
    /// # Errors
    ///
    /// If it would be larger than its type or the machine allows, or if it
    /// belongs to another store.
    pub fn grow<T>(self, store: &mut StoreContext<T>, delta: u64) -> Result<u64, Error> {
        let core = store.core();
        let object = self.object(core)?;
        object
            .grow(delta, core.always_moves_memories())
            .ok_or_else(|| {
                UsageError::CannotGrow {
                    what: "memory",
                    size: object.pages(),
                    delta,
                }
                .into()
            })
    }
}

/// `len` bytes from `offset` on, if there are `size`.
fn check_range(offset: u64, len: usize, size: usize) -> Result<Range<usize>, UsageError> {
    usize::try_from(offset)
        .ok()
        .and_then(|start| Some(start..start.checked_add(len)?))
        .filter(|range| range.end <= size)
        .ok_or(UsageError::OutOfBounds {
            what: "memory",
            index: offset,
            len: len as u64,
            size: size as u64,
        })
}
