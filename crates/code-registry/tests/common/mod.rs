//! Code objects for the tests.

use core::any::Any;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;

use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeAddress, CodeObject, TrapKind};

/// What the canary of a live object reads as, xored with its range.
const ALIVE: usize = 0x5eed_c0de;

/// Code that exists by its range only. A dead one is recognised by its canary.
pub(crate) struct Code {
    start: usize,
    end: usize,
    canary: AtomicUsize,
    drops: Arc<AtomicUsize>,
}

impl Code {
    /// Code at these addresses.
    pub(crate) fn new(text: Range<usize>) -> Arc<Self> {
        Self::counted(text, &Arc::default())
    }

    /// Code at these addresses, which adds one to `drops` when it is dropped.
    pub(crate) fn counted(text: Range<usize>, drops: &Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            start: text.start,
            end: text.end,
            canary: AtomicUsize::new(ALIVE ^ text.start ^ text.end),
            drops: Arc::clone(drops),
        })
    }

    /// Whether this has not been dropped, and contains `pc`.
    pub(crate) fn is_alive_with(&self, pc: usize) -> bool {
        self.canary.load(SeqCst) == ALIVE ^ self.start ^ self.end
            && (self.start..self.end).contains(&pc)
    }

    /// Fails if this has been dropped, or does not contain `pc`.
    pub(crate) fn assert_alive_with(&self, pc: usize) {
        assert!(
            self.is_alive_with(pc),
            "dead, or {pc:#x} is not in {:#x}..{:#x}",
            self.start,
            self.end
        );
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.canary.store(0, SeqCst);
        self.drops.fetch_add(1, SeqCst);
    }
}

// SAFETY: made up: nothing is executed in its range, which stays as it is. What handlers call
// reads only what is there.
unsafe impl CodeObject for Code {
    fn text(&self) -> Range<VirtualAddress> {
        VirtualAddress::new(self.start)..VirtualAddress::new(self.end)
    }

    fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind> {
        text_offset
            .is_multiple_of(16)
            .then_some(TrapKind::UnreachableCodeReached)
    }

    fn lookup_address(&self, text_offset: usize) -> Option<CodeAddress> {
        Some(CodeAddress {
            function: 0,
            bytecode_offset: u32::try_from(text_offset).ok(),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
