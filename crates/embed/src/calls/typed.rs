//! Calls in both directions whose types are known when they are compiled: no
//! allocation, and types are checked once.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use trapline_activation::UnwindReason;
use trapline_wasmtime::vm::ValRaw;

use crate::calls::caller::Caller;
use crate::calls::error::Error;
use crate::calls::value::ExternRef;
use crate::objects::func::Func;
use crate::objects::id::StoreId;
use crate::store::context::StoreContext;
use crate::types::{FuncType, HeapType, RefType, ValType};
use crate::usage::UsageError;

mod sealed {
    use super::*;

    /// How a type of Rust is passed.
    ///
    /// # Safety
    ///
    /// * A slot that [`to_slot`](Self::to_slot) made holds a value of type
    ///   [`TYPE`](Self::TYPE).
    pub unsafe trait Value: Copy + 'static {
        const TYPE: ValType;

        fn to_slot(self, store: StoreId) -> Result<ValRaw, UsageError>;

        /// # Safety
        ///
        /// * The slot holds a value of type [`TYPE`](Self::TYPE) of this store.
        unsafe fn from_slot(slot: ValRaw, store: StoreId) -> Self;
    }

    /// How a list of types of Rust is passed.
    ///
    /// # Safety
    ///
    /// * [`store`](Self::store) fills [`LEN`](Self::LEN) slots with values of
    ///   [`types`](Self::types), of which there are as many.
    /// * [`Slots`](Self::Slots) has room for as many.
    pub unsafe trait Values: 'static {
        const LEN: usize;

        type Slots: Copy;

        fn types() -> Vec<ValType>;

        /// # Safety
        ///
        /// * There is room for [`LEN`](Self::LEN) slots.
        unsafe fn store(
            self,
            slots: *mut MaybeUninit<ValRaw>,
            store: StoreId,
        ) -> Result<(), UsageError>;

        /// # Safety
        ///
        /// * There are [`LEN`](Self::LEN) slots, with values of
        ///   [`types`](Self::types) of this store.
        unsafe fn load(slots: *const ValRaw, store: StoreId) -> Self;
    }
}

pub(crate) use sealed::{Value, Values};

/// Types of Rust that stand for one value of WebAssembly:
///
/// | Rust | WebAssembly |
/// | --- | --- |
/// | `i32`, `u32` | `i32` |
/// | `i64`, `u64` | `i64` |
/// | `f32`, `f64` | `f32`, `f64` |
/// | `u128` | `v128`, lane 0 in the least significant bits |
/// | `Option<Func>`, `Func` | `funcref`, `(ref func)` |
/// | `Option<ExternRef>`, `ExternRef` | `externref`, `(ref extern)` |
///
/// (A NaN keeps its bits as far as Rust promises that; use [`Val`](crate::Val)
/// where they matter.)
pub trait WasmValue: Value {}

/// Lists of values, for parameters and results: `()`, one [`WasmValue`], or a tuple
/// of up to 16.
pub trait WasmValues: Values {}

macro_rules! value {
    ($t:ty: $ty:expr, |$x:ident, $to_store:pat_param| $to:expr, |$slot:ident, $store:pat_param| $from:expr) => {
        // SAFETY: the slot's constructor is that of the type.
        unsafe impl Value for $t {
            const TYPE: ValType = $ty;

            #[inline]
            fn to_slot(self, $to_store: StoreId) -> Result<ValRaw, UsageError> {
                let $x = self;
                Ok($to)
            }

            #[inline]
            unsafe fn from_slot($slot: ValRaw, $store: StoreId) -> Self {
                $from
            }
        }

        impl WasmValue for $t {}
    };
}

const FUNC: ValType = ValType::Ref(RefType {
    nullable: false,
    heap: HeapType::Func,
});
const EXTERN: ValType = ValType::Ref(RefType {
    nullable: false,
    heap: HeapType::Extern,
});

value!(i32: ValType::I32, |x, _| ValRaw::i32(x.cast_unsigned()), |s, _| s.get_i32().cast_signed());
value!(u32: ValType::I32, |x, _| ValRaw::i32(x), |s, _| s.get_i32());
value!(i64: ValType::I64, |x, _| ValRaw::i64(x.cast_unsigned()), |s, _| s.get_i64().cast_signed());
value!(u64: ValType::I64, |x, _| ValRaw::i64(x), |s, _| s.get_i64());
value!(f32: ValType::F32, |x, _| ValRaw::f32(x.to_bits()), |s, _| f32::from_bits(s.get_f32()));
value!(f64: ValType::F64, |x, _| ValRaw::f64(x.to_bits()), |s, _| f64::from_bits(s.get_f64()));
value!(u128: ValType::V128, |x, _| ValRaw::v128(x), |s, _| s.get_v128());
value!(
    Option<ExternRef>: ValType::EXTERNREF,
    |x, _| ValRaw::externref(ExternRef::to_handle(x)),
    |s, _| ExternRef::from_handle(s.get_externref())
);
value!(
    ExternRef: EXTERN,
    |x, _| ValRaw::externref(ExternRef::to_handle(Some(x))),
    |s, _| ExternRef::from_handle(s.get_externref()).expect("the type has no null")
);
value!(
    Option<Func>: ValType::FUNCREF,
    |x, store| {
        if let Some(func) = x {
            func.check(store)?;
        }
        ValRaw::funcref(Func::to_pointer(x))
    },
    |s, store| NonNull::new(s.get_funcref())
        // SAFETY: a function reference of the store, by this function's duty.
        .map(|func_ref| unsafe { Func::new_in(store, func_ref) })
);
value!(
    Func: FUNC,
    |x, store| {
        x.check(store)?;
        ValRaw::funcref(Func::to_pointer(Some(x)))
    },
    |s, store| {
        // SAFETY: as for this function.
        let func = unsafe { <Option<Self> as Value>::from_slot(s, store) };
        func.expect("the type has no null")
    }
);

// SAFETY: one slot, of the value's type.
unsafe impl<V: WasmValue> Values for V {
    const LEN: usize = 1;

    type Slots = [MaybeUninit<ValRaw>; 1];

    fn types() -> Vec<ValType> {
        alloc::vec![V::TYPE]
    }

    #[inline]
    unsafe fn store(
        self,
        slots: *mut MaybeUninit<ValRaw>,
        store: StoreId,
    ) -> Result<(), UsageError> {
        let slot = self.to_slot(store)?;
        // SAFETY: there is room for one, by this function's duty.
        unsafe { slots.write(MaybeUninit::new(slot)) };
        Ok(())
    }

    #[inline]
    unsafe fn load(slots: *const ValRaw, store: StoreId) -> Self {
        // SAFETY: there is one slot, of this type, by this function's duty.
        unsafe { V::from_slot(slots.read(), store) }
    }
}

impl<V: WasmValue> WasmValues for V {}

/// Room for the arguments of a call, and for its results in their place.
union Slots<P: Values, R: Values> {
    _params: P::Slots,
    _results: R::Slots,
}

impl<P: Values, R: Values> Slots<P, R> {
    /// How many there are.
    const LEN: usize = if P::LEN > R::LEN { P::LEN } else { R::LEN };

    /// Slots of zeros.
    ///
    /// Compiled code writes as many bytes of a slot as a value has; all of them are read.
    #[inline]
    fn zeroed() -> MaybeUninit<Self> {
        const {
            assert!(Self::LEN * size_of::<ValRaw>() <= size_of::<Self>());
            assert!(Self::LEN == 0 || align_of::<ValRaw>() <= align_of::<Self>());
        }
        let mut slots = MaybeUninit::<Self>::uninit();
        let first = slots.as_mut_ptr().cast::<ValRaw>();
        for index in 0..Self::LEN {
            // SAFETY: there is room for all of them, as asserted.
            unsafe { first.add(index).write(ValRaw::v128(0)) };
        }
        slots
    }
}

macro_rules! one {
    ($v:ident) => {
        1
    };
}

macro_rules! tuples {
    ($(($($v:ident)*))*) => { $(
        // SAFETY: one slot for each value, of its type, in order.
        unsafe impl<$($v: WasmValue),*> Values for ($($v,)*) {
            const LEN: usize = 0 $(+ one!($v))*;

            type Slots = [MaybeUninit<ValRaw>; 0 $(+ one!($v))*];

            fn types() -> Vec<ValType> {
                alloc::vec![$($v::TYPE),*]
            }

            #[inline]
            #[allow(non_snake_case, unused_variables, unused_mut, unused_assignments, clippy::allow_attributes, reason = "one text for all lengths, named by the types")]
            unsafe fn store(
                self,
                mut slots: *mut MaybeUninit<ValRaw>,
                store: StoreId,
            ) -> Result<(), UsageError> {
                let ($($v,)*) = self;
                $(
                    // SAFETY: there is room for all, by this function's duty.
                    slots = unsafe {
                        slots.write(MaybeUninit::new($v.to_slot(store)?));
                        slots.add(1)
                    };
                )*
                Ok(())
            }

            #[inline]
            #[allow(unused_variables, unused_mut, unused_assignments, clippy::unused_unit, clippy::allow_attributes, reason = "one text for all lengths")]
            unsafe fn load(mut slots: *const ValRaw, store: StoreId) -> Self {
                ($(
                    // SAFETY: there are all slots, of these types, by this
                    // function's duty.
                    unsafe {
                        let value = $v::from_slot(slots.read(), store);
                        slots = slots.add(1);
                        value
                    },
                )*)
            }
        }

        impl<$($v: WasmValue),*> WasmValues for ($($v,)*) {}

        call_closures!($($v)*);
    )* };
}

macro_rules! call_closures {
    ($($v:ident)*) => {
        impl<T, F, R, $($v),*> IntoFunc<T, (Caller<'_, T>, $($v,)*), R> for F
        where
            T: 'static,
            F: Fn(Caller<'_, T>, $($v),*) -> R + Send + Sync + 'static,
            R: HostReturn,
            $($v: WasmValue,)*
        {
            type Params = ($($v,)*);
            type Results = R::Values;
            type Return = R;

            #[inline]
            #[allow(non_snake_case, clippy::allow_attributes, reason = "named by the types")]
            fn call(&self, caller: Caller<'_, T>, ($($v,)*): Self::Params) -> R {
                self(caller, $($v),*)
            }
        }

        impl<T, F, R, $($v),*> IntoFunc<T, ($($v,)*), R> for F
        where
            T: 'static,
            F: Fn($($v),*) -> R + Send + Sync + 'static,
            R: HostReturn,
            $($v: WasmValue,)*
        {
            type Params = ($($v,)*);
            type Results = R::Values;
            type Return = R;

            #[inline]
            #[allow(non_snake_case, clippy::allow_attributes, reason = "named by the types")]
            fn call(&self, _caller: Caller<'_, T>, ($($v,)*): Self::Params) -> R {
                self($($v),*)
            }
        }
    };
}

/// Closures that can be functions of the host: up to 16 parameters that are
/// [`WasmValue`]s, before them, if wanted, a [`Caller`]; what they return is a
/// [`HostReturn`]. `P` and `R` tell the impls apart and are inferred.
///
/// A panic of the closure goes on where the guest was entered, with its
/// payload; an error comes out there as the guest's trap.
pub trait IntoFunc<T: 'static, P, R>: Send + Sync + 'static {
    /// The parameters.
    type Params: WasmValues;
    /// The results.
    type Results: WasmValues;
    /// What the closure returns.
    type Return: HostReturn<Values = Self::Results>;

    /// Calls the closure.
    fn call(&self, caller: Caller<'_, T>, params: Self::Params) -> Self::Return;
}

/// What a function of the host may return: [`WasmValues`], or a `Result` of them whose error is
/// an [`Error`] or becomes a [`TrapReason`](trapline_activation::TrapReason) (`anyhow::Error`, `TrapKind`).
///
/// Whatever the error is, it leaves the guest that called: it comes out there as a trap. The trap of a nested
/// guest comes out as it was, with its backtrace; a [mistake](Error::usage) is what the host function
/// has failed with like any other error, and has the backtrace of the guest that called.
pub trait HostReturn {
    /// The values.
    type Values: WasmValues;

    /// The values, or why to leave the guest.
    ///
    /// # Errors
    ///
    /// Why there are none.
    fn into_result(self) -> Result<Self::Values, UnwindReason>;
}

impl<V: WasmValues> HostReturn for V {
    type Values = V;

    #[inline]
    fn into_result(self) -> Result<V, UnwindReason> {
        Ok(self)
    }
}

impl<V: WasmValues, E: Into<UnwindReason>> HostReturn for Result<V, E> {
    type Values = V;

    #[inline]
    fn into_result(self) -> Result<V, UnwindReason> {
        self.map_err(Into::into)
    }
}

tuples! {
    ()
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E G)
    (A B C D E G H)
    (A B C D E G H I)
    (A B C D E G H I J)
    (A B C D E G H I J K)
    (A B C D E G H I J K L)
    (A B C D E G H I J K L M)
    (A B C D E G H I J K L M N)
    (A B C D E G H I J K L M N O)
    (A B C D E G H I J K L M N O P)
    (A B C D E G H I J K L M N O P Q)
}

/// A [`Func`] whose parameters `P` and results `R` were checked: calling it
/// allocates nothing and looks nothing up.
pub struct TypedFunc<P, R> {
    func: Func,
    _types: PhantomData<fn(P) -> R>,
}

impl<P: WasmValues, R: WasmValues> TypedFunc<P, R> {
    /// The function, if it has these types.
    pub(crate) fn check<T>(func: Func, store: &StoreContext<T>) -> Result<Self, Error> {
        let found = func.ty(store);
        let expected = FuncType::new(P::types(), R::types());
        let types = store.engine().types();
        let all_match = |subs: &[ValType], sups: &[ValType]| {
            subs.len() == sups.len()
                && subs
                    .iter()
                    .zip(sups)
                    .all(|(sub, sup)| types.matches(*sub, *sup))
        };
        if all_match(expected.params(), found.params())
            && all_match(found.results(), expected.results())
        {
            Ok(Self {
                func,
                _types: PhantomData,
            })
        } else {
            Err(UsageError::Signature { expected, found }.into())
        }
    }

    /// The function, to be called with values of any types.
    #[must_use]
    pub const fn func(&self) -> Func {
        self.func
    }

    /// Calls the function.
    ///
    /// # Errors
    ///
    /// The trap, or the host's error, that the call ended with; a mistake
    /// ([`Error::usage`]) if the function, or one among the arguments, belongs
    /// to another store.
    ///
    /// # Panics
    ///
    /// Goes on with the panic of a host function that was called by the guest.
    //
    // Always, with all that it calls up to the trampoline: a fifth of an empty call would
    // be the registers that a call of its own saves. All that is long is apart.
    #[inline(always)]
    pub fn call<T>(&self, store: &mut StoreContext<T>, params: P) -> Result<R, Error> {
        let core = store.core();
        let id = core.id();
        self.func.check(id)?;
        let mut slots = Slots::<P, R>::zeroed();
        let first: *mut ValRaw = slots.as_mut_ptr().cast();
        // SAFETY: there are slots for both lists; the function is this
        // store's, and `check` has found that its parameters and results are as
        // many, and of types that these may stand in for and the other way round.
        unsafe {
            params.store(first.cast(), id)?;
            core.call(self.func.func_ref(), first, Slots::<P, R>::LEN)?;
            Ok(R::load(first, id))
        }
    }
}

impl<P, R> Clone for TypedFunc<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for TypedFunc<P, R> {}

impl<P, R> fmt::Debug for TypedFunc<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedFunc").field(&self.func).finish()
    }
}
