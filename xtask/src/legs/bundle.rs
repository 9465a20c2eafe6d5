//! Guests and scripts, compiled here for another machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

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

/// A file with guests and scripts, and what has to come of it.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) file: PathBuf,
    pub(crate) sums: Sums,
}

/// How many guests of a bundle, and directives of its scripts, have to pass, wherever it is
/// run: by the word of the program that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sums {
    pub(crate) guests: u64,
    pub(crate) directives: u64,
}

impl Sums {
    /// The numbers in what the program prints: `FILE: …, 49 guests, 741 scripts, 141182
    /// directives, …`.
    fn read(text: &str) -> Option<Self> {
        let count = |what: &str| {
            let mut parts = text.trim_end().split(", ");
            parts.find_map(|part| part.strip_suffix(what)?.parse().ok())
        };
        Some(Self {
            guests: count(" guests")?,
            directives: count(" directives")?,
        })
    }
}

/// Modules for the scenarios of the test image, from the workspace root.
const SCENARIOS: &str = "crates/test-image/guests";

/// The file with every guest, every script and the modules of the scenarios, compiled for
/// `arch`. One file serves Linux and bare metal, and is made once in a run of xtask.
pub(crate) fn bundle(context: &Context, arch: Arch, traps: Traps, scripts: bool) -> Result<Bundle> {
    let few = if scripts { "" } else { "-no-scripts" };
    let name = format!("{}-{}{few}.bundle", arch.name(), traps.name());
    let folder = context.target_dir("bundles");
    let file = folder.join(name);
    // What the program said of it.
    let notes = file.with_extension("txt");
    if context.is_first(&file) {
        let said = make(context, arch, traps, scripts, &file)?;
        println!("{said}");
        fs::write(&notes, said)?;
    }
    let said = fs::read_to_string(&notes)?;
    let sums = Sums::read(&said).with_context(|| format!("no sums in {said:?}"))?;
    ensure!(sums.guests > 0, "there are no guests in {}", file.display());
    ensure!(
        (sums.directives > 0) == scripts,
        "{} directives of scripts in {}",
        sums.directives,
        file.display()
    );
    Ok(Bundle { file, sums })
}

/// Compiles a bundle; gives what the program that does it has printed.
fn make(context: &Context, arch: Arch, traps: Traps, scripts: bool, file: &Path) -> Result<String> {
    let folder = file.parent().context("a bundle lies in a folder")?;
    context.shell.create_dir(folder)?;
    let program = context.program_of_tests(PROGRAM_TEST, "trapline-bundle")?;
    let shell = &context.shell;
    let mut command = xshell::cmd!(shell, "{program}")
        .args(["--target", arch.hosted_target(), "--scenarios", SCENARIOS])
        .arg("--output")
        .arg(file);
    if traps == Traps::Explicit {
        command = command.arg("--explicit-checks");
    }
    if !scripts {
        command = command.arg("--no-scripts");
    }
    Ok(command.read()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_what_the_program_says_they_are() {
        let said = "target/guests, 7 scripts.bundle: aarch64, explicit checks, 49 guests, \
                    741 scripts, 141182 directives, 4 artifacts by name, 159116 bytes\n";
        let expected = Sums {
            guests: 49,
            directives: 141_182,
        };
        assert_eq!(Sums::read(said), Some(expected));
        assert_eq!(Sums::read("target/a.bundle: aarch64, 49 guests"), None);
    }
}
