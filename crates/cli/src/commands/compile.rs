//! `trapline compile`.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use trapline_cli::source::Source;

use super::Failure;
use super::options::CompileArgs;

/// Compile a module to an artifact that `run` and `inspect` take
#[derive(Args)]
pub(crate) struct Compile {
    /// The module, in the text or the binary format
    file: PathBuf,

    /// The artifact to write; replaced as a whole, or not at all
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
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let source = Source::read(&self.file)?;
        if let Source::Compiled(_) = source {
            return Err(Failure::Usage(format!(
                "{} is compiled already",
                self.file.display()
            )));
        }
        let artifact = source.into_artifact(&self.compile.options(self.target.as_deref()))?;
        write_atomically(&self.output, &artifact)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes a file so that others see either the old one or all of the new one:
/// it gets its name only when it is complete.
fn write_atomically(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        // What an ordinary new file gets; the process's mask still applies.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
