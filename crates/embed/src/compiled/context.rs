//! What compiled code reads and writes of its store.

use core::cell::UnsafeCell;
use core::sync::atomic::AtomicUsize;

use trapline_wasmtime::vm::{
    VMLazyThread, VMMemoryDefinition, VMStackChain, VMStoreContext, VmPtr,
};

/// A context in which nothing has run: no limit on the stack is lower than
/// any stack pointer.
pub(crate) fn new_context() -> VMStoreContext {
    VMStoreContext {
        fuel_consumed: UnsafeCell::new(0),
        epoch_deadline: UnsafeCell::new(0),
        execution_version: 0,
        stack_limit: UnsafeCell::new(usize::MAX),
        gc_heap: UnsafeCell::new(VMMemoryDefinition {
            base: VmPtr::dangling(),
            current_length: AtomicUsize::new(0),
        }),
        last_wasm_exit_trampoline_fp: UnsafeCell::new(0),
        last_wasm_exit_pc: UnsafeCell::new(0),
        last_wasm_entry_sp: UnsafeCell::new(0),
        last_wasm_entry_fp: UnsafeCell::new(0),
        last_wasm_entry_trap_handler: UnsafeCell::new(0),
        stack_chain: UnsafeCell::new(VMStackChain::Absent),
        store_data: VmPtr::dangling(),
        async_guard_range: core::ptr::null_mut()..core::ptr::null_mut(),
        component_context: UnsafeCell::new([0; 2]),
        current_thread: UnsafeCell::new(VMLazyThread { thread: None }),
    }
}
