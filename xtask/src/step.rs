//! Named, timed steps; the first failure ends a run.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::arch::Arch;
use crate::context::Context;
use crate::policy;
use crate::toolchain::Wanted;

/// Which command a step belongs to. `cargo xtask ci` runs both groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    Lint,
    Test,
}

/// What a leg runs on, if it is not the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Machine {
    /// Linux on another instruction set.
    Hosted(Arch),
    /// Bare metal.
    Bare(Arch),
    /// This machine, with another C library.
    Musl,
    /// This machine, as Valgrind emulates it.
    Valgrind,
    /// This machine, with what only nightly toolchains have.
    Nightly,
}

/// One thing to check.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// One line for `--list`.
    pub(crate) about: &'static str,
    pub(crate) group: Group,
    /// The machines that it needs toolchains and emulators for, beside the host. A step that
    /// has exactly one is a leg: what runs on that machine.
    pub(crate) needs: &'static [Machine],
    pub(crate) run: fn(&Context) -> Result<Report>,
}

/// What a step that did not fail has to tell.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Parts that this machine could not run.
    pub(crate) not_run: Vec<Leg>,
    /// Tests that the step ran, if it runs any.
    pub(crate) tests: TestCounts,
    /// The step did nothing at all (every part of it is in `not_run`).
    pub(crate) skipped: bool,
}

impl Report {
    /// Of a step that this machine can't run at all.
    pub(crate) fn of_nothing(reason: impl Into<String>) -> Self {
        let mut report = Self {
            skipped: true,
            ..Self::default()
        };
        report.leg_not_run("all of it", reason);
        report
    }

    pub(crate) fn leg_not_run(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.not_run.push(Leg {
            name: name.into(),
            reason: reason.into(),
        });
    }
}

/// A part of a step, and why it was not run.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// Counts of single tests, as cargo's test runner reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TestCounts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl std::ops::AddAssign for TestCounts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// The steps named in `only`, in the order of `steps`; all of them if it is empty.
pub(crate) fn select<'s>(steps: &[&'s Step], only: &[String]) -> Result<Vec<&'s Step>> {
    if let Some(unknown) = only
        .iter()
        .find(|name| !steps.iter().any(|step| step.name == **name))
    {
        let known: Vec<&str> = steps.iter().map(|step| step.name).collect();
        bail!(
            "there is no step `{unknown}` here; the steps are: {}",
            known.join(", ")
        );
    }
    Ok(steps
        .iter()
        .copied()
        .filter(|step| only.is_empty() || only.iter().any(|name| name == step.name))
        .collect())
}

/// What a part that was not run means for a run of steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strictness {
    /// It is named at the end.
    Lenient,
    /// It is a failure, but for what [`policy::MAY_BE_LEFT_OUT`] names.
    Ci,
    /// It is a failure.
    Strict,
}

impl Strictness {
    fn forbids(self, step: &str, leg: &Leg) -> bool {
        match self {
            Self::Lenient => false,
            Self::Ci => !policy::MAY_BE_LEFT_OUT.contains(&(step, &leg.name)),
            Self::Strict => true,
        }
    }
}

/// What toolchains `steps` need.
pub(crate) fn wanted(steps: &[&Step]) -> Wanted {
    let mut wanted = Wanted::default();
    for step in steps {
        for machine in step.needs {
            match machine {
                Machine::Hosted(arch) => wanted.hosted.insert(*arch),
                Machine::Bare(arch) => wanted.bare.insert(*arch),
                Machine::Musl => std::mem::replace(&mut wanted.musl, true),
                Machine::Valgrind => std::mem::replace(&mut wanted.valgrind, true),
                Machine::Nightly => std::mem::replace(&mut wanted.nightly, true),
            };
        }
    }
    wanted
}

/// Runs `steps` until one fails, prints what came of it, and tells whether all passed.
///
/// `command` is the xtask command, for the line that tells how to run one step again.
pub(crate) fn run_all(
    context: &Context,
    command: &str,
    steps: &[&Step],
    strictness: Strictness,
) -> bool {
    context.start_provisioning(wanted(steps));
    let start = Instant::now();
    let mut done: Vec<(&Step, Duration, Outcome)> = Vec::new();
    for step in steps {
        eprintln!("\n==> {}: {}", step.name, step.about);
        let start = Instant::now();
        let outcome = match (step.run)(context) {
            Ok(report) => {
                let missed = report
                    .not_run
                    .iter()
                    .find(|leg| strictness.forbids(step.name, leg));
                match missed {
                    Some(leg) => {
                        let message = anyhow!("a part has to run, and did not: {}", leg.name);
                        Outcome::Failed(message, report)
                    }
                    None => Outcome::Passed(report),
                }
            }
            Err(error) => Outcome::Failed(error, Report::default()),
        };
        let failed = matches!(outcome, Outcome::Failed(..));
        done.push((step, start.elapsed(), outcome));
        if failed {
            break;
        }
    }
    summarize(command, steps, &done, start.elapsed())
}

enum Outcome {
    Passed(Report),
    Failed(anyhow::Error, Report),
}

impl Outcome {
    fn report(&self) -> &Report {
        match self {
            Outcome::Passed(report) | Outcome::Failed(_, report) => report,
        }
    }
}

fn summarize(
    command: &str,
    steps: &[&Step],
    done: &[(&Step, Duration, Outcome)],
    total: Duration,
) -> bool {
    let (mut passed, mut failed) = (0, 0);
    let mut tests = TestCounts::default();
    println!("\n{:12} {:8} {:>9}", "step", "result", "seconds");
    for (step, time, outcome) in done {
        let result = match outcome {
            Outcome::Failed(..) => "FAILED",
            Outcome::Passed(report) if report.skipped => "not run",
            Outcome::Passed(_) => "passed",
        };
        match result {
            "passed" => passed += 1,
            "FAILED" => failed += 1,
            _ => {}
        }
        tests += outcome.report().tests;
        println!("{:12} {result:8} {:>9.1}", step.name, time.as_secs_f64());
    }
    for step in &steps[done.len()..] {
        println!("{:12} {:8} {:>9}", step.name, "not run", "-");
    }
    println!("{:12} {:8} {:>9.1}", "total", "", total.as_secs_f64());

    for (step, _, outcome) in done {
        for leg in &outcome.report().not_run {
            println!("not run: {}, {}: {}", step.name, leg.name, leg.reason);
        }
    }
    if tests != TestCounts::default() {
        println!(
            "tests: {} passed, {} failed, {} ignored",
            tests.passed, tests.failed, tests.ignored
        );
    }
    for (step, _, outcome) in done {
        if let Outcome::Failed(error, _) = outcome {
            println!("\nstep `{}` failed: {error:#}", step.name);
            println!(
                "to run only this step again: cargo xtask {}",
                rerun(command, step.name)
            );
        }
    }
    println!(
        "{passed} passed, {failed} failed, {} skipped",
        steps.len() - passed - failed
    );
    failed == 0
}

/// The arguments that run `step` alone. A command of one step takes no `--only`.
fn rerun(command: &str, step: &str) -> String {
    if command == step && command != "test" {
        command.to_owned()
    } else {
        format!("{command} --only {step}")
    }
}
