//! How a reader tells the writers what they must not free.
//!
//! **Reached from signal and exception handlers: no allocation, no free, no
//! lock, no formatting, no thread-local, no panic in this module**, but for
//! [`Readers::survey`], which only writers call, and what forgets readers.
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
//! Slots lie in stripes of one cache line each. Which stripe a reader starts
//! with is decided by the address of its stack, which needs no thread-local:
//! threads, and CPUs with an exception stack each, mostly have different ones,
//! so that they don't take a cache line from each other. Two that share a
//! stripe are slower, not wrong. A reader that finds its first slot taken (by
//! a guard that the same thread keeps, or by the lookup that a signal
//! interrupted) tries all others in turn. If they are taken too, it adds
//! itself to a counter of anonymous readers, which says nothing of what
//! they read: nothing is freed while there is one of those.
//!
//! One more word says which stripes have ever been used. A reader whose stripe
//! is not among them adds it first; a survey reads those stripes only, so that
//! it costs as much as there are threads, or handlers' stacks, that look up.
//!
//! So a reader makes a bounded number of steps, whatever others do. One that
//! is suspended while it holds an object delays the end of this object only;
//! one that is suspended in the few nanoseconds of its search, or anonymous,
//! delays all that is taken out meanwhile. Writers never wait for it.
//!
//! # Why nothing is freed too early
//!
//! Writers are serialised by a lock. Write number `k` takes things out: nodes,
//! perhaps an object. It stores the new root (`SeqCst`, call it `Rk`), then
//! its number (`Release`). Things that were taken out are in no tree published
//! by `Rk` or later, since nodes are never linked twice, and each registration
//! has its own count of its object. A survey that decides on them comes after
//! `Rk`, in the same writer or, through the lock, in a later one; call its
//! load of the used stripes `U`, and that of a slot `D` (both `SeqCst`).
//!
//! A reader in this order
//!
//! 1. loads a write's number `v` (`Acquire`),
//! 2. loads the word of used stripes and, if the one it will use is missing,
//!    adds it (both `SeqCst`), or ends with nothing if `v` is 0: nothing was registered then; then announces `searching(v)` by an exchange
//!    for 0 (`SeqCst`),
//! 3. loads the root (`SeqCst`), that of write number `w`,
//! 4. reads nodes,
//! 5. stores `holding(p)`, or 0 if it found nothing (`Release`),
//! 6. uses the object at `p`,
//! 7. stores 0 (`Release`).
//!
//! *`v` is at most `w`*: 1 reads what write `v` stored after `Rv`, so `Rv`
//! happens before 3, which reads `Rv` or something later.
//!
//! *If `w < k`, then `U` has the reader's stripe*: otherwise, in the one order
//! of all `SeqCst` accesses, `Rk` is before `U`, and `U` before the addition of
//! the stripe, since nothing is ever taken out of this word. The addition is
//! the reader's own or one that its load in 2 saw, so it is before 3, and 3
//! reads `Rk` or something later, that is `w >= k`.
//!
//! *If `w < k`, then `D` reads what 2 wrote, or something later*: otherwise, in
//! the same order, `Rk` is before `D`, `D` before 2, and 2 before 3, so 3 reads
//! `Rk` or something later, that is `w >= k`.
//!
//! Let the reader have reached something that write `k` took out, so `w < k`.
//! By what `D` reads:
//!
//! - `searching(v)`: it is not freed, as the survey only allows to free what
//!   writes up to `v` took out, and `v <= w < k`.
//! - `holding(p)`: the object at `p` is not freed. All else the reader read in
//!   4, before 5, and `D` (an acquire) reads 5: those reads happen before the
//!   freeing.
//! - this reader's 0: the same holds for all that the reader read.
//! - a word of a reader that had the slot later: its exchange (an acquire too)
//!   read the 0 that its predecessor in this slot stored, and so on back to
//!   this reader's 0. Again all of its reads happen before the freeing.
//!
//! An anonymous reader adds to its counter (`SeqCst`) in place of the exchange
//! in 2, leaves out 5, and subtracts (`Release`) in 7. As above, if it reached something taken
//! out, then the survey reads its addition or a later modification. If the
//! survey reads 0 nevertheless, then the subtraction, too, is among those
//! before; as all modifications are read-modify-writes, the survey's load
//! acquires from each subtraction. If it does not read 0, nothing is freed.
//!
//! Each slot is argued for by itself, so it does not matter that a survey
//! reads them one after the other. tests/loom.rs checks the same by brute
//! force.

#![cfg_attr(loom, expect(clippy::modulo_one, reason = "a model has one stripe"))]

use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use alloc::vec::Vec;

use crate::sync::{self, AtomicUsize, const_unless_loom};

/// Number of stripes: more than most machines have CPUs. A power of two.
const STRIPES: usize = if cfg!(loom) { 1 } else { 64 };

/// Slots in a stripe; with the counter they fill a cache line.
const SLOTS: usize = if cfg!(loom) { 2 } else { 7 };

/// Threads' stacks lie further apart than this power of two, and one thread
/// mostly stays inside one piece of this size.
const STACK_PIECE_SHIFT: u32 = 14;

/// What a slot says.
mod word {
    /// Nobody's.
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
const _: () = assert!(STRIPES.is_power_of_two(), "for cheap remainders");

// The numbers of writes are one bit shorter than a word, and never wrap.
const _: () = assert!(usize::BITS >= 64, "every supported ISA has 64 bits");

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

/// The stripes that have ever been used. Lies beside what writers publish: on a
/// line that readers need anyway.
#[derive(Debug)]
pub(crate) struct UsedStripes(AtomicUsize);

const _: () = assert!(STRIPES <= usize::BITS as usize, "a bit for each");

impl UsedStripes {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self(AtomicUsize::new(0))
        }
    }

    /// Adds a stripe that is about to be used: step 2 above. Returns whether it may be used.
    #[inline]
    fn add(&self, stripe: usize, version: usize) -> bool {
        let bit = 1 << stripe;
        self.0.load(SeqCst) & bit != 0 || self.add_new(bit, version)
    }

    /// Once for each stripe, but not before the first write.
    #[cold]
    fn add_new(&self, bit: usize, version: usize) -> bool {
        if version == 0 {
            return false;
        }
        self.0.fetch_or(bit, SeqCst);
        true
    }

    /// All of them.
    fn all(&self) -> impl Iterator<Item = usize> {
        let mut rest = self.0.load(SeqCst);
        core::iter::from_fn(move || {
            let stripe = rest.trailing_zeros() as usize;
            // Takes out the lowest bit; of none, there is nothing to take.
            rest &= rest.checked_sub(1)?;
            Some(stripe)
        })
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
    /// `None` if no write has published anything yet. So there are no searches of a registry that nobody has
    /// written to, which is on no list of those whose searches are forgotten in a forked child.
    ///
    /// Until the announcement is dropped, or turned into a holding one, nothing
    /// is freed that can be reached from a root loaded (`SeqCst`) after this.
    /// `used` must be what writers survey by.
    #[inline]
    pub(crate) fn announce(
        &'static self,
        used: &UsedStripes,
        version: usize,
    ) -> Option<Announcement> {
        let announced = word::searching(version);
        let home = home_stripe() % STRIPES;
        if !used.add(home, version) {
            return None;
        }
        let first = &self.stripes[home].slots[0];
        let place = if take(first, announced) {
            Place::Slot(first)
        } else {
            self.announce_elsewhere(used, home, version)
        };
        sync::seq_cst_accesses_are_ordered();
        Some(Announcement { place })
    }

    /// Rare: a guard is alive on this thread, or another thread's stack leads
    /// to the same stripe.
    #[cold]
    fn announce_elsewhere(&'static self, used: &UsedStripes, home: usize, version: usize) -> Place {
        let announced = word::searching(version);
        for distance in 0..STRIPES {
            let stripe = (home + distance) % STRIPES;
            for slot in &self.stripes[stripe].slots {
                if slot.load(Relaxed) == word::FREE
                    && used.add(stripe, version)
                    && take(slot, announced)
                {
                    return Place::Slot(slot);
                }
            }
        }
        // `announce` added this stripe.
        let anonymous = &self.stripes[home].anonymous;
        anonymous.fetch_add(1, SeqCst);
        Place::Anonymous(anonymous)
    }

    /// Reads all announcements, and says what may be freed: what was taken out
    /// by writes up to the returned number, but for the objects whose
    /// [`held_word`] is in `held` afterwards. `used` must be what the readers
    /// add their stripes to.
    ///
    /// For writers, after they stored the root (`SeqCst`) without the things
    /// that are to be freed.
    pub(crate) fn survey(&self, used: &UsedStripes, held: &mut Vec<usize>) -> usize {
        sync::seq_cst_accesses_are_ordered();
        held.clear();
        let mut free_up_to = usize::MAX;
        for stripe in used.all() {
            let stripe = &self.stripes[stripe];
            let words = stripe.slots.each_ref().map(|slot| slot.load(SeqCst));
            let anonymous = stripe.anonymous.load(SeqCst);
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

    /// Takes back the announcements of all readers that search. Those that hold an object stay, and anonymous
    /// ones, of which nobody knows what they do.
    ///
    /// # Safety
    ///
    /// No thread that exists may be in a search.
    #[cfg(all(feature = "std", unix, not(loom)))]
    pub(crate) unsafe fn forget_searches(&self) {
        let slots = self.stripes.iter().flat_map(|stripe| &stripe.slots);
        for slot in slots.filter(|slot| word::searched_version(slot.load(Relaxed)).is_some()) {
            slot.store(word::FREE, Release);
        }
    }
}

/// Announces in this slot if it is free: step 2 above.
#[inline]
fn take(slot: &AtomicUsize, announced: usize) -> bool {
    slot.compare_exchange(word::FREE, announced, SeqCst, Relaxed)
        .is_ok()
}

/// The stripe that this stack starts with.
#[inline]
fn home_stripe() -> usize {
    let on_the_stack = 0_u8;
    stripe_of_stack((&raw const on_the_stack).addr())
}

/// The stripe for a stack that contains this address, mostly another one than
/// other stacks'.
#[inline]
const fn stripe_of_stack(address: usize) -> usize {
    /// 2^64 divided by the golden ratio: the upper halves of its multiples
    /// spread evenly. Not so those of some multiples of 2^4, like the distances
    /// of many stacks; folding the number once takes those out.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let piece = address as u64 >> STACK_PIECE_SHIFT;
    let spread = (piece ^ piece >> 4).wrapping_mul(SPREAD) >> u32::BITS;
    (spread as usize * STRIPES) >> u32::BITS
}

/// How a held object at `address` appears in what [`Readers::survey`] collects.
#[inline]
pub(crate) const fn held_word(address: usize) -> usize {
    word::holding(address)
}

impl Announcement {
    /// Ends the search: from now on only the object at `address` is kept, which
    /// this reader found under its announcement.
    #[inline]
    pub(crate) fn hold(&self, address: usize) {
        match self.place {
            // The slot is this reader's own: nobody else writes to it.
            Place::Slot(slot) => slot.store(word::holding(address), Release),
            Place::Anonymous(_) => {}
        }
    }
}

impl Drop for Announcement {
    #[inline]
    fn drop(&mut self) {
        match self.place {
            Place::Slot(slot) => slot.store(word::FREE, Release),
            Place::Anonymous(count) => {
                count.fetch_sub(1, Release);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn stacks_at_regular_distances_mostly_have_stripes_of_their_own() {
        const KIB: usize = 1 << 10;
        const STACKS: usize = 32;
        for distance in [16, 32, 64, 128, 256, 1024, 2048, 4096, 8192] {
            for guard in [0, 4, 16] {
                let distance = (distance + guard) * KIB;
                let stripes: BTreeSet<usize> = (0..STACKS)
                    .map(|nth| stripe_of_stack(0x7f12_3456_7000 - nth * distance))
                    .collect();
                assert!(
                    stripes.len() >= 20,
                    "{distance:#x}: {} stripes",
                    stripes.len()
                );
            }
        }
    }

    #[test]
    fn a_search_is_announced_once_something_was_written() {
        static READERS: Readers = Readers::new();
        let used = UsedStripes::new();
        assert!(READERS.announce(&used, 0).is_none());
        assert_eq!(used.all().count(), 0);
        assert!(READERS.announce(&used, 1).is_some());
        assert_eq!(used.all().count(), 1);
        // The number may be old, the write is not.
        assert!(READERS.announce(&used, 0).is_some());
    }

    #[test]
    fn nested_announcements_take_slots_and_then_count() {
        static READERS: Readers = Readers::new();
        let readers = &READERS;
        let used = UsedStripes::new();
        let all = STRIPES * SLOTS;
        let announcements: Vec<Announcement> = (0..all)
            .map(|_| readers.announce(&used, 7).expect("written"))
            .collect();
        assert!(
            announcements
                .iter()
                .all(|a| matches!(a.place, Place::Slot(_)))
        );
        let mut held = Vec::new();
        assert_eq!(
            readers.survey(&used, &mut held),
            7,
            "all search since write 7"
        );
        for (nth, announcement) in announcements.iter().enumerate() {
            announcement.hold(nth * 2 + 2);
        }
        assert_eq!(readers.survey(&used, &mut held), usize::MAX);
        held.sort_unstable();
        assert!(held.iter().copied().eq((1..=all).map(|nth| nth * 2)));

        let anonymous = readers.announce(&used, 9).expect("written");
        assert!(matches!(anonymous.place, Place::Anonymous(_)));
        assert_eq!(readers.survey(&used, &mut held), 0, "nothing may be freed");
        drop(anonymous);
        assert_eq!(readers.survey(&used, &mut held), usize::MAX);
        drop(announcements);
        assert_eq!(readers.survey(&used, &mut held), usize::MAX);
        assert!(held.is_empty());
    }

    #[cfg(all(feature = "std", unix))]
    #[test]
    fn searches_that_never_end_can_be_forgotten_and_guards_stay() {
        static READERS: Readers = Readers::new();
        let readers = &READERS;
        let used = UsedStripes::new();
        let guard = readers.announce(&used, 3).expect("written");
        guard.hold(0x40);
        // Of a thread that is gone.
        core::mem::forget(readers.announce(&used, 5).expect("written"));
        let mut held = Vec::new();
        assert_eq!(readers.survey(&used, &mut held), 5);
        // SAFETY: this thread is in no search, and there is no other one.
        unsafe { readers.forget_searches() };
        assert_eq!(readers.survey(&used, &mut held), usize::MAX);
        assert_eq!(held, [0x40]);
    }
}
