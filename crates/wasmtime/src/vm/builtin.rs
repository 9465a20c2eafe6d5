//! The functions that compiled code expects its embedder to have.

use core::fmt;
use core::ptr::NonNull;

use wasmtime_environ::BuiltinFunctionIndex;

use super::VMContext;

/// How a builtin function tells compiled code that it failed, once it has
/// recorded why. The compiled code then calls [`Builtin::Raise`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BuiltinSentinel {
    /// `false`.
    False,
    /// The result -1, all bits set.
    MinusOne,
    /// The result -2. (-1 is a result: the memory or table did not grow.)
    MinusTwo,
    /// Any negative result.
    Negative,
}

/// Defines the builtin functions in one table.
macro_rules! builtins {
    ($(
        $(#[$doc:meta])*
        $variant:ident = $name:ident: fn($($arg:ident: $type:ty),*) $(-> $result:ty)?, $sentinel:expr;
    )*) => {
        /// A function that compiled code may call in its embedder.
        ///
        /// The compiler knows more of them; the others serve garbage
        /// collection, exceptions, fuel, epochs, lazily filled tables and
        /// debugging, none of which artifacts accepted by this crate use.
        /// Which ones an artifact does call,
        /// [`Artifact::builtins`](crate::Artifact::builtins) tells.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum Builtin {
            $( $(#[$doc])* $variant, )*
        }

        impl Builtin {
            /// All of them, in the order of their indices.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            /// The place of the function in a [`VMBuiltinFunctionsArray`].
            #[must_use]
            pub const fn index(self) -> BuiltinFunctionIndex {
                match self {
                    $( Self::$variant => BuiltinFunctionIndex::$name(), )*
                }
            }

            /// The function at this place, `None` if artifacts accepted by
            /// this crate never call it.
            #[must_use]
            pub const fn from_index(index: u32) -> Option<Self> {
                $(
                    if index == BuiltinFunctionIndex::$name().index() {
                        return Some(Self::$variant);
                    }
                )*
                None
            }

            /// The compiler's name of the function.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => stringify!($name), )*
                }
            }

            /// The result by which the function reports a failure, `None` if
            /// it cannot fail.
            #[must_use]
            pub const fn sentinel(self) -> Option<BuiltinSentinel> {
                match self {
                    $( Self::$variant => $sentinel, )*
                }
            }
        }

        /// One implementation for each [`Builtin`], by the compiler's names
        /// and with the compiler's signatures.
        ///
        /// The first argument of each is the context of the instance whose
        /// code makes the call.
        #[derive(Clone, Copy)]
        #[expect(missing_debug_implementations, reason = "function addresses say nothing")]
        pub struct Builtins {
            $(
                $(#[$doc])*
                pub $name: unsafe extern "C" fn(vmctx: NonNull<VMContext> $(, $arg: $type)*) $(-> $result)?,
            )*
        }

        /// Makes a table of functions that do nothing, and checks each place.
        #[cfg(test)]
        fn check_places(missing: unsafe extern "C" fn() -> !) -> VMBuiltinFunctionsArray {
            $(
                unsafe extern "C" fn $name(_: NonNull<VMContext> $(, $arg: $type)*) $(-> $result)? {
                    $( let _ = $arg; )*
                    std::process::abort()
                }
            )*
            let builtins = Builtins { $( $name, )* };
            let table = builtins.array(missing);
            $( assert_eq!(table.function(Builtin::$variant.index()), $name as *const ()); )*
            table
        }

        // The signatures are those that the compiler calls.
        const _: fn(Builtins) = |builtins| {
            $( let _: compiler::$name = builtins.$name; )*
        };

        impl Builtins {
            /// The table that an instance's context points to. `missing` takes
            /// the place of the functions that are never called.
            #[must_use]
            pub const fn array(&self, missing: unsafe extern "C" fn() -> !) -> VMBuiltinFunctionsArray {
                let mut functions = [missing as *const (); COUNT];
                $( functions[Builtin::$variant.index().index() as usize] = self.$name as *const (); )*
                VMBuiltinFunctionsArray { functions }
            }
        }
    };
}

builtins! {
    /// Grows the memory with this defined index by `delta` of its pages.
    /// Returns the previous size in pages, -1 if it can't grow.
    MemoryGrow = memory_grow: fn(delta: u64, memory: u32) -> *mut u8, Some(BuiltinSentinel::MinusTwo);
    /// Copies `length` bytes between addresses that have been checked; they
    /// may overlap.
    MemoryCopy = memory_copy: fn(to: *mut u8, from: *mut u8, length: usize), None;
    /// Fills `length` bytes at an address that has been checked with the low
    /// byte of `value`.
    MemoryFill = memory_fill: fn(to: *mut u8, value: u32, length: usize), None;
    /// The number of elements in a passive element segment, 0 once dropped.
    PassiveElemSegmentLen = passive_elem_segment_len: fn(segment: u32) -> usize, None;
    /// The elements of a passive element segment: slots of 16 bytes, as
    /// [`ValRaw`](super::ValRaw).
    PassiveElemSegmentBase = passive_elem_segment_base: fn(segment: u32) -> *mut u8, None;
    /// Drops a passive element segment.
    PassiveElemSegmentDrop = passive_elem_segment_drop: fn(segment: u32) -> bool, Some(BuiltinSentinel::False);
    /// A reference ([`VMFuncRef`](super::VMFuncRef)) to the function with this
    /// index, imports included; never null, the same one every time.
    RefFunc = ref_func: fn(function: u32) -> *mut u8, None;
    /// Grows the table with this defined index by `delta` elements. Returns
    /// the previous size in elements, -1 if it can't grow. Compiled code then
    /// fills in the new elements itself.
    TableGrow = table_grow: fn(table: u32, delta: u64) -> *mut u8, Some(BuiltinSentinel::MinusTwo);
    /// Wakes at most `count` of those that wait at byte `address` of the
    /// memory with this index. Returns how many.
    MemoryAtomicNotify = memory_atomic_notify: fn(memory: u32, address: u64, count: u32) -> u64, Some(BuiltinSentinel::Negative);
    /// Waits while the 32-bit word at byte `address` of the memory with this
    /// index is `expected`, for `timeout` nanoseconds, forever if that is
    /// negative as a signed number. Returns 0 if woken, 1 if the word is
    /// another one, 2 after the timeout.
    MemoryAtomicWait32 = memory_atomic_wait32: fn(memory: u32, address: u64, expected: u32, timeout: u64) -> u64, Some(BuiltinSentinel::Negative);
    /// The same for a 64-bit word.
    MemoryAtomicWait64 = memory_atomic_wait64: fn(memory: u32, address: u64, expected: u64, timeout: u64) -> u64, Some(BuiltinSentinel::Negative);
    /// Rounds up; called where the CPU cannot (x86_64 without SSE4.1). This
    /// and its like must return a quiet NaN for every NaN.
    CeilF32 = ceil_f32: fn(x: f32) -> f32, None;
    /// Rounds up.
    CeilF64 = ceil_f64: fn(x: f64) -> f64, None;
    /// Rounds down.
    FloorF32 = floor_f32: fn(x: f32) -> f32, None;
    /// Rounds down.
    FloorF64 = floor_f64: fn(x: f64) -> f64, None;
    /// Rounds towards zero.
    TruncF32 = trunc_f32: fn(x: f32) -> f32, None;
    /// Rounds towards zero.
    TruncF64 = trunc_f64: fn(x: f64) -> f64, None;
    /// Rounds to the nearest, ties to even.
    NearestF32 = nearest_f32: fn(x: f32) -> f32, None;
    /// Rounds to the nearest, ties to even.
    NearestF64 = nearest_f64: fn(x: f64) -> f64, None;
    /// Records the trap with this code, which
    /// [`trap_kind_from_code`](crate::trap_kind_from_code) understands, and
    /// returns. Only called by code with explicit checks.
    Trap = trap: fn(code: u8), None;
    /// Leaves the guest with what has been recorded; must not return.
    Raise = raise: fn(), None;
}

/// The signatures of all builtin functions, from the compiler's own list.
#[expect(dead_code, reason = "not all of the functions are used")]
mod compiler {
    use super::{NonNull, VMContext};

    macro_rules! rust_type {
        (pointer) => { *mut u8 };
        (size) => { usize };
        // No function that is used has vectors.
        (i8x16) => { u128 };
        (f32x4) => { u128 };
        (f64x2) => { u128 };
        ($name:ident) => { $name };
    }

    macro_rules! signatures {
        ($(
            $(#[$attribute:meta])*
            $name:ident(vmctx: vmctx $(, $arg:ident: $type:ident)*) $(-> $result:ident)?;
        )*) => {
            $(
                pub(super) type $name = unsafe extern "C" fn(
                    NonNull<VMContext> $(, rust_type!($type))*
                ) $(-> rust_type!($result))?;
            )*
        };
    }

    wasmtime_environ::foreach_builtin_function!(signatures);
}

/// The number of entries in a [`VMBuiltinFunctionsArray`].
const COUNT: usize = BuiltinFunctionIndex::len() as usize;

/// The table of builtin functions that an instance's context points to.
///
/// Its length does not depend on any feature of this crate or the compiler.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct VMBuiltinFunctionsArray {
    functions: [*const (); COUNT],
}

// SAFETY: addresses of functions, which all threads may call.
unsafe impl Send for VMBuiltinFunctionsArray {}
// SAFETY: as for `Send`.
unsafe impl Sync for VMBuiltinFunctionsArray {}

impl VMBuiltinFunctionsArray {
    /// The address of the function at this place.
    #[must_use]
    pub const fn function(&self, index: BuiltinFunctionIndex) -> *const () {
        self.functions[index.index() as usize]
    }
}

impl fmt::Debug for VMBuiltinFunctionsArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.functions).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime_environ::TrapSentinel;

    #[test]
    fn builtins_are_numbered_and_named_as_by_the_compiler() {
        for builtin in Builtin::ALL {
            assert_eq!(Builtin::from_index(builtin.index().index()), Some(*builtin));
            assert_eq!(builtin.name(), builtin.index().name());
        }
        let known = (0..BuiltinFunctionIndex::len())
            .filter_map(Builtin::from_index)
            .count();
        assert_eq!(known, Builtin::ALL.len());
        assert!(Builtin::ALL.is_sorted_by_key(|builtin| builtin.index().index()));
        assert_eq!(Builtin::from_index(u32::MAX), None);
    }

    // Without its features, the compiler's crate does not know all of them.
    #[cfg(feature = "compile")]
    #[test]
    fn sentinels_are_those_that_the_compiler_tests_for() {
        for builtin in Builtin::ALL {
            let theirs = builtin
                .index()
                .trap_sentinel()
                .map(|sentinel| match sentinel {
                    TrapSentinel::Falsy => BuiltinSentinel::False,
                    TrapSentinel::NegativeTwo => BuiltinSentinel::MinusTwo,
                    TrapSentinel::NegativeOne => BuiltinSentinel::MinusOne,
                    TrapSentinel::Negative => BuiltinSentinel::Negative,
                });
            assert_eq!(builtin.sentinel(), theirs, "{builtin:?}");
        }
    }

    #[test]
    fn functions_come_to_their_places_in_the_table() {
        unsafe extern "C" fn missing() -> ! {
            std::process::abort()
        }
        let table = check_places(missing);
        assert_eq!(
            table.function(BuiltinFunctionIndex::out_of_gas()),
            missing as *const ()
        );
        assert_eq!(
            size_of::<VMBuiltinFunctionsArray>(),
            COUNT * size_of::<usize>()
        );
    }
}
