//! The nodes of the search tree, and the search.
//!
//! **Reached from signal and exception handlers: no allocation, no free, no
//! lock, no formatting, no thread-local, no panic in [`predecessor`] and what
//! it calls.**
//!
//! A B+tree: leaves have the ranges in ascending order, inner nodes their
//! children with the lowest start below each. That key is exact at all times,
//! so the range with the highest start that is not above an address is always
//! found on the way straight down. A node never changes once it can be reached
//! from a published root.
//!
//! In a large tree a search waits for memory, not for the processor. So all
//! lines of a node are asked for at once, as soon as its address is known: it
//! then costs one such wait, and one translation of an address, where the keys
//! and the value one after the other would cost two or three.
//!
//! ```text
//!   line 0   len level key0 ⋯ key6            ┐ rank(key): read key7, key15,
//!   line 1   key7  key8     ⋯ key14           │ key23; they tell the line to
//!   line 2   key15 key16    ⋯ key22           │ count in; all of it counting,
//!   line 3   key23 key24    ⋯ key30           ┘ no branches
//!   line 4…  value0 ⋯ value30                   link to a child, or end of the
//!                                               range and its code object
//! ```

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::CodeObject;
use crate::sync::Lifetime;

/// Keys in a leaf: one less than a multiple of 8, see the picture above.
pub(crate) const LEAF: usize = if cfg!(loom) { 7 } else { 15 };
/// Keys in an inner node: one less than a multiple of 8.
pub(crate) const INNER: usize = if cfg!(loom) { 7 } else { 31 };

/// Bytes in a cache line, where they are shortest.
const LINE_BYTES: usize = 64;

/// Keys in one cache line.
const LINE: usize = LINE_BYTES / size_of::<usize>();

const _: () = assert!((LEAF + 1).is_multiple_of(LINE) && (INNER + 1).is_multiple_of(LINE));

/// A registered range but for its start, which is its key.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// The first address behind the range.
    pub(crate) end: usize,
    /// From [`Arc::into_raw`](alloc::sync::Arc::into_raw); the registry has
    /// one count of it until it is freed.
    pub(crate) code: NonNull<dyn CodeObject>,
}

/// What all nodes start with.
#[repr(C)]
pub(crate) struct Header {
    /// Number of keys and of values.
    len: u32,
    /// 0: a leaf, whose values are [`Entry`]s. Otherwise one more than the
    /// level of the children that the values, [`Link`]s, lead to.
    level: u32,
    lifetime: Lifetime,
}

impl Header {
    fn new(len: usize, level: u32) -> Self {
        Self {
            len: len as u32,
            level,
            lifetime: Lifetime::new(),
        }
    }
}

/// A piece of a node: some of its keys and their values.
pub(crate) type Piece<'a, V> = (&'a [usize], &'a [V]);

/// A node of either kind.
#[repr(C, align(64))]
pub(crate) struct Node<V, const N: usize> {
    header: Header,
    /// Ascending; `usize::MAX`, which is no range's start, behind the last.
    keys: [usize; N],
    values: [MaybeUninit<V>; N],
}

pub(crate) type Leaf = Node<Entry, LEAF>;
pub(crate) type Inner = Node<Link, INNER>;

#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = {
    assert!(core::mem::offset_of!(Leaf, keys) == 8);
    assert!(core::mem::offset_of!(Inner, values) == 4 * 64);
    assert!(size_of::<Inner>() == 8 * 64);
    assert!(size_of::<Leaf>() == 8 * 64);
    assert!(align_of::<Leaf>() == LINE_BYTES && align_of::<Inner>() == LINE_BYTES);
};

/// Leads to a node of either kind, by its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct Link(NonNull<Header>);

impl Link {
    /// Leads nowhere: for places of an array that are not used.
    pub(crate) const DANGLING: Self = Self(NonNull::dangling());

    /// To the node at `node`.
    ///
    /// # Safety
    ///
    /// `node` must point to a complete node, with provenance over all of it,
    /// whose level says which kind it is.
    #[inline]
    pub(crate) const unsafe fn new<V, const N: usize>(node: NonNull<Node<V, N>>) -> Self {
        Self(node.cast())
    }

    /// From what [`as_ptr`](Self::as_ptr) gave; `None` from null.
    ///
    /// # Safety
    ///
    /// `header` must be null or come from a link.
    #[inline]
    pub(crate) const unsafe fn from_ptr(header: *mut Header) -> Option<Self> {
        match NonNull::new(header) {
            Some(header) => Some(Self(header)),
            None => None,
        }
    }

    #[inline]
    pub(crate) const fn as_ptr(self) -> *mut Header {
        self.0.as_ptr()
    }

    /// The level of the node.
    ///
    /// # Safety
    ///
    /// The node must be alive.
    #[inline]
    pub(crate) const unsafe fn level(self) -> u32 {
        // SAFETY: alive, and nobody writes to a node that a link leads to.
        unsafe { (*self.0.as_ptr()).level }
    }

    /// Tells the model checker that the node is freed; whether it may really
    /// be.
    ///
    /// # Safety
    ///
    /// The node must be alive.
    #[inline]
    pub(crate) unsafe fn end_lifetime(self) -> bool {
        // SAFETY: alive by the caller's promise.
        unsafe { self.0.as_ref() }.lifetime.end()
    }

    /// The node, as what it is.
    ///
    /// # Safety
    ///
    /// It must be alive for `'a`.
    #[inline]
    pub(crate) unsafe fn open<'a>(self) -> Kind<'a> {
        // SAFETY: alive by the caller's promise, and of the kind that its level
        // says.
        unsafe {
            if self.level() == 0 {
                Kind::Leaf(self.leaf())
            } else {
                Kind::Inner(self.inner())
            }
        }
    }

    /// The node as a leaf.
    ///
    /// # Safety
    ///
    /// It must be one (level 0), and be alive for `'a`.
    #[inline]
    const unsafe fn leaf<'a>(self) -> &'a Leaf {
        // SAFETY: this is a leaf, alive, and not written to.
        unsafe { self.0.cast().as_ref() }
    }

    /// The node as an inner one.
    ///
    /// # Safety
    ///
    /// It must be one (level above 0), and be alive for `'a`.
    #[inline]
    const unsafe fn inner<'a>(self) -> &'a Inner {
        // SAFETY: this is an inner node, alive, and not written to.
        unsafe { self.0.cast().as_ref() }
    }
}

/// A node of one of the two kinds.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    Leaf(&'a Leaf),
    Inner(&'a Inner),
}

impl Kind<'_> {
    /// Whether the node must be joined with a neighbour, if it has one: for
    /// the height of the tree to be logarithmic in the number of ranges.
    pub(crate) const fn has_few(self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.len() < LEAF / 3,
            Self::Inner(inner) => inner.len() < INNER / 3,
        }
    }
}

impl<V: Copy, const N: usize> Node<V, N> {
    /// Writes a node of the concatenation of `pieces`, of which it takes the first `len` keys,
    /// starting `skip` keys after the start.
    ///
    /// There must be as many, and `len` must be at most `N`.
    pub(crate) fn write<'n>(
        node: &'n mut MaybeUninit<Self>,
        level: u32,
        pieces: &[Piece<'_, V>],
        mut skip: usize,
        len: usize,
    ) -> &'n mut Self {
        let node = node.write(Self {
            header: Header::new(len, level),
            keys: [usize::MAX; N],
            values: [MaybeUninit::uninit(); N],
        });
        let mut filled = 0;
        for (keys, values) in pieces {
            let skipped = skip.min(keys.len());
            skip -= skipped;
            let n = (keys.len() - skipped).min(len - filled);
            node.keys[filled..filled + n].copy_from_slice(&keys[skipped..skipped + n]);
            node.values[filled..filled + n].write_copy_of_slice(&values[skipped..skipped + n]);
            filled += n;
        }
        assert_eq!(filled, len, "as many keys as promised");
        node
    }

    /// Writes a node like this one, to be changed.
    fn write_copy<'n>(&self, node: &'n mut MaybeUninit<Self>, len: usize) -> &'n mut Self {
        node.write(Self {
            header: Header::new(len, self.level()),
            keys: self.keys,
            values: self.values,
        })
    }

    /// Writes a node like this one, with a key and its value added at `index`. There must be room.
    pub(crate) fn write_with<'n>(
        &self,
        node: &'n mut MaybeUninit<Self>,
        index: usize,
        key: usize,
        value: V,
    ) -> &'n mut Self {
        let len = self.len();
        let node = self.write_copy(node, len + 1);
        node.keys[index + 1..=len].copy_from_slice(&self.keys[index..len]);
        node.values[index + 1..=len].copy_from_slice(&self.values[index..len]);
        node.keys[index] = key;
        node.values[index].write(value);
        node
    }

    /// Writes a node like this one, without the key and the value at `index`.
    pub(crate) fn write_without<'n>(
        &self,
        node: &'n mut MaybeUninit<Self>,
        index: usize,
    ) -> &'n mut Self {
        let len = self.len();
        let node = self.write_copy(node, len - 1);
        node.keys[index..len - 1].copy_from_slice(&self.keys[index + 1..len]);
        node.values[index..len - 1].copy_from_slice(&self.values[index + 1..len]);
        node.keys[len - 1] = usize::MAX;
        node
    }

    /// Writes a node like this one, with another key and value at `index`.
    pub(crate) fn write_replaced<'n>(
        &self,
        node: &'n mut MaybeUninit<Self>,
        index: usize,
        key: usize,
        value: V,
    ) -> &'n mut Self {
        let len = self.len();
        let node = self.write_copy(node, len);
        node.keys[..len][index] = key;
        node.values[index].write(value);
        node
    }

    /// Asks for all of the node's cache lines at once, so that a search waits for memory once a
    /// node, and not once for the keys, once more for others of them and again for the value.
    #[inline]
    pub(crate) fn fetch(&self) {
        let node = (&raw const *self).cast::<MaybeUninit<u8>>();
        for line in 0..size_of::<Self>() / LINE_BYTES {
            // SAFETY: inside of the node; a byte that may have no value is not looked at.
            let _ = unsafe { node.add(line * LINE_BYTES).read_volatile() };
        }
    }

    /// The lowest key; there must be one.
    pub(crate) const fn lowest(&self) -> usize {
        self.keys[0]
    }

    /// The number of keys that are at most `key`, which must not be
    /// `usize::MAX`.
    #[inline]
    pub(crate) fn rank(&self, key: usize) -> usize {
        let mut line = 0;
        let mut pivot = LINE - 1;
        while pivot < N {
            line += usize::from(self.keys[pivot] <= key);
            pivot += LINE;
        }
        let mut rank = line * LINE;
        // SAFETY: there are (N + 1) / LINE - 1 pivots, so `line` is at
        // most that, and its last key has index N - 1 at most.
        let rest = unsafe { self.keys.get_unchecked(rank..rank + LINE - 1) };
        for k in rest {
            rank += usize::from(*k <= key);
        }
        rank
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.header.len as usize
    }

    /// How far above the leaves the node is.
    #[inline]
    pub(crate) const fn level(&self) -> u32 {
        self.header.level
    }

    /// The keys, ascending.
    #[inline]
    pub(crate) fn keys(&self) -> &[usize] {
        &self.keys[..self.len()]
    }

    /// The values of those keys.
    #[inline]
    pub(crate) fn values(&self) -> &[V] {
        let values = &raw const self.values[..self.len()];
        // SAFETY: the first `len` values are initialised, see `write`.
        unsafe { &*(values as *const [V]) }
    }

    /// The key and the value at `index`.
    ///
    /// # Safety
    ///
    /// `index` must be below the number of keys.
    #[inline]
    unsafe fn at(&self, index: usize) -> (usize, V) {
        // SAFETY: in bounds, and initialised, see `write`.
        unsafe {
            (
                *self.keys.get_unchecked(index),
                self.values.get_unchecked(index).assume_init(),
            )
        }
    }
}

/// The range with the highest start that is not above `key`: its start and the
/// rest of it.
///
/// # Safety
///
/// All nodes that can be reached from `root` must be alive during the call.
#[inline]
pub(crate) unsafe fn predecessor(root: Option<Link>, key: usize) -> Option<(usize, Entry)> {
    // No range starts at the highest address, which stands for "no key".
    let key = key.min(usize::MAX - 1);
    let mut node = root?;
    // SAFETY: alive by the caller's promise. The level says which kind a node
    // is, and all children of a node are of the level below. `rank` is the
    // number of real keys that qualify, since `key` is less than those behind
    // the last, so one less is the index of one.
    unsafe {
        for _ in 0..node.level() {
            let inner = node.inner();
            inner.fetch();
            inner.header.lifetime.read();
            (_, node) = inner.at(inner.rank(key).checked_sub(1)?);
        }
        let leaf = node.leaf();
        leaf.fetch();
        leaf.header.lifetime.read();
        Some(leaf.at(leaf.rank(key).checked_sub(1)?))
    }
}
