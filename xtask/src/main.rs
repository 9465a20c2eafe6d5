//! `cargo xtask`: the workspace's own chores, in Rust, so that they run the same
//! on a developer's machine and in CI.
//!
//! Everything is a named, timed [`step`](step::Step). `cargo xtask ci --list`
//! shows them; `cargo xtask ci --only NAME` runs one alone.

mod arch;
mod bench;
mod combinations;
mod context;
mod counts;
mod generated;
mod image_counts;
mod legs;
mod policy;
mod process;
mod qemu;
mod repeat;
mod sizes;
mod step;
mod steps;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, Parser, Subcommand};

use crate::arch::Arch;
use crate::bench::BenchOptions;
use crate::context::Context;
use crate::legs::bare::{self, Contents};
use crate::legs::bundle::Traps;
use crate::repeat::RepeatOptions;
use crate::step::{Group, Machine, Step, Strictness};
use crate::toolchain::{From, Log, Wanted};

/// The workspace's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that CI runs: the lints, then the tests.
    Ci(Selection),
    /// Formatting, clippy, the layering rule, tidiness, rustdoc, licences.
    Lint(Selection),
    /// All tests: on this machine, on other instruction sets and on bare metal.
    Test(TestSelection),
    /// The layers' tests on one instruction set, again and again.
    Repeat(RepeatOptions),
    /// Does every crate build with each of its features alone, with none and with all?
    Features(StrictOption),
    /// The API documentation, warnings denied.
    Doc(StrictOption),
    /// The test image: a small kernel that runs guests.
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// trapline and its peer side by side; writes `docs/benchmarks.md`.
    Bench(BenchOptions),
    /// How many instructions each hot path takes, beside the baseline; fails if one takes more.
    Counts {
        /// Makes them the baseline.
        #[arg(long)]
        update: bool,
    },
    /// Gets what the legs on other instruction sets need, and names it.
    Provision {
        /// How far to go for what is missing.
        #[arg(long, value_enum, default_value_t)]
        from: From,
        /// Fetch nothing for this instruction set (may be given more than once).
        #[arg(long, value_enum, value_name = "ARCH")]
        without: Vec<Arch>,
    },
    /// cargo-deny in full; installs the pinned version under `target/tools` when it is missing.
    Deny(StrictOption),
}

#[derive(Subcommand)]
enum ImageCommand {
    /// Builds it, and prints where it is.
    Build(ImageOptions),
    /// Builds it and runs it in QEMU; its serial line goes to standard output, and its
    /// status becomes that of this command.
    Run(ImageOptions),
    /// How many instructions its operations take, on one CPU.
    Counts(CountOptions),
    /// How large trapline is in the smallest image that uses all of it.
    Size(SizeOptions),
}

#[derive(Args)]
struct CountOptions {
    /// Only on this instruction set.
    #[arg(long, value_enum, conflicts_with = "update")]
    arch: Option<Arch>,
    /// Puts the table into docs/benchmarks-bare-metal.md instead of printing it.
    #[arg(long)]
    update: bool,
}

impl CountOptions {
    fn carry_out(&self) -> anyhow::Result<bool> {
        let (context, archs) = bare_context(self.arch)?;
        image_counts::command(&context, &archs, self.update)?;
        Ok(true)
    }
}

/// What commands about images need that are for one instruction set, or for each.
fn bare_context(arch: Option<Arch>) -> anyhow::Result<(Context, Vec<Arch>)> {
    let context = Context::new(true)?;
    let archs: Vec<Arch> = match arch {
        Some(arch) => vec![arch],
        None => Arch::bare().collect(),
    };
    context.start_provisioning(Wanted {
        bare: archs.iter().copied().collect(),
        ..Wanted::default()
    });
    Ok((context, archs))
}

#[derive(Args)]
struct SizeOptions {
    /// Only for this instruction set.
    #[arg(long, value_enum, conflicts_with = "update")]
    arch: Option<Arch>,
    /// Names the largest functions and constants, too, so many of them.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    largest: usize,
    /// Puts the tables into docs/sizes.md instead of printing them.
    #[arg(long)]
    update: bool,
}

impl SizeOptions {
    fn carry_out(&self) -> anyhow::Result<bool> {
        let (context, archs) = bare_context(self.arch)?;
        sizes::command(&context, &archs, self.largest, self.update)?;
        Ok(true)
    }
}

#[derive(Args)]
struct ImageOptions {
    #[arg(long, value_enum)]
    arch: Arch,
    /// Only guests with explicit checks [default: these, and those with hardware traps].
    #[arg(long)]
    explicit_checks: bool,
    /// Without the specification's scripts, which take minutes.
    #[arg(long)]
    no_scripts: bool,
}

impl ImageOptions {
    fn carry_out(&self, run: bool) -> anyhow::Result<bool> {
        let context = Context::new(true)?;
        context.start_provisioning(Wanted {
            bare: [self.arch].into(),
            ..Wanted::default()
        });
        let traps: &[Traps] = if self.explicit_checks {
            &[Traps::Explicit]
        } else {
            &Traps::ALL
        };
        let contents = Contents {
            traps,
            scripts: !self.no_scripts,
        };
        bare::build_and_boot(&context, self.arch, contents, run)?;
        Ok(true)
    }
}

#[derive(Args)]
struct Selection {
    /// Run only this step (may be given more than once).
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Name the steps and stop.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    strictness: StrictOption,
}

#[derive(Args)]
struct TestSelection {
    /// Only the tests on this instruction set, on Linux unless `--bare` is given.
    #[arg(long, value_enum, conflicts_with = "only")]
    arch: Option<Arch>,
    /// Only the tests on bare metal.
    #[arg(long, conflicts_with = "only")]
    bare: bool,
    #[command(flatten)]
    selection: Selection,
}

impl TestSelection {
    fn includes(&self, step: &Step) -> bool {
        match (self.arch, self.bare, step.needs) {
            (None, false, _) => true,
            (None, true, needs) => matches!(needs, [Machine::Bare(_)]),
            (Some(arch), true, needs) => needs == [Machine::Bare(arch)],
            // The host's own tests need no other machine.
            (arch, false, [] | [Machine::Musl | Machine::Valgrind | Machine::Nightly]) => {
                arch == Arch::host()
            }
            (Some(arch), false, needs) => needs == [Machine::Hosted(arch)],
        }
    }
}

#[derive(Args)]
struct StrictOption {
    /// A part that can't run on this machine is a failure instead of a note at the end.
    #[arg(long)]
    strict: bool,
}

impl StrictOption {
    fn strictness(&self, command: &str) -> Strictness {
        match (self.strict, command) {
            (true, _) => Strictness::Strict,
            (false, "ci") => Strictness::Ci,
            (false, _) => Strictness::Lenient,
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the steps that a command stands for; `false` if one failed.
fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Ci(selection) => run_selection("ci", &selection, |_| true),
        Command::Lint(selection) => {
            run_selection("lint", &selection, |step| step.group == Group::Lint)
        }
        Command::Test(options) => run_selection("test", &options.selection, |step| {
            step.group == Group::Test && options.includes(step)
        }),
        Command::Repeat(options) => options.carry_out(),
        Command::Features(options) => run_one(&steps::FEATURES, &options),
        Command::Doc(options) => run_one(&steps::DOC, &options),
        Command::Image { command } => match command {
            ImageCommand::Build(options) => options.carry_out(false),
            ImageCommand::Run(options) => options.carry_out(true),
            ImageCommand::Counts(options) => options.carry_out(),
            ImageCommand::Size(options) => options.carry_out(),
        },
        Command::Bench(options) => options.carry_out(),
        Command::Counts { update } => count(update),
        Command::Provision { from, without } => provision(from, &without),
        Command::Deny(options) => run_one(&steps::DENY, &options),
    }
}

fn run_selection(
    name: &str,
    selection: &Selection,
    includes: impl Fn(&Step) -> bool,
) -> anyhow::Result<bool> {
    let steps: Vec<&Step> = steps::ALL
        .iter()
        .copied()
        .filter(|step| includes(step))
        .collect();
    if selection.list {
        for step in steps {
            println!("{:10} {}", step.name, step.about);
        }
        return Ok(true);
    }
    let steps = step::select(&steps, &selection.only)?;
    ensure!(!steps.is_empty(), "there is no such leg");
    // Linting is for every now and then: it must not start by building a tool.
    let context = Context::new(name != "lint")?;
    Ok(step::run_all(
        &context,
        name,
        &steps,
        selection.strictness.strictness(name),
    ))
}

/// A command that is one step.
fn run_one(step: &'static Step, options: &StrictOption) -> anyhow::Result<bool> {
    Ok(step::run_all(
        &Context::new(true)?,
        step.name,
        &[step],
        options.strictness(step.name),
    ))
}

/// Counts instructions, and compares them with the baseline or makes them that.
fn count(update: bool) -> anyhow::Result<bool> {
    let context = Context::new(true)?;
    context.start_provisioning(Wanted {
        valgrind: true,
        ..Wanted::default()
    });
    counts::command(&context, update)?;
    Ok(true)
}

/// Gets toolchains and emulators, and says where each comes from; `false` if one is missing.
fn provision(from: From, without: &[Arch]) -> anyhow::Result<bool> {
    let folder = Context::new(true)?.target_dir("toolchain");
    let mut wanted = Wanted::all();
    wanted.hosted.retain(|arch| !without.contains(arch));
    wanted.bare.retain(|arch| !without.contains(arch));
    let found = toolchain::provision(&folder, &wanted, from, &Log::new(&folder)?);
    let mut complete = true;
    let mut tell = |target: &str, result: Result<String, &String>| {
        match result {
            Ok(text) => println!("{target}: {text}"),
            Err(reason) => {
                complete = false;
                println!("{target}: missing: {reason}");
            }
        };
    };
    for (arch, result) in &found.hosted {
        let text = result
            .as_ref()
            .map(|hosted| format!("{}, {}", hosted.compiler, hosted.emulator.display()));
        tell(arch.hosted_target(), text);
    }
    for (arch, result) in &found.bare {
        let text = result
            .as_ref()
            .map(|bare| format!("{}, {}", bare.compiler, bare.emulator.display()));
        tell(arch.bare_target().unwrap_or(arch.name()), text);
    }
    if let Some(result) = &found.musl {
        tell(
            toolchain::MUSL_TARGET,
            result.as_ref().map(|()| "the active toolchain".to_owned()),
        );
    }
    if let Some(result) = &found.valgrind {
        let text = result.as_ref().map(|file| file.display().to_string());
        tell("instruction counts", text);
    }
    if let Some(result) = &found.nightly {
        let text = result.as_ref().map(|nightly| {
            let parts = [("Miri", nightly.miri()), ("rust-src", nightly.source())];
            let missing = parts.iter().filter(|(_, found)| found.is_err());
            missing.fold("the nightly toolchain".to_owned(), |text, (name, _)| {
                format!("{text}, without {name}")
            })
        });
        tell("Miri and sanitizers", text);
    }
    Ok(complete)
}
