//! The proof that the `no_std` crates need no `std`.
//!
//! * On x86_64 Linux: `xtask/no-std-probe` is built with all of them and run, a
//!   static program without libc. Two copies of the panic handler would meet if
//!   `std` came in by any way, and the linker would miss symbols.
//!   CPU-locals have the section that the crate's linker script makes.
//! * For each bare-metal target: `cargo check`, and the minimal image, which is run,
//!   and in which trapline must not be larger than `docs/sizes.md` says.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use xshell::{Cmd, cmd};

use crate::arch::Arch;
use crate::context::Context;
use crate::policy::{self, PROBE_FEATURES};
use crate::sizes;
use crate::step::{Group, Machine, Report, Step};
use crate::toolchain::{Bare, Compiler};

pub(crate) const NO_STD: Step = Step {
    name: "no-std",
    about: "the no_std crates link and run without std, and build for bare metal",
    group: Group::Test,
    needs: &[
        Machine::Bare(Arch::X86_64),
        Machine::Bare(Arch::Aarch64),
        Machine::Bare(Arch::Riscv64),
    ],
    run,
};

/// Root of the probe's sources, from the workspace root.
pub(crate) const PROBE_SOURCE: &str = "xtask/no-std-probe/main.rs";

/// The target whose prebuilt `core` and `alloc` the probe is linked with.
const PROBE_TARGET: &str = "x86_64-unknown-linux-gnu";

fn run(context: &Context) -> Result<Report> {
    let mut report = Report::default();
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        run_probe(context)?;
    } else {
        report.leg_not_run("the static program", format!("it is for {PROBE_TARGET}"));
    }
    for arch in Arch::bare() {
        match context.bare(arch)? {
            Ok(bare) => {
                check_bare_metal(context, bare)?;
                if let Some(reason) = sizes::check(context, bare)? {
                    eprintln!("{}: {reason}", arch.name());
                }
            }
            Err(reason) => report.leg_not_run(format!("bare {}", arch.name()), reason),
        }
    }
    Ok(report)
}

fn no_std_crates() -> impl Iterator<Item = &'static str> {
    policy::CRATES
        .iter()
        .filter(|policy| policy.no_std)
        .map(|policy| policy.name)
}

fn run_probe(context: &Context) -> Result<()> {
    let shell = &context.shell;
    let dir = context.target_dir("no-std-probe");
    write_probe(context, &dir)?;
    let manifest = dir.join("Cargo.toml");
    context
        .cargo()
        .args([
            "rustc",
            "--quiet",
            "--target",
            PROBE_TARGET,
            "--manifest-path",
        ])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(dir.join("target"))
        // The crates take `target_os = "none"` for bare metal. No target of
        // that kind need be installed: its code is built for Linux here.
        .env(
            "RUSTFLAGS",
            "--cfg target_os=\"none\" -Aexplicit_builtin_cfgs_in_flags",
        )
        .args([
            "--",
            "-Crelocation-model=static",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-static",
            "-Clink-arg=-Wl,-Tcpu_locals.ld",
        ])
        .arg(format!("-Clink-arg=-L{}", dir.display()))
        .run()?;
    let program = dir
        .join("target")
        .join(PROBE_TARGET)
        .join("debug/no-std-probe");
    cmd!(shell, "{program}")
        .run()
        .context("the program built without std ran, and a check in its main.rs failed")
}

/// The package, made from the table of crates; its lock file is the workspace's.
fn write_probe(context: &Context, dir: &Path) -> Result<()> {
    let shell = &context.shell;
    let mut manifest = String::from(
        "[package]\nname = \"no-std-probe\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [profile.dev]\npanic = \"abort\"\ndebug = false\n\n[dependencies]\n",
    );
    let mut crates = String::new();
    for name in no_std_crates() {
        let package = context
            .workspace
            .package(name)
            .with_context(|| format!("{name} is no crate here"))?;
        let features: &[&str] = match PROBE_FEATURES.split_once('/') {
            Some((krate, feature)) if krate == name => &[feature],
            _ => &[],
        };
        let path = package.dir();
        writeln!(
            manifest,
            "{name} = {{ path = {path:?}, default-features = false, features = {features:?} }}"
        )?;
        writeln!(crates, "extern crate {} as _;", name.replace('-', "_"))?;
    }
    let source = context.root().join(PROBE_SOURCE);
    let source = source.parent().expect("a file in a folder");
    shell.write_file(dir.join("Cargo.toml"), manifest)?;
    shell.write_file(dir.join("src/crates.rs"), crates)?;
    for file in ["main.rs", "cpus.rs", "machine.rs"] {
        shell.copy_file(source.join(file), dir.join("src").join(file))?;
    }
    let cpu_local = context.root().join("crates/cpu-local/cpu_local.ld");
    shell.copy_file(cpu_local, dir.join("cpu_local.ld"))?;
    shell.copy_file(source.join("cpu_locals.ld"), dir.join("cpu_locals.ld"))?;
    shell.copy_file(context.root().join("Cargo.lock"), dir.join("Cargo.lock"))?;
    Ok(())
}

/// Type-checks the `no_std` crates, and documents those that docs.rs builds for bare metal.
fn check_bare_metal(context: &Context, bare: &Bare) -> Result<()> {
    let packages = no_std_crates().flat_map(|name| ["--package", name]);
    for_bare_metal(context, bare, &["check", "--no-default-features"])
        .args(packages)
        .run()?;
    let documented = policy::CRATES
        .iter()
        .filter(|policy| policy.documented_for_bare_metal)
        .flat_map(|policy| ["--package", policy.name]);
    for_bare_metal(
        context,
        bare,
        &["doc", "--no-deps", "--lib", "--all-features"],
    )
    .args(documented)
    .env("RUSTDOCFLAGS", "-D warnings")
    .run()?;
    Ok(())
}

fn for_bare_metal<'c>(context: &'c Context, bare: &Bare, command: &[&str]) -> Cmd<'c> {
    let command = context
        .cargo()
        .args(command)
        .args(["--quiet", "--target", bare.target(), "--target-dir"])
        .arg(context.target_dir("cross"))
        .env_remove("RUSTFLAGS")
        .envs(bare.variables());
    // A compiler from packages has only the sources of `core` and `alloc` for these targets.
    if bare.compiler == Compiler::Active {
        command
    } else {
        command
            .arg("-Zbuild-std=core,alloc")
            .env("RUSTC_BOOTSTRAP", "1")
    }
}
