//! What every step needs: a shell at the workspace root, and the workspace itself.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::{Cmd, Shell, cmd};

use crate::workspace::Workspace;

/// The one argument of every step.
#[derive(Debug)]
pub(crate) struct Context {
    /// Its working directory is the workspace root.
    pub(crate) shell: Shell,
    pub(crate) workspace: Workspace,
    /// Tools that are missing are installed; else what needs them is left out.
    pub(crate) install_tools: bool,
}

impl Context {
    pub(crate) fn new(install_tools: bool) -> Result<Self> {
        let shell = Shell::new()?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask lies in the workspace root");
        shell.change_dir(root);
        let workspace = Workspace::load(cmd!(shell, "cargo"), root)?;
        Ok(Self {
            shell,
            workspace,
            install_tools,
        })
    }

    /// A cargo command to add arguments to.
    pub(crate) fn cargo(&self) -> Cmd<'_> {
        cmd!(self.shell, "cargo")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.workspace.root
    }

    /// A folder of its own under the build directory.
    pub(crate) fn target_dir(&self, name: &str) -> PathBuf {
        self.workspace.target_directory.join(name)
    }
}
