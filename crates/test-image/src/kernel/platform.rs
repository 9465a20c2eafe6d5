//! What guests get of the kernel: `impl Platform`.

use core::ptr::NonNull;
use core::time::Duration;

use trapline_embed::platform::{Platform, PlatformError};

use super::memory;
use crate::isa;

/// This machine, for engines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine;

// SAFETY: ranges are handed out once until they are given back, and nothing is
// mapped in them until it is committed, so that an access faults; the exception
// entries of all CPUs ask `handle_wasm_exception`, from their start; page 0 is
// never mapped; new pages are zero; published code is synchronized on all CPUs
// before it can be executed.
unsafe impl Platform for Machine {
    fn page_size(&self) -> usize {
        isa::PAGE
    }

    fn has_guards(&self) -> bool {
        true
    }

    fn reserve(&self, bytes: usize) -> Result<NonNull<u8>, PlatformError> {
        memory::reserve(bytes)
            .and_then(|start| NonNull::new(core::ptr::with_exposed_provenance_mut(start)))
            .ok_or_else(|| PlatformError::new("reserving addresses", "none left"))
    }

    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PlatformError> {
        memory::commit(start.addr().get(), bytes)
            .map_err(|_| PlatformError::new("committing memory", "none left"))
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: this method's duties.
        unsafe { memory::release(start.addr().get(), bytes) };
    }

    unsafe fn publish_code(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PlatformError> {
        memory::make_executable(start.addr().get(), bytes);
        Ok(())
    }

    fn prepare_thread(&self) -> Result<(), PlatformError> {
        // Every CPU takes exceptions from its start.
        Ok(())
    }

    fn now(&self) -> Duration {
        isa::now()
    }
}
