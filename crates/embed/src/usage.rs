//! Mistakes of the host's.

use alloc::string::String;
use core::fmt;

use crate::linear_memory::MemoryError;
use crate::platform::PlatformError;
use crate::types::{FuncType, MemoryType, TableType, TypeIndex, ValType};

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
    /// A store would have more than its [limits](crate::StoreLimits) allow.
    Limit {
        /// Of what.
        what: &'static str,
        /// How much there may be.
        limit: u64,
        /// How much there would be.
        wanted: u64,
    },
    /// There is no room for a table.
    TableSize {
        /// The number of elements.
        elements: u64,
    },
    /// The minimum of a table is above its maximum, or more than its indices reach.
    TableType {
        /// The type.
        ty: TableType,
    },
    /// The type is not one for this kind of memory: a shared one, or one that is not.
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
            Self::Limit {
                what,
                limit,
                wanted,
            } => write!(
                f,
                "the store is limited to {limit} {what}, and would have {wanted}"
            ),
            Self::TableSize { elements } => {
                write!(f, "no room for a table of {elements} elements")
            }
            Self::SharedMemoryType { ty } => {
                let (is, other) = if ty.shared {
                    ("is shared", "`SharedMemory`")
                } else {
                    ("is not shared", "`Memory`")
                };
                write!(f, "{ty} {is}: {other} is for it")
            }
            Self::TableType { ty } => write!(
                f,
                "the minimum of {ty} is above its maximum of {} elements",
                ty.max_elements()
            ),
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
