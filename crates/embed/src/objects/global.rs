//! The globals of a store.

use trapline_wasmtime::vm::{VMFuncRef, VMGlobalDefinition, VMGlobalImport, VMGlobalKind, ValRaw};
use trapline_wasmtime::wasmtime_environ::DefinedGlobalIndex;

use crate::compiled::definition::Definition;
use crate::types::{GlobalType, ValType};

/// A global that a store knows.
#[derive(Debug)]
pub(crate) struct GlobalObject {
    ty: GlobalType,
    definition: Definition<VMGlobalDefinition>,
}

impl GlobalObject {
    pub(crate) fn new(ty: GlobalType, definition: Definition<VMGlobalDefinition>) -> Self {
        Self { ty, definition }
    }

    pub(crate) fn ty(&self) -> GlobalType {
        self.ty
    }

    /// What an instance that imports the global is told of it. (Whose it is,
    /// compiled code does not ask.)
    pub(crate) fn import(&self) -> VMGlobalImport {
        VMGlobalImport {
            from: self.definition.as_non_null().into(),
            vmctx: None,
            kind: VMGlobalKind::Host(DefinedGlobalIndex::from_u32(0)),
        }
    }

    /// The value. Compiled code keeps numbers and references in the byte order
    /// of the machine, vectors little-endian.
    pub(crate) fn get(&self) -> ValRaw {
        let value = self.definition.as_non_null();
        // SAFETY: 16 initialised bytes, aligned to 16, that hold a value of this
        // type; no guest is running.
        unsafe {
            match self.ty.value {
                ValType::I32 => ValRaw::i32(value.cast::<u32>().read()),
                ValType::I64 => ValRaw::i64(value.cast::<u64>().read()),
                ValType::F32 => ValRaw::f32(value.cast::<u32>().read()),
                ValType::F64 => ValRaw::f64(value.cast::<u64>().read()),
                ValType::V128 => ValRaw::v128(u128::from_le(value.cast::<u128>().read())),
                ValType::Ref(ty) if ty.heap.is_func() => {
                    ValRaw::funcref(value.cast::<*mut VMFuncRef>().read())
                }
                ValType::Ref(_) => ValRaw::externref(value.cast::<u32>().read()),
            }
        }
    }

    /// Changes the value to one of the global's type.
    pub(crate) fn set(&self, slot: ValRaw) {
        let value = self.definition.as_non_null();
        // SAFETY: as for `get`.
        unsafe {
            match self.ty.value {
                ValType::I32 => value.cast::<u32>().write(slot.get_i32()),
                ValType::I64 => value.cast::<u64>().write(slot.get_i64()),
                ValType::F32 => value.cast::<u32>().write(slot.get_f32()),
                ValType::F64 => value.cast::<u64>().write(slot.get_f64()),
                ValType::V128 => value.cast::<u128>().write(slot.get_v128().to_le()),
                ValType::Ref(ty) if ty.heap.is_func() => {
                    value.cast::<*mut VMFuncRef>().write(slot.get_funcref());
                }
                ValType::Ref(_) => value.cast::<u32>().write(slot.get_externref()),
            }
        }
    }
}

// The largest value, a vector, fits and is aligned.
const _: () = assert!(
    size_of::<VMGlobalDefinition>() == size_of::<u128>() && align_of::<VMGlobalDefinition>() == 16
);
