//! What the exception handler asks of a store: is this one of its addresses,
//! and is the fault to become a trap?
//!
//! **Rule of this module: no allocation, no lock, no formatting, no lazily made
//! thread-local, no panic.** Everything reached from here keeps to it. The guest
//! that faulted runs on this thread, so nobody is changing the store.

use alloc::boxed::Box;
use core::ops::Range;

use trapline_activation::{FaultVerdict, GuestFault, WasmFault};
use trapline_arch::VirtualAddress;

use crate::append_list::AppendList;
use crate::objects::memory::MemoryObject;

/// A hook for faults of the guest, see
/// [`StoreContext::set_fault_hook`](crate::StoreContext::set_fault_hook).
pub(crate) type FaultHook = Box<dyn Fn(&GuestFault) -> FaultVerdict + Send>;

/// The address in terms of the memory that it belongs to, if it belongs to one
/// of the store's, guard regions included.
pub(crate) fn in_guests_terms(
    memories: &AppendList<MemoryObject>,
    address: VirtualAddress,
) -> Option<WasmFault> {
    memories
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
