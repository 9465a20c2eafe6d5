//! The compiler's trap codes as [`TrapKind`]s, and back.

use trapline_code_registry::TrapKind;
use wasmtime_environ::{CompiledTrap, Trap};

/// The codes of the two compiled traps that are no [`Trap`];
/// `CompiledTrap::as_u8` has them as literals.
const INTERNAL_ASSERT: u8 = 0xff;
const GC_HEAP_CORRUPT: u8 = 0xfe;

/// Both directions from one list of traps that have the same name on both
/// sides.
macro_rules! trap_kinds {
    ($( $name:ident, )*) => {
        const KINDS: [Option<TrapKind>; 256] = {
            let mut kinds = [None; 256];
            $( kinds[Trap::$name as usize] = Some(TrapKind::$name); )*
            kinds[INTERNAL_ASSERT as usize] = Some(TrapKind::InternalAssert);
            kinds[GC_HEAP_CORRUPT as usize] = Some(TrapKind::GcHeapCorrupt);
            kinds
        };

        /// The compiler's trap of this kind; `None` for kinds that this
        /// compiler does not have.
        #[must_use]
        pub const fn trap_kind_to_compiled(kind: TrapKind) -> Option<CompiledTrap> {
            match kind {
                $( TrapKind::$name => Some(CompiledTrap::Normal(Trap::$name)), )*
                TrapKind::InternalAssert => Some(CompiledTrap::InternalAssert),
                TrapKind::GcHeapCorrupt => Some(CompiledTrap::GcHeapCorrupt),
                _ => None,
            }
        }
    };
}

trap_kinds! {
    StackOverflow, MemoryOutOfBounds, HeapMisaligned, TableOutOfBounds, IndirectCallToNull,
    BadSignature, IntegerOverflow, IntegerDivisionByZero, BadConversionToInteger,
    UnreachableCodeReached, Interrupt, OutOfFuel, AtomicWaitNonSharedMemory, NullReference,
    ArrayOutOfBounds, AllocationTooLarge, CastFailure, CannotEnterComponent, NoAsyncResult,
    UnhandledTag, ContinuationAlreadyConsumed, DisabledOpcode, AsyncDeadlock,
    CannotLeaveComponent, CannotBlockSyncTask, InvalidChar, DebugAssertStringEncodingFinished,
    DebugAssertEqualCodeUnits, DebugAssertPointerAligned, DebugAssertUpperBitsUnset,
    StringOutOfBounds, ListOutOfBounds, InvalidDiscriminant, UnalignedPointer,
    TaskCancelNotCancelled, TaskCancelOrReturnTwice, SubtaskCancelAfterTerminal,
    TaskReturnInvalid, WaitableSetDropHasWaiters, SubtaskDropNotResolved,
    ThreadNewIndirectInvalidType, ThreadNewIndirectUninitialized, BackpressureOverflow,
    UnsupportedCallbackCode, CannotResumeThread, ConcurrentFutureStreamOp,
    ReferenceCountOverflow, StreamOpTooBig, WaitableSyncAndAsync, UncaughtException,
}

/// The kind of the trap with this code: a byte of the `.wasmtime.traps`
/// section, or the argument of the builtin function
/// [`Trap`](crate::vm::Builtin::Trap). `None` for bytes that are no code.
///
/// Handlers may call this: it is a lookup in a constant table.
#[inline]
#[must_use]
pub const fn trap_kind_from_code(code: u8) -> Option<TrapKind> {
    KINDS[code as usize]
}

/// The kind of a compiled trap; `None` for a trap that this release of the
/// compiler does not have.
#[must_use]
pub fn trap_kind_from_compiled(trap: &CompiledTrap) -> Option<TrapKind> {
    trap_kind_from_code(trap.as_u8())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn every_code_of_the_compiler_has_a_kind_and_comes_back() {
        let mut codes = 0;
        for code in 0..=255 {
            let compiled = CompiledTrap::from_u8(code);
            let kind = trap_kind_from_code(code);
            assert_eq!(kind.is_some(), compiled.is_some(), "code {code:#x}");
            if let (Some(kind), Some(compiled)) = (kind, compiled) {
                codes += 1;
                assert_eq!(trap_kind_from_compiled(&compiled), Some(kind));
                assert_eq!(trap_kind_to_compiled(kind), Some(compiled));
            }
        }
        assert_eq!(codes, 52);
    }

    #[test]
    fn kinds_without_a_code_are_those_of_other_compilers() {
        for kind in TrapKind::ALL {
            let expected = *kind != TrapKind::NullI31Reference;
            assert_eq!(trap_kind_to_compiled(*kind).is_some(), expected, "{kind:?}");
        }
    }

    #[test]
    fn messages_are_the_compilers() {
        for code in 0..=255 {
            let Some(trap) = Trap::from_u8(code) else {
                continue;
            };
            // Names the interpreter, which trapline does not have.
            if trap == Trap::DisabledOpcode {
                continue;
            }
            let kind = trap_kind_from_code(code).unwrap();
            assert_eq!(trap.to_string(), alloc::format!("wasm trap: {kind}"));
        }
    }
}
