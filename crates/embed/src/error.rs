//! What can go wrong, apart from loading and linking.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use trapline_activation::{Trap, TrapReason, WasmFault};
use trapline_backtrace::RawBacktrace;
use trapline_code_registry::TrapKind;

use crate::backtrace::WasmBacktrace;
use crate::linear_memory::MemoryError;
use crate::module::ModuleList;
use crate::platform::PlatformError;
use crate::sync::OnceBox;
use crate::types::{FuncType, MemoryType, TypeIndex, ValType};

/// Why a guest, or something that a host did with one, failed: a trap, or a
/// mistake of the host's.
///
/// It keeps alive what is needed to print it: the modules whose frames it
/// holds, not the store.
pub struct Error(Box<Inner>);

enum Inner {
    Trap {
        trap: Trap,
        /// What the frames of the trap's backtrace are in; `None` if it has none.
        modules: Option<ModuleList>,
        backtrace: OnceBox<WasmBacktrace>,
    },
    Usage(UsageError),
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
}

impl Error {
    /// The error for a trap of a store that knew `modules`.
    #[inline]
    pub(crate) fn new(trap: Trap, modules: Option<ModuleList>) -> Self {
        // Written in place: `Box::new` would copy it through the stack.
        let inner = Box::new_uninit();
        Self(Box::write(
            inner,
            Inner::Trap {
                trap,
                modules,
                backtrace: OnceBox::new(),
            },
        ))
    }

    /// The same where the trap is a host function's error that carries an error of a
    /// nested guest.
    ///
    /// One that the host function passed on as it was comes back as it was. If it is
    /// somewhere among the causes of the host function's error, its backtrace is
    /// kept, with the modules that it needs.
    #[cold]
    pub(crate) fn from_carrier(mut trap: Trap, mut modules: Option<ModuleList>) -> Self {
        // Not by way of anyhow, which looks through the contexts that the host has added.
        let as_it_was = |error: &anyhow::Error| {
            let outermost: &(dyn core::error::Error + 'static) = error.as_ref();
            outermost.is::<Self>()
        };
        match trap.reason {
            TrapReason::User(error) if as_it_was(&error) => match error.downcast::<Self>() {
                Ok(nested) => return nested,
                Err(error) => trap.reason = TrapReason::User(error),
            },
            reason => trap.reason = reason,
        }
        if let TrapReason::User(error) = &trap.reason
            && let Some((backtrace, its_modules)) = error.chain().find_map(Self::captured)
        {
            trap.backtrace = Some(backtrace);
            modules = its_modules;
        }
        Self::new(trap, modules)
    }

    /// The backtrace that an error carries, and the modules that it needs.
    fn captured(
        cause: &(dyn core::error::Error + 'static),
    ) -> Option<(RawBacktrace, Option<ModuleList>)> {
        match &*cause.downcast_ref::<Self>()?.0 {
            Inner::Trap { trap, modules, .. } => Some((trap.backtrace.clone()?, modules.clone())),
            Inner::Usage(_) => None,
        }
    }

    /// What `error` carries.
    pub(crate) fn carried_by(error: &anyhow::Error) -> Carried {
        let mut found = Carried::Nothing;
        let mut next: Option<&(dyn core::error::Error + 'static)> = Some(error.as_ref());
        while let Some(cause) = next {
            if let Some(error) = cause.downcast_ref::<Self>() {
                if error.trap().is_some() {
                    return Carried::Trap;
                }
                found = Carried::Usage;
            }
            next = cause.source();
        }
        found
    }

    /// The trap; `None` for a mistake of the host's.
    #[must_use]
    pub fn trap(&self) -> Option<&Trap> {
        match &*self.0 {
            Inner::Trap { trap, .. } => Some(trap),
            Inner::Usage(_) => None,
        }
    }

    /// The trap, by value.
    ///
    /// # Errors
    ///
    /// The error itself if it is no trap.
    pub fn into_trap(self) -> Result<Trap, Self> {
        match *self.0 {
            Inner::Trap { trap, .. } => Ok(trap),
            usage @ Inner::Usage(_) => Err(Self(Box::new(usage))),
        }
    }

    /// The kind of trap; `None` for an error that a host function raised and
    /// for a mistake of the host's.
    #[must_use]
    pub fn kind(&self) -> Option<TrapKind> {
        self.trap().and_then(Trap::kind)
    }

    /// For memory faults: the address in terms of the guest.
    #[must_use]
    pub fn wasm_fault(&self) -> Option<WasmFault> {
        self.trap()?.wasm_fault
    }

    /// The host's mistake; `None` for a trap.
    #[must_use]
    pub fn usage(&self) -> Option<&UsageError> {
        match &*self.0 {
            Inner::Trap { .. } => None,
            Inner::Usage(error) => Some(error),
        }
    }

    /// What a host function raised, if it is (or was caused by) an `E`.
    #[must_use]
    pub fn host_error<E>(&self) -> Option<&E>
    where
        E: core::error::Error + Send + Sync + 'static,
    {
        match &self.trap()?.reason {
            TrapReason::User(error) => error.chain().find_map(|cause| cause.downcast_ref::<E>()),
            TrapReason::Jit { .. } | TrapReason::Wasm(_) => None,
        }
    }

    /// The error that a host function raised.
    ///
    /// # Errors
    ///
    /// The error itself if it is another one.
    pub fn into_host_error(self) -> Result<anyhow::Error, Self> {
        match *self.0 {
            Inner::Trap {
                trap:
                    Trap {
                        reason: TrapReason::User(error),
                        ..
                    },
                ..
            } => Ok(error),
            other => Err(Self(Box::new(other))),
        }
    }

    /// The frames of the guest that trapped, resolved when this is first called.
    /// Empty if there are none.
    #[must_use]
    pub fn wasm_backtrace(&self) -> &WasmBacktrace {
        match &*self.0 {
            Inner::Trap {
                trap,
                modules,
                backtrace,
            } => match modules {
                Some(modules) => backtrace.get_or_init(|| WasmBacktrace::of_trap(trap, modules)),
                None => WasmBacktrace::EMPTY,
            },
            Inner::Usage(_) => WasmBacktrace::EMPTY,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Inner::Trap { trap, .. } => trap.fmt(f),
            Inner::Usage(error) => error.fmt(f),
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
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &*self.0 {
            Inner::Trap { trap, .. } => core::error::Error::source(trap),
            Inner::Usage(error) => core::error::Error::source(error),
        }
    }
}

impl From<UsageError> for Error {
    #[cold]
    fn from(error: UsageError) -> Self {
        Self(Box::new(Inner::Usage(error)))
    }
}

/// A mistake of the host's, or something that the host asked for and cannot
/// have.
#[derive(Debug)]
#[non_exhaustive]
pub enum UsageError {
    /// Something that belongs to one store was used with another one.
    ForeignStore {
        /// What it is.
        what: &'static str,
    },
    /// The wrong number of values.
    ValueCount {
        /// Arguments or results.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A value of the wrong type.
    ValueType {
        /// The type that it should have.
        expected: ValType,
        /// The type that it has.
        found: ValType,
    },
    /// A function has another type than the one it is to be called by.
    Signature {
        /// The type to call it by.
        expected: FuncType,
        /// The type that it has.
        found: FuncType,
    },
    /// A type names a function type that the engine does not know.
    UnknownType {
        /// The unknown type.
        index: TypeIndex,
    },
    /// The instance has no such export.
    NoExport {
        /// The name.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An attempt to set a global that never changes.
    ImmutableGlobal,
    /// An access beyond the end of a memory or table.
    OutOfBounds {
        /// Memory or table.
        what: &'static str,
        /// The first byte or element of the access.
        index: u64,
        /// The number of bytes or elements of the access.
        len: u64,
        /// How many there are.
        size: u64,
    },
    /// A memory or table can't become that large.
    CannotGrow {
        /// Memory or table.
        what: &'static str,
        /// How many pages or elements there are.
        size: u64,
        /// How many more were asked for.
        delta: u64,
    },
    /// There is no room for a table.
    TableSize {
        /// The number of elements.
        elements: u64,
    },
    /// The type is not one for this kind of memory: shared memories are shared,
    /// and have a maximum; others are not shared.
    SharedMemoryType {
        /// The type.
        ty: MemoryType,
    },
    /// A memory can't be made.
    Memory(MemoryError),
    /// The platform can't catch the hardware traps that the guest relies on.
    HardwareTraps(PlatformError),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignStore { what } => write!(f, "the {what} belongs to another store"),
            Self::ValueCount {
                what,
                expected,
                found,
            } => {
                write!(f, "number of {what}: expected {expected}, found {found}")
            }
            Self::ValueType { expected, found } => {
                write!(
                    f,
                    "expected a value of type {expected}, found one of type {found}"
                )
            }
            Self::Signature { expected, found } => {
                write!(
                    f,
                    "expected a function of type {expected}, found one of type {found}"
                )
            }
            Self::UnknownType { index } => {
                write!(f, "the type number {} is not one of this engine", index.0)
            }
            Self::NoExport { name, expected } => {
                write!(f, "the instance exports no {expected} named {name:?}")
            }
            Self::ImmutableGlobal => f.write_str("the global is immutable"),
            Self::OutOfBounds {
                what,
                index,
                len,
                size,
            } => {
                write!(
                    f,
                    "{what} access out of bounds: {len} at {index}, the size is {size}"
                )
            }
            Self::CannotGrow { what, size, delta } => {
                write!(f, "the {what} of size {size} can't grow by {delta}")
            }
            Self::TableSize { elements } => {
                write!(f, "no room for a table of {elements} elements")
            }
            Self::SharedMemoryType { ty } => {
                let is = if ty.shared {
                    "is shared"
                } else {
                    "is not shared"
                };
                write!(
                    f,
                    "{ty} {is}, or has no maximum: the other kind of memory is for it"
                )
            }
            Self::Memory(error) => error.fmt(f),
            Self::HardwareTraps(_) => {
                f.write_str("the guest relies on hardware traps, which cannot be caught here")
            }
        }
    }
}

impl core::error::Error for UsageError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Memory(error) => core::error::Error::source(error),
            Self::HardwareTraps(error) => Some(error),
            _ => None,
        }
    }
}
