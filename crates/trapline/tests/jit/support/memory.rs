//! A linear memory of this client.

use std::io;
use std::ptr::{self, NonNull};

use trapline::{VirtualAddress, WasmFault};

/// Bytes of address space that each memory has: what is not accessible is the
/// guard region.
const RESERVED: usize = 1 << 20;

/// Some accessible bytes, followed by a guard region.
pub(crate) struct LinearMemory {
    base: NonNull<u8>,
    accessible: usize,
}

impl LinearMemory {
    /// A memory of `bytes` zeros, rounded up to whole pages.
    pub(crate) fn new(bytes: usize) -> Self {
        assert!(bytes <= RESERVED);
        // SAFETY: a new mapping, at an address that nobody uses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                RESERVED,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        let base = NonNull::new(base.cast()).expect("the page at address 0 is never mapped");
        let memory = Self {
            base,
            accessible: bytes,
        };
        assert!(memory.make_accessible(0, bytes));
        memory
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Makes `bytes` from `offset` on accessible; whether that worked. Fit for
    /// signal handlers: nothing but a system call.
    pub(crate) fn make_accessible(&self, offset: usize, bytes: usize) -> bool {
        if offset.checked_add(bytes).is_none_or(|end| end > RESERVED) {
            return false;
        }
        if bytes == 0 {
            return true;
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: inside of the mapping, which is this memory's alone.
        unsafe { libc::mprotect(self.base.as_ptr().add(offset).cast(), bytes, protection) == 0 }
    }

    /// `address` in terms of the guest, if it lies in the memory or its guard
    /// region.
    pub(crate) fn fault_at(&self, address: VirtualAddress) -> Option<WasmFault> {
        let offset = address.offset_from(VirtualAddress::from_ptr(self.base.as_ptr()))?;
        (offset < RESERVED).then_some(WasmFault {
            memory_size: self.accessible as u64,
            wasm_address: offset as u64,
        })
    }
}

impl Drop for LinearMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this memory's alone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), RESERVED) };
    }
}
