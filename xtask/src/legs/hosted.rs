//! Programs for Linux: on another instruction set, under an emulator of processes; or with
//! another C library, on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use xshell::Cmd;

use super::bundle::{Bundle, Traps, bundle};
use super::outcome::Outcome;
use crate::arch::Arch;
use crate::context::Context;
use crate::policy;
use crate::step::{Report, TestCounts};
use crate::steps::test::run_counted;
use crate::toolchain::{self, Hosted};

/// How long one test program may run. The slowest takes a minute on a quiet machine, and
/// a quarter of an hour where others want its processors.
const LIMIT: Duration = Duration::from_secs(3600);
/// How long all guests and scripts of one bundle may take.
const BUNDLE_LIMIT: Duration = Duration::from_secs(1200);

/// The process that runs bundles.
const PROGRAM: &str = "trapline-test-image";

/// A kind of Linux, and how programs for it are built and run here.
struct Linux {
    /// What its messages begin with.
    name: &'static str,
    arch: Arch,
    target: &'static str,
    /// For cargo.
    variables: Vec<(String, OsString)>,
    /// What stands before a program: an emulator and its arguments, or nothing.
    run_with: Vec<OsString>,
    /// Whether tests that build the compiler of guests are run.
    builds_compiler: bool,
}

pub(super) fn run(context: &Context, arch: Arch) -> Result<Report> {
    match context.hosted(arch)? {
        Ok(hosted) => {
            let linux = Linux {
                name: arch.name(),
                arch,
                target: arch.hosted_target(),
                variables: hosted.variables(LIMIT),
                run_with: hosted.run_with(),
                builds_compiler: true,
            };
            let report = linux.run(context)?;
            linux.document(context)?;
            Ok(report)
        }
        Err(reason) => Ok(not_run(reason)),
    }
}

/// The same with the C library musl, linked statically, on this machine.
pub(super) fn run_musl(context: &Context) -> Result<Report> {
    match context.musl()? {
        Ok(()) => {
            let linux = Linux {
                name: "musl",
                arch: Arch::X86_64,
                target: toolchain::MUSL_TARGET,
                variables: Vec::new(),
                run_with: Vec::new(),
                // That takes minutes, and compiled code knows of no C library.
                builds_compiler: false,
            };
            linux.run(context)
        }
        Err(reason) => Ok(not_run(reason)),
    }
}

fn not_run(reason: String) -> Report {
    let mut report = Report {
        skipped: true,
        ..Report::default()
    };
    report.leg_not_run("all of it", reason);
    report
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
    let target = hosted.arch.hosted_target();
    cargo_test(context, target, packages, hosted.variables(LIMIT))
}

fn cargo_test<'c, 'p>(
    context: &'c Context,
    target: &str,
    packages: impl Iterator<Item = &'p str>,
    variables: Vec<(String, OsString)>,
) -> Cmd<'c> {
    context
        .cargo()
        .args(["test", "--all-features", "--target", target])
        .args(packages.flat_map(|name| ["--package", name]))
        .arg("--target-dir")
        .arg(folder(context))
        // Half of the time to link, and nobody looks at it here.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("RUSTFLAGS")
        .envs(variables)
}

impl Linux {
    fn run(&self, context: &Context) -> Result<Report> {
        let mut report = Report::default();
        report.tests += self.run_tests(context)?;
        report.tests += self.run_bundles(context)?;
        Ok(report)
    }

    /// The tests of the layers, as on the host.
    fn run_tests(&self, context: &Context) -> Result<TestCounts> {
        let packages = layers().filter(|name| {
            let policy = policy::of(name);
            self.builds_compiler || !policy.is_some_and(|policy| policy.builds_compiler)
        });
        let command = cargo_test(context, self.target, packages, self.variables.clone());
        let tests = run_counted(command.arg("--no-fail-fast"))?;
        ensure!(tests.passed > 0, "no test was run");
        Ok(tests)
    }

    /// The documentation of the same crates, as docs.rs builds it for this target too.
    fn document(&self, context: &Context) -> Result<()> {
        let packages = policy::CRATES
            .iter()
            .filter(|policy| policy.tested_everywhere && policy.published)
            .flat_map(|policy| ["--package", policy.name]);
        context
            .cargo()
            .args(["doc", "--quiet", "--no-deps", "--lib", "--all-features"])
            .arg("--target")
            .arg(self.target)
            .args(packages)
            .arg("--target-dir")
            .arg(folder(context))
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env_remove("RUSTFLAGS")
            .envs(self.variables.iter().cloned())
            .env("RUSTDOCFLAGS", "-D warnings")
            .run()?;
        Ok(())
    }

    /// Guests and scripts, with hardware traps and with explicit checks at the same time: each
    /// is one thread of the emulator's.
    fn run_bundles(&self, context: &Context) -> Result<TestCounts> {
        let bundles = Traps::ALL.map(|traps| {
            let bundle = bundle(context, self.arch, traps, true);
            bundle.map(|bundle| (traps, bundle))
        });
        let program = self.build(context)?;
        let outcomes: Vec<Result<TestCounts>> = thread::scope(|scope| {
            let running: Vec<_> = bundles
                .into_iter()
                .map(|bundle| {
                    let program = &program;
                    scope.spawn(move || {
                        let (traps, bundle) = bundle?;
                        self.run_bundle(program, traps, &bundle)
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

    fn build(&self, context: &Context) -> Result<PathBuf> {
        context
            .cargo()
            .args(["build", "--quiet", "--package", PROGRAM, "--target"])
            .arg(self.target)
            // It runs under an emulator, for minutes.
            .args(["--profile", "image", "--target-dir"])
            .arg(folder(context))
            .env_remove("RUSTFLAGS")
            .envs(self.variables.iter().cloned())
            .run()?;
        Ok(folder(context)
            .join(self.target)
            .join("image")
            .join(PROGRAM))
    }

    fn run_bundle(&self, program: &Path, traps: Traps, bundle: &Bundle) -> Result<TestCounts> {
        let Bundle { file, sums } = bundle;
        let mut words = self.run_with.iter().map(OsString::as_os_str);
        let mut command = Command::new(words.next().unwrap_or(program.as_os_str()));
        if !self.run_with.is_empty() {
            command.args(words).arg(program);
        }
        command.arg(file).env("RUST_LIB_BACKTRACE", "0");
        let mut outcome = Outcome::new(format!("{}, {}: ", self.name, traps.name()));
        let end = crate::process::run(command, BUNDLE_LIMIT, |line| outcome.line(line))?;
        ensure!(
            end.success(),
            "{} did not do as expected on {} with {} traps: {end}",
            file.display(),
            self.name,
            traps.name()
        );
        outcome.counts(&[*sums])
    }
}

fn folder(context: &Context) -> PathBuf {
    context.target_dir("cross")
}
