//! Programs for Linux: on another instruction set, under an emulator of processes; or on this
//! machine, with another C library, or with a sanitizer.

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
use crate::toolchain::{self, Hosted, Nightly};

/// How long one test program may run. The slowest takes a minute on a quiet machine, and
/// a quarter of an hour where others want its processors.
const LIMIT: Duration = Duration::from_secs(3600);
/// How long all guests and scripts of one bundle may take.
const BUNDLE_LIMIT: Duration = Duration::from_secs(1200);

/// The process that runs bundles.
const PROGRAM: &str = "trapline-test-image";

/// A kind of Linux, and how programs for it are built and run here.
struct Linux<'c> {
    /// What its messages begin with.
    name: &'static str,
    arch: Arch,
    target: &'static str,
    /// What builds them, if it is not the active toolchain.
    nightly: Option<&'c Nightly>,
    folder: PathBuf,
    /// For cargo.
    variables: Vec<(String, OsString)>,
    /// What else `cargo test` is told.
    arguments: Vec<&'static str>,
    /// What stands before a program: an emulator and its arguments, or nothing.
    run_with: Vec<OsString>,
    /// Whose tests are run.
    packages: Vec<&'static str>,
}

pub(super) fn run(context: &Context, arch: Arch) -> Result<Report> {
    match context.hosted(arch)? {
        Ok(hosted) => {
            let linux = Linux::emulated(context, hosted);
            let report = linux.run(context)?;
            linux.document(context)?;
            Ok(report)
        }
        Err(reason) => Ok(Report::of_nothing(reason)),
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
                nightly: None,
                folder: context.target_dir("cross"),
                variables: Vec::new(),
                arguments: Vec::new(),
                run_with: Vec::new(),
                // The compiler takes minutes, and compiled code knows of no C library.
                packages: layers_without_compiler().collect(),
            };
            linux.run(context)
        }
        Err(reason) => Ok(Report::of_nothing(reason)),
    }
}

/// A sanitizer of the nightly toolchain's.
#[derive(Debug)]
pub(super) struct Sanitizer {
    /// What the compiler calls it.
    pub(super) name: &'static str,
    /// What its library is called, and the step.
    pub(super) library: &'static str,
    /// Whether it reports what the standard library does unless that is built with it, too.
    pub(super) builds_std: bool,
    /// Whose tests are run, if they are not those of all layers that don't build the compiler, and
    /// after them guests and scripts.
    pub(super) packages: Option<&'static [&'static str]>,
}

/// The same with a sanitizer, on this machine.
pub(super) fn run_sanitized(context: &Context, sanitizer: &Sanitizer) -> Result<Report> {
    let found = context.nightly()?.and_then(|nightly| {
        let arch = Arch::host().ok_or("there are no guests of this machine's kind")?;
        let found = nightly.sanitizer(sanitizer.library, arch.hosted_target());
        let found = found.and_then(|()| match sanitizer.builds_std {
            true => nightly.source(),
            false => Ok(()),
        });
        found.map_err(|error| format!("{error:#}"))?;
        Ok((nightly, arch))
    });
    let (nightly, arch) = match found {
        Ok(found) => found,
        Err(reason) => return Ok(Report::of_nothing(reason)),
    };
    let flags = format!("-Zsanitizer={}", sanitizer.name);
    // Documentation tests are compiled one by one, and rustdoc has flags of its own.
    let mut arguments = vec!["--lib", "--bins", "--tests"];
    if sanitizer.builds_std {
        arguments.push("-Zbuild-std");
    }
    arguments.push("--");
    arguments.extend(policy::skipped_under(sanitizer.library));
    let linux = Linux {
        name: sanitizer.library,
        arch,
        target: arch.hosted_target(),
        nightly: Some(nightly),
        folder: context.target_dir(sanitizer.library),
        variables: vec![
            ("RUSTFLAGS".to_owned(), flags.into()),
            // Nobody looks at those of expected panics, and with a sanitizer they take long.
            ("RUST_BACKTRACE".to_owned(), "0".into()),
            // As developers build: where unwind information lies depends on both (`unwind_tables!`).
            (
                "CARGO_PROFILE_DEV_DEBUG".to_owned(),
                "line-tables-only".into(),
            ),
            ("CARGO_INCREMENTAL".to_owned(), "1".into()),
        ],
        arguments,
        run_with: Vec::new(),
        packages: match sanitizer.packages {
            Some(names) => names.to_vec(),
            // The compiler takes longer than all the rest, and guests are compiled without a sanitizer.
            None => layers_without_compiler().collect(),
        },
    };
    if sanitizer.packages.is_none() {
        return linux.run(context);
    }
    Ok(Report {
        tests: linux.run_tests(context)?,
        ..Report::default()
    })
}

/// The crates whose tests run on every instruction set.
pub(crate) fn layers() -> impl Iterator<Item = &'static str> {
    policy::CRATES
        .iter()
        .filter(|policy| policy.tested_everywhere)
        .map(|policy| policy.name)
}

/// Those of them whose tests don't build the compiler of guests.
fn layers_without_compiler() -> impl Iterator<Item = &'static str> {
    layers().filter(|name| !policy::of(name).is_some_and(|policy| policy.builds_compiler))
}

/// A `cargo test` of these packages, built for and run on the machine.
pub(crate) fn test_command<'c, 'p>(
    context: &'c Context,
    hosted: &Hosted,
    packages: impl Iterator<Item = &'p str>,
) -> Cmd<'c> {
    Linux::emulated(context, hosted).test_command(context, packages)
}

impl<'c> Linux<'c> {
    fn emulated(context: &Context, hosted: &Hosted) -> Self {
        Self {
            name: hosted.arch.name(),
            arch: hosted.arch,
            target: hosted.arch.hosted_target(),
            nightly: None,
            folder: context.target_dir("cross"),
            variables: hosted.variables(LIMIT),
            arguments: Vec::new(),
            run_with: hosted.run_with(),
            packages: layers().collect(),
        }
    }

    /// A command of cargo's, for its target.
    fn cargo(&self, context: &'c Context, command: &str) -> Cmd<'c> {
        let cargo = match self.nightly {
            Some(nightly) => nightly.cargo(&context.shell),
            None => context.cargo(),
        };
        cargo
            .args([command, "--target", self.target, "--target-dir"])
            .arg(&self.folder)
            // Half of the time to link, and nobody looks at it here.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env_remove("RUSTFLAGS")
            .envs(self.variables.iter().cloned())
    }

    fn test_command<'p>(
        &self,
        context: &'c Context,
        packages: impl Iterator<Item = &'p str>,
    ) -> Cmd<'c> {
        self.cargo(context, "test")
            .arg("--all-features")
            .args(packages.flat_map(|name| ["--package", name]))
    }

    fn run(&self, context: &Context) -> Result<Report> {
        let mut report = Report::default();
        report.tests += self.run_tests(context)?;
        report.tests += self.run_bundles(context)?;
        Ok(report)
    }

    /// The tests of the layers, as on the host.
    fn run_tests(&self, context: &Context) -> Result<TestCounts> {
        let command = self.test_command(context, self.packages.iter().copied());
        let tests = run_counted(command.arg("--no-fail-fast").args(&self.arguments))?;
        ensure!(tests.passed > 0, "no test was run");
        Ok(tests)
    }

    /// The documentation of the same crates, as docs.rs builds it for this target too.
    fn document(&self, context: &Context) -> Result<()> {
        let packages = policy::CRATES
            .iter()
            .filter(|policy| policy.tested_everywhere && policy.published)
            .flat_map(|policy| ["--package", policy.name]);
        self.cargo(context, "doc")
            .args(["--quiet", "--no-deps", "--lib", "--all-features"])
            .args(packages)
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
        self.cargo(context, "build")
            // It runs under an emulator or with a sanitizer, for minutes.
            .args(["--quiet", "--package", PROGRAM, "--profile", "image"])
            .run()?;
        Ok(self.folder.join(self.target).join("image").join(PROGRAM))
    }

    fn run_bundle(&self, program: &Path, traps: Traps, bundle: &Bundle) -> Result<TestCounts> {
        let Bundle { file, sums } = bundle;
        let mut words = self.run_with.iter().map(OsString::as_os_str);
        let mut command = Command::new(words.next().unwrap_or(program.as_os_str()));
        if !self.run_with.is_empty() {
            command.args(words).arg(program);
        }
        command.arg(file).env("RUST_LIB_BACKTRACE", "0");
        command.env("RUST_BACKTRACE", "0");
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
