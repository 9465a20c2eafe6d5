//! The emulators.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::arch::Arch;

/// The oldest release that the images have been run with.
const OLDEST_SYSTEM: (u32, u32) = (7, 2);

/// The oldest release that will do for programs: older ones remember each page that was ever
/// reserved, which is gigabytes for a script that makes hundreds of memories.
const OLDEST_USER: (u32, u32) = (8, 0);

/// The arguments that choose the CPU for a program, where the emulator's own choice lacks
/// what compiled guests use: on riscv64 the vector extension.
pub(crate) fn user_cpu(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Riscv64 => &["-cpu", "rv64,v=true"],
        _ => &[],
    }
}

/// The program that runs other programs for Linux.
pub(crate) fn user_program(arch: Arch) -> String {
    format!("qemu-{}", arch.name())
}

/// The program that emulates a machine.
pub(crate) fn system_program(arch: Arch) -> String {
    format!("qemu-system-{}", arch.name())
}

/// The packages that have these programs, whatever the release of Debian or Ubuntu.
pub(crate) fn packages() -> [&'static str; 6] {
    [
        "qemu-user",
        "qemu-system-x86",
        "qemu-system-arm",
        // riscv64 stands in one or the other, and the firmware in this or in a third.
        "qemu-system-misc",
        "qemu-system-riscv",
        "opensbi",
    ]
}

/// Fails if `program` does not run, or is too old.
pub(crate) fn check(program: &Path) -> Result<PathBuf> {
    let shown = program.display();
    let version = version(&said(program)?).with_context(|| format!("{shown} tells no version"))?;
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let oldest = if name.starts_with("qemu-system-") {
        OLDEST_SYSTEM
    } else {
        OLDEST_USER
    };
    ensure!(
        version >= oldest,
        "{shown} is of version {}.{}, and {}.{} is the oldest that will do",
        version.0,
        version.1,
        oldest.0,
        oldest.1
    );
    Ok(program.to_owned())
}

/// What `program` says of its version, in its first line.
pub(crate) fn said(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("{} does not run", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The version in a line like `qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.lines().next()?.split_once(" version ")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_first_line() {
        let text = "QEMU emulator version 11.1.2 (Debian 1:11.1.2+ds-1)\nCopyright (c) 2003-2026";
        assert_eq!(version(text), Some((11, 1)));
        assert_eq!(
            version("qemu-s390x version 7.2.22 (Debian 1:7.2)"),
            Some((7, 2))
        );
        assert_eq!(version("qemu-s390x version 8"), None);
        assert_eq!(version(""), None);
    }
}
