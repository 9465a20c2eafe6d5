//! Why a registration was refused.

use core::fmt;
use core::ops::Range;

use trapline_arch::VirtualAddress;

/// Why [`register_code`](crate::register_code) refused a code object. The
/// registry is as it was before.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegisterError {
    /// The range contains no address: its end is not above its start.
    Empty {
        /// The range that was to be registered.
        requested: Range<VirtualAddress>,
    },
    /// Some of the addresses belong to code that is registered already; where
    /// both ranges are the same, most likely to the same image.
    Overlap {
        /// The range that was to be registered.
        requested: Range<VirtualAddress>,
        /// The registered range that is in the way; where several are, the one
        /// with the highest addresses.
        registered: Range<VirtualAddress>,
    },
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { requested } => write!(
                f,
                "code range {}..{} contains no address",
                requested.start, requested.end
            ),
            Self::Overlap {
                requested,
                registered,
            } => write!(
                f,
                "code range {}..{} overlaps {}..{}, which is registered already",
                requested.start, requested.end, registered.start, registered.end
            ),
        }
    }
}

impl fmt::Debug for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisterError({self})")
    }
}

impl core::error::Error for RegisterError {}
