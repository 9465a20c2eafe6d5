//! How a reader tells the writers what they must not free.
//!
//! **Reached from signal and exception handlers: no allocation, no free, no
//! lock, no formatting, no thread-local, no panic in this module**, but for
//! [`Readers::survey`], which writers call.
//!
//! # Slots
//!
//! A reader takes a free slot for the time of its lookup, and for as long as
//! it keeps what it found. One word of a slot says all there is to say:
//!
//! ```text
//!  0                   free
//!  v << 1 | 1          searching: reads the tree, as it was published by
//!                      write number v or by a later one
//!  address (even)      holding: reads no tree any more, keeps the code object
//!                      at this address
//! ```
//!
//! Slots lie in stripes of one cache line each. Which stripe a reader takes is
//! decided by the address of its stack, which needs no thread-local: threads,
//! and CPUs with an exception stack each, mostly have different ones, so that
//! they don't take a cache line from each other. Two that share a stripe are
//! slower, not wrong. A reader that finds its first slot taken (by a guard
//! that the same thread keeps, or by the lookup that a signal interrupted) tries the other slots,
//! at most all of them once. Then it adds itself to the stripe's counter of
//! anonymous readers, which say nothing of what they read: nothing is freed
//! while there is one of those.

use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use alloc::vec::Vec;

use crate::sync::{self, AtomicUsize, const_unless_loom};

/// Number of stripes, a power of two: more than most machines have CPUs.
const STRIPES: usize = if cfg!(loom) { 1 } else { 64 };

/// Slots in a stripe; with the counter they fill a cache line.
const SLOTS: usize = if cfg!(loom) { 2 } else { 7 };

/// Threads' stacks lie further apart than this power of two, and one thread
/// mostly stays inside one piece of this size.
const STACK_PIECE_SHIFT: u32 = 14;

/// What a slot says.
mod word {
    /// Nobody's. The survey of the writers relies on this being 0.
    pub(super) const FREE: usize = 0;

    /// Reads what was published by write number `version` or a later one.
    #[inline]
    pub(super) const fn searching(version: usize) -> usize {
        version << 1 | 1
    }

    /// Keeps the code object at `address`.
    #[inline]
    pub(super) const fn holding(address: usize) -> usize {
        // Objects lie behind their reference counts, on even addresses. If one
        // did not, it would be taken for its neighbour: kept for too long.
        address & !1
    }

    /// The version that a searching reader started from.
    #[inline]
    pub(super) const fn searched_version(word: usize) -> Option<usize> {
        if word & 1 == 1 { Some(word >> 1) } else { None }
    }
}

/// One cache line of announcements, and the next one left alone: processors
/// like to fetch them in pairs.
#[repr(C, align(128))]
#[derive(Debug)]
struct Stripe {
    slots: [AtomicUsize; SLOTS],
    anonymous: AtomicUsize,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<[AtomicUsize; SLOTS]>() + size_of::<AtomicUsize>() <= 64);
const _: () = assert!(STRIPES.is_power_of_two());

impl Stripe {
    const_unless_loom! {
        fn new() -> Self {
            Self {
                #[cfg(not(loom))]
                slots: [const { AtomicUsize::new(word::FREE) }; SLOTS],
                #[cfg(loom)]
                slots: core::array::from_fn(|_| AtomicUsize::new(word::FREE)),
                anonymous: AtomicUsize::new(0),
            }
        }
    }
}

/// All announcements of the readers of one registry.
#[derive(Debug)]
pub(crate) struct Readers {
    stripes: [Stripe; STRIPES],
}

/// A reader's announcement, taken back when this is dropped.
#[derive(Debug)]
pub(crate) struct Announcement {
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Slot(&'static AtomicUsize),
    Anonymous(&'static AtomicUsize),
}

impl Readers {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                #[cfg(not(loom))]
                stripes: [const { Stripe::new() }; STRIPES],
                #[cfg(loom)]
                stripes: core::array::from_fn(|_| Stripe::new()),
            }
        }
    }

    /// Announces a search of what write number `version`, read from the
    /// registry just now, or a later one published.
    ///
    /// Until the announcement is dropped or turned into a holding one, nothing
    /// is freed that is reachable from a root loaded (`SeqCst`) after this.
    #[inline]
    pub(crate) fn announce(&'static self, version: usize) -> Announcement {
        let announced = word::searching(version);
        let home = home_stripe();
        let first = &self.stripes[home & (STRIPES - 1)].slots[0];
        let place = if take(first, announced) {
            Place::Slot(first)
        } else {
            self.announce_elsewhere(home, announced)
        };
        sync::seq_cst_accesses_are_ordered();
        Announcement { place }
    }

    /// Rare: a guard is alive on this thread, or another thread's stack leads
    /// to the same stripe.
    #[cold]
    fn announce_elsewhere(&'static self, home: usize, announced: usize) -> Place {
        for distance in 0..STRIPES {
            let stripe = &self.stripes[(home + distance) & (STRIPES - 1)];
            for slot in &stripe.slots {
                if slot.load(Relaxed) == word::FREE && take(slot, announced) {
                    return Place::Slot(slot);
                }
            }
        }
        let anonymous = &self.stripes[home & (STRIPES - 1)].anonymous;
        anonymous.fetch_add(1, SeqCst);
        Place::Anonymous(anonymous)
    }

    /// Reads all announcements, and says what may be freed: what was unlinked
    /// by a write with a number up to the returned one, but for the objects
    /// whose [`held_word`] is in `held` afterwards.
    ///
    /// Everything else that a reader may still read was unlinked by a later
    /// write. For writers, after they published what they unlinked (`SeqCst`).
    pub(crate) fn survey(&self, held: &mut Vec<usize>) -> usize {
        sync::seq_cst_accesses_are_ordered();
        held.clear();
        let mut free_up_to = usize::MAX;
        for stripe in &self.stripes {
            let words = stripe.slots.each_ref().map(|slot| slot.load(SeqCst));
            let anonymous = stripe.anonymous.load(SeqCst);
            if words.iter().fold(anonymous, |all, word| all | word) == 0 {
                continue;
            }
            if anonymous != 0 {
                free_up_to = 0;
            }
            for word in words {
                if let Some(version) = word::searched_version(word) {
                    free_up_to = free_up_to.min(version);
                } else if word != word::FREE {
                    held.push(word);
                }
            }
        }
        free_up_to
    }
}

/// Announces in this slot if it is free.
///
/// `SeqCst` for the order with the load of the root that follows; it is also
/// an acquire, so that what the slot's previous reader read is read before
/// whatever its next reader's words let a writer free.
#[inline]
fn take(slot: &AtomicUsize, announced: usize) -> bool {
    slot.compare_exchange(word::FREE, announced, SeqCst, Relaxed)
        .is_ok()
}

/// A number that this stack mostly shares with no other one.
#[inline]
fn home_stripe() -> usize {
    /// 2^64 divided by the golden ratio: multiples of it spread evenly, so
    /// stacks at any regular distance get different upper bits.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let on_the_stack = 0_u8;
    let piece = (&raw const on_the_stack).addr() as u64 >> STACK_PIECE_SHIFT;
    (piece.wrapping_mul(SPREAD) >> (u64::BITS - 16)) as usize
}

/// How a held object at `address` appears in what [`Readers::survey`] collects.
#[inline]
pub(crate) const fn held_word(address: usize) -> usize {
    word::holding(address)
}

impl Announcement {
    /// From now on only the object at `address` is kept, which this reader
    /// found under its announcement.
    #[inline]
    pub(crate) fn hold(&self, address: usize) {
        match self.place {
            // The slot is this reader's own, nobody else writes to it.
            // Release: the search is over before the writers see this.
            Place::Slot(slot) => slot.store(word::holding(address), Release),
            Place::Anonymous(_) => {}
        }
    }
}

impl Drop for Announcement {
    #[inline]
    fn drop(&mut self) {
        match self.place {
            // Release: all reads are over before the writers see this.
            Place::Slot(slot) => slot.store(word::FREE, Release),
            Place::Anonymous(count) => {
                count.fetch_sub(1, Release);
            }
        }
    }
}
