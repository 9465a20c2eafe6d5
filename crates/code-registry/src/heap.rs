//! Where writers get nodes from, and where the nodes go that they take out of
//! the tree.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

use crate::node::{Inner, Leaf, Link, Node};
use crate::sync::const_unless_loom;

/// Memory for nodes of each kind that is kept instead of freed. Each write
/// needs about as many nodes as an earlier one took out, and aligned memory
/// costs more than the rest of a write in many an allocator.
const SPARES: usize = 32;

/// Memory for a node.
type Blank<N> = Box<MaybeUninit<N>>;

/// Has spare memory for nodes of type `N`.
pub(crate) trait Spares<N> {
    /// That memory.
    fn spares(&mut self) -> &mut Vec<Blank<N>>;
}

impl Spares<Leaf> for NodeHeap {
    #[inline]
    fn spares(&mut self) -> &mut Vec<Blank<Leaf>> {
        &mut self.spare_leaves
    }
}

impl Spares<Inner> for NodeHeap {
    #[inline]
    fn spares(&mut self) -> &mut Vec<Blank<Inner>> {
        &mut self.spare_inners
    }
}

/// The nodes that belong to the writers: spare ones, and those that are in no
/// published tree any more but that readers may still be in.
pub(crate) struct NodeHeap {
    spare_leaves: Vec<Blank<Leaf>>,
    spare_inners: Vec<Blank<Inner>>,
    /// With the numbers of the writes that took them out, which ascend.
    retired: VecDeque<(usize, Link)>,
}

// SAFETY: the nodes belong to whoever has the heap, and what they lead to may
// be used on any thread.
unsafe impl Send for NodeHeap {}

impl NodeHeap {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                spare_leaves: Vec::new(),
                spare_inners: Vec::new(),
                retired: VecDeque::new(),
            }
        }
    }

    /// Makes a node, which `write` writes.
    pub(crate) fn make<V: 'static, const N: usize>(
        &mut self,
        write: impl FnOnce(&'static mut MaybeUninit<Node<V, N>>) -> &'static mut Node<V, N>,
    ) -> &'static mut Node<V, N>
    where
        Self: Spares<Node<V, N>>,
    {
        write(Box::leak(
            self.spares().pop().unwrap_or_else(Box::new_uninit),
        ))
    }

    /// Takes back a node (not those below it).
    ///
    /// # Safety
    ///
    /// The node must be alive and come from [`make`](Self::make), and nobody
    /// may use it any more.
    pub(crate) unsafe fn free(&mut self, link: Link) {
        // SAFETY: alive, and the memory is that of a node of this kind, from
        // `make`.
        unsafe {
            if !link.end_lifetime() {
                return;
            }
            if link.level() == 0 {
                let leaf = link.as_ptr().cast::<MaybeUninit<Leaf>>();
                self.keep(Box::from_raw(leaf));
            } else {
                let inner = link.as_ptr().cast::<MaybeUninit<Inner>>();
                self.keep(Box::from_raw(inner));
            }
        }
    }

    fn keep<N>(&mut self, node: Blank<N>)
    where
        Self: Spares<N>,
    {
        let spares = self.spares();
        if spares.len() < SPARES {
            spares.push(node);
        }
    }

    /// Notes that write number `version` takes out `node`.
    #[inline]
    pub(crate) fn retire(&mut self, version: usize, node: Link) {
        self.retired.push_back((version, node));
    }

    /// Forgets that write number `version`, the latest, took out any nodes.
    pub(crate) fn take_back(&mut self, version: usize) {
        while self.retired.pop_back_if(|(v, _)| *v == version).is_some() {}
    }

    /// Number of nodes that are taken out and not freed.
    #[inline]
    pub(crate) fn retired(&self) -> usize {
        self.retired.len()
    }

    /// Frees the nodes that were taken out by the writes up to number
    /// `version`.
    ///
    /// # Safety
    ///
    /// No reader may be able to reach those.
    pub(crate) unsafe fn free_retired(&mut self, version: usize) {
        while let Some((_, node)) = self.retired.pop_front_if(|(v, _)| *v <= version) {
            // SAFETY: made by an edit, in no tree any more, and out of every
            // reader's reach by the caller's promise.
            unsafe { self.free(node) };
        }
    }
}
