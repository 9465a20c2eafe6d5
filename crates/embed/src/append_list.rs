//! A list that only grows, whose members never move.
//!
//! Exception handlers read it (`get`, `iter`): no allocation, no lock, no
//! formatting, no panic in what they reach here.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;

/// Members are added through a shared reference, stay where they are, and go
/// with the list.
pub(crate) struct AppendList<T>(UnsafeCell<Vec<NonNull<T>>>);

impl<T> AppendList<T> {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Vec::new()))
    }

    pub(crate) fn len(&self) -> usize {
        self.pointers().len()
    }

    /// Adds a member and returns its index.
    pub(crate) fn push(&self, member: T) -> usize {
        let member = NonNull::from(Box::leak(Box::new(member)));
        // SAFETY: no reference to the vector outlives the call that makes it,
        // and `T`'s code is not run here; the list is not `Sync`.
        let pointers = unsafe { &mut *self.0.get() };
        pointers.push(member);
        pointers.len() - 1
    }

    /// The member with this index.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: members live as long as the list and are only handed out
        // as shared references.
        self.pointers()
            .get(index)
            .map(|member| unsafe { member.as_ref() })
    }

    /// The members from the first to the last, those added meanwhile included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..).map_while(|index| self.get(index))
    }

    #[inline]
    fn pointers(&self) -> &[NonNull<T>] {
        // SAFETY: `push` is the only one to change the vector, and nobody calls
        // it while the result, which never leaves this file, is alive.
        unsafe { &*self.0.get() }
    }
}

impl<T> Drop for AppendList<T> {
    fn drop(&mut self) {
        for member in self.0.get_mut().drain(..) {
            // SAFETY: made from a box in `push`, and this is the last use.
            drop(unsafe { Box::from_raw(member.as_ptr()) });
        }
    }
}

impl<T> fmt::Debug for AppendList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} members", self.len())
    }
}

// SAFETY: owns its members like a `Vec<Box<T>>`.
unsafe impl<T: Send> Send for AppendList<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    #[test]
    fn members_stay_where_they_are_and_go_with_the_list() {
        let count = Arc::new(());
        let list = AppendList::new();
        list.push(Arc::clone(&count));
        let first: *const Arc<()> = list.get(0).unwrap();
        for _ in 0..100 {
            list.push(Arc::clone(&count));
        }
        assert!(core::ptr::eq(first, list.get(0).unwrap()));
        assert_eq!((list.len(), list.iter().count()), (101, 101));
        assert!(list.get(101).is_none());
        drop(list);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
