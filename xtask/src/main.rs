//! `cargo xtask`: the workspace's own chores, in Rust, so that they run the same
//! on a developer's machine and in CI.
//!
//! Everything is a named, timed [`step`](step::Step). `cargo xtask ci --list`
//! shows them; `cargo xtask ci --only NAME` runs one alone.

mod combinations;
mod context;
mod policy;
mod step;
mod steps;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::context::Context;
use crate::step::{Group, Step};

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
    /// Everything that passes the tests on this machine.
    Test(Selection),
    /// Does every crate build with each of its features alone, with none and with all?
    Features(Strictness),
    /// The API documentation, warnings denied.
    Doc(Strictness),
    /// cargo-deny in full; installs the pinned version under `target/tools` when it is missing.
    Deny(Strictness),
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
    strictness: Strictness,
}

#[derive(Args)]
struct Strictness {
    /// A part that can't run on this machine is a failure instead of a note at the end.
    #[arg(long)]
    strict: bool,
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
        Command::Ci(selection) => run_selection("ci", None, &selection),
        Command::Lint(selection) => run_selection("lint", Some(Group::Lint), &selection),
        Command::Test(selection) => run_selection("test", Some(Group::Test), &selection),
        Command::Features(options) => run_one(&steps::FEATURES, &options),
        Command::Doc(options) => run_one(&steps::DOC, &options),
        Command::Deny(options) => run_one(&steps::DENY, &options),
    }
}

fn run_selection(name: &str, group: Option<Group>, selection: &Selection) -> anyhow::Result<bool> {
    let steps: Vec<&Step> = steps::ALL
        .iter()
        .copied()
        .filter(|step| group.is_none_or(|group| step.group == group))
        .collect();
    if selection.list {
        for step in steps {
            println!("{:10} {}", step.name, step.about);
        }
        return Ok(true);
    }
    let steps = step::select(&steps, &selection.only)?;
    // Linting is for every now and then: it must not start by building a tool.
    let context = Context::new(group != Some(Group::Lint))?;
    Ok(step::run_all(
        &context,
        name,
        &steps,
        selection.strictness.strict,
    ))
}

/// A command that is one step.
fn run_one(step: &'static Step, options: &Strictness) -> anyhow::Result<bool> {
    Ok(step::run_all(
        &Context::new(true)?,
        step.name,
        &[step],
        options.strict,
    ))
}
