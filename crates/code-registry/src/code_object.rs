//! What the registry knows of a piece of compiled code.

use core::any::Any;
use core::ops::Range;

use trapline_arch::VirtualAddress;

use crate::TrapKind;

/// The place in the source that an instruction was compiled from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CodeAddress {
    /// Index of the function, imports included, in its WebAssembly module; for
    /// other code whatever its owner numbers its functions by.
    pub function: u32,
    /// Byte offset of the instruction, from the start of the WebAssembly
    /// module; `None` for instructions that no bytecode stands behind (parts
    /// of a prologue, trampolines).
    pub bytecode_offset: Option<u32>,
}

/// A contiguous range of compiled code with its side tables.
///
/// The methods are called with byte offsets from the start of
/// [`text`](Self::text), always smaller than its length.
///
/// The object is dropped by whoever removes code from the registry, or adds some,
/// on whichever thread: see the crate documentation. Its destructor may register and
/// remove code.
///
/// # Safety
///
/// A trap handler believes what a registered object says, and leaves what it
/// interrupted for good. So registering is safe, and the promise is made here, by
/// whoever knows the code. (A type that is told of its code by others asks
/// them for these promises: its constructor is `unsafe`.)
///
/// As long as the object exists (whoever finds it by a lookup may keep it, and register it again):
///
/// 1. **The range is this code's.** Whatever is executed at an address of
///    [`text`](Self::text) is this code: it stays mapped there, unchanged, as it does if the object
///    owns the memory or the memory is never given back; and no code of the host's lies
///    between. (For a range in which nothing is ever executed this holds.) Handlers can read it, as
///    they may have to know the instruction that trapped ([`is_hlt`](crate::is_hlt)): it is not mapped for execution only,
///    nor under a protection key that is closed to them.
/// 2. **The range stays the same.** The registry reads it once, when it is registered,
///    and finds the object by what it read then.
/// 3. **The trap table says the truth.** [`lookup_trap_code`](Self::lookup_trap_code) names
///    only instructions of compiled guest code at which a fault is a trap: the guest may be left there,
///    as nothing of the host's is under way in it. It holds no lock, its frames own nothing that has a
///    destructor, and they keep the frame ABI that `trapline-arch` describes.
/// 4. **What handlers call keeps their rules.** [`text`](Self::text),
///    [`lookup_trap_code`](Self::lookup_trap_code) and [`as_any`](Self::as_any) do not
///    allocate, free, lock, format or panic, and touch no thread-local that is made on first use.
pub unsafe trait CodeObject: Send + Sync + 'static {
    /// The addresses of the code, first inclusive, last exclusive.
    fn text(&self) -> Range<VirtualAddress>;

    /// The trap recorded for exactly the instruction at `text_offset`, `None`
    /// if this instruction is not expected to trap.
    fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind>;

    /// What the instruction at `text_offset` was compiled from, `None` if it
    /// lies in no function of the source. Not called from handlers.
    ///
    /// For the return address in a caller's frame, pass the offset of the
    /// byte before it: the return address may already belong to the next
    /// instruction, or even to the next function.
    fn lookup_address(&self, text_offset: usize) -> Option<CodeAddress>;

    /// The object itself, for owners that want their own type back from a
    /// lookup.
    fn as_any(&self) -> &dyn Any;
}
