//! The peer comparison: what each operation costs here, in the Wasmtime runtime, and at the
//! least. See the README.

mod artifacts;
mod backtraces;
mod entry;
mod floor;
mod machine;
mod measure;
mod nesting;
mod page;
mod plot;
mod registry;
mod rows;
mod run;
mod sides;
mod startup;
mod statistics;
mod table;
mod traps;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;

use crate::measure::{Bench, Effort};
use crate::rows::Topic;

/// Runs trapline and its peer side by side.
#[derive(Parser)]
#[command(name = "trapline-bench", version)]
struct Options {
    /// Only rows with this in their names or texts [default: all].
    #[arg(value_name = "NAME")]
    rows: Vec<String>,
    /// Seconds instead of minutes: to see whether all rows run. The figures mean little.
    #[arg(long)]
    quick: bool,
    /// Name the rows and stop.
    #[arg(long)]
    list: bool,
    /// Write the page and its plots to this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "quick")]
    write: Option<PathBuf>,
    /// A figure that the caller has measured, for the page.
    #[arg(long, value_name = "WHAT=FIGURE", value_parser = fact, requires = "write")]
    fact: Vec<(String, String)>,
    /// Measure one side of this row, in this process.
    #[arg(
        long,
        value_name = "ROW",
        requires = "side",
        requires = "artifacts",
        hide = true
    )]
    measure: Option<String>,
    /// Which one.
    #[arg(long, hide = true)]
    side: Option<String>,
    /// Where the compiled guests are.
    #[arg(long, value_name = "DIR", hide = true)]
    artifacts: Option<PathBuf>,
}

/// `what=figure`.
fn fact(text: &str) -> Result<(String, String)> {
    let (what, figure) = text.split_once('=').context("no `=` in it")?;
    Ok((what.to_owned(), figure.to_owned()))
}

impl Options {
    fn effort(&self) -> Effort {
        if self.quick {
            Effort::Quick
        } else {
            Effort::Full
        }
    }
}

fn main() -> ExitCode {
    startup::note_start();
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `false` if a row could not be run.
fn run(options: &Options) -> Result<bool> {
    if let (Some(row), Some(side), Some(artifacts)) =
        (&options.measure, &options.side, &options.artifacts)
    {
        let bench = Bench::new(options.effort(), artifacts);
        measure(row, side, &bench)?;
        return Ok(true);
    }
    let rows = run::select(rows::all(), &options.rows)?;
    if options.list {
        for row in rows {
            println!("{:26} {}", row.name, row.what);
        }
        return Ok(true);
    }
    let artifacts = tempfile::tempdir().context("a folder for compiled guests")?;
    artifacts::write(artifacts.path())?;
    let outcomes = run::all(&rows, options.effort(), artifacts.path());
    for topic in Topic::ALL {
        let table = table::of_topic(topic, &outcomes);
        if !table.is_empty() {
            println!("\n{}\n\n{table}", topic.title());
            println!("{}", table::notes(topic, &outcomes));
        }
    }
    let complete = outcomes.iter().all(|outcome| outcome.found.is_ok());
    // A page with holes would take the place of one without.
    if let Some(folder) = options.write.as_ref().filter(|_| complete) {
        for file in page::files(&outcomes, &options.fact) {
            let path = folder.join(file.name);
            std::fs::write(&path, file.content).with_context(|| path.display().to_string())?;
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(complete)
}

/// Measures one side of one row on a thread whose stack has room for deep guests.
fn measure(row: &str, side: &str, bench: &Bench) -> Result<()> {
    let row = (rows::all().into_iter())
        .find(|known| known.name == row)
        .with_context(|| format!("no such row: {row:?}"))?;
    let measured = thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(64 << 20)
            .spawn_scoped(scope, || {
                run::at_some_place(&mut || run::measure(&row, side, bench))
            })?
            .join()
            .map_err(|_| anyhow!("the measurement ended in a panic"))?
    })?;
    print!("{}", measured.to_lines());
    Ok(())
}
