//! The reasons for which compiled WebAssembly code traps.

use core::fmt;

/// Defines [`TrapKind`], its number and its message in one table.
macro_rules! trap_kinds {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $message:literal; )*) => {
        /// Why compiled WebAssembly code trapped.
        ///
        /// Every trap code of the supported compilers has its variant. The
        /// numbers are trapline's own and stay as they are from one release to
        /// the next; the adapter crates convert from and to the compilers'
        /// numbers. The messages ([`TrapKind::message`]) are those that the
        /// scripts of the WebAssembly specification test expect.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum TrapKind {
            $( $(#[$doc])* $name = $number, )*
        }

        impl TrapKind {
            /// Every kind, in ascending order of its number.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// The kind with this number, if there is one.
            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$name), )*
                    _ => None,
                }
            }

            /// What happened, in the words of the specification's test suite
            /// where it has words for it: lower case, no full stop.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $( Self::$name => $message, )*
                }
            }
        }
    };
}

trap_kinds! {
    /// The stack limit of the store was reached.
    StackOverflow = 0, "call stack exhausted";
    /// A load or store beyond the end of a linear memory.
    MemoryOutOfBounds = 1, "out of bounds memory access";
    /// An atomic access whose address is not a multiple of its size.
    HeapMisaligned = 2, "unaligned atomic";
    /// A table access beyond the end of the table.
    TableOutOfBounds = 3, "undefined element: out of bounds table access";
    /// `call_indirect` found a null reference in the table.
    IndirectCallToNull = 4, "uninitialized element";
    /// `call_indirect` found a function of another type.
    BadSignature = 5, "indirect call type mismatch";
    /// An integer operation whose result does not fit.
    IntegerOverflow = 6, "integer overflow";
    /// An integer division or remainder by zero.
    IntegerDivisionByZero = 7, "integer divide by zero";
    /// A conversion of NaN to an integer.
    BadConversionToInteger = 8, "invalid conversion to integer";
    /// The `unreachable` instruction was executed.
    UnreachableCodeReached = 9, "wasm `unreachable` instruction executed";
    /// The guest was interrupted by its host.
    Interrupt = 10, "interrupt";
    /// The guest used up its fuel.
    OutOfFuel = 11, "all fuel consumed by WebAssembly";
    /// `memory.atomic.wait` on a memory that is not shared.
    AtomicWaitNonSharedMemory = 12, "atomic wait on non-shared memory";
    /// A null reference where an operation needs another one.
    NullReference = 13, "null reference";
    /// A null `i31` reference where an operation needs another one.
    NullI31Reference = 14, "null i31 reference";
    /// An array access beyond the end of the array.
    ArrayOutOfBounds = 15, "out of bounds array access";
    /// An allocation that can never succeed.
    AllocationTooLarge = 16, "allocation size too large";
    /// A reference cast to a type that its object does not have.
    CastFailure = 17, "cast failure";
    /// A component was entered against the rules of re-entrance.
    CannotEnterComponent = 18, "cannot enter component instance";
    /// An asynchronous export ended without a result.
    NoAsyncResult = 19, "async-lifted export failed to produce a result";
    /// A suspension to a tag that nobody handles.
    UnhandledTag = 20, "unhandled tag";
    /// A continuation was resumed twice.
    ContinuationAlreadyConsumed = 21, "continuation already consumed";
    /// An interpreter opcode that was disabled when the code was compiled.
    DisabledOpcode = 22, "opcode disabled at compile time was executed";
    /// An asynchronous computation that can never go on.
    AsyncDeadlock = 23, "deadlock detected: event loop cannot make further progress";
    /// A component was left where it must not be.
    CannotLeaveComponent = 24, "cannot leave component instance";
    /// A synchronous task made a blocking call.
    CannotBlockSyncTask = 25, "cannot block a synchronous task before returning";
    /// A `char` outside the Unicode scalar values.
    InvalidChar = 26, "invalid `char` bit pattern";
    /// A string was expected to be encoded completely.
    DebugAssertStringEncodingFinished = 27, "should have finished string encoding";
    /// Two counts of code units were expected to be equal.
    DebugAssertEqualCodeUnits = 28, "code units should be equal";
    /// A pointer was expected to be aligned.
    DebugAssertPointerAligned = 29, "pointer should be aligned";
    /// The upper half of a 64-bit value was expected to be zero.
    DebugAssertUpperBitsUnset = 30, "upper bits should be unset";
    /// A string reaches beyond the end of its memory.
    StringOutOfBounds = 31, "string content out-of-bounds";
    /// A list reaches beyond the end of its memory.
    ListOutOfBounds = 32, "list content out-of-bounds";
    /// A variant with a discriminant that does not exist.
    InvalidDiscriminant = 33, "invalid variant discriminant";
    /// A pointer that is not aligned for its type.
    UnalignedPointer = 34, "unaligned pointer";
    /// `task.cancel` by a task that was not cancelled.
    TaskCancelNotCancelled = 35, "`task.cancel` called by task which has not been cancelled";
    /// A task ended twice.
    TaskCancelOrReturnTwice = 36, "`task.return` or `task.cancel` called more than once for current task";
    /// A subtask was cancelled after it ended.
    SubtaskCancelAfterTerminal = 37, "`subtask.cancel` called after terminal status delivered";
    /// `task.return` with another signature or other options than the task's.
    TaskReturnInvalid = 38, "invalid `task.return` signature and/or options for current task";
    /// A waitable set was dropped while somebody waits.
    WaitableSetDropHasWaiters = 39, "cannot drop waitable set with waiters";
    /// A subtask was dropped before it was resolved.
    SubtaskDropNotResolved = 40, "cannot drop a subtask which has not yet resolved";
    /// The start function of a new thread has the wrong type.
    ThreadNewIndirectInvalidType = 41, "start function does not match expected type (currently only `(i32) -> ()` is supported)";
    /// The start function of a new thread is a null reference.
    ThreadNewIndirectUninitialized = 42, "the start function index points to an uninitialized function";
    /// The backpressure counter of a component overflowed.
    BackpressureOverflow = 43, "backpressure counter overflow";
    /// A callback returned a code that does not exist.
    UnsupportedCallbackCode = 44, "unsupported callback code";
    /// A thread was resumed that is not suspended.
    CannotResumeThread = 45, "cannot resume thread which is not suspended";
    /// A second operation on a stream or future that has one pending.
    ConcurrentFutureStreamOp = 46, "cannot have concurrent operations active on a future/stream";
    /// A reference count overflowed.
    ReferenceCountOverflow = 47, "reference count overflow";
    /// A stream operation with too many items.
    StreamOpTooBig = 48, "stream read/write count too large";
    /// A waitable was used synchronously while it was in a waitable set.
    WaitableSyncAndAsync = 49, "waitable cannot be used synchronously while added to a waitable set";
    /// An exception that nobody caught.
    UncaughtException = 50, "uncaught exception propagated out of component";
    /// The garbage-collected heap was found to be corrupt.
    GcHeapCorrupt = 51, "garbage-collected heap corruption detected";
    /// An assertion of the compiler in the compiled code failed.
    InternalAssert = 52, "internal assertion failed in compiled code";
}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for TrapKind {}

impl From<TrapKind> for u8 {
    #[inline]
    fn from(kind: TrapKind) -> Self {
        kind as Self
    }
}

/// A number that is no [`TrapKind`]'s.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownTrapKind(
    /// The number.
    pub u8,
);

impl fmt::Display for UnknownTrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no trap kind has the number {} (the highest is {})",
            self.0,
            TrapKind::ALL.len() - 1
        )
    }
}

impl core::error::Error for UnknownTrapKind {}

impl TryFrom<u8> for TrapKind {
    type Error = UnknownTrapKind;

    #[inline]
    fn try_from(number: u8) -> Result<Self, UnknownTrapKind> {
        Self::from_u8(number).ok_or(UnknownTrapKind(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_way_through_its_number() {
        for (i, kind) in TrapKind::ALL.iter().copied().enumerate() {
            assert_eq!(usize::from(u8::from(kind)), i, "numbers are dense");
            assert_eq!(TrapKind::try_from(u8::from(kind)), Ok(kind));
        }
        let beyond = TrapKind::ALL.len() as u8;
        assert_eq!(TrapKind::try_from(beyond), Err(UnknownTrapKind(beyond)));
    }
}
