//! The guest, compiled once for both sides.

use std::path::Path;

use anyhow::{Context as _, Result};
use trapline_wasmtime::compile::{CompileOptions, compile};

use crate::measure::Artifact;

const GUEST: &str = include_str!("guest.wat");

/// What an artifact is compiled with, and the peer's engine made with.
pub(crate) fn options(artifact: Artifact) -> CompileOptions {
    match artifact {
        Artifact::HardwareTraps => CompileOptions::host(),
        Artifact::ExplicitChecks => CompileOptions::host().explicit_checks(),
    }
}

/// Compiles the guest and writes the artifacts to `folder`.
pub(crate) fn write(folder: &Path) -> Result<()> {
    for artifact in Artifact::ALL {
        let bytes = compile(GUEST.as_bytes(), &options(artifact))?;
        let path = folder.join(artifact.file());
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
