//! The bytes of one linear memory, and the address space around them.
//!
//! ```text
//!   start                    len            capacity             reserved
//!   │ accessible to the guest │ for growth   │ guard region         │
//!   ├─────────────────────────┼──────────────┼──────────────────────┤
//!     committed (rounded up    not accessible: an access is a fault
//!     to whole pages)          that becomes a trap
//! ```
//!
//! A memory whose growth does not fit its capacity moves to a larger range, if
//! the code that uses it expects that.

use alloc::sync::Arc;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

use trapline_arch::VirtualAddress;

use crate::platform::{Platform, PlatformError};
use crate::types::MemoryType;

/// What compiled code assumes of the address space around a linear memory. The
/// compiler writes it into its artifacts; memories that the host makes get it
/// from the [`EngineConfig`](crate::EngineConfig).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemorySettings {
    /// Address space set aside for a memory, in bytes. With 0, memories move
    /// when they grow.
    pub reservation: u64,
    /// Inaccessible address space behind the reservation, in bytes.
    pub guard: u64,
    /// Additional address space, in bytes, for memories that do not fit the
    /// reservation.
    pub reservation_for_growth: u64,
    /// Whether the base of a memory that may outgrow its reservation may change.
    pub may_move: bool,
}

impl MemorySettings {
    /// What the compiler assumes by default on machines with 64-bit addresses:
    /// 4 GiB reserved, so that 32-bit memories never move, and guard regions of 32 MiB.
    pub const DEFAULT: Self = Self {
        reservation: 1 << 32,
        guard: 32 << 20,
        reservation_for_growth: 2 << 30,
        may_move: true,
    };

    /// Nothing reserved and no guard regions: memories take up what they hold,
    /// and move on every growth. For code with explicit checks.
    pub const COMPACT: Self = Self {
        reservation: 0,
        guard: 0,
        reservation_for_growth: 0,
        may_move: true,
    };

    /// Whether code that assumes `self` may use memories made for `other`.
    pub(crate) const fn accepts(&self, other: &Self) -> bool {
        other.reservation >= self.reservation
            && other.guard >= self.guard
            && (self.may_move || !other.may_move)
    }
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a memory could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum MemoryError {
    /// Its smallest size, or its largest if all of it has to be there from the start, is more than its
    /// type, or this machine, can address.
    TooLarge {
        /// The type of the memory.
        ty: MemoryType,
    },
    /// Its minimum is above its maximum.
    Limits {
        /// The type of the memory.
        ty: MemoryType,
    },
    /// It is shared and has no maximum.
    SharedWithoutMaximum {
        /// The type of the memory.
        ty: MemoryType,
    },
    /// Its pages are neither of 64 KiB nor of one byte.
    PageSize {
        /// The binary logarithm of the size asked for.
        log2: u8,
    },
    /// The platform does not have that much memory or address space, of which
    /// nothing is taken but what the memory holds.
    Platform(PlatformError),
    /// The platform does not have that much memory or address space, of which
    /// more is taken than the memory holds.
    Reserved {
        /// How much address space was asked for, in bytes; `usize::MAX` if that is more than can be said.
        bytes: usize,
        /// What the platform says.
        error: PlatformError,
    },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { ty } => write!(f, "{ty} is larger than this machine can address"),
            Self::Limits { ty } => write!(f, "the minimum of {ty} is above its maximum"),
            Self::SharedWithoutMaximum { ty } => {
                write!(f, "{ty} has no maximum, which shared memories need")
            }
            Self::PageSize { log2 } => write!(
                f,
                "pages of 2^{log2} bytes are not possible, only of 2^16 bytes and of one byte"
            ),
            Self::Platform(_) => f.write_str("no room for a linear memory"),
            Self::Reserved { bytes, .. } => write!(
                f,
                "no room for a linear memory and the address space reserved for it, {bytes:#x} \
                 bytes in all: code compiled with explicit checks needs none but what it holds"
            ),
        }
    }
}

impl core::error::Error for MemoryError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::TooLarge { .. }
            | Self::Limits { .. }
            | Self::SharedWithoutMaximum { .. }
            | Self::PageSize { .. } => None,
            Self::Platform(error) | Self::Reserved { error, .. } => Some(error),
        }
    }
}

impl From<PlatformError> for MemoryError {
    fn from(error: PlatformError) -> Self {
        Self::Platform(error)
    }
}

/// A range of address space that is given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    platform: Arc<dyn Platform>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: owns its range like a `Box<[u8]>`, and nothing is read or written
// through a shared reference.
unsafe impl Send for Reservation {}
// SAFETY: as for `Send`.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves at least `bytes`, and at least one page.
    pub(crate) fn new(platform: &Arc<dyn Platform>, bytes: usize) -> Result<Self, PlatformError> {
        let page = platform.page_size();
        let bytes = bytes
            .max(1)
            .checked_next_multiple_of(page)
            .ok_or_else(|| PlatformError::new("reserving address space", "size overflows"))?;
        let start = platform.reserve(bytes)?;
        Ok(Self {
            platform: Arc::clone(platform),
            start,
            bytes,
        })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn platform(&self) -> &Arc<dyn Platform> {
        &self.platform
    }

    /// First address inclusive, last exclusive.
    pub(crate) fn range(&self) -> Range<VirtualAddress> {
        let start = VirtualAddress::from_ptr(self.start.as_ptr());
        start..VirtualAddress::new(start.get().wrapping_add(self.bytes))
    }

    /// Commits the bytes from `from`, a multiple of the page size, to `to`
    /// rounded up; returns the latter. Nothing beyond `from` is committed yet.
    pub(crate) fn commit(&self, from: usize, to: usize) -> Result<usize, PlatformError> {
        let to = to.next_multiple_of(self.platform.page_size());
        assert!(to <= self.bytes, "commits within the range");
        if to > from {
            // SAFETY: within our range by the assertion, and not committed
            // before, as every caller keeps count.
            unsafe { self.platform.commit(self.start.add(from), to - from)? };
        }
        Ok(to.max(from))
    }

    /// Makes the first `bytes`, which are committed, executable.
    ///
    /// # Safety
    ///
    /// * They hold code that is meant to be run.
    pub(crate) unsafe fn publish_code(&self, bytes: usize) -> Result<(), PlatformError> {
        let bytes = bytes.next_multiple_of(self.platform.page_size());
        // SAFETY: our range, committed; code by the caller's duty.
        unsafe { self.platform.publish_code(self.start, bytes) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: our range, as it was reserved; the owner is done with it.
        unsafe { self.platform.release(self.start, self.bytes) };
    }
}

/// The bytes of a linear memory.
#[derive(Debug)]
pub(crate) struct LinearMemory {
    ty: MemoryType,
    settings: MemorySettings,
    reservation: Reservation,
    committed: usize,
    capacity: usize,
    len: usize,
}

impl LinearMemory {
    pub(crate) fn new(
        platform: &Arc<dyn Platform>,
        ty: MemoryType,
        settings: MemorySettings,
    ) -> Result<Self, MemoryError> {
        let too_large = || MemoryError::TooLarge { ty };
        // The two sizes there are (proposal "custom page sizes").
        if !matches!(ty.page_size_log2, 0 | 16) {
            return Err(MemoryError::PageSize {
                log2: ty.page_size_log2,
            });
        }
        if ty.limits.max.is_some_and(|max| max < ty.limits.min) {
            return Err(MemoryError::Limits { ty });
        }
        if ty.limits.min > ty.max_pages() {
            return Err(too_large());
        }
        let len = ty.bytes(ty.limits.min).ok_or_else(too_large)?;
        let capacity = initial_capacity(ty, &settings, len)?;
        let bytes = total(platform, capacity, &settings).ok_or_else(too_much_reserved)?;
        let (reservation, committed) = allocate(platform, len, bytes).map_err(|error| {
            if bytes > len.next_multiple_of(platform.page_size()) {
                MemoryError::Reserved { bytes, error }
            } else {
                MemoryError::Platform(error)
            }
        })?;
        Ok(Self {
            ty,
            settings,
            reservation,
            committed,
            capacity,
            len,
        })
    }

    pub(crate) fn ty(&self) -> MemoryType {
        self.ty
    }

    pub(crate) fn settings(&self) -> &MemorySettings {
        &self.settings
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.reservation.start()
    }

    /// The size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The size in pages.
    pub(crate) fn pages(&self) -> u64 {
        self.len as u64 >> self.ty.page_size_log2
    }

    /// All addresses that belong to the memory, guard region included.
    pub(crate) fn range(&self) -> Range<VirtualAddress> {
        self.reservation.range()
    }

    /// Grows the memory by `delta` pages, moving it if it has to or, where that is
    /// allowed, if `always_move` says so. Returns the previous size in pages,
    /// `None` if it cannot grow.
    pub(crate) fn grow(&mut self, delta: u64, always_move: bool) -> Option<u64> {
        let old = self.pages();
        let pages = old
            .checked_add(delta)
            .filter(|pages| *pages <= self.ty.max_pages())?;
        let len = self.ty.bytes(pages)?;
        if len > self.capacity || (always_move && delta > 0 && self.may_move()) {
            self.relocate(len)?;
        } else {
            self.committed = self.reservation.commit(self.committed, len).ok()?;
        }
        self.len = len;
        Some(old)
    }

    /// Whether the code that uses this memory looks up its base each time.
    ///
    /// It is the compiler's decision (`Memory::memory_may_move` in
    /// wasmtime-environ) and repeated here: not for shared memories, not for
    /// those that never outgrow the reservation.
    fn may_move(&self) -> bool {
        let max = self
            .ty
            .limits
            .max
            .unwrap_or(u64::MAX)
            .min(self.ty.max_pages());
        let max_bytes = max.saturating_mul(self.ty.page_size().unwrap_or(u64::MAX));
        !self.ty.shared
            && self.settings.may_move
            && self.ty.limits.max != Some(self.ty.limits.min)
            && max_bytes > self.settings.reservation
    }

    /// Moves the memory to a range with room for `len` bytes.
    fn relocate(&mut self, len: usize) -> Option<()> {
        if !self.may_move() {
            return None;
        }
        let growth = usize::try_from(self.settings.reservation_for_growth).ok()?;
        let capacity = len.checked_add(growth)?.max(self.capacity);
        let platform = Arc::clone(self.reservation.platform());
        let total = total(&platform, capacity, &self.settings)?;
        let (reservation, committed) = allocate(&platform, len, total).ok()?;
        // SAFETY: both ranges are ours and committed for `self.len` bytes, the
        // new one is disjoint from the old one.
        unsafe {
            reservation
                .start()
                .copy_from_nonoverlapping(self.base(), self.len);
        }
        // The old range is given back here: who still has its address faults.
        self.reservation = reservation;
        self.committed = committed;
        self.capacity = capacity;
        Some(())
    }
}

/// More address space is to be reserved than can be said.
#[cold]
fn too_much_reserved() -> MemoryError {
    MemoryError::Reserved {
        bytes: usize::MAX,
        error: PlatformError::new("reserving address space", "size overflows"),
    }
}

/// How far a new memory can grow without moving: as far as the compiler
/// assumes, see [`MemorySettings`].
fn initial_capacity(
    ty: MemoryType,
    settings: &MemorySettings,
    len: usize,
) -> Result<usize, MemoryError> {
    let bytes = |bytes: u64| usize::try_from(bytes).map_err(|_| too_much_reserved());
    let reservation = bytes(settings.reservation)?;
    if len <= reservation && reservation > 0 {
        return Ok(reservation);
    }
    if ty.shared || !settings.may_move {
        // It must never move, and code that found nothing (or too little)
        // reserved looks up the size for each access.
        let most = ty.bytes(ty.max_pages());
        return most.ok_or(MemoryError::TooLarge { ty });
    }
    let growth = bytes(settings.reservation_for_growth)?;
    len.checked_add(growth).ok_or_else(too_much_reserved)
}

/// The address space of a memory with this capacity and a guard region, in bytes;
/// `None` if that overflows.
fn total(
    platform: &Arc<dyn Platform>,
    capacity: usize,
    settings: &MemorySettings,
) -> Option<usize> {
    let guard = usize::try_from(settings.guard).ok()?;
    // The guard begins at a page boundary, or code would find the end of the
    // last page accessible that should be guard.
    capacity
        .checked_next_multiple_of(platform.page_size())?
        .checked_add(guard)
}

/// A range of `total` bytes, `len` bytes of it committed, and how much that is in
/// whole pages.
fn allocate(
    platform: &Arc<dyn Platform>,
    len: usize,
    total: usize,
) -> Result<(Reservation, usize), PlatformError> {
    let reservation = Reservation::new(platform, total)?;
    let committed = reservation.commit(0, len)?;
    Ok((reservation, committed))
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::platform::Hosted;

    fn platform() -> Arc<dyn Platform> {
        Arc::new(Hosted)
    }

    fn fill(memory: &LinearMemory, byte: u8) {
        // SAFETY: the memory's own bytes, used by nobody else.
        unsafe { memory.base().write_bytes(byte, memory.len()) };
    }

    fn bytes(memory: &LinearMemory) -> &[u8] {
        // SAFETY: the memory's own bytes, borrowed with it.
        unsafe { core::slice::from_raw_parts(memory.base().as_ptr(), memory.len()) }
    }

    #[test]
    fn a_reserved_memory_grows_in_place_up_to_its_limit() {
        let ty = MemoryType::new(1, Some(3));
        let mut memory = LinearMemory::new(&platform(), ty, MemorySettings::DEFAULT).unwrap();
        let base = memory.base();
        fill(&memory, 1);
        assert_eq!(memory.grow(2, true), Some(1));
        assert_eq!(memory.grow(1, true), None);
        assert_eq!(memory.grow(u64::MAX, true), None);
        assert_eq!(memory.grow(0, true), Some(3));
        assert_eq!((memory.base(), memory.len()), (base, 3 << 16));
        assert!(bytes(&memory)[..1 << 16].iter().all(|byte| *byte == 1));
        assert!(bytes(&memory)[1 << 16..].iter().all(|byte| *byte == 0));
        let range = memory.range();
        assert_eq!(
            range.end.offset_from(range.start),
            Some((1 << 32) + (32 << 20))
        );
    }

    #[test]
    fn a_compact_memory_moves_with_its_content() {
        let ty = MemoryType::new(1, None);
        let mut memory = LinearMemory::new(&platform(), ty, MemorySettings::COMPACT).unwrap();
        fill(&memory, 7);
        let base = memory.base();
        assert_eq!(memory.grow(1, false), Some(1));
        assert_ne!(memory.base(), base);
        assert!(bytes(&memory)[..1 << 16].iter().all(|byte| *byte == 7));
        assert!(bytes(&memory)[1 << 16..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn an_empty_memory_can_be_made_and_grown() {
        for settings in [MemorySettings::COMPACT, MemorySettings::DEFAULT] {
            let ty = MemoryType::new(0, None);
            let mut memory = LinearMemory::new(&platform(), ty, settings).unwrap();
            assert_eq!((memory.len(), memory.grow(0, false)), (0, Some(0)));
            assert_eq!((memory.grow(1, false), memory.len()), (Some(0), 1 << 16));
        }
    }

    #[test]
    fn a_shared_memory_never_moves() {
        let ty = MemoryType::new(1, Some(4)).shared();
        let mut memory = LinearMemory::new(&platform(), ty, MemorySettings::COMPACT).unwrap();
        let base = memory.base();
        assert_eq!(memory.grow(3, true), Some(1));
        assert_eq!(memory.base(), base);
    }

    #[test]
    fn a_memory_that_cannot_exist_is_an_error() {
        let settings = MemorySettings::DEFAULT;
        for ty in [
            MemoryType::new(65537, None),
            MemoryType::new(1 << 40, None).memory64(),
            MemoryType::new(u64::MAX, None).memory64(),
        ] {
            assert!(
                LinearMemory::new(&platform(), ty, settings).is_err(),
                "{ty}"
            );
        }
    }

    #[test]
    fn settings_that_nobody_has_room_for_are_told_from_types_that_are_too_large() {
        let compact = MemorySettings::COMPACT;
        let number = u64::MAX;
        for settings in [
            MemorySettings {
                reservation: number,
                ..compact
            },
            MemorySettings {
                guard: number,
                ..compact
            },
            MemorySettings {
                reservation_for_growth: number,
                ..compact
            },
        ] {
            let ty = MemoryType::new(1, Some(2));
            let error = LinearMemory::new(&platform(), ty, settings).unwrap_err();
            assert!(matches!(error, MemoryError::Reserved { .. }), "{error}");
        }
        // All of it has to be there from the start.
        let fixed = MemorySettings {
            may_move: false,
            ..compact
        };
        let ty = MemoryType::new(1, None).memory64();
        let error = LinearMemory::new(&platform(), ty, fixed).unwrap_err();
        assert!(matches!(error, MemoryError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn code_accepts_memories_that_offer_at_least_what_it_assumes() {
        assert!(MemorySettings::COMPACT.accepts(&MemorySettings::DEFAULT));
        assert!(!MemorySettings::DEFAULT.accepts(&MemorySettings::COMPACT));
        assert!(MemorySettings::DEFAULT.accepts(&MemorySettings::DEFAULT));
    }
}
