//! New trees from old ones, for writers.
//!
//! An edit copies the nodes on the path from the root to a leaf, with one range
//! more or less, and shares all the others with the tree it started from. It
//! names the nodes that only the old tree has, to be retired once the new root
//! is published.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::NonNull;

use crate::heap::{NodeHeap, Spares};
use crate::node::{Entry, INNER, Inner, Kind, LEAF, Link, Node, Piece};

/// What stands in a parent for what was one child, or two neighbours: none, one
/// or two children, with the lowest key below each.
struct Children {
    len: usize,
    keys: [usize; 2],
    links: [Link; 2],
}

impl Children {
    const NONE: Self = Self {
        len: 0,
        keys: [0; 2],
        links: [Link::DANGLING; 2],
    };

    fn piece(&self) -> Piece<'_, Link> {
        (&self.keys[..self.len], &self.links[..self.len])
    }

    /// Appends a node that was just made.
    fn push<V: Copy + 'static, const N: usize>(&mut self, node: &'static mut Node<V, N>) {
        self.keys[self.len] = node.lowest();
        // SAFETY: complete, as it was written by one of the functions of `Node`, at the level
        // of its kind, by all callers in this module.
        self.links[self.len] = unsafe { Link::new(NonNull::from(node)) };
        self.len += 1;
    }
}

/// How two nodes share what does not fit into one.
#[derive(Clone, Copy)]
enum Share {
    Even,
    /// The second gets as few as a node may have: for growth at its end, so
    /// that ranges registered in ascending order leave full nodes behind.
    MostFirst,
}

impl Share {
    /// For a node of `len` keys that grows at `index`.
    const fn grown_at(index: usize, len: usize) -> Self {
        if index == len {
            Self::MostFirst
        } else {
            Self::Even
        }
    }
}

/// One edit, which becomes write number `version` when it is published.
pub(crate) struct Edit<'a> {
    heap: &'a mut NodeHeap,
    version: usize,
    finished: bool,
}

impl Drop for Edit<'_> {
    /// An edit that an allocator without memory ended by a panic is never
    /// published: the nodes that it retired are all still in the tree.
    fn drop(&mut self) {
        if !self.finished {
            self.heap.take_back(self.version);
        }
    }
}

impl<'a> Edit<'a> {
    /// Starts write number `version`.
    pub(crate) fn new(heap: &'a mut NodeHeap, version: usize) -> Self {
        Self {
            heap,
            version,
            finished: false,
        }
    }

    /// Makes the nodes for the concatenation of `pieces`: none if they are
    /// empty, two if they don't fit into one, divided as `share` says.
    ///
    /// `level` must fit the kind of values.
    fn build<V: Copy + 'static, const N: usize>(
        &mut self,
        level: u32,
        pieces: &[Piece<'_, V>],
        share: Share,
    ) -> Children
    where
        NodeHeap: Spares<Node<V, N>>,
    {
        let total: usize = pieces.iter().map(|(keys, _)| keys.len()).sum();
        debug_assert!(total <= 2 * N, "edits add one key at most");
        let first = if total <= N {
            total
        } else {
            match share {
                Share::Even => total.div_ceil(2),
                Share::MostFirst => N.min(total - N / 3),
            }
        };
        let mut children = Children::NONE;
        for (skip, len) in [(0, first), (first, total - first)] {
            if len > 0 {
                children.push(
                    self.heap
                        .make::<V, N>(|node| Node::write(node, level, pieces, skip, len)),
                );
            }
        }
        children
    }

    /// The node that `write` writes, in its parent.
    fn one<V: Copy + 'static, const N: usize>(
        &mut self,
        write: impl FnOnce(&'static mut MaybeUninit<Node<V, N>>) -> &'static mut Node<V, N>,
    ) -> Children
    where
        NodeHeap: Spares<Node<V, N>>,
    {
        let mut children = Children::NONE;
        children.push(self.heap.make(write));
        children
    }

    fn retire(&mut self, node: Link) {
        self.heap.retire(self.version, node);
    }

    /// The tree `root` with the range from `start` to `entry.end` added, which
    /// must contain an address. The nodes that only the old tree has are
    /// retired.
    ///
    /// # Errors
    ///
    /// A range that overlaps, the one with the highest start; nothing is
    /// retired then.
    ///
    /// # Safety
    ///
    /// All nodes of the tree must be alive.
    pub(crate) unsafe fn insert(
        mut self,
        root: Option<Link>,
        start: usize,
        entry: Entry,
    ) -> Result<Link, Range<usize>> {
        let top = match root {
            None => self.build::<Entry, LEAF>(0, &[(&[start], &[entry])], Share::Even),
            Some(root) => {
                // SAFETY: alive by the caller's promise.
                let (level, top) =
                    unsafe { (root.level(), self.insert_below(root, start, entry)?) };
                if top.len == 1 {
                    top
                } else {
                    self.build::<Link, INNER>(level + 1, &[top.piece()], Share::Even)
                }
            }
        };
        self.finished = true;
        Ok(top.links[0])
    }

    /// What stands for `node` once the range is added below it.
    ///
    /// # Errors
    ///
    /// As for [`insert`](Self::insert).
    ///
    /// # Safety
    ///
    /// As for [`insert`](Self::insert).
    unsafe fn insert_below(
        &mut self,
        node: Link,
        start: usize,
        entry: Entry,
    ) -> Result<Children, Range<usize>> {
        // Ranges are disjoint, so if any of them overlaps, then the last one
        // that starts before the end does. If none does, then this is where
        // `start` belongs, too.
        let last = entry.end - 1;
        // SAFETY: alive by the caller's promise.
        let children = match unsafe { node.open() } {
            Kind::Leaf(leaf) => {
                leaf.fetch();
                let (keys, values) = (leaf.keys(), leaf.values());
                let at = leaf.rank(last);
                if let Some(before) = at.checked_sub(1)
                    && values[before].end > start
                {
                    return Err(keys[before]..values[before].end);
                }
                if leaf.len() < LEAF {
                    self.one(|node| leaf.write_with(node, at, start, entry))
                } else {
                    self.build::<Entry, LEAF>(
                        0,
                        &[
                            (&keys[..at], &values[..at]),
                            (&[start], &[entry]),
                            (&keys[at..], &values[at..]),
                        ],
                        Share::grown_at(at, leaf.len()),
                    )
                }
            }
            Kind::Inner(inner) => {
                inner.fetch();
                // What is below all others goes into the first child.
                let at = inner.rank(last).saturating_sub(1);
                // SAFETY: as for the node itself.
                let below = unsafe { self.insert_below(inner.values()[at], start, entry)? };
                self.replace(inner, at..at + 1, &below)
            }
        };
        self.retire(node);
        Ok(children)
    }

    /// What stands for `inner` with `by` in place of some of its children.
    fn replace(&mut self, inner: &Inner, replaced: Range<usize>, by: &Children) -> Children {
        if replaced.len() == 1 && by.len == 1 {
            let (at, key, link) = (replaced.start, by.keys[0], by.links[0]);
            return self.one(|node| inner.write_replaced(node, at, key, link));
        }
        let (keys, links) = (inner.keys(), inner.values());
        self.build::<Link, INNER>(
            inner.level(),
            &[
                (&keys[..replaced.start], &links[..replaced.start]),
                by.piece(),
                (&keys[replaced.end..], &links[replaced.end..]),
            ],
            Share::grown_at(replaced.end, links.len()),
        )
    }

    /// The tree `root` without the range that starts at `start`, and what was
    /// stored for it; `None` if there is no such range. The nodes that only the
    /// old tree has are retired.
    ///
    /// # Safety
    ///
    /// All nodes of the tree must be alive.
    pub(crate) unsafe fn remove(
        mut self,
        root: Option<Link>,
        start: usize,
    ) -> Option<(Option<Link>, Entry)> {
        // SAFETY: alive by the caller's promise.
        let (top, entry) = unsafe { self.remove_below(root?, start) }?;
        let root = (top.len > 0).then(|| {
            let mut root = top.links[0];
            // SAFETY: alive.
            while let Kind::Inner(inner) = unsafe { root.open() }
                && let &[only] = inner.values()
            {
                // SAFETY: only what `remove_below` made just now for the root
                // can have a single child: all other inner nodes have
                // INNER / 3 at least. So nobody else has seen it.
                unsafe { self.heap.free(root) };
                root = only;
            }
            root
        });
        self.finished = true;
        Some((root, entry))
    }

    /// What stands for `node` once the range is taken out below it, and what
    /// was stored for it; `None` if it is not there.
    ///
    /// # Safety
    ///
    /// As for [`remove`](Self::remove).
    unsafe fn remove_below(&mut self, node: Link, start: usize) -> Option<(Children, Entry)> {
        // SAFETY: alive by the caller's promise.
        let (children, entry) = match unsafe { node.open() } {
            Kind::Leaf(leaf) => {
                leaf.fetch();
                let at = leaf.rank(start).checked_sub(1)?;
                if leaf.keys()[at] != start {
                    return None;
                }
                let children = if leaf.len() > 1 {
                    self.one(|node| leaf.write_without(node, at))
                } else {
                    Children::NONE
                };
                (children, leaf.values()[at])
            }
            Kind::Inner(inner) => {
                inner.fetch();
                let links = inner.values();
                let at = inner.rank(start).checked_sub(1)?;
                // SAFETY: as for the node itself.
                let (below, entry) = unsafe { self.remove_below(links[at], start) }?;
                let children = match below.links[..below.len] {
                    // SAFETY: alive, since just made.
                    [small] if links.len() > 1 && unsafe { small.open() }.has_few() => {
                        let left_at = at.saturating_sub(1);
                        let (left, right, neighbour) = if at == 0 {
                            (small, links[1], links[1])
                        } else {
                            (links[left_at], small, links[left_at])
                        };
                        // SAFETY: both are alive.
                        let joined = unsafe { self.join(left, right) };
                        self.retire(neighbour);
                        // SAFETY: made just now, so nobody else has seen it.
                        unsafe { self.heap.free(small) };
                        self.replace(inner, left_at..left_at + 2, &joined)
                    }
                    _ => self.replace(inner, at..at + 1, &below),
                };
                (children, entry)
            }
        };
        self.retire(node);
        Some((children, entry))
    }

    /// One or two nodes with the contents of two neighbours.
    ///
    /// # Safety
    ///
    /// Both must be alive.
    unsafe fn join(&mut self, left: Link, right: Link) -> Children {
        // SAFETY: alive by the caller's promise.
        match unsafe { (left.open(), right.open()) } {
            (Kind::Leaf(left), Kind::Leaf(right)) => self.build::<Entry, LEAF>(
                0,
                &[(left.keys(), left.values()), (right.keys(), right.values())],
                Share::Even,
            ),
            (Kind::Inner(left), Kind::Inner(right)) => self.build::<Link, INNER>(
                left.level(),
                &[(left.keys(), left.values()), (right.keys(), right.values())],
                Share::Even,
            ),
            _ => unreachable!("neighbours are of one level"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_edit_that_does_not_end_takes_back_what_it_retired() {
        let mut heap = NodeHeap::new();
        let mut node = None;
        for finished in [true, false] {
            let mut edit = Edit::new(&mut heap, if finished { 1 } else { 2 });
            let links = edit.build::<Link, INNER>(1, &[(&[7], &[Link::DANGLING])], Share::Even);
            edit.retire(links.links[0]);
            edit.finished = finished;
            node = Some(links.links[0]);
            drop(edit);
            assert_eq!(heap.retired(), 1, "that of the finished one");
        }
        // SAFETY: nobody else knows these nodes.
        unsafe {
            heap.free_retired(2);
            heap.free(node.expect("made above"));
        }
    }
}
