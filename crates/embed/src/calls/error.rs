//! What can go wrong, apart from loading and linking.

use alloc::boxed::Box;
use core::{fmt, mem};

use trapline_activation::{CoreDump, Trap, TrapReason, WasmFault};
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
pub(crate) struct Caught {
    reason: TrapReason,
    wasm_fault: Option<WasmFault>,
    backtrace: Option<RawBacktrace>,
    coredump: Option<CoreDump>,
    frames: LazyBacktrace,
}

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

/// What a host function's error has of errors of guests among its causes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Carried {
    /// No error of this crate's.
    #[default]
    Nothing,
    /// One without a trap.
    Usage,
    /// A trap, whose backtrace is not to be captured again.
    Trap,
    /// It is nothing but a trap that was caught: what it has beside its reason is with the store.
    Caught,
}

impl Error {
    /// The error for a trap, which is emptied, of a store that knows `modules`.
    #[inline]
    pub(crate) fn new(trap: &mut Trap, modules: impl FnOnce() -> ModuleList) -> Self {
        let reason = trap.take_reason();
        let has_more =
            trap.backtrace.is_some() || trap.wasm_fault.is_some() || trap.coredump.is_some();
        if !has_more {
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

    /// The same where the trap is a host function's error that carries an error of a
    /// nested guest.
    ///
    /// One that the host function passed on as it was comes back as it was. If it is
    /// somewhere among the causes of the host function's error, its backtrace is
    /// kept, with the modules that it needs.
    #[cold]
    pub(crate) fn from_carrier(trap: &mut Trap, modules: impl FnOnce() -> ModuleList) -> Self {
        // Not by way of anyhow, which looks through the contexts that the host has added.
        let as_it_was = |error: &anyhow::Error| {
            let outermost: &(dyn core::error::Error + 'static) = error.as_ref();
            outermost.is::<Self>()
        };
        match trap.take_reason() {
            TrapReason::User(error) if as_it_was(&error) => match error.downcast::<Self>() {
                Ok(nested) => return nested,
                Err(error) => trap.reason = TrapReason::User(error),
            },
            reason => trap.reason = reason,
        }
        let captured = match &trap.reason {
            TrapReason::User(error) => error.chain().find_map(Self::captured),
            TrapReason::Jit { .. } | TrapReason::Wasm(_) => None,
        };
        match captured {
            Some((backtrace, its_modules)) => {
                trap.backtrace = Some(backtrace);
                Self::new(trap, || its_modules)
            }
            None => Self::new(trap, modules),
        }
    }

    /// A trap of this reason, without more if nobody has kept the rest.
    #[inline]
    pub(crate) fn from_parts(reason: TrapReason, rest: Option<Box<Caught>>) -> Self {
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
    pub(crate) fn into_parts(self) -> Result<(TrapReason, Option<Box<Caught>>), Self> {
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

    /// The backtrace that an error carries, and the modules that it needs.
    fn captured(cause: &(dyn core::error::Error + 'static)) -> Option<(RawBacktrace, ModuleList)> {
        let caught = cause.downcast_ref::<Self>()?.caught()?;
        Some((caught.backtrace.clone()?, caught.frames.modules()?.clone()))
    }

    /// What one of the causes of a host function's error carries.
    #[inline]
    pub(crate) fn carried_by(cause: &(dyn core::error::Error + 'static)) -> Carried {
        // The size is at hand; for the type, the error has to be asked.
        if size_of_val(cause) != size_of::<Self>() {
            return Carried::Nothing;
        }
        match cause.downcast_ref::<Self>() {
            None => Carried::Nothing,
            Some(Self(Repr::Usage(_))) => Carried::Usage,
            Some(_) => Carried::Trap,
        }
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
        let (reason, rest) = self.into_parts()?;
        let mut trap = Trap::new(reason);
        if let Some(caught) = rest {
            trap.wasm_fault = caught.wasm_fault;
            trap.backtrace = caught.backtrace;
            trap.coredump = caught.coredump;
        }
        Ok(trap)
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
            TrapReasonRef::User(error) => error.chain().find_map(|cause| cause.downcast_ref::<E>()),
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

/// Why a function of the host has failed, as it is recorded.
#[derive(Debug)]
pub struct HostFailure(pub(crate) Failure);

#[derive(Debug)]
pub(crate) enum Failure {
    Reason(TrapReason),
    /// A trap of a nested guest, taken to pieces.
    Caught(TrapReason, Option<Box<Caught>>),
}

impl From<TrapReason> for HostFailure {
    #[inline]
    fn from(reason: TrapReason) -> Self {
        Self(Failure::Reason(reason))
    }
}

impl From<Error> for HostFailure {
    #[inline]
    fn from(error: Error) -> Self {
        Self(match error.into_parts() {
            Ok((reason, rest)) => Failure::Caught(reason, rest),
            Err(error) => Failure::Reason(TrapReason::User(anyhow::Error::new(error))),
        })
    }
}

impl HostFailure {
    /// A mistake of the host function's.
    #[cold]
    pub(crate) fn mistake(error: UsageError) -> Self {
        TrapReason::User(anyhow::Error::new(error)).into()
    }

    /// The reason, for those who record it without a store.
    pub(crate) fn into_reason(self) -> TrapReason {
        match self.0 {
            Failure::Reason(reason) => reason,
            Failure::Caught(reason, rest) => {
                TrapReason::User(anyhow::Error::new(Error::from_parts(reason, rest)))
            }
        }
    }
}

impl From<UsageError> for Error {
    #[cold]
    fn from(error: UsageError) -> Self {
        Self(Repr::Usage(Box::new(error)))
    }
}
