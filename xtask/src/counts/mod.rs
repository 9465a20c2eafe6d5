//! `cargo xtask counts`: how many instructions each hot path takes, and the check that they
//! have not become more. They are the same from run to run, so that a regression shows on a
//! machine whose clock tells nothing.
//!
//! `trapline-counts` runs a path; Callgrind counts all instructions of the process. A path is
//! run so many times, and twice as many: the difference is that of the path alone.

mod baseline;
mod callgrind;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use xshell::cmd;

use self::baseline::{Baseline, Count};
use crate::arch::{Arch, cargo_variable};
use crate::context::Context;
use crate::process;

const PACKAGE: &str = "trapline-counts";
/// The profile of the same name in the root manifest.
const PROFILE: &str = "counts";
/// What the figures are of.
pub(crate) const ARCH: Arch = Arch::X86_64;
/// A test of the package that has the compiler of the guest, and that program.
const COMPILER_TEST: &str = "wast_runner";
const COMPILER: &str = "trapline";
/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Whether this machine is one that can count.
pub(crate) fn is_possible() -> bool {
    cfg!(target_os = "linux") && Arch::host() == Some(ARCH)
}

/// `cargo xtask counts`: counts, prints the table, and compares with the baseline, or writes
/// it anew.
pub(crate) fn command(context: &Context, update: bool) -> Result<()> {
    ensure!(is_possible(), "counts are of {} only", ARCH.hosted_target());
    match context.valgrind()? {
        Ok(valgrind) => run(context, valgrind, update),
        Err(reason) => bail!("{reason}"),
    }
}

/// Counts, and fails if a path takes more than the baseline says.
pub(crate) fn check(context: &Context, valgrind: &Path) -> Result<()> {
    run(context, valgrind, false)
}

fn run(context: &Context, valgrind: &Path, update: bool) -> Result<()> {
    let compiler = cmd!(context.shell, "rustc --version").quiet().read()?;
    let counts = count(context, valgrind)?;
    let file = context.root().join(baseline::FILE);
    if update {
        let text = baseline::write(&compiler, ARCH.hosted_target(), &counts);
        fs::write(file, text)?;
    }
    let text = fs::read_to_string(context.root().join(baseline::FILE));
    let baseline = Baseline::read(&text.with_context(|| baseline::FILE)?)?;
    print!("{}", baseline.table(&counts));
    if (&*baseline.rustc, &*baseline.target) != (&compiler, ARCH.hosted_target()) {
        println!(
            "{} is of {}, this is {compiler}: counted, and compared with nothing",
            baseline::FILE,
            baseline.rustc
        );
        return Ok(());
    }
    let problems = baseline.problems(&counts);
    ensure!(
        problems.is_empty(),
        "{}; find out why (`callgrind_annotate target/callgrind/NAME.out`), or take a new baseline \
         (`cargo xtask counts --update`)",
        problems.join("; ")
    );
    Ok(())
}

/// A line of what `trapline-counts paths` prints: name, times, parts, text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Line<'t> {
    name: &'t str,
    times: u64,
    parts: u64,
    what: &'t str,
}

impl<'t> Line<'t> {
    fn read(line: &'t str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        Some(Self {
            name: words.next()?,
            times: words.next()?.parse().ok()?,
            parts: words.next()?.parse().ok()?,
            what: words.next()?,
        })
    }
}

/// Builds all that it takes, and counts.
fn count(context: &Context, valgrind: &Path) -> Result<Vec<Count>> {
    let program = build(context)?;
    let folder = context.target_dir("callgrind");
    context.shell.create_dir(&folder)?;
    let artifacts = compile(context, &program, &folder)?;
    let shell = &context.shell;
    let paths = cmd!(shell, "{program} paths").quiet().read()?;
    let mut counts = Vec::new();
    for line in paths.lines() {
        let path = Line::read(line).with_context(|| format!("no path: {line:?}"))?;
        let total = |times: u64| -> Result<u64> {
            let mut command = Command::new(&program);
            command.args(["run", path.name, &times.to_string()]);
            command.args(&artifacts);
            callgrind(valgrind, &command, &folder.join(path.name))
        };
        let (once, twice) = (total(path.times)?, total(2 * path.times)?);
        let more = twice.checked_sub(once);
        let more = more.with_context(|| format!("{}: fewer for twice as many", path.name))?;
        counts.push(Count {
            name: path.name.to_owned(),
            what: path.what.to_owned(),
            instructions: baseline::rounded(more as f64 / (path.times * path.parts) as f64),
        });
    }
    ensure!(!counts.is_empty(), "no path was counted");
    Ok(counts)
}

/// The program, as a release is compiled.
fn build(context: &Context) -> Result<PathBuf> {
    let target = ARCH.hosted_target();
    context
        .cargo()
        .args(["build", "--quiet", "--package", PACKAGE])
        .args(["--profile", PROFILE, "--target", target])
        // Flags of this machine's would be in the figures.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove(cargo_variable(target, "RUSTFLAGS"))
        .run()?;
    let folder = context.target_dir(target).join(PROFILE);
    Ok(folder.join(PACKAGE))
}

/// The guest of `program`, with hardware traps and with explicit checks; for any processor
/// of the instruction set, since Valgrind knows no others.
fn compile(context: &Context, program: &Path, folder: &Path) -> Result<[PathBuf; 2]> {
    let shell = &context.shell;
    let guest = folder.join("guest.wat");
    shell.write_file(&guest, cmd!(shell, "{program} guest").quiet().read()?)?;
    let compiler = context.program_of_tests(COMPILER_TEST, COMPILER)?;
    let compile = |name: &str, flags: &[&str]| -> Result<PathBuf> {
        let artifact = folder.join(name);
        let target = ARCH.hosted_target();
        cmd!(shell, "{compiler} compile --target {target}")
            .args(flags)
            .arg("--output")
            .args([&artifact, &guest])
            .quiet()
            .run()?;
        Ok(artifact)
    };
    Ok([
        compile("hardware-traps.cwasm", &[])?,
        compile("explicit-checks.cwasm", &["--explicit-checks"])?,
    ])
}

/// The number of instructions that `program` executes. What Callgrind says of it goes to files
/// beside `file`: `.out`, to look at with its tools, and `.log`.
fn callgrind(valgrind: &Path, program: &Command, file: &Path) -> Result<u64> {
    let (out, log) = (file.with_extension("out"), file.with_extension("log"));
    let mut out_option = std::ffi::OsString::from("--callgrind-out-file=");
    out_option.push(&out);
    let mut command = Command::new(valgrind);
    command
        .args(["--tool=callgrind".as_ref(), out_option.as_os_str()])
        .arg(program.get_program())
        .args(program.get_args())
        // Nothing of this process's may be in the figures.
        .env_clear()
        .stdout(Stdio::null())
        .stderr(File::create(&log).with_context(|| log.display().to_string())?);
    let end = process::run_silently(command, LIMIT)?;
    ensure!(
        end.success(),
        "{:?} under Callgrind did not end well ({end}): see {}",
        program,
        log.display()
    );
    let text = fs::read_to_string(&out).with_context(|| out.display().to_string())?;
    callgrind::instructions(&text).with_context(|| out.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_name_two_numbers_and_a_text() {
        let line = "backtrace-frame 20 1000 capturing, for each frame";
        let expected = Line {
            name: "backtrace-frame",
            times: 20,
            parts: 1000,
            what: "capturing, for each frame",
        };
        assert_eq!(Line::read(line), Some(expected));
        assert_eq!(Line::read("backtrace-frame many 1000 capturing"), None);
        assert_eq!(Line::read("backtrace-frame 20 1000"), None);
    }
}
