//! Guests and scripts, compiled here for another machine.

use std::path::PathBuf;

use anyhow::Result;

use crate::arch::Arch;
use crate::context::Context;

/// How guests trap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traps {
    /// By faults of the hardware.
    Hardware,
    /// By checks in the compiled code.
    Explicit,
}

impl Traps {
    pub(crate) const ALL: [Self; 2] = [Self::Hardware, Self::Explicit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Explicit => "explicit",
        }
    }
}

/// A test of the package that has the program which makes bundles.
const PROGRAM_TEST: &str = "host";

/// Modules for the scenarios of the test image, from the workspace root.
const SCENARIOS: &str = "crates/test-image/guests";

/// The file with every guest, every script and the modules of the scenarios, compiled for
/// `arch`. One file serves Linux and bare metal, and is made once in a run of xtask.
pub(crate) fn bundle(
    context: &Context,
    arch: Arch,
    traps: Traps,
    scripts: bool,
) -> Result<PathBuf> {
    let few = if scripts { "" } else { "-no-scripts" };
    let name = format!("{}-{}{few}.bundle", arch.name(), traps.name());
    let folder = context.target_dir("bundles");
    let file = folder.join(name);
    if !context.is_first(&file) {
        return Ok(file);
    }
    context.shell.create_dir(&folder)?;
    // A test target brings the program along, and the features that tests of the whole
    // workspace are compiled with: what those have compiled is used, and the compiler of the
    // guests is not compiled a second time.
    context
        .cargo()
        .args(["build", "--quiet", "--workspace", "--all-features"])
        .args(["--test", PROGRAM_TEST])
        .run()?;
    let program = context.target_dir("debug").join("trapline-bundle");
    let shell = &context.shell;
    let mut command = xshell::cmd!(shell, "{program}")
        .args(["--target", arch.hosted_target(), "--scenarios", SCENARIOS])
        .arg("--output")
        .arg(&file);
    if traps == Traps::Explicit {
        command = command.arg("--explicit-checks");
    }
    if !scripts {
        command = command.arg("--no-scripts");
    }
    command.run()?;
    Ok(file)
}
