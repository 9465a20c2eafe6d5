//! What writers took out of the tree and readers may still hold.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;

use crate::CodeObject;
use crate::announce::{Readers, UsedStripes, held_word};
use crate::edit::Edit;
use crate::heap::NodeHeap;
use crate::sync::const_unless_loom;

/// Nodes that may wait before a registration makes a survey, which reads a cache
/// line that was last written by another thread for each one that looks up.
const NODES_TO_WAIT: usize = 32;

/// Objects that no reader can reach, to be dropped once the lock is released:
/// their destructors are somebody else's code, and may come back here.
#[derive(Default)]
pub(crate) struct Free {
    /// Mostly there is one at most, which needs no memory to be listed in.
    first: Option<Arc<dyn CodeObject>>,
    others: Vec<Arc<dyn CodeObject>>,
}

impl Free {
    fn push(&mut self, code: Arc<dyn CodeObject>) {
        match self.first {
            None => self.first = Some(code),
            Some(_) => self.others.push(code),
        }
    }
}

/// Things that are in no published tree any more, each with the number of the
/// write that took it out.
pub(crate) struct Retired {
    nodes: NodeHeap,
    /// In the order of their numbers.
    objects: VecDeque<(usize, NonNull<dyn CodeObject>)>,
    /// Those that an earlier survey found held, and nothing else in the way:
    /// nobody but the readers that held them then can still hold them.
    held_objects: Vec<NonNull<dyn CodeObject>>,
    /// Room for the words of the readers that hold objects.
    held: Vec<usize>,
}

// SAFETY: the nodes and objects belong to whoever has this, and code objects
// may be shared with and dropped on any thread.
unsafe impl Send for Retired {}

impl Retired {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                nodes: NodeHeap::new(),
                objects: VecDeque::new(),
                held_objects: Vec::new(),
                held: Vec::new(),
            }
        }
    }

    /// Starts write number `version`.
    pub(crate) fn edit(&mut self, version: usize) -> Edit<'_> {
        Edit::new(&mut self.nodes, version)
    }

    /// `code` was taken out by write number `version`, and with it the count
    /// of it that the registry has.
    pub(crate) fn retire_object(&mut self, version: usize, code: NonNull<dyn CodeObject>) {
        self.objects.push_back((version, code));
    }

    /// Number of objects that wait.
    pub(crate) fn objects(&self) -> usize {
        self.objects.len() + self.held_objects.len()
    }

    /// Whether it is time to [`reclaim`](Self::reclaim).
    pub(crate) fn is_due(&self) -> bool {
        self.objects() > 0 || self.nodes.retired() >= NODES_TO_WAIT
    }

    /// Frees the nodes that no reader can reach, and returns the objects that
    /// no reader can reach.
    ///
    /// # Safety
    ///
    /// `readers` and `used` must be those of the registry that everything here was taken
    /// out of, and what was taken out must be published (`SeqCst`).
    pub(crate) unsafe fn reclaim(&mut self, readers: &Readers, used: &UsedStripes) -> Free {
        let free_up_to = readers.survey(used, &mut self.held);
        // SAFETY: out of every reader's reach, by what `survey` says.
        unsafe { self.nodes.free_retired(free_up_to) };
        let mut free = Free::default();
        let is_held = |code: &NonNull<dyn CodeObject>| {
            self.held
                .contains(&held_word(code.cast::<()>().addr().get()))
        };
        let mut release = |code: NonNull<dyn CodeObject>| {
            // SAFETY: the registry's own count, given up here once.
            free.push(unsafe { Arc::from_raw(code.as_ptr().cast_const()) });
        };
        for code in self.held_objects.extract_if(.., |code| !is_held(code)) {
            release(code);
        }
        while let Some((_, code)) = self
            .objects
            .pop_front_if(|(version, _)| *version <= free_up_to)
        {
            if is_held(&code) {
                self.held_objects.push(code);
            } else {
                release(code);
            }
        }
        free
    }
}
