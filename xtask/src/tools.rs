//! Programs that are no part of a Rust toolchain, at pinned versions.

use std::path::PathBuf;

use anyhow::Result;
use xshell::cmd;

use crate::context::Context;

/// A cargo subcommand from the registry.
#[derive(Debug)]
pub(crate) struct Tool {
    package: &'static str,
    version: &'static str,
}

pub(crate) const CARGO_DENY: Tool = Tool {
    package: "cargo-deny",
    version: "0.20.2",
};

impl Tool {
    /// The program, if the pinned version is at hand: under `target/tools`, or on the path.
    pub(crate) fn find(&self, context: &Context) -> Option<PathBuf> {
        [self.installed_path(context), PathBuf::from(self.package)]
            .into_iter()
            .find(|program| {
                cmd!(context.shell, "{program} --version")
                    .quiet()
                    .ignore_stderr()
                    .read()
                    .is_ok_and(|output| output.split_whitespace().last() == Some(self.version))
            })
    }

    /// The program; built and put under `target/tools` first if it is missing.
    ///
    /// Built without optimisation: that takes half the time, and no tool here
    /// runs for longer than a second.
    pub(crate) fn install(&self, context: &Context) -> Result<PathBuf> {
        if let Some(program) = self.find(context) {
            return Ok(program);
        }
        let Self { package, version } = self;
        let root = context.target_dir("tools");
        let build = context.target_dir("tools-build");
        eprintln!("{package} {version} is missing: building it (a minute or two)");
        context
            .cargo()
            .args([
                "install",
                "--quiet",
                "--debug",
                "--locked",
                "--no-default-features",
            ])
            .args([*package, "--version", *version])
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(&build)
            .run()?;
        // The intermediate files are ten times the size of the program.
        context.shell.remove_path(&build)?;
        Ok(self.installed_path(context))
    }

    fn installed_path(&self, context: &Context) -> PathBuf {
        context.target_dir("tools").join("bin").join(self.package)
    }
}
