//! What an embedder does with memories.

use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::calls::error::Error;
use crate::compiled::definition::Definition;
use crate::linear_memory::LinearMemory;
use crate::objects::handles::Memory;
use crate::objects::limits::Amount;
use crate::objects::memory::MemoryObject;
use crate::store::context::StoreContext;
use crate::types::MemoryType;
use crate::usage::UsageError;

impl Memory {
    /// A new memory, zeroed, with the engine's settings for memories of the host.
    ///
    /// # Errors
    ///
    /// If the type is that of a shared memory (see
    /// [`SharedMemory::new`](crate::SharedMemory::new)), if its minimum is above its maximum, if there is no room, or if the
    /// store's [limits](crate::StoreLimits) do not allow it.
    pub fn new<T>(store: &mut StoreContext<T>, ty: MemoryType) -> Result<Self, Error> {
        if ty.shared {
            return Err(UsageError::SharedMemoryType { ty }.into());
        }
        let core = store.core();
        core.check_limits(Amount::default().new_memory(ty))?;
        let engine = core.engine();
        let memory = LinearMemory::new(engine.platform(), ty, engine.config().host_memory)
            .map_err(UsageError::Memory)?;
        let definition = Definition::own(MemoryObject::describe(&memory));
        let owner = core.host_owner(core.objects().memories().len());
        let object = MemoryObject::Local {
            memory: memory.into(),
            definition,
            owner,
        };
        let index = core.objects().memories().push(object);
        Ok(Self::in_store(core.id(), index))
    }

    fn own<T>(self, store: &StoreContext<T>) -> &MemoryObject {
        store
            .core()
            .objects()
            .memory(self)
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
        store.core().objects().memory(self)?;
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
        store.core().objects().memory(self)?;
        let data = self.data_mut(store);
        let range = check_range(offset, bytes.len(), data.len())?;
        data[range].copy_from_slice(bytes);
        Ok(())
    }

    /// Grows the memory by `delta` pages and returns the previous size in pages.
    ///
    /// # Errors
    ///
    /// If it would be larger than its type, the store's [limits](crate::StoreLimits) or the machine
    /// allow, or if it belongs to another store.
    pub fn grow<T>(self, store: &mut StoreContext<T>, delta: u64) -> Result<u64, Error> {
        let core = store.core();
        let object = core.objects().memory(self)?;
        Ok(core.objects().grow_memory(object, delta)?)
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
