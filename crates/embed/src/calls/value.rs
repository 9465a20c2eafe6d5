//! Values of WebAssembly, as the host sees them.

use core::ptr::NonNull;

use trapline_wasmtime::vm::{VMFuncRef, ValRaw};

use crate::engine::Engine;
use crate::objects::func::Func;
use crate::objects::id::StoreId;
use crate::types::{HeapType, RefType, ValType};
use crate::usage::UsageError;

/// A reference to something of the host's: a number that the guest can keep and
/// pass on but not look into. What it stands for is the host's business.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExternRef(u32);

impl ExternRef {
    /// The largest number.
    pub const MAX: u32 = (1 << 31) - 2;

    /// A reference with this number, `None` if it is larger than [`MAX`](Self::MAX).
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// What compiled code gets: neither 0, which is null, nor odd, which the
    /// compiler keeps for small integers.
    pub(crate) const fn to_handle(value: Option<Self>) -> u32 {
        match value {
            Some(Self(number)) => (number + 1) << 1,
            None => 0,
        }
    }

    /// The reverse of [`to_handle`](Self::to_handle).
    pub(crate) const fn from_handle(handle: u32) -> Option<Self> {
        match (handle >> 1).checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// A value of WebAssembly.
///
/// Floating-point numbers are their bits, so that no NaN changes on the way;
/// `Val` compares them as bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Val {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit floating-point number.
    F32(u32),
    /// The bits of a 64-bit floating-point number.
    F64(u64),
    /// A vector; lane 0 is in the least significant bits.
    V128(u128),
    /// A function, or null.
    FuncRef(Option<Func>),
    /// Something of the host's, or null.
    ExternRef(Option<ExternRef>),
}

impl Val {
    /// Zero, or null.
    #[must_use]
    pub const fn zero(ty: ValType) -> Self {
        match ty {
            ValType::I32 => Self::I32(0),
            ValType::I64 => Self::I64(0),
            ValType::F32 => Self::F32(0),
            ValType::F64 => Self::F64(0),
            ValType::V128 => Self::V128(0),
            ValType::Ref(ty) if ty.heap.is_func() => Self::FuncRef(None),
            ValType::Ref(_) => Self::ExternRef(None),
        }
    }

    /// The most precise type of the value that can be told without its store:
    /// for a function, any function.
    #[must_use]
    pub const fn ty(&self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
            Self::V128(_) => ValType::V128,
            Self::FuncRef(None) => ValType::Ref(RefType {
                nullable: true,
                heap: HeapType::NoFunc,
            }),
            Self::FuncRef(Some(_)) => ValType::Ref(RefType {
                nullable: false,
                heap: HeapType::Func,
            }),
            Self::ExternRef(None) => ValType::Ref(RefType {
                nullable: true,
                heap: HeapType::NoExtern,
            }),
            Self::ExternRef(Some(_)) => ValType::Ref(RefType {
                nullable: false,
                heap: HeapType::Extern,
            }),
        }
    }

    /// The number in a `f32` value.
    #[must_use]
    pub fn f32(self) -> Option<f32> {
        match self {
            Self::F32(bits) => Some(f32::from_bits(bits)),
            _ => None,
        }
    }

    /// The number in a `f64` value.
    #[must_use]
    pub fn f64(self) -> Option<f64> {
        match self {
            Self::F64(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    /// The slot for compiled code of the store `store`, after checking that the
    /// value is of type `ty` and belongs there.
    pub(crate) fn to_slot(
        self,
        engine: &Engine,
        store: StoreId,
        ty: ValType,
    ) -> Result<ValRaw, UsageError> {
        let own = match self {
            Self::FuncRef(Some(func)) => {
                func.check(store)?;
                let heap = HeapType::Concrete(func.type_index());
                ValType::Ref(RefType {
                    nullable: false,
                    heap,
                })
            }
            other => other.ty(),
        };
        if !engine.types().matches(own, ty) {
            return Err(UsageError::ValueType {
                expected: ty,
                found: own,
            });
        }
        Ok(match self {
            Self::I32(value) => ValRaw::i32(value.cast_unsigned()),
            Self::I64(value) => ValRaw::i64(value.cast_unsigned()),
            Self::F32(bits) => ValRaw::f32(bits),
            Self::F64(bits) => ValRaw::f64(bits),
            Self::V128(bits) => ValRaw::v128(bits),
            Self::FuncRef(func) => ValRaw::funcref(Func::to_pointer(func)),
            Self::ExternRef(value) => ValRaw::externref(ExternRef::to_handle(value)),
        })
    }

    /// The value in a slot of type `ty`.
    ///
    /// # Safety
    ///
    /// * The slot was filled by compiled code of `store` with a value of this
    ///   type, or by [`to_slot`](Self::to_slot) for this store and type.
    pub(crate) unsafe fn from_slot(slot: ValRaw, store: StoreId, ty: ValType) -> Self {
        match ty {
            ValType::I32 => Self::I32(slot.get_i32().cast_signed()),
            ValType::I64 => Self::I64(slot.get_i64().cast_signed()),
            ValType::F32 => Self::F32(slot.get_f32()),
            ValType::F64 => Self::F64(slot.get_f64()),
            ValType::V128 => Self::V128(slot.get_v128()),
            ValType::Ref(ty) if ty.heap.is_func() => {
                let func_ref = NonNull::<VMFuncRef>::new(slot.get_funcref());
                // SAFETY: a function reference of the store, by this
                // function's duty.
                Self::FuncRef(func_ref.map(|func_ref| unsafe { Func::new_in(store, func_ref) }))
            }
            ValType::Ref(_) => Self::ExternRef(ExternRef::from_handle(slot.get_externref())),
        }
    }
}

macro_rules! val_from {
    ($($t:ty, $x:ident => $val:expr;)*) => { $(
        impl From<$t> for Val {
            fn from($x: $t) -> Self {
                $val
            }
        }
    )* };
}

val_from! {
    i32, x => Self::I32(x);
    u32, x => Self::I32(x.cast_signed());
    i64, x => Self::I64(x);
    u64, x => Self::I64(x.cast_signed());
    f32, x => Self::F32(x.to_bits());
    f64, x => Self::F64(x.to_bits());
    u128, x => Self::V128(x);
    Func, x => Self::FuncRef(Some(x));
    Option<Func>, x => Self::FuncRef(x);
    ExternRef, x => Self::ExternRef(Some(x));
    Option<ExternRef>, x => Self::ExternRef(x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_external_references_are_even_and_not_null() {
        for number in [0, 1, 41, ExternRef::MAX] {
            let value = ExternRef::new(number);
            let handle = ExternRef::to_handle(value);
            assert!(handle != 0 && handle & 1 == 0, "{handle:#x}");
            assert_eq!(ExternRef::from_handle(handle), value);
        }
        assert_eq!(ExternRef::new(ExternRef::MAX + 1), None);
        assert_eq!(ExternRef::from_handle(ExternRef::to_handle(None)), None);
    }
}
