//! What a trap is, once it is caught.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::error::Error;
use core::{fmt, mem};

use trapline_arch::VirtualAddress;
use trapline_backtrace::{INLINE_FRAMES, RawBacktrace};
use trapline_code_registry::TrapKind;

use crate::PassedOn;

/// A caught trap: why a guest was left, and from where.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trap {
    /// Why.
    pub reason: TrapReason,
    /// For memory faults: the address in terms of the guest's memory.
    pub wasm_fault: Option<WasmFault>,
    /// From where: the guest frames of the store, innermost first. `None` if
    /// the store asked for none.
    pub backtrace: Option<RawBacktrace>,
    /// What the store's [`coredump`](crate::Store::coredump) gave.
    pub coredump: Option<CoreDump>,
}

// Traps are returned by value, through layers: they stay below the size from which clippy calls
// an error large, and as small as is possible with no more inline frames.
const _: () = assert!(INLINE_FRAMES > 2 || size_of::<Trap>() < 128);

impl Trap {
    /// A trap with this reason and nothing else.
    #[must_use]
    pub const fn new(reason: TrapReason) -> Self {
        Self {
            reason,
            wasm_fault: None,
            backtrace: None,
            coredump: None,
        }
    }

    /// The kind of trap; `None` for an error that a host function raised.
    #[must_use]
    pub const fn kind(&self) -> Option<TrapKind> {
        self.reason.kind()
    }

    /// Whether there is nothing in it but the reason.
    #[must_use]
    pub const fn has_only_a_reason(&self) -> bool {
        self.backtrace.is_none() && self.coredump.is_none() && self.wasm_fault.is_none()
    }

    /// Takes out all there is; an assertion that failed is what is left, which has nothing to drop.
    pub(crate) const fn take(&mut self) -> Self {
        mem::replace(self, Self::new(TrapReason::Wasm(TrapKind::InternalAssert)))
    }

    /// Takes the reason out of a trap that is not used any more, as in
    /// [`catch_traps_into`](crate::catch_traps_into); an assertion that failed is what is left.
    #[inline]
    #[must_use]
    pub const fn take_reason(&mut self) -> TrapReason {
        mem::replace(&mut self.reason, TrapReason::Wasm(TrapKind::InternalAssert))
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reason, f)
    }
}

impl Error for Trap {
    /// The memory fault of a trap that was one; the host's own error of one
    /// that a host function raised.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match (&self.wasm_fault, &self.reason) {
            (Some(fault), _) => Some(fault),
            (None, TrapReason::User(error)) => Some(error.as_ref()),
            (None, TrapReason::Jit { .. } | TrapReason::Wasm(_)) => None,
        }
    }
}

impl From<TrapReason> for Trap {
    fn from(reason: TrapReason) -> Self {
        Self::new(reason)
    }
}

/// Why a guest trapped.
#[derive(Debug)]
pub enum TrapReason {
    /// A host function returned this error.
    User(anyhow::Error),
    /// The hardware found a fault in compiled code.
    Jit {
        /// The faulting instruction: its address, or that of its last byte, as its
        /// trap table lists it (on s390x, for what is not an access fault).
        pc: VirtualAddress,
        /// The data address that could not be accessed, for memory faults.
        faulting_addr: Option<VirtualAddress>,
        /// What the trap table says of the instruction.
        trap: TrapKind,
    },
    /// A runtime builtin, called by compiled code, found the trap.
    Wasm(TrapKind),
}

impl TrapReason {
    /// What a [`User`](Self::User) is displayed as: the error itself is the
    /// [source](Error::source) of the trap.
    pub const OF_HOST: &str = "error raised by a host function";

    /// The kind of trap; `None` for an error that a host function raised.
    #[must_use]
    pub const fn kind(&self) -> Option<TrapKind> {
        match self {
            Self::User(_) => None,
            Self::Jit { trap, .. } | Self::Wasm(trap) => Some(*trap),
        }
    }
}

impl fmt::Display for TrapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Some(kind) => write!(f, "wasm trap: {kind}"),
            None => f.write_str(Self::OF_HOST),
        }
    }
}

impl From<anyhow::Error> for TrapReason {
    fn from(error: anyhow::Error) -> Self {
        Self::User(error)
    }
}

impl From<TrapKind> for TrapReason {
    fn from(kind: TrapKind) -> Self {
        Self::Wasm(kind)
    }
}

/// Why the stack of a guest is being left.
#[derive(Debug)]
pub enum UnwindReason {
    /// A host function panicked, with this payload.
    Panic(Box<dyn Any + Send>),
    /// A trap: backtrace and core dump are captured as it is recorded.
    Trap(TrapReason),
    /// An error that was caught before.
    PassedOn(PassedOn),
}

impl<R: Into<TrapReason>> From<R> for UnwindReason {
    #[inline]
    fn from(reason: R) -> Self {
        Self::Trap(reason.into())
    }
}

impl From<PassedOn> for UnwindReason {
    #[inline]
    fn from(error: PassedOn) -> Self {
        Self::PassedOn(error)
    }
}

/// A faulting address expressed in the guest's memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WasmFault {
    /// Size of the memory in bytes.
    pub memory_size: u64,
    /// The address that was accessed, in bytes from the start of the memory.
    pub wasm_address: u64,
}

impl fmt::Display for WasmFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory fault at wasm address {:#x} in linear memory of size {:#x}",
            self.wasm_address, self.memory_size
        )
    }
}

impl Error for WasmFault {}

/// A memory fault at an instruction that may trap, at an address that is in
/// none of the store's memories or guard regions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SandboxEscape {
    /// The faulting instruction, as its trap table lists it.
    pub pc: VirtualAddress,
    /// The data address.
    pub faulting_addr: VirtualAddress,
    /// What the trap table says of the instruction.
    pub trap: TrapKind,
}

impl fmt::Display for SandboxEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "guest fault outside all memories of its store: address {}, pc {}, at a trap site for: {}",
            self.faulting_addr, self.pc, self.trap
        )
    }
}

/// Why an exception is no trap: the check that said no, of those that
/// [`try_handle_wasm_exception`](crate::try_handle_wasm_exception) makes, in their order.
///
/// Whatever it is, the exception is somebody else's. But of a guest that was entered wrongly this is
/// all that is left to be said, for who wants to say it (trapline-signal: `set_diagnosis`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotATrap {
    /// The program counter is in no registered code: it is the host's, or that of a guest whose code was
    /// not registered, or no longer is.
    NotRegistered,
    /// It is in registered code, but the trap table has no entry for this instruction: it is not one that
    /// may trap, and its compiler has a bug, or its memories are not what it was compiled for.
    NoTrapSite,
    /// The instruction is one that may trap, but nothing was entered on this CPU (thread): registered code
    /// was called outside of [`catch_traps`](crate::catch_traps).
    NoActivation,
    /// The innermost activation's store has no entry frame pointer: no entry trampoline of that store was
    /// called, or its layout has the word elsewhere.
    NoEntryFrame,
    /// The frame is not below the entry frame of the innermost activation's guest, or that is
    /// not below its `catch_traps`: registered code was called past its entry trampoline, of another store
    /// than the one entered, or keeps no frame pointers.
    FrameNotOfGuest {
        /// The frame pointer at the trap.
        fp: VirtualAddress,
        /// What the store says is the entry trampoline's frame pointer.
        entry_fp: VirtualAddress,
    },
    /// The guest is being left already, or a trap of it has been noted: code between that and its
    /// `catch_traps` traps.
    LeftAlready,
}

impl NotATrap {
    /// What the check found, and what to do about it: for those who can't format.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotRegistered => {
                "the pc is in no registered code: a fault of the host, or of a guest whose code is not registered (register_code) while it runs"
            }
            Self::NoTrapSite => {
                "the pc is in registered code, but its trap table has no entry for this instruction: give the code object all traps of the compiler's output, and the guest the memories that it was compiled for"
            }
            Self::NoActivation => {
                "a guest trapped, but none was entered on this thread: enter it inside of catch_traps"
            }
            Self::NoEntryFrame => {
                "a guest trapped, but no entry frame pointer is in the words of the store that was entered: enter by a trampoline that writes it, for the store given to catch_traps, with the layout that the compiler uses"
            }
            Self::FrameNotOfGuest { .. } => {
                "a guest trapped, but its frame is not below the entry frame of the guest that was entered last: enter each guest inside of a catch_traps of its own store, by its entry trampoline, on the same stack, compiled with frame pointers"
            }
            Self::LeftAlready => {
                "a guest trapped that is being left already: nothing between a recorded trap and catch_traps may run compiled code"
            }
        }
    }
}

impl fmt::Display for NotATrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl Error for NotATrap {}

/// A core dump of a trapped guest: a WebAssembly module in the format of the
/// tool conventions ("Core dumps"), as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct CoreDump(Box<[u8]>);

impl CoreDump {
    /// A core dump of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into_boxed_slice())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

impl fmt::Debug for CoreDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoreDump({} bytes)", self.0.len())
    }
}
