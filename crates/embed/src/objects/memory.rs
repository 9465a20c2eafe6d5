//! The memories of a store.

use core::cell::UnsafeCell;
use core::ops::Range;
use core::sync::atomic::AtomicUsize;

use trapline_arch::VirtualAddress;
use trapline_wasmtime::vm::{VMMemoryDefinition, VMMemoryImport};
use trapline_wasmtime::wasmtime_environ::DefinedMemoryIndex;

use crate::compiled::definition::{Definition, Owner};
use crate::linear_memory::{LinearMemory, MemorySettings};
use crate::objects::shared_memory::SharedMemory;
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
