//! `cargo xtask bench`: builds the peer comparison, lets it run, and measures what it can't
//! measure itself.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::arch::Arch;
use crate::context::Context;

const PROGRAM: &str = "trapline-bench";
const FACADE: &str = "trapline";

#[derive(Args)]
pub(crate) struct BenchOptions {
    /// Only rows with this in their names or texts; nothing is written then [default: all].
    #[arg(value_name = "NAME")]
    rows: Vec<String>,
    /// Seconds instead of minutes, to see whether all rows run; writes nothing.
    #[arg(long)]
    quick: bool,
    /// Name the rows and stop.
    #[arg(long)]
    list: bool,
}

impl BenchOptions {
    /// `false` if a row could not be run. A target that was missed is no failure.
    pub(crate) fn carry_out(&self) -> Result<bool> {
        let context = Context::new(false)?;
        let mut arguments = self.rows.clone();
        for (wanted, flag) in [(self.quick, "--quick"), (self.list, "--list")] {
            arguments.extend(wanted.then(|| String::from(flag)));
        }
        if arguments.is_empty() {
            arguments.extend(["--write".to_owned(), "docs".to_owned()]);
            for (what, figure) in facade(&context)? {
                arguments.extend(["--fact".to_owned(), format!("{what}={figure}")]);
            }
        }
        let build = ["build", "--release", "--package", PROGRAM];
        context.cargo().args(build).run()?;
        let run = ["run", "--quiet", "--release", "--package", PROGRAM, "--"];
        let program = context.cargo().args(run).args(arguments);
        Ok(Command::from(program).status()?.success())
    }
}

/// What it takes to depend on the facade: time, and other crates.
fn facade(context: &Context) -> Result<Vec<(String, String)>> {
    // One that nobody else builds in, so that nothing is there already.
    let target = context.target_dir("bench-facade");
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| target.display().to_string())?;
    }
    // The network is not part of the time.
    let fetch = context.cargo().args(["fetch", "--locked"]);
    let host = Arch::host().map(|arch| ["--target", arch.hosted_target()]);
    fetch.args(host.iter().flatten()).quiet().run()?;
    let start = Instant::now();
    let build = context
        .cargo()
        .args(["build", "--release", "--package", FACADE]);
    build.arg("--target-dir").arg(&target).run()?;
    let seconds = start.elapsed().as_secs_f64();
    let tree = context.cargo().args(["tree", "--package", FACADE]);
    let tree = tree
        .args(["--edges", "normal,build", "--prefix", "none"])
        .quiet()
        .read()?;
    let (own, others) = count(&tree);
    Ok(vec![
        (
            String::from("building the facade from scratch (default features, release profile)"),
            format!("{seconds:.1} s"),
        ),
        (
            String::from("crates that this builds"),
            format!("{own} of trapline, {others} others"),
        ),
    ])
}

/// The crates in what `cargo tree --prefix none` prints: of this workspace, and others.
fn count(tree: &str) -> (usize, usize) {
    let crates: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let own = |name: &&&str| **name == FACADE || name.starts_with("trapline-");
    let own = crates.iter().filter(own).count();
    (own, crates.len() - own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_crate_is_counted_once() {
        let tree = "trapline v0.1.0 (/a/path)\n\
                    trapline-arch v0.1.0 (/a/path)\n\
                    cfg-if v1.0.5\n\
                    trapline-signal v0.1.0 (/a/path)\n\
                    trapline-arch v0.1.0 (/a/path) (*)\n\
                    cfg-if v1.0.5\n\
                    libc v0.2.177\n\
                    \n";
        assert_eq!(count(tree), (3, 2));
    }
}
