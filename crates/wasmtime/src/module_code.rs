//! The code of an artifact, where it was mapped: what the registry holds.
//!
//! **Handler code**: [`CodeObject::text`] and [`CodeObject::lookup_trap_code`]
//! are reached from trap handlers. They do not allocate, lock, format or panic.

use alloc::sync::Arc;
use core::any::Any;
use core::ops::Range;

use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeAddress, CodeObject, TrapKind};

use crate::Artifact;

/// An artifact whose code has been copied to executable memory.
///
/// Register it, and program counters in the code find their way to the
/// artifact's tables, which are read where they lie: registering costs the
/// same whatever the size of the code.
#[derive(Clone, Debug)]
pub struct ModuleCode {
    artifact: Arc<Artifact>,
    base: VirtualAddress,
    end: VirtualAddress,
}

impl ModuleCode {
    /// The code of `artifact`, whose first byte is at `base`. `None` if the
    /// code would reach beyond the end of the address space.
    ///
    /// # Safety
    ///
    /// As long as the result or a clone of it exists:
    ///
    /// - From `base` on, in as many bytes as the artifact has text, nothing is executed but that text, as
    ///   it was copied there. (So whoever owns the memory keeps it for as long, best beside the
    ///   result in a [`CodeObject`] of their own.)
    /// - The artifact is what the compiler wrote, so that its trap table is that of its text.
    ///
    /// (These are duties of [`CodeObject`], which this type keeps otherwise.)
    #[must_use]
    pub unsafe fn new(artifact: Arc<Artifact>, base: VirtualAddress) -> Option<Self> {
        let end = base.checked_add(artifact.text().len())?;
        Some(Self {
            artifact,
            base,
            end,
        })
    }

    /// The artifact.
    #[must_use]
    pub const fn artifact(&self) -> &Arc<Artifact> {
        &self.artifact
    }

    /// The address of the byte at this text offset; of the end of the code
    /// for the offset beyond its last byte, `None` for larger ones.
    #[must_use]
    pub fn address(&self, text_offset: u32) -> Option<VirtualAddress> {
        self.base
            .checked_add(text_offset as usize)
            .filter(|address| *address <= self.end)
    }
}

// SAFETY: whose text is executed in the range, and that the trap table is its own, is promised to `new`. The range
// never changes. The table is searched in place, by functions that keep the rules of handlers.
unsafe impl CodeObject for ModuleCode {
    #[inline]
    fn text(&self) -> Range<VirtualAddress> {
        self.base..self.end
    }

    #[inline]
    fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind> {
        self.artifact.lookup_trap_code(text_offset)
    }

    fn lookup_address(&self, text_offset: usize) -> Option<CodeAddress> {
        Some(CodeAddress {
            function: self.artifact.func_index_at(text_offset)?.as_u32(),
            bytecode_offset: self.artifact.lookup_bytecode_offset(text_offset),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
