//! `trapline-bundle`: writes a bundle for a machine; see the crate's README.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use trapline_bundle::{Options, bundle, scripts_of_folder, suite};
use trapline_script::{Bundle, Traps};

/// Compiles guests and specification scripts for a machine into one file
#[derive(Parser)]
#[command(name = "trapline-bundle", max_term_width = 100)]
struct CommandLine {
    /// The target to compile for, such as `aarch64-unknown-linux-gnu`: it serves
    /// every system with this instruction set
    #[arg(long, value_name = "TRIPLE")]
    target: String,

    /// Find traps by explicit checks in the compiled code, without signals
    #[arg(long)]
    explicit_checks: bool,

    /// The folder with guests, each NAME.wat with NAME.expected [default: those
    /// of trapline-cli]
    #[arg(long, value_name = "DIR")]
    guests: Option<PathBuf>,

    /// Leave the guests out
    #[arg(long, conflicts_with = "guests")]
    no_guests: bool,

    /// A folder with scripts; or only those of the test suite with this in
    /// their names [default: the whole test suite]
    #[arg(long, value_name = "DIR_OR_NAME")]
    scripts: Option<String>,

    /// Leave the scripts out
    #[arg(long, conflicts_with = "scripts")]
    no_scripts: bool,

    /// A folder with modules NAME.wat, which become artifacts by name
    #[arg(long, value_name = "DIR")]
    scenarios: Option<PathBuf>,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let line = CommandLine::parse();
    let guests = match (line.no_guests, line.guests) {
        (true, _) => None,
        (false, Some(folder)) => Some(folder),
        (false, None) => Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/guests").into()),
    };
    let options = Options {
        target: line.target,
        traps: if line.explicit_checks {
            Traps::Explicit
        } else {
            Traps::Hardware
        },
        guests,
        scripts: if line.no_scripts {
            Vec::new()
        } else {
            scripts(line.scripts.as_deref().unwrap_or_default())?
        },
        scenarios: line.scenarios,
    };
    let bytes = bundle(&options)?;
    let output = &line.output;
    std::fs::write(output, &bytes).with_context(|| format!("cannot write {}", output.display()))?;
    let size = bytes.len();
    // Read as its users will; and it is the end of the process.
    // SAFETY: just made.
    let written = unsafe { Bundle::parse_any_machine(bytes.leak()) }?;
    // `cargo xtask` compares what comes of a run with the guests and directives.
    println!(
        "{}: {}, {}, {} guests, {} scripts, {} directives, {} artifacts by name, {size} bytes",
        output.display(),
        written.isa(),
        written.traps(),
        written.guests().len(),
        written.scripts().len(),
        written.directives()?.passed,
        written.artifact_names().len(),
    );
    Ok(())
}

fn scripts(wanted: &str) -> anyhow::Result<Vec<suite::Script>> {
    let folder = PathBuf::from(wanted);
    if folder.is_dir() {
        return scripts_of_folder(&folder);
    }
    let mut scripts = suite::scripts();
    scripts.retain(|script| script.name.contains(wanted));
    anyhow::ensure!(!scripts.is_empty(), "no script has {wanted:?} in its name");
    Ok(scripts)
}
