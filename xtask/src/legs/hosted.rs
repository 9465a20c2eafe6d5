//! Programs for Linux on another instruction set, under an emulator of processes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use xshell::Cmd;

use super::bundle::{Bundle, Traps, bundle};
use super::outcome::Outcome;
use crate::arch::Arch;
use crate::context::Context;
use crate::policy;
use crate::step::{Report, TestCounts};
use crate::steps::test::run_counted;
use crate::toolchain::Hosted;

/// How long one test program may run. The slowest takes a minute on a quiet machine.
const LIMIT: Duration = Duration::from_secs(900);
/// How long all guests and scripts of one bundle may take.
const BUNDLE_LIMIT: Duration = Duration::from_secs(1200);

/// The process that runs bundles.
const PROGRAM: &str = "trapline-test-image";

pub(super) fn run(context: &Context, arch: Arch) -> Result<Report> {
    let mut report = Report::default();
    let hosted = match context.hosted(arch)? {
        Ok(hosted) => hosted,
        Err(reason) => {
            report.skipped = true;
            report.leg_not_run("all of it", reason);
            return Ok(report);
        }
    };
    report.tests += run_tests(context, hosted)?;
    report.tests += run_bundles(context, hosted)?;
    document(context, hosted)?;
    Ok(report)
}

/// The tests of the layers, as on the host.
fn run_tests(context: &Context, hosted: &Hosted) -> Result<TestCounts> {
    let tests = run_counted(test_command(context, hosted, layers()).arg("--no-fail-fast"))?;
    ensure!(tests.passed > 0, "no test was run");
    Ok(tests)
}

/// The crates whose tests run on every instruction set.
pub(crate) fn layers() -> impl Iterator<Item = &'static str> {
    policy::CRATES
        .iter()
        .filter(|policy| policy.tested_everywhere)
        .map(|policy| policy.name)
}

/// A `cargo test` of these packages, built for and run on the machine.
pub(crate) fn test_command<'c, 'p>(
    context: &'c Context,
    hosted: &Hosted,
    packages: impl Iterator<Item = &'p str>,
) -> Cmd<'c> {
    let packages = packages.flat_map(|name| ["--package", name]);
    context
        .cargo()
        .args(["test", "--all-features", "--target"])
        .arg(hosted.arch.hosted_target())
        .args(packages)
        .arg("--target-dir")
        .arg(folder(context))
        // Half of the time to link, and nobody looks at it here.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("RUSTFLAGS")
        .envs(hosted.variables(LIMIT))
}

/// The documentation of the same crates, as docs.rs builds it for this target too.
fn document(context: &Context, hosted: &Hosted) -> Result<()> {
    let packages = policy::CRATES
        .iter()
        .filter(|policy| policy.tested_everywhere && policy.published)
        .flat_map(|policy| ["--package", policy.name]);
    context
        .cargo()
        .args(["doc", "--quiet", "--no-deps", "--lib", "--all-features"])
        .arg("--target")
        .arg(hosted.arch.hosted_target())
        .args(packages)
        .arg("--target-dir")
        .arg(folder(context))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("RUSTFLAGS")
        .envs(hosted.variables(LIMIT))
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(())
}

fn folder(context: &Context) -> PathBuf {
    context.target_dir("cross")
}

/// Guests and scripts, with hardware traps and with explicit checks at the same time: each
/// is one thread of the emulator's.
fn run_bundles(context: &Context, hosted: &Hosted) -> Result<TestCounts> {
    let bundles = Traps::ALL.map(|traps| {
        let bundle = bundle(context, hosted.arch, traps, true);
        bundle.map(|bundle| (traps, bundle))
    });
    let program = build(context, hosted)?;
    let outcomes: Vec<Result<TestCounts>> = thread::scope(|scope| {
        let running: Vec<_> = bundles
            .into_iter()
            .map(|bundle| {
                let program = &program;
                scope.spawn(move || {
                    let (traps, bundle) = bundle?;
                    run_bundle(hosted, program, traps, &bundle)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("running a bundle ended in a panic")))
            })
            .collect()
    });
    let mut counts = TestCounts::default();
    for outcome in outcomes {
        counts += outcome?;
    }
    Ok(counts)
}

fn build(context: &Context, hosted: &Hosted) -> Result<PathBuf> {
    context
        .cargo()
        .args(["build", "--quiet", "--package", PROGRAM, "--target"])
        .arg(hosted.arch.hosted_target())
        // It runs under an emulator, for minutes.
        .args(["--profile", "image", "--target-dir"])
        .arg(folder(context))
        .env_remove("RUSTFLAGS")
        .envs(hosted.variables(LIMIT))
        .run()?;
    Ok(folder(context)
        .join(hosted.arch.hosted_target())
        .join("image")
        .join(PROGRAM))
}

fn run_bundle(
    hosted: &Hosted,
    program: &Path,
    traps: Traps,
    bundle: &Bundle,
) -> Result<TestCounts> {
    let Bundle { file, sums } = bundle;
    let words: Vec<OsString> = hosted.run_with();
    let (emulator, arguments) = words.split_first().context("an emulator")?;
    let mut command = Command::new(emulator);
    command
        .args(arguments)
        .arg(program)
        .arg(file)
        .env("RUST_LIB_BACKTRACE", "0");
    let mut outcome = Outcome::new(format!("{}, {}: ", hosted.arch.name(), traps.name()));
    let end = crate::process::run(command, BUNDLE_LIMIT, |line| outcome.line(line))?;
    ensure!(
        end.success(),
        "{} did not do as expected on {} with {} traps: {end}",
        file.display(),
        hosted.arch.name(),
        traps.name()
    );
    outcome.counts(&[*sums])
}
