//! What the exception handler asks of a store: is this one of its addresses,
//! and is the fault to become a trap?
//!
//! **Rule of this module: no allocation, no lock, no formatting, no lazily made
//! thread-local, no panic.** Everything reached from here keeps to it. The guest
//! that faulted runs on this thread, so nobody is changing the store.

use core::ops::Range;

use trapline_activation::{FaultVerdict, GuestFault, WasmFault};
use trapline_arch::VirtualAddress;

use crate::objects::memory::MemoryObject;
use crate::store::store_core::{FaultHook, StoreCore};

/// The address in terms of the memory that it belongs to, if it belongs to one
/// of the store's, guard regions included.
pub(crate) fn in_guests_terms(store: &StoreCore, address: VirtualAddress) -> Option<WasmFault> {
    store
        .memories()
        .iter()
        .find_map(|memory| in_memory(memory, address))
}

fn in_memory(memory: &MemoryObject, address: VirtualAddress) -> Option<WasmFault> {
    let range: Range<VirtualAddress> = memory.range();
    if !range.contains(&address) {
        return None;
    }
    Some(WasmFault {
        memory_size: memory.len() as u64,
        wasm_address: address.offset_from(range.start)? as u64,
    })
}

/// What the embedder's hook says of a fault.
#[inline]
pub(crate) fn ask(hook: Option<&FaultHook>, fault: &GuestFault) -> FaultVerdict {
    match hook {
        Some(hook) => hook(fault),
        None => FaultVerdict::NotHandled,
    }
}
