//! Why the bytes are no bundle, or not one to run here.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

/// Why a bundle, or a part of one, cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BundleError {
    kind: BundleErrorKind,
    place: Cow<'static, str>,
    offset: usize,
    expected: Cow<'static, str>,
    found: Cow<'static, str>,
}

/// What is wrong with a bundle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BundleErrorKind {
    /// The bytes are something else.
    NotABundle,
    /// It was written by another version of this crate.
    Version,
    /// It ends too early.
    Truncated,
    /// It was damaged, or is followed by something.
    Corrupt,
    /// It was compiled for another instruction set.
    Machine,
    /// There is nothing of the name in it.
    Missing,
}

impl BundleError {
    pub(crate) fn new(
        kind: BundleErrorKind,
        place: impl Into<Cow<'static, str>>,
        offset: usize,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            place: place.into(),
            offset,
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The error for what the decoder of postcard does not understand.
    pub(crate) fn decoding(place: &'static str, offset: usize, error: postcard::Error) -> Self {
        let found = alloc::format!("{error}");
        Self::new(
            BundleErrorKind::Corrupt,
            place,
            offset,
            "the encoding of this version",
            found,
        )
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> BundleErrorKind {
        self.kind
    }

    /// The part of the bundle that is wrong.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The byte at which it is wrong, counted from the start of the
    /// [place](Self::place) for what is compressed, else from the start of the
    /// bundle.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            place,
            offset,
            expected,
            found,
        } = self;
        let what = match kind {
            BundleErrorKind::NotABundle => "not a bundle",
            BundleErrorKind::Version => "a bundle of another version",
            BundleErrorKind::Truncated => "the bundle is truncated",
            BundleErrorKind::Corrupt => "the bundle is corrupt",
            BundleErrorKind::Machine => "the bundle is for another machine",
            BundleErrorKind::Missing => "not in the bundle",
        };
        write!(
            f,
            "{what}: {place}, byte {offset:#x}: expected {expected}, found {found}"
        )
    }
}

impl core::error::Error for BundleError {}

impl From<BundleError> for String {
    fn from(error: BundleError) -> Self {
        alloc::format!("{error}")
    }
}
