//! Memories that several stores, on several threads, use at a time.

use alloc::sync::Arc;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use trapline_arch::VirtualAddress;
use trapline_code_registry::TrapKind;
use trapline_lock::Mutex;
use trapline_wasmtime::vm::VMMemoryDefinition;

use crate::engine::Engine;
use crate::linear_memory::{LinearMemory, MemoryError, MemorySettings};
use crate::objects::parking::{ParkingLot, WaitOutcome};
use crate::platform::Platform;
use crate::types::MemoryType;
use crate::usage::UsageError;

/// A shared memory. It belongs to no store; clones are the same memory.
#[derive(Clone)]
pub struct SharedMemory(Arc<Inner>);

struct Inner {
    ty: MemoryType,
    settings: MemorySettings,
    platform: Arc<dyn Platform>,
    /// Never changes: a shared memory does not move.
    range: Range<VirtualAddress>,
    /// What compiled code reads: the base, fixed, and the length, which grows.
    definition: VMMemoryDefinition,
    /// Who grows the memory holds it.
    memory: Mutex<LinearMemory>,
    waiting: ParkingLot,
}

impl SharedMemory {
    /// A new memory, zeroed, with the engine's settings for memories of the host.
    ///
    /// # Errors
    ///
    /// If the type is not that of a shared memory with a maximum, or there is no
    /// room.
    pub fn new(engine: &Engine, ty: MemoryType) -> Result<Self, UsageError> {
        if !ty.shared {
            return Err(UsageError::SharedMemoryType { ty });
        }
        if ty.limits.max.is_none() {
            return Err(UsageError::Memory(MemoryError::SharedWithoutMaximum { ty }));
        }
        Self::with_settings(engine, ty, engine.config().host_memory).map_err(UsageError::Memory)
    }

    pub(crate) fn with_settings(
        engine: &Engine,
        ty: MemoryType,
        settings: MemorySettings,
    ) -> Result<Self, MemoryError> {
        let memory = LinearMemory::new(engine.platform(), ty, settings)?;
        let definition = VMMemoryDefinition {
            base: memory.base().into(),
            current_length: AtomicUsize::new(memory.len()),
        };
        Ok(Self(Arc::new(Inner {
            ty,
            settings,
            platform: Arc::clone(engine.platform()),
            range: memory.range(),
            definition,
            memory: Mutex::new(memory),
            waiting: ParkingLot::default(),
        })))
    }

    /// The type that the memory was made with.
    #[must_use]
    pub fn ty(&self) -> MemoryType {
        self.0.ty
    }

    /// The size in pages.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.data_size() as u64 >> self.0.ty.page_size_log2
    }

    /// The size in bytes.
    #[must_use]
    pub fn data_size(&self) -> usize {
        self.0.definition.current_length.load(Ordering::SeqCst)
    }

    /// Grows the memory by `delta` pages and returns the previous size in pages.
    ///
    /// # Errors
    ///
    /// [`UsageError::CannotGrow`] if it would be larger than its type or the
    /// machine allows.
    pub fn grow(&self, delta: u64) -> Result<u64, UsageError> {
        self.try_grow(delta).ok_or_else(|| UsageError::CannotGrow {
            what: "shared memory",
            size: self.size(),
            delta,
        })
    }

    pub(crate) fn try_grow(&self, delta: u64) -> Option<u64> {
        let mut memory = self.0.memory.lock();
        let previous = memory.grow(delta, false)?;
        // Under the lock, so that it never shrinks.
        self.0
            .definition
            .current_length
            .store(memory.len(), Ordering::SeqCst);
        Some(previous)
    }

    /// Reads bytes, each one atomically (relaxed): what other threads write
    /// meanwhile may be seen in part.
    ///
    /// # Errors
    ///
    /// [`UsageError::OutOfBounds`]; nothing was read then.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), UsageError> {
        let cells = self.bytes(offset, buffer.len())?;
        for (byte, cell) in buffer.iter_mut().zip(cells) {
            *byte = cell.load(Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes bytes, each one atomically (relaxed): other threads may see some
    /// of them before the others.
    ///
    /// # Errors
    ///
    /// [`UsageError::OutOfBounds`]; nothing was written then.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), UsageError> {
        for (byte, cell) in bytes.iter().zip(self.bytes(offset, bytes.len())?) {
            cell.store(*byte, Ordering::Relaxed);
        }
        Ok(())
    }

    /// `len` bytes from `offset` on.
    fn bytes(&self, offset: u64, len: usize) -> Result<&[AtomicU8], UsageError> {
        let size = self.data_size();
        let start = usize::try_from(offset)
            .ok()
            .filter(|start| start.checked_add(len).is_some_and(|end| end <= size));
        let Some(start) = start else {
            return Err(UsageError::OutOfBounds {
                what: "shared memory",
                index: offset,
                len: len as u64,
                size: size as u64,
            });
        };
        let bytes = self.0.definition.base.get().cast::<AtomicU8>();
        // SAFETY: the bytes are accessible, since memories never shrink, and
        // live as long as `self`; everybody accesses them atomically, or is
        // compiled code, whose accesses are those of the machine.
        Ok(unsafe { core::slice::from_raw_parts(bytes.as_ptr().add(start), len) })
    }

    /// Wakes at most `count` threads that wait at byte `address`; returns how
    /// many: `memory.atomic.notify`.
    ///
    /// # Errors
    ///
    /// [`TrapKind::HeapMisaligned`] or [`TrapKind::MemoryOutOfBounds`].
    pub fn notify(&self, address: u64, count: u32) -> Result<u32, TrapKind> {
        check_atomic(address, 4, self.data_size())?;
        Ok(self.0.waiting.notify(&*self.0.platform, address, count))
    }

    /// Waits at byte `address` while the word there is `expected`, until notified
    /// or for at most `timeout`: `memory.atomic.wait32`.
    ///
    /// # Errors
    ///
    /// [`TrapKind::HeapMisaligned`] or [`TrapKind::MemoryOutOfBounds`].
    pub fn wait32(
        &self,
        address: u64,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<WaitOutcome, TrapKind> {
        let word = self.word::<AtomicU32>(address)?;
        let is_expected = || u32::from_le(word.load(Ordering::SeqCst)) == expected;
        Ok(self
            .0
            .waiting
            .wait(&*self.0.platform, address, is_expected, timeout))
    }

    /// The same for a 64-bit word: `memory.atomic.wait64`.
    ///
    /// # Errors
    ///
    /// [`TrapKind::HeapMisaligned`] or [`TrapKind::MemoryOutOfBounds`].
    pub fn wait64(
        &self,
        address: u64,
        expected: u64,
        timeout: Option<Duration>,
    ) -> Result<WaitOutcome, TrapKind> {
        let word = self.word::<AtomicU64>(address)?;
        let is_expected = || u64::from_le(word.load(Ordering::SeqCst)) == expected;
        Ok(self
            .0
            .waiting
            .wait(&*self.0.platform, address, is_expected, timeout))
    }

    /// The atomic word `A` at byte `address`.
    fn word<A: Atomic>(&self, address: u64) -> Result<&A, TrapKind> {
        let offset = check_atomic(address, size_of::<A>(), self.data_size())?;
        let base = self.0.definition.base.get();
        // SAFETY: inside of the memory, by the check, and aligned, since the
        // base is at a page boundary; it lives as long as `self`, and everybody
        // accesses it atomically or is compiled code.
        Ok(unsafe { base.add(offset).cast::<A>().as_ref() })
    }

    pub(crate) fn definition(&self) -> NonNull<VMMemoryDefinition> {
        NonNull::from(&self.0.definition)
    }

    pub(crate) fn settings(&self) -> &MemorySettings {
        &self.0.settings
    }

    /// Whether what lies behind the memory's end is inaccessible.
    pub(crate) fn has_guards(&self) -> bool {
        self.0.platform.has_guards()
    }

    pub(crate) fn range(&self) -> Range<VirtualAddress> {
        self.0.range.clone()
    }

    /// Whether this is the same memory, not one like it.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("ty", &self.0.ty)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// The atomic words that threads can wait for: any bits are one.
trait Atomic {}
impl Atomic for AtomicU32 {}
impl Atomic for AtomicU64 {}

/// The address of an atomic access of `size` bytes as an offset, if the access is
/// aligned and inside of a memory of `len` bytes.
pub(crate) fn check_atomic(address: u64, size: usize, len: usize) -> Result<usize, TrapKind> {
    if !address.is_multiple_of(size as u64) {
        return Err(TrapKind::HeapMisaligned);
    }
    usize::try_from(address)
        .ok()
        .filter(|offset| offset.checked_add(size).is_some_and(|end| end <= len))
        .ok_or(TrapKind::MemoryOutOfBounds)
}

// SAFETY: the memory's bytes are accessed atomically, its length is atomic,
// and the rest is behind a lock or never changes.
unsafe impl Send for Inner {}
// SAFETY: as for `Send`.
unsafe impl Sync for Inner {}
