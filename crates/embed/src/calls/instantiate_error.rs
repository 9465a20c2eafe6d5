//! What can go wrong between a module and its instance.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use crate::calls::error::Error;
use crate::types::ExternType;
use crate::usage::UsageError;

/// Why a module could not be instantiated.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstantiateError {
    /// An import is missing, or not what the module asks for.
    Link(LinkError),
    /// There are more imports than the module asks for.
    TooManyImports {
        /// How many it asks for.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The module was loaded in another engine than that of the store.
    ForeignEngine,
    /// There is no room for the module's memories or tables, the store's
    /// [limits](crate::StoreLimits) do not allow them, or the platform
    /// can't catch the hardware traps that it relies on.
    Resources(UsageError),
    /// Its startup trapped: a segment that does not fit, or the start function.
    /// What it did until then stays done.
    Trap(Error),
}

impl InstantiateError {
    /// The trap or host error that the module's startup ended with.
    #[must_use]
    pub fn as_trap(&self) -> Option<&Error> {
        if let Self::Trap(error) = self {
            Some(error)
        } else {
            None
        }
    }
}

impl fmt::Display for InstantiateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(error) => error.fmt(f),
            Self::TooManyImports { expected, found } => {
                write!(f, "number of imports: expected {expected}, found {found}")
            }
            Self::ForeignEngine => f.write_str("the module belongs to another engine"),
            Self::Resources(error) => error.fmt(f),
            Self::Trap(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for InstantiateError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Link(_) | Self::TooManyImports { .. } | Self::ForeignEngine => None,
            Self::Resources(error) => core::error::Error::source(error),
            Self::Trap(error) => core::error::Error::source(error),
        }
    }
}

impl From<LinkError> for InstantiateError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<UsageError> for InstantiateError {
    fn from(error: UsageError) -> Self {
        Self::Resources(error)
    }
}

/// An import that is missing, or not what the module asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkError {
    /// The module that the import is to come from.
    pub module: String,
    /// Its name there.
    pub name: String,
    /// What is wrong.
    pub kind: LinkErrorKind,
}

/// What is wrong with an import.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkErrorKind {
    /// There is nothing of this name.
    Unknown {
        /// What the module asks for.
        expected: Box<ExternType>,
    },
    /// There is something else of this name.
    IncompatibleType {
        /// What the module asks for.
        expected: Box<ExternType>,
        /// What there is, with the size that it has now.
        found: Box<ExternType>,
    },
    /// It belongs to another store.
    ForeignStore,
    /// The memory has less address space or a smaller guard region than the
    /// module was compiled for, or may move where the module expects it not to.
    MemorySettings,
    /// No loaded module can call host functions of this type.
    NoTrampoline,
}

impl fmt::Display for LinkError {
    /// Begins with the words of the specification's test suite.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { module, name, kind } = self;
        match kind {
            LinkErrorKind::Unknown { expected } => {
                write!(
                    f,
                    "unknown import: {module:?} {name:?} is not defined, expected {expected}"
                )
            }
            LinkErrorKind::IncompatibleType { expected, found } => write!(
                f,
                "incompatible import type: {module:?} {name:?} is {found}, expected {expected}"
            ),
            LinkErrorKind::ForeignStore => {
                write!(
                    f,
                    "incompatible import: {module:?} {name:?} belongs to another store"
                )
            }
            LinkErrorKind::MemorySettings => write!(
                f,
                "incompatible import: memory {module:?} {name:?} was made with other settings \
                 (reservation, guard region) than the module was compiled for"
            ),
            LinkErrorKind::NoTrampoline => write!(
                f,
                "incompatible import: no trampoline to host functions like {module:?} {name:?}"
            ),
        }
    }
}

impl core::error::Error for LinkError {}
