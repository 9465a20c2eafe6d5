//! The active toolchain: what it has, and what rustup can add to it and to others.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Log;

/// How long adding targets may take. On a machine without network rustup fails sooner,
/// or hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// The compiler that cargo uses here.
#[derive(Debug)]
pub(crate) struct Active {
    sysroot: PathBuf,
}

impl Active {
    pub(crate) fn find() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let output = Command::new(rustc).args(["--print", "sysroot"]).output()?;
        ensure!(
            output.status.success(),
            "rustc tells no sysroot: {}",
            output.status
        );
        let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        Ok(Self { sysroot })
    }

    pub(crate) fn has_target(&self, target: &str) -> bool {
        has_target(&self.sysroot, target)
    }

    pub(crate) fn has_source(&self) -> bool {
        has_source(&self.sysroot)
    }

    /// LLVM's linker, which rustup's toolchains bring along.
    pub(crate) fn lld(&self, host_target: &str) -> Option<PathBuf> {
        let lld = self.sysroot.join("lib/rustlib").join(host_target);
        Some(lld.join("bin/rust-lld")).filter(|file| file.is_file())
    }

    /// Adds `targets`, and the sources of the standard library if `source` says so.
    pub(crate) fn add(&self, targets: &[&str], source: bool, log: &Log) -> Result<()> {
        ensure!(
            super::program("rustup").is_some(),
            "the active toolchain is none of rustup's"
        );
        if !targets.is_empty() {
            log.line(&format!("rustup target add {}", targets.join(" ")));
            log.run(rustup(&["target", "add"], targets), LIMIT)?;
        }
        if source {
            add_components(None, &["rust-src"], log)?;
        }
        Ok(())
    }
}

/// Adds components to a toolchain; `None`: to the active one.
pub(crate) fn add_components(
    toolchain: Option<&str>,
    components: &[&str],
    log: &Log,
) -> Result<()> {
    let mut verb = vec!["component", "add"];
    verb.extend(toolchain.iter().flat_map(|name| ["--toolchain", name]));
    log.line(&format!(
        "rustup {} {}",
        verb.join(" "),
        components.join(" ")
    ));
    log.run(rustup(&verb, components), LIMIT)
}

/// A call of rustup that gives up soon where there is no network.
fn rustup(verb: &[&str], names: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(verb)
        .args(names)
        .env("RUSTUP_MAX_RETRIES", "1")
        .env("RUSTUP_DOWNLOAD_TIMEOUT", "30");
    command
}

/// Does the toolchain in `sysroot` have the prebuilt standard library (or only `core` and
/// `alloc`, on bare metal) of `target`?
pub(crate) fn has_target(sysroot: &Path, target: &str) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(target).join("lib");
    std::fs::read_dir(libraries).is_ok_and(|mut files| {
        files.any(|file| {
            file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
        })
    })
}

/// Does it have the sources of the standard library?
pub(crate) fn has_source(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .is_file()
}
