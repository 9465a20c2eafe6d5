//! Tests run again and again on one instruction set: what fails once in a hundred runs is a
//! defect as well.

use std::num::NonZeroU32;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;

use crate::arch::Arch;
use crate::context::Context;
use crate::legs::hosted;
use crate::step::TestCounts;
use crate::steps::test::run_counted;
use crate::toolchain::Wanted;

#[derive(Args)]
pub(crate) struct RepeatOptions {
    /// On this instruction set, on Linux.
    #[arg(long, value_enum)]
    arch: Arch,
    /// Only the tests of this crate (may be given more than once) [default: those that are
    /// tested on every instruction set].
    #[arg(long, value_name = "NAME")]
    package: Vec<String>,
    /// How often; the first failure ends it.
    count: NonZeroU32,
}

impl RepeatOptions {
    pub(crate) fn carry_out(&self) -> Result<bool> {
        let context = Context::new(true)?;
        let machine = if Some(self.arch) == Arch::host() {
            None
        } else {
            context.start_provisioning(Wanted {
                hosted: [self.arch].into(),
                ..Wanted::default()
            });
            Some(
                context
                    .hosted(self.arch)?
                    .map_err(|reason| anyhow!(reason))?,
            )
        };
        let packages: Vec<&str> = match &self.package[..] {
            [] => hosted::layers().collect(),
            names => names.iter().map(String::as_str).collect(),
        };
        let mut tests = TestCounts::default();
        for run in 1..=self.count.get() {
            let packages = packages.iter().copied();
            let command = match machine {
                Some(machine) => hosted::test_command(&context, machine, packages),
                None => context
                    .cargo()
                    .args(["test", "--all-features"])
                    .args(packages.flat_map(|name| ["--package", name])),
            };
            // Documentation tests would be compiled each time.
            tests += run_counted(command.arg("--tests"))
                .with_context(|| format!("run {run} of {}", self.count))?;
        }
        ensure!(tests.passed > 0, "no test was run");
        println!(
            "{}: {} runs of {} tests, all passed",
            self.arch.name(),
            self.count,
            tests.passed / u64::from(self.count.get()),
        );
        Ok(true)
    }
}
