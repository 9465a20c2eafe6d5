//! The records that compiled code and its embedder share, generated from the
//! compiler's own description of them.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::AtomicUsize;

use wasmtime_environ::{
    DefinedGlobalIndex, DefinedMemoryIndex, DefinedTableIndex, DefinedTagIndex,
    NUM_COMPONENT_CONTEXT_SLOTS, VMSharedTypeIndex,
};

use super::VMContext;

/// A pointer, never null, that compiled code reads or writes.
///
/// Only an address as far as Rust is concerned: whoever reads through it needs
/// `unsafe` and a reason why the target is alive, so it can be sent anywhere.
#[repr(transparent)]
pub struct VmPtr<T>(NonNull<T>);

const _: () = assert!(size_of::<Option<VmPtr<u8>>>() == size_of::<usize>());

// SAFETY: holding or moving the address does nothing; each read through it is
// an unsafe operation whose author answers for the threads involved.
unsafe impl<T> Send for VmPtr<T> {}
// SAFETY: as for `Send`.
unsafe impl<T> Sync for VmPtr<T> {}

impl<T> VmPtr<T> {
    /// A well-aligned address with nothing behind it, for fields that compiled
    /// code of this configuration never follows.
    #[must_use]
    pub const fn dangling() -> Self {
        Self(NonNull::dangling())
    }

    /// The pointer.
    #[inline]
    #[must_use]
    pub const fn get(self) -> NonNull<T> {
        self.0
    }

    /// The pointer as a raw one.
    #[inline]
    #[must_use]
    pub const fn as_ptr(self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Clone for VmPtr<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for VmPtr<T> {}

impl<T> PartialEq for VmPtr<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for VmPtr<T> {}

impl<T> fmt::Debug for VmPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> From<NonNull<T>> for VmPtr<T> {
    #[inline]
    fn from(pointer: NonNull<T>) -> Self {
        Self(pointer)
    }
}

/// Defines types that exist only behind pointers.
macro_rules! opaque {
    ($( $(#[$doc:meta])* $name:ident; )*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            pub struct $name {
                _opaque: [u8; 0],
                _not_send: core::marker::PhantomData<*mut u8>,
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(stringify!($name))
                }
            }
        )*
    };
}

opaque! {
    /// A context of which it is not known whether it is an instance's
    /// [`VMContext`] or a host function's
    /// [`VMArrayCallHostFuncContext`]; their first word tells.
    VMOpaqueContext;
    /// The first instruction of a function with the array calling convention,
    /// see [`VMArrayCallNative`].
    VMArrayCallFunction;
    /// The first instruction of a function with the calling convention that
    /// compiled functions use among themselves.
    VMWasmCallFunction;
}

/// Where an imported global lives, for its owner's bookkeeping; compiled code
/// does not read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, u32)]
pub enum VMGlobalKind {
    /// It belongs to the host.
    Host(DefinedGlobalIndex),
    /// It belongs to an instance, at this index among the globals that the
    /// instance's module defines.
    Instance(DefinedGlobalIndex),
}

const _: () = assert!(size_of::<VMGlobalKind>() == 8 && align_of::<VMGlobalKind>() == 4);

/// The stacks of suspended computations, for the stack switching proposal,
/// which this crate's artifacts never use: always [`Absent`](Self::Absent).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize, C)]
pub enum VMStackChain {
    /// There are none.
    Absent = wasmtime_environ::STACK_CHAIN_ABSENT_DISCRIMINANT,
    /// The stack on which the host entered the guest.
    InitialStack(*mut c_void) = wasmtime_environ::STACK_CHAIN_INITIAL_STACK_DISCRIMINANT,
    /// The stack of a continuation.
    Continuation(*mut c_void) = wasmtime_environ::STACK_CHAIN_CONTINUATION_DISCRIMINANT,
}

const _: () = assert!(size_of::<VMStackChain>() == 2 * size_of::<usize>());

/// Turns the compiler's list of records into Rust types, and into a list of
/// `(record, member, offset here, offset according to the compiler)`.
macro_rules! define_records {
    ($(
        $(#[doc = $sdoc:literal])*
        $(#[derive($($derive:ident),*)])?
        #[repr($($repr:tt)*)]
        #[snake_name = $snake:ident]
        $svis:vis struct $name:ident {
            $(
                $(#[doc = $fdoc:literal])*
                $(#[aggregate])?
                $(#[readonly])?
                $(#[can_move])?
                $fvis:vis $field:ident: $type:ty,
            )*
        }
    )*) => {
        $(
            #[doc = concat!(
                "The record `", stringify!($name), "` of the compiler's version 48; ",
                "`wasmtime_environ::for_each_vm_type!` says what its fields mean.",
            )]
            $(#[derive($($derive),*)])?
            #[repr($($repr)*)]
            pub struct $name {
                $(
                    #[doc = concat!("The field `", stringify!($field), "`.")]
                    pub $field: $type,
                )*
            }
        )*

        /// Every size, alignment and field offset, here and in the compiler.
        #[cfg(test)]
        pub(super) fn comparison() -> alloc::vec::Vec<(&'static str, &'static str, usize, u8)> {
            use wasmtime_environ::{HostPtr, PtrSize as _};
            let mut list = alloc::vec::Vec::new();
            $(
                let name = stringify!($name);
                list.push((name, "size", size_of::<$name>(), HostPtr.$snake().size()));
                list.push((name, "align", align_of::<$name>(), HostPtr.$snake().align()));
                $(
                    list.push((
                        name,
                        stringify!($field),
                        core::mem::offset_of!($name, $field),
                        HostPtr.$snake().$field(),
                    ));
                )*
            )*
            list
        }
    };
}

wasmtime_environ::for_each_vm_type!(define_records);

/// The context of a host function with the array calling convention: what a
/// [`VMFuncRef`] or [`VMFunctionImport`] of such a function points to.
///
/// Compiled code reads only `func_ref` (to call through it), and debug checks
/// read `magic`. An embedder appends what its host function needs, with this
/// record as the first field of a `#[repr(C)]` type.
#[derive(Debug)]
#[repr(C)]
pub struct VMArrayCallHostFuncContext {
    /// [`MAGIC`](Self::MAGIC).
    pub magic: u32,
    /// The reference by which the function is called, its `vmctx` pointing
    /// back to this record.
    pub func_ref: VMFuncRef,
}

impl VMArrayCallHostFuncContext {
    /// The first word of a host function's context, where an instance's has
    /// [`VMCONTEXT_MAGIC`].
    pub const MAGIC: u32 = wasmtime_environ::VM_ARRAY_CALL_HOST_FUNC_MAGIC;
}

/// The first word of an instance's [`VMContext`].
pub const VMCONTEXT_MAGIC: u32 = wasmtime_environ::VMCONTEXT_MAGIC;

/// A function with the array calling convention: entry trampolines of
/// compiled functions have it, and host functions.
///
/// The arguments are the callee's context, the caller's context, an array that
/// holds the arguments on entry and the results on return, and the length of
/// that array in slots, which is the larger of the two counts. `false` means
/// that there are no results, because the callee trapped or failed; the reason
/// has been recorded in the innermost activation.
pub type VMArrayCallNative = unsafe extern "C" fn(
    callee: NonNull<VMOpaqueContext>,
    caller: NonNull<VMContext>,
    values: *mut ValRaw,
    length: usize,
) -> bool;

/// One slot of the array calling convention: 16 bytes, the value at the start,
/// little-endian on every machine.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ValRaw([u64; 2]);

// Compiled code strides through arrays of slots by 16 bytes, and promises only
// the alignment of a word for the arrays that it makes on its stack.
const _: () = assert!(size_of::<ValRaw>() == 16 && align_of::<ValRaw>() == 8);

/// Conversions between a slot and the types of values.
macro_rules! slots {
    ($( $(#[$doc:meta])* $name:ident / $get:ident: $type:ty; )*) => {
        $(
            #[doc = concat!("A slot that holds a value of type `", stringify!($name), "`.")]
            $(#[$doc])*
            #[inline]
            #[must_use]
            pub const fn $name(value: $type) -> Self {
                Self([(value as u64).to_le(), 0])
            }

            #[doc = concat!("The slot, read as a value of type `", stringify!($name), "`.")]
            $(#[$doc])*
            #[inline]
            #[must_use]
            pub const fn $get(self) -> $type {
                u64::from_le(self.0[0]) as $type
            }
        )*
    };
}

impl ValRaw {
    slots! {
        /// The bits, whatever their sign.
        i32 / get_i32: u32;
        /// The bits, whatever their sign.
        i64 / get_i64: u64;
        /// The bits of the number, so that no NaN changes on the way.
        f32 / get_f32: u32;
        /// The bits of the number, so that no NaN changes on the way.
        f64 / get_f64: u64;
        /// The host's handle, 0 for null. Bit 0 of a handle must be clear.
        externref / get_externref: u32;
    }

    /// A slot that holds a vector; lane 0 is in the least significant bits.
    #[inline]
    #[must_use]
    pub const fn v128(value: u128) -> Self {
        Self([(value as u64).to_le(), ((value >> 64) as u64).to_le()])
    }

    /// The slot, read as a vector.
    #[inline]
    #[must_use]
    pub const fn get_v128(self) -> u128 {
        (u64::from_le(self.0[1]) as u128) << 64 | u64::from_le(self.0[0]) as u128
    }

    /// A slot that holds a function reference, or null.
    #[inline]
    #[must_use]
    pub fn funcref(value: *mut VMFuncRef) -> Self {
        Self([(value.expose_provenance() as u64).to_le(), 0])
    }

    /// The slot, read as a function reference.
    #[inline]
    #[must_use]
    pub fn get_funcref(self) -> *mut VMFuncRef {
        core::ptr::with_exposed_provenance_mut(self.get_i64() as usize)
    }
}

impl fmt::Debug for ValRaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValRaw({:#034x})", self.get_v128())
    }
}
