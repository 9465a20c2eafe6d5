//! The nightly toolchain beside the active one: what has Miri and the sanitizers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use xshell::{Cmd, Shell, cmd};

use super::{Log, rustup};

/// What rustup calls it.
pub(super) const NAME: &str = "nightly";

/// What is taken from it beside the compiler.
pub(super) const COMPONENTS: &[&str] = &["miri", "rust-src"];

/// Variables of the commands that started xtask, which name programs of the active toolchain.
const OF_THE_ACTIVE: &[&str] = &["RUSTUP_TOOLCHAIN", "RUSTC", "RUSTDOC", "CARGO"];

/// A toolchain.
#[derive(Clone, Debug)]
pub(crate) struct Nightly {
    sysroot: PathBuf,
}

impl Nightly {
    /// The one that is installed, if it is as new as the workspace asks for. None is installed here:
    /// that is for who owns the machine to say.
    pub(super) fn find() -> Result<Self> {
        ensure!(
            super::program("rustup").is_some(),
            "there is no rustup, which has {NAME} toolchains"
        );
        let asked = |what: &[&str]| -> Result<String> {
            let mut command = Command::new("rustup");
            command.args(["run", NAME, "rustc"]).args(what);
            for variable in OF_THE_ACTIVE {
                command.env_remove(variable);
            }
            let output = command.env("RUSTUP_AUTO_INSTALL", "0").output()?;
            ensure!(
                output.status.success(),
                "there is no {NAME} toolchain (rustup toolchain install {NAME})"
            );
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let sysroot = PathBuf::from(asked(&["--print", "sysroot"])?);
        let version = asked(&["--version"])?;
        let oldest = env!("CARGO_PKG_RUST_VERSION");
        ensure!(
            minor(&version).context("rustc tells no version")? >= minor(oldest).unwrap_or(0),
            "the {NAME} toolchain is older than {oldest}: {version} (rustup update {NAME})"
        );
        Ok(Self { sysroot })
    }

    /// Adds what it lacks of its components.
    pub(super) fn complete(&self, log: &Log) -> Result<()> {
        if self.miri().is_ok() && self.source().is_ok() {
            return Ok(());
        }
        rustup::add_components(Some(NAME), COMPONENTS, log)
    }

    /// A command of its cargo to add arguments to.
    pub(crate) fn cargo<'s>(&self, shell: &'s Shell) -> Cmd<'s> {
        OF_THE_ACTIVE
            .iter()
            .fold(cmd!(shell, "rustup run {NAME} cargo"), |command, name| {
                command.env_remove(name)
            })
    }

    /// Whether it has Miri.
    pub(crate) fn miri(&self) -> Result<()> {
        self.has(&format!("bin/miri{}", std::env::consts::EXE_SUFFIX), "Miri")
    }

    /// Whether it has the sources of the standard library.
    pub(crate) fn source(&self) -> Result<()> {
        ensure!(
            rustup::has_source(&self.sysroot),
            "the {NAME} toolchain lacks rust-src"
        );
        Ok(())
    }

    /// Whether it has the library that a sanitizer, such as `asan`, needs in programs for `target`.
    pub(crate) fn sanitizer(&self, name: &str, target: &str) -> Result<()> {
        let file = format!("lib/rustlib/{target}/lib/librustc-{NAME}_rt.{name}.a");
        self.has(&file, &format!("{name} for {target}"))
    }

    fn has(&self, file: &str, what: &str) -> Result<()> {
        ensure!(
            Path::is_file(&self.sysroot.join(file)),
            "the {NAME} toolchain lacks {what}"
        );
        Ok(())
    }
}

/// The second number of a version, wherever that stands in `text`.
fn minor(text: &str) -> Option<u32> {
    let version = text.split(' ').find(|word| word.starts_with("1."))?;
    version.split('.').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_second_number() {
        assert_eq!(
            minor("rustc 1.97.0-nightly (f964de49b 2026-05-14)"),
            Some(97)
        );
        assert_eq!(minor("1.95"), Some(95));
        assert_eq!(minor("rustc"), None);
        assert!(minor(env!("CARGO_PKG_RUST_VERSION")).is_some());
    }
}
