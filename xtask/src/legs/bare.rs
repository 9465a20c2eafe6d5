//! The test image: a kernel that runs guests and scripts, under an emulator of machines.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::bundle::{Sums, Traps, bundle};
use super::outcome::Outcome;
use crate::arch::{Arch, cargo_variable};
use crate::context::Context;
use crate::image_counts;
use crate::process::{self, End};
use crate::step::{Report, TestCounts};
use crate::toolchain::Bare;

/// How long an image may run.
const LIMIT: Duration = Duration::from_secs(1500);
/// The same, if it is to stop for a bug right away.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// What a kernel ends with that stops because of an error.
const STOPPED: i32 = 101;

/// What the kernel has to stop for, in the order of `crates/test-image/src/tests/stops.rs`,
/// and what its last words begin with.
const STOPS: &[(&str, &str)] = &[
    (
        "a fault in a host function",
        "PageFault(VirtualAddress(0x10)) on CPU 1: pc 0x",
    ),
    ("a panic that nobody catches", "panic that nobody catches: "),
    // The first exception was a fault at address 1.
    (
        "a fault in the handler of a fault",
        "PageFault(VirtualAddress(0x4",
    ),
    ("a stack that is used up", "PageFault(VirtualAddress(0x100"),
    (
        "a guest outside of its memory",
        "guest fault outside all memories of its store: address 0x400000000000, pc 0x",
    ),
    (
        "a guest at an impossible address",
        "guest fault outside all memories of its store: address 0x",
    ),
];

const PACKAGE: &str = "trapline-test-image";

/// What [`build`] puts into an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents<'t> {
    /// One bundle for each of these.
    pub(crate) traps: &'t [Traps],
    /// The scripts of the specification, beside guests and scenarios.
    pub(crate) scripts: bool,
}

impl Contents<'_> {
    pub(crate) const ALL: Contents<'static> = Contents {
        traps: &Traps::ALL,
        scripts: true,
    };
}

pub(super) fn run(context: &Context, arch: Arch) -> Result<Report> {
    let mut report = Report::default();
    let bare = match context.bare(arch)? {
        Ok(bare) => bare,
        Err(reason) => return Ok(Report::of_nothing(reason)),
    };
    let image = build(context, bare, Contents::ALL)?;
    report.tests += boot_all(bare, &image, Contents::ALL)?;
    Ok(report)
}

/// Runs an image to its end, and then to each end that the kernel has to come to.
fn boot_all(bare: &Bare, image: &Image, contents: Contents<'_>) -> Result<TestCounts> {
    let mut counts = boot(bare, image)?;
    // Some are about what hardware traps protect from.
    if contents.traps.contains(&Traps::Hardware) {
        for order in 1..=STOPS.len() {
            boot_to_stop(bare, &image.file, order)?;
            counts.passed += 1;
        }
    }
    if contents.traps == Traps::ALL {
        // Whether they are there: what they are is for `cargo xtask image counts`.
        counts.passed += image_counts::measure(bare, &image.file)?.len() as u64;
    }
    Ok(counts)
}

/// An image, and what has to come of the bundles in it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) file: PathBuf,
    bundles: Vec<Sums>,
}

/// Builds an image.
pub(crate) fn build(context: &Context, bare: &Bare, contents: Contents<'_>) -> Result<Image> {
    let (mut paths, mut sums) = (OsString::new(), Vec::new());
    for traps in contents.traps {
        let bundle = bundle(context, bare.arch, *traps, contents.scripts)?;
        if !paths.is_empty() {
            paths.push(":");
        }
        paths.push(bundle.file);
        sums.push(bundle.sums);
    }
    let folder = context.target_dir("cross");
    context
        .cargo()
        .args(["build", "--quiet", "--package", PACKAGE])
        // `core` and `alloc` are built anew: those that come with a toolchain abort
        // where a panic begins, and the image catches panics.
        .args(["-Zbuild-std=core,alloc", "--profile", "image", "--target"])
        .arg(bare.target())
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTFLAGS")
        .env(
            cargo_variable(bare.target(), "RUSTFLAGS"),
            "-Cpanic=unwind -Crelocation-model=static -Cforce-frame-pointers=yes",
        )
        .env("TRAPLINE_IMAGE_BUNDLE", paths)
        .envs(bare.variables())
        .run()?;
    Ok(Image {
        file: folder.join(bare.target()).join("image").join(PACKAGE),
        bundles: sums,
    })
}

/// Runs an image to its end; its serial line goes to standard output.
fn boot(bare: &Bare, image: &Image) -> Result<TestCounts> {
    let mut outcome = Outcome::new(String::new());
    let command = emulator(bare, &image.file)?;
    let end = process::run(command, LIMIT, |line| outcome.line(line))?;
    match status(bare.arch, end) {
        Some(0) => outcome.counts(&image.bundles),
        Some(status) => bail!("the image on {} ended with {status}", bare.arch.name()),
        None => bail!("the image on {} came to no end: {end}", bare.arch.name()),
    }
}

/// Runs an image with an order to do what the kernel has to stop for.
fn boot_to_stop(bare: &Bare, image: &Path, order: usize) -> Result<()> {
    let (what, words) = STOPS[order - 1];
    let words = format!("kernel stopped: {words}");
    let command = emulator_with_order(bare, image, order)?;
    let mut log = String::new();
    let end = process::run(command, STOP_LIMIT, |line| log.push_str(line))?;
    let status = status(bare.arch, end);
    let said = log.lines().find(|line| line.starts_with(&words));
    let log = said.unwrap_or(&log);
    println!("{what}: {log}");
    ensure!(
        status == Some(STOPPED) && said.is_some(),
        "{what} on {}: the image did not stop with {STOPPED} and {words:?}, but {end} ({status:?})",
        bare.arch.name()
    );
    Ok(())
}

/// The command that runs an image which is to do what `order` says.
pub(crate) fn emulator_with_order(bare: &Bare, image: &Path, order: usize) -> Result<Command> {
    let mut command = emulator(bare, image)?;
    command.arg("-device").arg(format!(
        "loader,addr={},data={order},data-len=8",
        order_address(bare.arch)?
    ));
    Ok(command)
}

/// Where the image looks for an order: `ORDER` in the machine's file in
/// `crates/test-image/src/isa`.
fn order_address(arch: Arch) -> Result<&'static str> {
    Ok(match arch {
        Arch::X86_64 => "0x20000000",
        Arch::Aarch64 => "0x60000000",
        Arch::Riscv64 => "0xa0000000",
        Arch::S390x => bail!("there is no image for {}", arch.name()),
    })
}

/// The command that runs an image.
pub(crate) fn emulator(bare: &Bare, image: &Path) -> Result<Command> {
    let mut command = Command::new(&bare.emulator);
    command
        .args(machine(bare.arch)?)
        .args([
            "-m", "2048", "-smp", "2", "-display", "none", "-net", "none",
        ])
        .args(["-no-reboot", "-serial", "stdio", "-kernel"])
        .arg(image);
    Ok(command)
}

/// The emulator's arguments for a machine of `arch`.
fn machine(arch: Arch) -> Result<&'static [&'static str]> {
    Ok(match arch {
        // The device at 0xf4 ends the emulator with a status.
        Arch::X86_64 => &[
            "-machine",
            "q35",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=4",
        ],
        Arch::Aarch64 => &["-machine", "virt", "-cpu", "max", "-semihosting"],
        // Compiled guests use the vector extension.
        Arch::Riscv64 => &[
            "-machine",
            "virt",
            "-cpu",
            "rv64,v=true",
            "-bios",
            "default",
        ],
        Arch::S390x => bail!("there is no image for {}", arch.name()),
    })
}

/// The status that the image ended with; `None` if it did not end by itself.
pub(crate) fn status(arch: Arch, end: End) -> Option<i32> {
    let End::Exited(status) = end else {
        return None;
    };
    let code = status.code()?;
    match arch {
        // The device shifts the status, and sets the lowest bit. An image that is done
        // writes 16, since what other errors of the emulator end with is small.
        Arch::X86_64 if code & 1 == 0 => None,
        Arch::X86_64 => Some((code >> 1) ^ 16),
        _ => Some(code),
    }
}

/// `cargo xtask image run`: fails if the image does.
pub(crate) fn build_and_boot(
    context: &Context,
    arch: Arch,
    contents: Contents<'_>,
    run: bool,
) -> Result<()> {
    ensure!(
        arch.bare_target().is_some(),
        "there is no image for {}",
        arch.name()
    );
    let bare = match context.bare(arch)? {
        Ok(bare) => bare,
        Err(reason) => bail!("{reason}"),
    };
    let image = build(context, bare, contents)?;
    eprintln!("{}", image.file.display());
    if run {
        boot_all(bare, &image, contents)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn exited(code: i32) -> End {
        End::Exited(ExitStatus::from_raw(code << 8))
    }

    #[test]
    fn statuses_are_those_of_the_image() {
        assert_eq!(status(Arch::X86_64, exited(33)), Some(0));
        assert_eq!(status(Arch::X86_64, exited(3)), Some(17));
        assert_eq!(status(Arch::X86_64, exited(235)), Some(STOPPED));
        assert_eq!(status(Arch::X86_64, exited(0)), None);
        assert_eq!(status(Arch::Riscv64, exited(0)), Some(0));
        assert_eq!(status(Arch::Aarch64, exited(2)), Some(2));
        assert_eq!(status(Arch::Aarch64, End::TimedOut), None);
    }
}
