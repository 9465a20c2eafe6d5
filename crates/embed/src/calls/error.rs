//! What can go wrong, apart from loading and linking.

use alloc::boxed::Box;
use core::any::Any;
use core::{fmt, mem};

use trapline_activation::{
    CaughtError, CoreDump, Left, PassedOn, Trap, TrapReason, UnwindReason, WasmFault,
};
use trapline_arch::VirtualAddress;
use trapline_backtrace::RawBacktrace;
use trapline_code_registry::TrapKind;

use crate::backtrace::{LazyBacktrace, WasmBacktrace};
use crate::module::ModuleList;
use crate::usage::UsageError;

/// Why a guest, or something that a host did with one, failed: a trap, or a
/// mistake of the host's.
///
/// It keeps alive what is needed to print it: the modules whose frames it
/// holds, not the store.
pub struct Error(Repr);

/// Two words, each variant of one pointer: a `Result` of no values is in two registers. What most
/// errors are is there without an allocation of its own.
enum Repr {
    /// What a host function failed with, without a backtrace.
    Host(anyhow::Error),
    /// What a builtin found, without a backtrace: a [`TrapKind`] as a number.
    Builtin(usize),
    /// All other traps.
    Trap(Box<Caught>),
    Usage(Box<UsageError>),
}

const _: () = assert!(size_of::<Result<(), Error>>() == 2 * size_of::<usize>());

/// A trap, and what its frames are in.
#[derive(Debug)]
struct Caught {
    reason: TrapReason,
    wasm_fault: Option<WasmFault>,
    backtrace: Option<RawBacktrace>,
    coredump: Option<CoreDump>,
    frames: LazyBacktrace,
}

/// Captured frames, and the modules that they are in.
pub(crate) struct RawFrames(RawBacktrace, ModuleList);

/// Why a guest trapped: a [`TrapReason`] that is lent.
#[derive(Clone, Copy, Debug)]
pub enum TrapReasonRef<'a> {
    /// A host function returned this error.
    User(&'a anyhow::Error),
    /// The hardware found a fault in compiled code: see [`TrapReason::Jit`].
    Jit {
        /// The faulting instruction, as its trap table lists it.
        pc: VirtualAddress,
        /// The data address that could not be accessed, for memory faults.
        faulting_addr: Option<VirtualAddress>,
        /// What the trap table says of the instruction.
        trap: TrapKind,
    },
    /// A runtime builtin, called by compiled code, found the trap.
    Wasm(TrapKind),
}

impl<'a> From<&'a TrapReason> for TrapReasonRef<'a> {
    fn from(reason: &'a TrapReason) -> Self {
        match reason {
            TrapReason::User(error) => Self::User(error),
            TrapReason::Jit {
                pc,
                faulting_addr,
                trap,
            } => Self::Jit {
                pc: *pc,
                faulting_addr: *faulting_addr,
                trap: *trap,
            },
            TrapReason::Wasm(kind) => Self::Wasm(*kind),
        }
    }
}

impl TrapReasonRef<'_> {
    /// The kind of trap; `None` for an error that a host function raised.
    #[must_use]
    pub const fn kind(&self) -> Option<TrapKind> {
        match self {
            Self::User(_) => None,
            Self::Jit { trap, .. } | Self::Wasm(trap) => Some(*trap),
        }
    }
}

impl Error {
    /// The error for what a guest was left for, in a store that knows `modules`.
    #[inline]
    pub(crate) fn new(left: Left<'_>, modules: impl FnOnce() -> ModuleList) -> Self {
        match left {
            Left::Trap(trap) => Self::of_trap(trap, modules),
            Left::PassedOn(error) => Self::as_it_was(error, modules),
        }
    }

    /// The error for a trap, which is emptied.
    #[inline]
    fn of_trap(trap: &mut Trap, modules: impl FnOnce() -> ModuleList) -> Self {
        let reason = trap.take_reason();
        if trap.has_only_a_reason() {
            return Self::from_parts(reason, None);
        }
        // Nobody asks for the modules of no frames.
        let modules = trap.backtrace.is_some().then(modules);
        // Written in place: `Box::new` would copy it through the stack.
        Self(Repr::Trap(Box::write(
            Box::new_uninit(),
            Caught {
                reason,
                wasm_fault: trap.wasm_fault,
                backtrace: trap.backtrace.take(),
                coredump: trap.coredump.take(),
                frames: LazyBacktrace::new(modules),
            },
        )))
    }

    /// The error that was passed on.
    #[cold]
    fn as_it_was(error: Box<dyn CaughtError>, modules: impl FnOnce() -> ModuleList) -> Self {
        let own: &dyn Any = &*error;
        if own.is::<Caught>() {
            let own: Box<dyn Any> = error;
            return Self(Repr::Trap(own.downcast().expect("asked above")));
        }
        if own.is::<UsageError>() {
            let own: Box<dyn Any> = error;
            return Self(Repr::Usage(own.downcast().expect("asked above")));
        }
        // Of somebody else, who knows more of this store than we do.
        Self::of_trap(&mut error.into_trap(), modules)
    }

    /// The trap as it is recorded when it is passed on.
    ///
    /// # Errors
    ///
    /// The error itself if it is no trap.
    #[inline]
    pub(crate) fn into_passed_on(self) -> Result<PassedOn, Self> {
        Ok(match self.0 {
            Repr::Trap(caught) => PassedOn::Error(caught),
            other => PassedOn::Reason(Self(other).into_parts()?.0),
        })
    }

    /// What is recorded for a host function's error that was caused by a trap: the error, with the
    /// frames of that.
    pub(crate) fn passed_on_in(error: anyhow::Error, cause: Option<RawFrames>) -> PassedOn {
        let reason = TrapReason::User(error);
        match cause {
            None => PassedOn::Reason(reason),
            Some(RawFrames(backtrace, modules)) => PassedOn::Error(Box::new(Caught {
                reason,
                wasm_fault: None,
                backtrace: Some(backtrace),
                coredump: None,
                frames: LazyBacktrace::new(Some(modules)),
            })),
        }
    }

    /// The error, which is no trap, as a host function's: without the wrapper of this type.
    #[cold]
    fn into_mistake(self) -> anyhow::Error {
        match self.0 {
            Repr::Usage(mistake) => anyhow::Error::new(*mistake),
            trap => anyhow::Error::new(Self(trap)),
        }
    }

    /// The frames of the trap, if there are any.
    pub(crate) fn raw_frames(&self) -> Option<RawFrames> {
        let caught = self.caught()?;
        let modules = caught.frames.modules()?.clone();
        Some(RawFrames(caught.backtrace.clone()?, modules))
    }

    /// A trap of this reason, without more if nobody has kept the rest.
    #[inline]
    fn from_parts(reason: TrapReason, rest: Option<Box<Caught>>) -> Self {
        Self(match (reason, rest) {
            (TrapReason::User(error), None) => Repr::Host(error),
            (TrapReason::Wasm(kind), None) => Repr::Builtin(usize::from(u8::from(kind))),
            (reason, Some(mut caught)) => {
                caught.reason = reason;
                Repr::Trap(caught)
            }
            (reason @ TrapReason::Jit { .. }, None) => Repr::Trap(Box::new(Caught {
                reason,
                wasm_fault: None,
                backtrace: None,
                coredump: None,
                frames: LazyBacktrace::new(None),
            })),
        })
    }

    /// The reason of a trap, and the rest of it if there is any, to be passed on.
    ///
    /// # Errors
    ///
    /// The error itself if it is no trap.
    #[inline]
    fn into_parts(self) -> Result<(TrapReason, Option<Box<Caught>>), Self> {
        Ok(match self.0 {
            Repr::Host(error) => (TrapReason::User(error), None),
            Repr::Builtin(number) => (TrapReason::Wasm(builtin_kind(number)), None),
            Repr::Trap(mut caught) => {
                let reason = mem::replace(&mut caught.reason, NO_REASON);
                (reason, Some(caught))
            }
            usage @ Repr::Usage(_) => return Err(Self(usage)),
        })
    }

    fn caught(&self) -> Option<&Caught> {
        match &self.0 {
            Repr::Trap(caught) => Some(caught),
            Repr::Host(_) | Repr::Builtin(_) | Repr::Usage(_) => None,
        }
    }

    /// Whether a guest trapped: there is a [`reason`](Self::reason).
    #[must_use]
    pub fn is_trap(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the guest trapped; `None` for a mistake of the host's.
    #[must_use]
    pub fn reason(&self) -> Option<TrapReasonRef<'_>> {
        Some(match &self.0 {
            Repr::Host(error) => TrapReasonRef::User(error),
            Repr::Builtin(number) => TrapReasonRef::Wasm(builtin_kind(*number)),
            Repr::Trap(caught) => (&caught.reason).into(),
            Repr::Usage(_) => return None,
        })
    }

    /// The frames of the guest that trapped, as they were captured; `None` if none were.
    /// [`wasm_backtrace`](Self::wasm_backtrace) has them in terms of the guest.
    #[must_use]
    pub fn raw_backtrace(&self) -> Option<&RawBacktrace> {
        self.caught()?.backtrace.as_ref()
    }

    /// The core dump that was taken of the guest, if any.
    ///
    /// The stores of this crate take none. There is one where a host function has passed on the trap of a guest of
    /// another embedder ([`Trap`]), whose store did.
    #[must_use]
    pub fn coredump(&self) -> Option<&CoreDump> {
        self.caught()?.coredump.as_ref()
    }

    /// The trap, by value.
    ///
    /// # Errors
    ///
    /// The error itself if it is no trap.
    pub fn into_trap(self) -> Result<Trap, Self> {
        Ok(match self.0 {
            Repr::Trap(caught) => caught.into_trap(),
            other => Trap::new(Self(other).into_parts()?.0),
        })
    }

    /// The kind of trap; `None` for an error that a host function raised and
    /// for a mistake of the host's.
    #[must_use]
    pub fn kind(&self) -> Option<TrapKind> {
        self.reason()?.kind()
    }

    /// For memory faults: the address in terms of the guest.
    #[must_use]
    pub fn wasm_fault(&self) -> Option<WasmFault> {
        self.caught()?.wasm_fault
    }

    /// The host's mistake; `None` for a trap.
    #[must_use]
    pub fn usage(&self) -> Option<&UsageError> {
        match &self.0 {
            Repr::Usage(error) => Some(error),
            Repr::Host(_) | Repr::Builtin(_) | Repr::Trap(_) => None,
        }
    }

    /// What a host function raised, if it is (or was caused by) an `E`.
    #[must_use]
    pub fn host_error<E>(&self) -> Option<&E>
    where
        E: core::error::Error + Send + Sync + 'static,
    {
        match self.reason()? {
            TrapReasonRef::User(error) => error.chain().find_map(|cause| {
                // The message of a mistake is that of the error around it, which is why it is
                // none of the causes.
                let mistake = || {
                    let mistake: &(dyn core::error::Error + 'static) =
                        cause.downcast_ref::<Self>()?.usage()?;
                    mistake.downcast_ref::<E>()
                };
                cause.downcast_ref::<E>().or_else(mistake)
            }),
            TrapReasonRef::Jit { .. } | TrapReasonRef::Wasm(_) => None,
        }
    }

    /// The error that a host function raised.
    ///
    /// # Errors
    ///
    /// The error itself if it is another one.
    pub fn into_host_error(self) -> Result<anyhow::Error, Self> {
        match self.into_parts()? {
            (TrapReason::User(error), _) => Ok(error),
            (reason, rest) => Err(Self::from_parts(reason, rest)),
        }
    }

    /// The frames of the guest that trapped, resolved when this is first called.
    /// Empty if there are none.
    #[must_use]
    pub fn wasm_backtrace(&self) -> &WasmBacktrace {
        match self.caught() {
            Some(caught) => (caught.frames).get(caught.backtrace.as_ref(), &caught.reason),
            None => WasmBacktrace::EMPTY,
        }
    }
}

/// The kind that stands in a [`Repr::Builtin`].
fn builtin_kind(number: usize) -> TrapKind {
    u8::try_from(number)
        .ok()
        .and_then(|number| TrapKind::try_from(number).ok())
        .expect("made of a kind")
}

/// What is left of a trap whose reason was taken.
const NO_REASON: TrapReason = TrapReason::Wasm(TrapKind::InternalAssert);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Host(_) => f.write_str(TrapReason::OF_HOST),
            Repr::Builtin(number) => TrapReason::Wasm(builtin_kind(*number)).fmt(f),
            Repr::Trap(caught) => caught.reason.fmt(f),
            Repr::Usage(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    /// The message, the causes, and the backtrace: what a program that ends
    /// with this error should print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = core::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, "\ncaused by: {error}")?;
            cause = error.source();
        }
        let backtrace = self.wasm_backtrace();
        if !backtrace.frames().is_empty() {
            write!(f, "\nwasm backtrace:\n{backtrace}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Error {
    /// The memory fault of a trap that was one; the host's own error of one that a host
    /// function raised.
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Some(fault) = self.caught().and_then(|caught| caught.wasm_fault.as_ref()) {
            return Some(fault);
        }
        match (&self.0, self.reason()) {
            (_, Some(TrapReasonRef::User(error))) => Some(error.as_ref()),
            (Repr::Usage(error), _) => core::error::Error::source(&**error),
            (Repr::Host(_) | Repr::Builtin(_) | Repr::Trap(_), _) => None,
        }
    }
}

/// As a host function's: a trap is passed on, a mistake is an error that it has made.
impl From<Error> for UnwindReason {
    #[inline]
    fn from(error: Error) -> Self {
        match error.into_passed_on() {
            Ok(error) => Self::PassedOn(error),
            Err(mistake) => Self::Trap(TrapReason::User(mistake.into_mistake())),
        }
    }
}

impl CaughtError for Caught {
    fn into_trap(self: Box<Self>) -> Trap {
        let mut trap = Trap::new(self.reason);
        trap.wasm_fault = self.wasm_fault;
        trap.backtrace = self.backtrace;
        trap.coredump = self.coredump;
        trap
    }
}

/// Nothing a guest is left for, but what keeps one from being entered.
impl CaughtError for UsageError {
    fn into_trap(self: Box<Self>) -> Trap {
        Trap::new(TrapReason::User(anyhow::Error::new(*self)))
    }
}

impl From<UsageError> for Error {
    #[cold]
    fn from(error: UsageError) -> Self {
        Self(Repr::Usage(Box::new(error)))
    }
}
