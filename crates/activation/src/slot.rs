//! The place in an activation where the reason to leave its guest waits for
//! `catch_traps`.
//!
//! A trap is some fifteen words. It is written where it waits, field by field, and lent from
//! there to whoever makes an error of it: a value that was just put together of single words is
//! the slowest one to copy.

use alloc::boxed::Box;
use core::any::Any;
use core::cell::{Cell, UnsafeCell};
use core::mem::{self, ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::ptr;

use trapline_code_registry::TrapKind;

use crate::{CaughtError, PassedOn, Trap, TrapReason, WasmFault};

/// What waits, if anything does. Once recorded, once read.
pub(crate) struct UnwindSlot {
    holds: Cell<Holds>,
    content: UnsafeCell<MaybeUninit<Content>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// What is in the slot belongs to a [`SlotTrap`].
    Lent,
    Trap,
    Error,
    Panic,
}

union Content {
    trap: ManuallyDrop<Trap>,
    error: ManuallyDrop<Box<dyn CaughtError>>,
    panic: ManuallyDrop<Box<dyn Any + Send>>,
}

/// What was taken out of a slot.
pub(crate) enum Taken<'a> {
    Nothing,
    Trap(SlotTrap<'a>),
    Error(Box<dyn CaughtError>),
    Panic(Box<dyn Any + Send>),
}

impl UnwindSlot {
    /// An empty slot.
    //
    // Not as a constant, whose bytes would all be copied, those that say nothing included: an
    // entry writes one.
    #[inline]
    pub(crate) fn new() -> Self {
        let mut slot = MaybeUninit::<Self>::uninit();
        // SAFETY: the address of a field, which is written; the other one need not be.
        unsafe {
            (&raw mut (*slot.as_mut_ptr()).holds).write(Cell::new(Holds::Nothing));
            slot.assume_init()
        }
    }

    /// Whether something has been recorded and not yet taken.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        matches!(self.holds.get(), Holds::Trap | Holds::Error | Holds::Panic)
    }

    /// Puts in a trap of this reason, to be completed and then [left](SlotTrap::leave).
    ///
    /// # Panics
    ///
    /// If something is recorded already: the earlier reason must not be lost.
    //
    // In line: of the reason no more is moved than there is of its variant.
    #[inline(always)]
    pub(crate) fn put(&self, reason: TrapReason, wasm_fault: Option<WasmFault>) -> SlotTrap<'_> {
        let trap = self.lend();
        // SAFETY: the slot was empty and is lent to us: nobody else looks at it. All
        // fields are written.
        unsafe {
            (&raw mut (*trap).reason).write(reason);
            (&raw mut (*trap).wasm_fault).write(wasm_fault);
            (&raw mut (*trap).backtrace).write(None);
            (&raw mut (*trap).coredump).write(None);
        }
        SlotTrap(self)
    }

    /// Puts in a trap as it is.
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    pub(crate) fn put_whole(&self, trap: Trap) {
        let place = self.lend();
        // SAFETY: the slot was empty and is lent to us.
        unsafe { place.write(trap) };
        self.holds.set(Holds::Trap);
    }

    /// Puts in an error that was caught before.
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    //
    // In line: of a reason no more is moved than there is of its variant.
    #[inline(always)]
    pub(crate) fn pass_on(&self, error: PassedOn) {
        match error {
            PassedOn::Reason(reason) => self.put(reason, None).leave(),
            PassedOn::Error(error) => self.put_error(error),
        }
    }

    /// Puts in an embedder's own error.
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    fn put_error(&self, error: Box<dyn CaughtError>) {
        self.lend();
        // SAFETY: the slot was empty and is lent to us.
        unsafe { self.error().write(error) };
        self.holds.set(Holds::Error);
    }

    /// Puts in the payload of a host panic.
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    pub(crate) fn put_panic(&self, payload: Box<dyn Any + Send>) {
        self.lend();
        // SAFETY: the slot was empty and is lent to us.
        unsafe { self.panic().write(payload) };
        self.holds.set(Holds::Panic);
    }

    /// Takes out what there is.
    #[inline]
    pub(crate) fn take(&self) -> Taken<'_> {
        match self.holds.get() {
            Holds::Nothing | Holds::Lent => Taken::Nothing,
            Holds::Trap => {
                self.holds.set(Holds::Lent);
                Taken::Trap(SlotTrap(self))
            }
            Holds::Error => {
                self.holds.set(Holds::Nothing);
                // SAFETY: the slot holds an error, and from now on does not say so.
                Taken::Error(unsafe { self.error().read() })
            }
            Holds::Panic => {
                self.holds.set(Holds::Nothing);
                // SAFETY: the slot holds a panic, and from now on does not say so.
                Taken::Panic(unsafe { self.panic().read() })
            }
        }
    }

    #[inline]
    fn lend(&self) -> *mut Trap {
        if self.holds.get() != Holds::Nothing {
            self.recorded_already();
        }
        self.holds.set(Holds::Lent);
        self.trap()
    }

    #[cold]
    fn recorded_already(&self) -> ! {
        let earlier = match self.holds.get() {
            Holds::Panic => "a host panic",
            Holds::Error => "an error that was passed on",
            // SAFETY: the slot holds a trap, and is lent to nobody.
            Holds::Trap => unsafe { &*self.trap() }
                .kind()
                .map_or("an error of a host function", TrapKind::message),
            Holds::Nothing | Holds::Lent => "a trap that is just being looked at",
        };
        panic!("a reason to leave the guest is recorded already, and was not raised: {earlier}");
    }

    #[inline]
    fn trap(&self) -> *mut Trap {
        // SAFETY: the address of a field of the content, for which the cell has room.
        unsafe { (&raw mut (*self.content.get().cast::<Content>()).trap).cast() }
    }

    #[inline]
    fn error(&self) -> *mut Box<dyn CaughtError> {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.content.get().cast::<Content>()).error).cast() }
    }

    #[inline]
    fn panic(&self) -> *mut Box<dyn Any + Send> {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.content.get().cast::<Content>()).panic).cast() }
    }
}

impl Drop for UnwindSlot {
    #[inline]
    fn drop(&mut self) {
        if self.is_set() {
            drop_content(self);
        }
    }
}

/// What was recorded and never read: a panic went past.
#[cold]
fn drop_content(slot: &mut UnwindSlot) {
    drop(slot.take());
}

/// The trap in a slot, for the only one who may look at it. Dropped, the slot is empty.
pub(crate) struct SlotTrap<'a>(&'a UnwindSlot);

impl SlotTrap<'_> {
    /// Leaves the trap in the slot: it is recorded.
    #[inline]
    pub(crate) fn leave(self) {
        self.0.holds.set(Holds::Trap);
        mem::forget(self);
    }
}

impl Deref for SlotTrap<'_> {
    type Target = Trap;

    #[inline]
    fn deref(&self) -> &Trap {
        // SAFETY: the slot holds a trap, which is lent to us.
        unsafe { &*self.0.trap() }
    }
}

impl DerefMut for SlotTrap<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Trap {
        // SAFETY: the slot holds a trap, which is lent to us alone.
        unsafe { &mut *self.0.trap() }
    }
}

impl Drop for SlotTrap<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the slot holds a trap, which is lent to us and not used again: until it is
        // gone nobody can put another one there, whatever the drop of a host's error does.
        unsafe { ptr::drop_in_place(self.0.trap()) };
        self.0.holds.set(Holds::Nothing);
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::sync::Arc;
    use core::fmt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// An error that is counted as long as it lives.
    #[derive(Debug)]
    struct Alive(#[expect(dead_code, reason = "held")] Arc<()>);

    impl fmt::Display for Alive {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("alive")
        }
    }

    impl core::error::Error for Alive {}

    fn counted(count: &Arc<()>) -> TrapReason {
        TrapReason::User(anyhow::Error::new(Alive(Arc::clone(count))))
    }

    #[test]
    fn what_is_put_in_is_taken_out_once() {
        let count = Arc::new(());
        let slot = UnwindSlot::new();
        assert!(!slot.is_set());
        assert!(matches!(slot.take(), Taken::Nothing));
        slot.put(counted(&count), None).leave();
        assert!(slot.is_set());
        let Taken::Trap(mut trap) = slot.take() else {
            panic!("a trap was put in");
        };
        assert!(!slot.is_set());
        let reason = mem::replace(&mut trap.reason, TrapReason::Wasm(TrapKind::OutOfFuel));
        assert_eq!(Arc::strong_count(&count), 2);
        drop(trap);
        assert_eq!(Arc::strong_count(&count), 2, "taken out, not dropped");
        drop(reason);
        assert_eq!(Arc::strong_count(&count), 1);
        assert!(matches!(slot.take(), Taken::Nothing));
    }

    #[test]
    fn what_is_not_taken_out_is_dropped_once() {
        let count = Arc::new(());
        // By whoever has it.
        let slot = UnwindSlot::new();
        slot.put(counted(&count), None).leave();
        drop(slot.take());
        assert_eq!(Arc::strong_count(&count), 1);
        // With the slot.
        slot.put(counted(&count), None).leave();
        assert_eq!(Arc::strong_count(&count), 2);
        drop(slot);
        assert_eq!(Arc::strong_count(&count), 1);
        let slot = UnwindSlot::new();
        slot.put_panic(Box::new(Arc::clone(&count)));
        drop(slot);
        assert_eq!(Arc::strong_count(&count), 1);
        let slot = UnwindSlot::new();
        slot.put_error(Box::new(Trap::new(counted(&count))));
        drop(slot);
        assert_eq!(Arc::strong_count(&count), 1);
        // When its completion is given up.
        let slot = UnwindSlot::new();
        drop(slot.put(counted(&count), None));
        assert_eq!(Arc::strong_count(&count), 1);
        assert!(!slot.is_set());
    }

    #[test]
    fn a_trap_that_somebody_has_is_not_overwritten() {
        let count = Arc::new(());
        let slot = UnwindSlot::new();
        let trap = slot.put(counted(&count), None);
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| slot.put_panic(Box::new(())))) else {
            panic!("the slot is lent");
        };
        let message = payload.downcast_ref::<String>().expect("a text");
        assert!(message.contains("recorded already"), "{message}");
        trap.leave();
        let Taken::Trap(trap) = slot.take() else {
            panic!("it is still there");
        };
        assert!(
            catch_unwind(AssertUnwindSafe(
                || slot.put_whole(Trap::new(counted(&count)))
            ))
            .is_err()
        );
        assert_eq!(Arc::strong_count(&count), 2, "the second one is gone");
        assert_eq!(trap.kind(), None);
        drop(trap);
        slot.put_panic(Box::new(7));
        assert!(matches!(slot.take(), Taken::Panic(payload) if payload.is::<i32>()));
        slot.put_error(Box::new(Trap::new(counted(&count))));
        assert!(catch_unwind(AssertUnwindSafe(|| slot.put_panic(Box::new(7)))).is_err());
        let Taken::Error(error) = slot.take() else {
            panic!("it is still there");
        };
        assert!(!slot.is_set());
        assert_eq!(error.into_trap().kind(), None);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
