//! Modules as files: text, binary or already compiled.

use std::path::Path;

use anyhow::{Context as _, bail};
use trapline_wasmtime::compile::{CompileOptions, compile};
use wasmparser::Parser;

use crate::features;

/// The contents of a module's file.
#[derive(Clone, Debug)]
pub enum Source {
    /// A WebAssembly module in the binary format; text was translated to it.
    Wasm(Vec<u8>),
    /// An artifact of the compiler, as `trapline compile` writes it.
    Compiled(Vec<u8>),
}

impl Source {
    /// Reads the file and tells by its first bytes what it is: `\0asm` begins
    /// a binary module, `\x7fELF` an artifact, and anything else is text.
    ///
    /// # Errors
    ///
    /// If the file can't be read, if it is text and does not parse (the error
    /// then shows the place), or if it is a component.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if bytes.starts_with(b"\x7fELF") {
            return Ok(Self::Compiled(bytes));
        }
        let wasm = if bytes.starts_with(b"\0asm") {
            bytes
        } else {
            wat::Parser::new()
                .parse_bytes(Some(path), &bytes)
                .with_context(|| format!("{} is not a WebAssembly module", path.display()))?
                .into_owned()
        };
        if Parser::is_component(&wasm) {
            bail!(
                "{} is a WebAssembly component, not a module: components are not supported",
                path.display()
            );
        }
        Ok(Self::Wasm(wasm))
    }

    /// The artifact: compiled with `options`, unless it already is one.
    ///
    /// # Errors
    ///
    /// If the module is not valid or uses what the compiler does not support.
    pub fn into_artifact(self, options: &CompileOptions) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Compiled(artifact) => Ok(artifact),
            Self::Wasm(wasm) => {
                compile(&wasm, options).with_context(|| match features::missing(&wasm) {
                    None => "cannot compile the module".into(),
                    Some(names) => {
                        format!("the module needs what is not supported: {names}")
                    }
                })
            }
        }
    }
}
