//! The code of a module, in executable memory.
//!
//! **Handler code**: [`CodeObject::text`], [`CodeObject::lookup_trap_code`] and
//! [`CodeObject::as_any`] are reached from trap handlers. They do not allocate,
//! lock, format or panic.

use alloc::sync::Arc;
use core::any::Any;
use core::ops::Range;

use trapline_arch::VirtualAddress;
use trapline_code_registry::{
    CodeAddress, CodeObject, RegisterError, Registration, TrapKind, register_code, trap_by_hlt,
};
use trapline_wasmtime::{Artifact, ModuleCode};

use crate::engine::Engine;
use crate::linear_memory::Reservation;
use crate::platform::PlatformError;

/// Code in executable memory: what the registry holds. It may keep it for longer than the module
/// is there, and so the memory.
pub(crate) struct Mapped {
    code: ModuleCode,
    _memory: Reservation,
}

/// Mapped code that is registered until this is dropped.
pub(crate) struct Code {
    _registration: Registration,
    mapped: Arc<Mapped>,
}

impl Mapped {
    /// Copies an artifact's text to executable memory; `None` if there is no text.
    ///
    /// # Safety
    ///
    /// The artifact must be the compiler's, unchanged.
    pub(crate) unsafe fn new(
        engine: &Engine,
        artifact: &Arc<Artifact>,
    ) -> Result<Option<Self>, PlatformError> {
        let bytes = artifact.text();
        if bytes.is_empty() {
            return Ok(None);
        }
        let memory = Reservation::new(engine.platform(), bytes.len())?;
        memory.commit(0, bytes.len())?;
        // SAFETY: the range is ours, new, and committed for that many bytes, which are zero.
        let copy = unsafe { core::slice::from_raw_parts_mut(memory.start().as_ptr(), bytes.len()) };
        copy.copy_from_slice(bytes);
        if engine.traps_by_hlt() {
            trap_by_hlt(
                copy,
                artifact.iter_traps().map(|site| site.text_offset as usize),
            );
        }
        // SAFETY: just written, and code by the artifact's word.
        unsafe { memory.publish_code(bytes.len())? };
        let base = VirtualAddress::from_ptr(memory.start().as_ptr());
        // SAFETY: the text was copied there just now (and traps at the same places), and the memory
        // goes with the result, which nobody gets out of here. The artifact is the compiler's by the
        // caller's promise.
        let code = unsafe { ModuleCode::new(Arc::clone(artifact), base) };
        Ok(Some(Self {
            code: code.expect("the text was copied, so it fits"),
            _memory: memory,
        }))
    }

    /// Makes it known to trap handlers.
    pub(crate) fn register(self) -> Result<Code, RegisterError> {
        let mapped = Arc::new(self);
        Ok(Code {
            _registration: register_code(Arc::clone(&mapped) as _)?,
            mapped,
        })
    }
}

impl Code {
    /// Where it is.
    pub(crate) fn text(&self) -> Range<VirtualAddress> {
        self.mapped.text()
    }

    /// The address of the byte at this text offset, `None` beyond the end.
    pub(crate) fn address(&self, text_offset: u32) -> Option<VirtualAddress> {
        self.mapped.code.address(text_offset)
    }
}

// SAFETY: the memory stays as it is for as long as this exists; all else `ModuleCode` keeps.
unsafe impl CodeObject for Mapped {
    #[inline]
    fn text(&self) -> Range<VirtualAddress> {
        self.code.text()
    }

    #[inline]
    fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind> {
        self.code.lookup_trap_code(text_offset)
    }

    fn lookup_address(&self, text_offset: usize) -> Option<CodeAddress> {
        self.code.lookup_address(text_offset)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
