//! Why an artifact was refused.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString as _};
use core::fmt;

/// What is wrong with an artifact, in broad terms.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ArtifactErrorKind {
    /// It is not an ELF file that the Wasmtime compiler wrote.
    NotAnArtifact,
    /// It is a component, not a module.
    Component,
    /// It comes from another version of the compiler.
    Version,
    /// It is for another machine, or needs a CPU feature that is missing.
    Machine,
    /// It was compiled with a setting that trapline cannot honour.
    Setting,
    /// It uses a part of WebAssembly that trapline does not support.
    Unsupported,
    /// A section that must be there is not.
    MissingSection,
    /// It ends too early, or says something that cannot be true.
    Corrupt,
    /// It is not what the compiler wrote: its checksum is another.
    Checksum,
}

/// Why an artifact was refused: where, what was expected there, what was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArtifactError(
    // One word, since this travels through many results.
    alloc::boxed::Box<Details>,
);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Details {
    kind: ArtifactErrorKind,
    section: &'static str,
    offset: Option<usize>,
    expected: Cow<'static, str>,
    found: Cow<'static, str>,
}

impl ArtifactError {
    /// What is wrong, in broad terms.
    #[must_use]
    pub fn kind(&self) -> ArtifactErrorKind {
        self.0.kind
    }

    /// The section that is wrong or missing; `ELF header` for what comes
    /// before the sections.
    #[must_use]
    pub fn section(&self) -> &str {
        self.0.section
    }

    /// Where: in bytes from the start of the section, of the file for the
    /// `ELF header`. `None` if it is about a decoded value, or about the
    /// section as a whole.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        self.0.offset
    }

    /// What ought to be there.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.0.expected
    }

    /// What is there.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.0.found
    }
}

impl fmt::Display for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            kind,
            section,
            offset,
            expected,
            found,
        } = &*self.0;
        let what = match kind {
            ArtifactErrorKind::NotAnArtifact => "not an artifact of the Wasmtime compiler",
            ArtifactErrorKind::Component => "a component instead of a module",
            ArtifactErrorKind::Version => "an artifact of another compiler version",
            ArtifactErrorKind::Machine => "an artifact for another machine",
            ArtifactErrorKind::Setting => {
                "an artifact compiled with a setting that is not supported"
            }
            ArtifactErrorKind::Unsupported => {
                "an artifact that uses an unsupported part of WebAssembly"
            }
            ArtifactErrorKind::MissingSection => "an incomplete artifact",
            ArtifactErrorKind::Corrupt => "a corrupt artifact",
            ArtifactErrorKind::Checksum => "a damaged artifact",
        };
        write!(f, "{what}: {section}")?;
        if let Some(offset) = offset {
            write!(f, " at byte {offset:#x}")?;
        }
        write!(f, ": expected {expected}, found {found}")
    }
}

impl core::error::Error for ArtifactError {}

/// A place in an artifact, to make errors about it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    section: &'static str,
    offset: Option<usize>,
}

impl Place {
    /// The section as a whole, or a value decoded from it.
    pub(crate) const fn section(section: &'static str) -> Self {
        Self {
            section,
            offset: None,
        }
    }

    /// A byte of the same section.
    pub(crate) const fn at(self, offset: usize) -> Self {
        Self {
            offset: Some(offset),
            ..self
        }
    }

    #[cold]
    pub(crate) fn error(
        self,
        kind: ArtifactErrorKind,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<Cow<'static, str>>,
    ) -> ArtifactError {
        ArtifactError(alloc::boxed::Box::new(Details {
            kind,
            section: self.section,
            offset: self.offset,
            expected: expected.into(),
            found: found.into(),
        }))
    }

    /// An [`ArtifactErrorKind::Corrupt`].
    #[cold]
    pub(crate) fn corrupt(
        self,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<Cow<'static, str>>,
    ) -> ArtifactError {
        self.error(ArtifactErrorKind::Corrupt, expected, found)
    }

    /// Checks that an index lies in its index space.
    pub(crate) fn check_index(
        self,
        what: &str,
        index: usize,
        length: usize,
    ) -> Result<(), ArtifactError> {
        if index < length {
            Ok(())
        } else {
            Err(self.corrupt(format!("{what} below {length}"), index.to_string()))
        }
    }

    /// Checks something about a decoded value.
    pub(crate) fn check(
        self,
        holds: bool,
        expected: &'static str,
        found: impl FnOnce() -> String,
    ) -> Result<(), ArtifactError> {
        if holds {
            Ok(())
        } else {
            Err(self.corrupt(expected, found()))
        }
    }
}
