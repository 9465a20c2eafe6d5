//! New trees from old ones, for writers.
//!
//! An edit copies the nodes on the path from the root to a leaf, with one range
//! more or less, and shares all the others with the tree it started from. It
//! names the nodes that only the old tree has, to be retired once the new root
//! is published.

use core::mem::MaybeUninit;

use crate::heap::{NodeHeap, Spares};
use crate::node::{Entry, INNER, Kind, LEAF, Link, Node, predecessor};

/// A piece of a node: some of its keys and their values.
type Piece<'a, V> = (&'a [usize], &'a [V]);

/// What stands in a parent for what was one child, or two neighbours: none, one
/// or two children, with the lowest key below each.
struct Children {
    len: usize,
    keys: [usize; 2],
    links: [Link; 2],
}

impl Children {
    fn piece(&self) -> Piece<'_, Link> {
        (&self.keys[..self.len], &self.links[..self.len])
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
    /// empty, two of the same size if they don't fit into one.
    ///
    /// `level` must fit the kind of values.
    fn build<V: Copy, const N: usize>(&mut self, level: u32, pieces: &[Piece<'_, V>]) -> Children
    where
        NodeHeap: Spares<Node<V, N>>,
    {
        let total: usize = pieces.iter().map(|(keys, _)| keys.len()).sum();
        debug_assert!(total <= 2 * N, "edits add one key at most");
        let first = if total <= N { total } else { total.div_ceil(2) };
        let mut children = Children {
            len: 0,
            keys: [0; 2],
            links: [Link::DANGLING; 2],
        };
        let mut pieces = pieces.iter().copied();
        let mut piece: Piece<'_, V> = (&[], &[]);
        for len in [first, total - first] {
            if len == 0 {
                break;
            }
            let lowest = &mut children.keys[children.len];
            let fill = |keys: &mut [MaybeUninit<usize>], values: &mut [MaybeUninit<V>]| {
                let mut filled = 0;
                while filled < len {
                    if piece.0.is_empty() {
                        piece = pieces.next().unwrap_or_default();
                        continue;
                    }
                    if filled == 0 {
                        *lowest = piece.0[0];
                    }
                    let n = piece.0.len().min(len - filled);
                    keys[filled..filled + n].write_copy_of_slice(&piece.0[..n]);
                    values[filled..filled + n].write_copy_of_slice(&piece.1[..n]);
                    piece = (&piece.0[n..], &piece.1[n..]);
                    filled += n;
                }
            };
            // SAFETY: `fill` writes the first `len`, which is at most N.
            children.links[children.len] = unsafe { self.heap.make::<V, N>(level, len, fill) };
            children.len += 1;
        }
        children
    }

    fn retire(&mut self, node: Link) {
        self.heap.retire(self.version, node);
    }

    /// The tree `root` with the range from `start` to `entry.end` added, which
    /// must not overlap another. The nodes that only the old tree has are
    /// retired.
    ///
    /// # Safety
    ///
    /// All nodes of the tree must be alive.
    pub(crate) unsafe fn insert(mut self, root: Option<Link>, start: usize, entry: Entry) -> Link {
        let top = match root {
            None => self.build::<Entry, LEAF>(0, &[(&[start], &[entry])]),
            Some(root) => {
                // SAFETY: alive by the caller's promise.
                let (level, top) = unsafe { (root.level(), self.insert_below(root, start, entry)) };
                if top.len == 1 {
                    top
                } else {
                    self.build::<Link, INNER>(level + 1, &[top.piece()])
                }
            }
        };
        self.finished = true;
        top.links[0]
    }

    /// What stands for `node` once the range is added below it.
    ///
    /// # Safety
    ///
    /// As for [`insert`](Self::insert).
    unsafe fn insert_below(&mut self, node: Link, start: usize, entry: Entry) -> Children {
        self.retire(node);
        // SAFETY: alive by the caller's promise.
        match unsafe { node.open() } {
            Kind::Leaf(leaf) => {
                let (keys, values) = (leaf.keys(), leaf.values());
                let at = leaf.rank(start);
                self.build::<Entry, LEAF>(
                    0,
                    &[
                        (&keys[..at], &values[..at]),
                        (&[start], &[entry]),
                        (&keys[at..], &values[at..]),
                    ],
                )
            }
            Kind::Inner(inner) => {
                let (keys, links) = (inner.keys(), inner.values());
                // A start below all others goes into the first child.
                let at = inner.rank(start).saturating_sub(1);
                // SAFETY: as for the node itself.
                let below = unsafe { self.insert_below(links[at], start, entry) };
                self.build::<Link, INNER>(
                    inner.level(),
                    &[
                        (&keys[..at], &links[..at]),
                        below.piece(),
                        (&keys[at + 1..], &links[at + 1..]),
                    ],
                )
            }
        }
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
        let (found, entry) = unsafe { predecessor(root, start) }?;
        if found != start {
            return None;
        }
        // SAFETY: as above.
        let top = unsafe { self.remove_below(root?, start) };
        if top.len == 0 {
            self.finished = true;
            return Some((None, entry));
        }
        let mut root = top.links[0];
        // SAFETY: alive.
        while let Kind::Inner(inner) = unsafe { root.open() }
            && let &[only] = inner.values()
        {
            // SAFETY: only what `remove_below` made just now for the root can
            // have a single child: all other inner nodes have INNER / 3 at
            // least. So nobody else has seen it.
            unsafe { self.heap.free(root) };
            root = only;
        }
        self.finished = true;
        Some((Some(root), entry))
    }

    /// What stands for `node` once the range is taken out below it.
    ///
    /// # Safety
    ///
    /// As for [`remove`](Self::remove), and the range must be there.
    unsafe fn remove_below(&mut self, node: Link, start: usize) -> Children {
        self.retire(node);
        // SAFETY: alive by the caller's promise.
        let inner = match unsafe { node.open() } {
            Kind::Leaf(leaf) => {
                let (keys, values) = (leaf.keys(), leaf.values());
                let at = leaf.rank(start) - 1;
                return self.build::<Entry, LEAF>(
                    0,
                    &[
                        (&keys[..at], &values[..at]),
                        (&keys[at + 1..], &values[at + 1..]),
                    ],
                );
            }
            Kind::Inner(inner) => inner,
        };
        let (keys, links) = (inner.keys(), inner.values());
        let at = inner.rank(start) - 1;
        // SAFETY: as for the node itself.
        let below = unsafe { self.remove_below(links[at], start) };
        // The children to replace, and what by.
        let (replaced, by) = match below.links[..below.len] {
            // SAFETY: alive, since just made.
            [small] if links.len() > 1 && unsafe { small.open() }.has_few() => {
                let left_at = at.saturating_sub(1);
                let (left, right) = if at == 0 {
                    (small, links[1])
                } else {
                    (links[left_at], small)
                };
                self.retire(if at == 0 { right } else { left });
                // SAFETY: both are alive.
                let joined = unsafe { self.join(left, right) };
                // SAFETY: made just now, so nobody else has seen it.
                unsafe { self.heap.free(small) };
                (left_at..left_at + 2, joined)
            }
            _ => (at..at + 1, below),
        };
        self.build::<Link, INNER>(
            inner.level(),
            &[
                (&keys[..replaced.start], &links[..replaced.start]),
                by.piece(),
                (&keys[replaced.end..], &links[replaced.end..]),
            ],
        )
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
            ),
            (Kind::Inner(left), Kind::Inner(right)) => self.build::<Link, INNER>(
                left.level(),
                &[(left.keys(), left.values()), (right.keys(), right.values())],
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
            let links = edit.build::<Link, INNER>(1, &[(&[7], &[Link::DANGLING])]);
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
