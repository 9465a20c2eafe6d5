//! What compiled code and its embedder agree on: records in memory, calling
//! conventions, and the functions that compiled code calls.
//!
//! Instances are one allocation whose head is fixed and whose rest depends on
//! the module; [`Artifact::vm_offsets`](crate::Artifact::vm_offsets) has the
//! byte offsets of its parts. Of the head, on machines with 64-bit addresses:
//!
//! ```text
//!   byte 0x00  u32  VMCONTEXT_MAGIC
//!        0x08  pointer to the store's VMStoreContext
//!        0x10  pointer to the VMBuiltinFunctionsArray
//!        0x18  pointer to the epoch counter          (unused here: 0)
//!        0x20  pointer to the collector's data       (unused here: 0)
//!        0x28  pointer to the module's type ids: one VMSharedTypeIndex for
//!              each ModuleInternedTypeIndex
//!        0x30  imported memories, memories, owned memories, imported
//!              functions, tables, globals and tags, …
//! ```
//!
//! The sizes, alignments and offsets in this module are generated from the
//! compiler's description of them, and a test compares each with the numbers
//! that the compiler itself uses.

mod builtin;
mod layout;

pub use builtin::{Builtin, BuiltinSentinel, Builtins, VMBuiltinFunctionsArray};
pub use layout::{
    VMArrayCallFunction, VMArrayCallHostFuncContext, VMArrayCallNative, VMCONTEXT_MAGIC,
    VMDeferredThread, VMFuncRef, VMFunctionImport, VMGlobalDefinition, VMGlobalImport,
    VMGlobalKind, VMLazyThread, VMMemoryDefinition, VMMemoryImport, VMOpaqueContext, VMStackChain,
    VMStoreContext, VMTableDefinition, VMTableImport, VMTagDefinition, VMTagImport,
    VMWasmCallFunction, ValRaw, VmPtr,
};
pub use trapline_activation::VMContext;

use core::mem::offset_of;

use trapline_activation::{ExitFp, LandingPadWords, VMStoreContextLayout};

/// The words of [`VMStoreContext`] that trampolines write, in byte offsets from
/// its start: exit trampolines note their own frame pointer (the guest's is the
/// older one in the frame record there), entry trampolines their landing pad.
pub const STORE_CONTEXT_LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
    exit_fp: ExitFp::Trampoline(offset_of!(VMStoreContext, last_wasm_exit_trampoline_fp)),
    exit_pc: offset_of!(VMStoreContext, last_wasm_exit_pc),
    entry_fp: offset_of!(VMStoreContext, last_wasm_entry_fp),
    landing_pad: Some(LandingPadWords {
        entry_sp: offset_of!(VMStoreContext, last_wasm_entry_sp),
        entry_trap_handler: offset_of!(VMStoreContext, last_wasm_entry_trap_handler),
    }),
};

// What the documentation of this module and of the embedder states as numbers.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<VMStoreContext>() == 144);
    assert!(offset_of!(VMStoreContext, stack_limit) == 0x18);
    assert!(offset_of!(VMStoreContext, last_wasm_exit_trampoline_fp) == 0x30);
    assert!(offset_of!(VMStoreContext, last_wasm_exit_pc) == 0x38);
    assert!(offset_of!(VMStoreContext, last_wasm_entry_sp) == 0x40);
    assert!(offset_of!(VMStoreContext, last_wasm_entry_fp) == 0x48);
    assert!(offset_of!(VMStoreContext, last_wasm_entry_trap_handler) == 0x50);
    assert!(offset_of!(VMArrayCallHostFuncContext, func_ref) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime_environ::{HostPtr, PtrSize as _};

    #[test]
    fn every_record_has_the_layout_that_the_compiler_assumes() {
        let comparison = layout::comparison();
        assert!(comparison.len() > 60, "the list covers all records");
        for (record, what, here, compiler) in comparison {
            assert_eq!(here, usize::from(compiler), "{what} of {record}");
        }
        assert_eq!(
            size_of::<VMStackChain>(),
            usize::from(HostPtr.size_of_vmstack_chain())
        );
        assert_eq!(
            offset_of!(VMArrayCallHostFuncContext, func_ref),
            usize::from(HostPtr.vmarray_call_host_func_context_func_ref()),
        );
    }

    #[test]
    fn the_head_of_an_instance_is_as_documented() {
        assert_eq!(HostPtr.vmctx_magic(), 0x00);
        assert_eq!(HostPtr.vmctx_store_context(), 0x08);
        assert_eq!(HostPtr.vmctx_builtin_functions(), 0x10);
        assert_eq!(HostPtr.vmctx_epoch_ptr(), 0x18);
        assert_eq!(HostPtr.vmctx_gc_heap_data(), 0x20);
        assert_eq!(HostPtr.vmctx_type_ids_array(), 0x28);
        assert_eq!(HostPtr.vmctx_dynamic_data_start(), 0x30);
    }

    #[test]
    fn slots_keep_every_bit() {
        assert_eq!(ValRaw::i32(u32::MAX).get_i32(), u32::MAX);
        assert_eq!(ValRaw::i64(u64::MAX - 1).get_i64(), u64::MAX - 1);
        assert_eq!(ValRaw::f32(0x7fa0_0001).get_f32(), 0x7fa0_0001);
        assert_eq!(
            ValRaw::f64(0x7ff4_0000_0000_0001).get_f64(),
            0x7ff4_0000_0000_0001
        );
        let vector = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
        assert_eq!(ValRaw::v128(vector).get_v128(), vector);
        let pointer = core::ptr::dangling_mut::<VMFuncRef>();
        assert_eq!(ValRaw::funcref(pointer).get_funcref(), pointer);
        assert!(ValRaw::default().get_funcref().is_null());
    }
}
