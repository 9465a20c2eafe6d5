//! `trapline compile`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use trapline_cli::source::Source;
use trapline_script::report::STATUS_SUCCESS;

use super::Failure;
use super::options::CompileArgs;
use crate::{artifact_file, output};

/// Compile a module to an artifact that `run` and `inspect` take
#[derive(Args)]
pub(crate) struct Compile {
    /// The module, in the text or the binary format
    file: PathBuf,

    /// The artifact to write; a file is replaced as a whole, or not at all. `-`
    /// is standard output
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// The target to compile for, such as `aarch64-unknown-linux-gnu` or
    /// `riscv64gc-unknown-none-elf` [default: this machine]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,

    #[command(flatten)]
    compile: CompileArgs,
}

impl Compile {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let source = Source::read(&self.file)?;
        if let Source::Compiled(_) = source {
            return Err(Failure::Usage(format!(
                "{} is compiled already",
                self.file.display()
            )));
        }
        let artifact = source.into_artifact(&self.compile.options(self.target.as_deref()))?;
        if self.output == Path::new("-") {
            output::print(|out| out.write_all(&artifact));
        } else {
            artifact_file::write(&self.output, &artifact)
                .with_context(|| format!("cannot write {}", self.output.display()))?;
        }
        Ok(STATUS_SUCCESS)
    }
}
