//! New trees from old ones, for writers.
//!
//! An edit copies the nodes on the path from the root to a leaf, with one range
//! more or less, and shares all the others with the tree it started from. It
//! names the nodes that only the old tree has, to be retired once the new root
//! is published.

use alloc::boxed::Box;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::node::{CAPACITY, Entry, Inner, Leaf, Link, Node, predecessor};

/// A node other than the root that gets fewer keys than this is joined with a
/// neighbour, so that the tree's height is logarithmic in its size.
const FEW: usize = CAPACITY / 3;

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

/// Allocates the nodes for the concatenation of `pieces`: none if they are
/// empty, two of the same size if they don't fit into one.
///
/// `level` must fit the kind of values.
fn build<V: Copy>(level: u32, pieces: &[Piece<'_, V>]) -> Children {
    let total: usize = pieces.iter().map(|(keys, _)| keys.len()).sum();
    debug_assert!(total <= 2 * CAPACITY, "edits add one key at most");
    let first = if total <= CAPACITY {
        total
    } else {
        total.div_ceil(2)
    };
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
        let mut node = Box::<Node<V>>::new_uninit();
        let fill = |keys: &mut [usize], values: &mut [MaybeUninit<V>]| {
            let mut filled = 0;
            while filled < len {
                if piece.0.is_empty() {
                    piece = pieces.next().unwrap_or_default();
                    continue;
                }
                let n = piece.0.len().min(len - filled);
                keys[filled..filled + n].copy_from_slice(&piece.0[..n]);
                values[filled..filled + n].write_copy_of_slice(&piece.1[..n]);
                piece = (&piece.0[n..], &piece.1[n..]);
                filled += n;
            }
            children.keys[children.len] = keys[0];
        };
        // SAFETY: `fill` writes the first `len`, which is at most CAPACITY.
        unsafe { Node::write(&mut node, level, len, fill) };
        let node = NonNull::from(Box::leak(node)).cast::<Node<V>>();
        // SAFETY: complete, and the pointer is the allocation's own.
        children.links[children.len] = unsafe { Link::new(node) };
        children.len += 1;
    }
    children
}

/// Frees a node (not those below it).
///
/// # Safety
///
/// The node must be alive, nobody may use it any more, and its memory must come from
/// [`build`].
pub(crate) unsafe fn free(link: Link) {
    // SAFETY: alive, and not used any more by anybody else. The boxes are of the types that
    // `build` made them of.
    unsafe {
        if !(*link.as_ptr()).lifetime.end() {
            return;
        }
        if link.level() == 0 {
            drop(Box::from_raw(link.as_ptr().cast::<Leaf>()));
        } else {
            drop(Box::from_raw(link.as_ptr().cast::<Inner>()));
        }
    }
}

/// The tree `root` with the range from `start` to `entry.end` added, which must
/// not overlap another. `retire` gets each node that the old tree has and the
/// new one has not.
///
/// # Safety
///
/// All nodes of the tree must be alive.
pub(crate) unsafe fn insert(
    root: Option<Link>,
    start: usize,
    entry: Entry,
    retire: &mut impl FnMut(Link),
) -> Link {
    let Some(root) = root else {
        return build(0, &[(&[start], &[entry])]).links[0];
    };
    // SAFETY: alive by the caller's promise.
    let (level, top) = unsafe { (root.level(), insert_below(root, start, entry, retire)) };
    if top.len == 1 {
        top.links[0]
    } else {
        build(level + 1, &[top.piece()]).links[0]
    }
}

/// # Safety
///
/// As for [`insert`].
unsafe fn insert_below(
    node: Link,
    start: usize,
    entry: Entry,
    retire: &mut impl FnMut(Link),
) -> Children {
    retire(node);
    // SAFETY: alive by the caller's promise, its children too, and of the kind
    // that the level says.
    unsafe {
        let level = node.level();
        if level == 0 {
            let leaf = node.leaf();
            let (keys, values) = (leaf.keys(), leaf.values());
            let at = leaf.rank(start);
            return build(
                level,
                &[
                    (&keys[..at], &values[..at]),
                    (&[start], &[entry]),
                    (&keys[at..], &values[at..]),
                ],
            );
        }
        let inner = node.inner();
        let (keys, links) = (inner.keys(), inner.values());
        // A start below all others goes into the first child.
        let at = inner.rank(start).saturating_sub(1);
        let below = insert_below(links[at], start, entry, retire);
        build(
            level,
            &[
                (&keys[..at], &links[..at]),
                below.piece(),
                (&keys[at + 1..], &links[at + 1..]),
            ],
        )
    }
}

/// The tree `root` without the range that starts at `start`, and what was
/// stored for it; `None` if there is no such range. `retire` gets each node
/// that the old tree has and the new one has not.
///
/// # Safety
///
/// All nodes of the tree must be alive.
pub(crate) unsafe fn remove(
    root: Option<Link>,
    start: usize,
    retire: &mut impl FnMut(Link),
) -> Option<(Option<Link>, Entry)> {
    // SAFETY: alive by the caller's promise.
    let (found, entry) = unsafe { predecessor(root, start) }?;
    if found != start {
        return None;
    }
    // SAFETY: as above.
    let top = unsafe { remove_below(root?, start, retire) };
    if top.len == 0 {
        return Some((None, entry));
    }
    let mut root = top.links[0];
    // SAFETY: the nodes are alive; the one that is freed was made just now,
    // so nobody else has seen it.
    unsafe {
        while root.level() > 0 && root.len() == 1 {
            let only = root.inner().values()[0];
            free(root);
            root = only;
        }
    }
    Some((Some(root), entry))
}

/// # Safety
///
/// As for [`remove`], and the range must be there.
unsafe fn remove_below(node: Link, start: usize, retire: &mut impl FnMut(Link)) -> Children {
    retire(node);
    // SAFETY: alive by the caller's promise, its children too, and of the kind
    // that the level says. The child that is freed was made just now, so
    // nobody else has seen it.
    unsafe {
        let level = node.level();
        if level == 0 {
            let leaf = node.leaf();
            let (keys, values) = (leaf.keys(), leaf.values());
            let at = leaf.rank(start) - 1;
            return build(
                level,
                &[
                    (&keys[..at], &values[..at]),
                    (&keys[at + 1..], &values[at + 1..]),
                ],
            );
        }
        let inner = node.inner();
        let (keys, links) = (inner.keys(), inner.values());
        let at = inner.rank(start) - 1;
        let below = remove_below(links[at], start, retire);
        let too_few = below.len == 1 && below.links[0].len() < FEW && links.len() > 1;
        if !too_few {
            return build(
                level,
                &[
                    (&keys[..at], &links[..at]),
                    below.piece(),
                    (&keys[at + 1..], &links[at + 1..]),
                ],
            );
        }
        let small = below.links[0];
        let left_at = at.saturating_sub(1);
        let (left, right) = if at > 0 {
            retire(links[at - 1]);
            (links[at - 1], small)
        } else {
            retire(links[1]);
            (small, links[1])
        };
        let joined = if level == 1 {
            join(left.leaf(), right.leaf(), 0)
        } else {
            join(left.inner(), right.inner(), level - 1)
        };
        free(small);
        build(
            level,
            &[
                (&keys[..left_at], &links[..left_at]),
                joined.piece(),
                (&keys[left_at + 2..], &links[left_at + 2..]),
            ],
        )
    }
}

/// One or two nodes with the contents of two neighbours.
fn join<V: Copy>(left: &Node<V>, right: &Node<V>, level: u32) -> Children {
    build(
        level,
        &[(left.keys(), left.values()), (right.keys(), right.values())],
    )
}
