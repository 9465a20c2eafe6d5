//! What every step needs: a shell at the workspace root, and the workspace itself.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};
use xshell::{Cmd, Shell, cmd};

use crate::arch::Arch;
use crate::toolchain::{self, Bare, From, Hosted, Log, Nightly, Provisioned, Wanted};
use crate::workspace::Workspace;

/// The one argument of every step.
pub(crate) struct Context {
    /// Its working directory is the workspace root.
    pub(crate) shell: Shell,
    pub(crate) workspace: Workspace,
    /// Tools that are missing are installed; else what needs them is left out.
    pub(crate) install_tools: bool,
    /// Toolchains on their way.
    provisioning: Cell<Option<JoinHandle<Result<Provisioned>>>>,
    provisioned: OnceCell<Result<Provisioned>>,
    /// Files that this run has made already.
    made: RefCell<BTreeSet<PathBuf>>,
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
            provisioning: Cell::new(None),
            provisioned: OnceCell::new(),
            made: RefCell::default(),
        })
    }

    /// Begins to get what `wanted` needs, while other steps run.
    pub(crate) fn start_provisioning(&self, wanted: Wanted) {
        if wanted.is_empty() {
            return;
        }
        let folder = self.target_dir("toolchain");
        self.provisioning.set(Some(thread::spawn(move || {
            let log = Log::new(&folder)?;
            Ok(toolchain::provision(&folder, &wanted, From::Anywhere, &log))
        })));
    }

    /// What was got; waits until it is there.
    fn provisioned(&self) -> Result<&Provisioned> {
        self.provisioned
            .get_or_init(|| {
                let thread = self
                    .provisioning
                    .take()
                    .ok_or_else(|| anyhow!("nobody asked for toolchains"))?;
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("getting toolchains ended in a panic")))
            })
            .as_ref()
            .map_err(|error| anyhow!("{error:#}"))
    }

    /// What programs of `arch` for Linux need. An inner error is the reason why a machine
    /// has to do without.
    pub(crate) fn hosted(&self, arch: Arch) -> Result<Result<&Hosted, String>> {
        let found = self.provisioned()?.hosted.get(&arch);
        let found = found.ok_or_else(|| anyhow!("nobody asked for {}", arch.name()))?;
        Ok(found.as_ref().map_err(String::clone))
    }

    /// The same for kernels.
    pub(crate) fn bare(&self, arch: Arch) -> Result<Result<&Bare, String>> {
        let found = self.provisioned()?.bare.get(&arch);
        let found = found.ok_or_else(|| anyhow!("nobody asked for kernels of {}", arch.name()))?;
        Ok(found.as_ref().map_err(String::clone))
    }

    /// Whether programs with musl can be built and run here.
    pub(crate) fn musl(&self) -> Result<Result<(), String>> {
        let found = self.provisioned()?.musl.clone();
        found.ok_or_else(|| anyhow!("nobody asked for musl"))
    }

    /// Valgrind.
    pub(crate) fn valgrind(&self) -> Result<Result<&Path, String>> {
        let found = self.provisioned()?.valgrind.as_ref();
        let found = found.ok_or_else(|| anyhow!("nobody asked for Valgrind"))?;
        Ok(found.as_deref().map_err(String::clone))
    }

    /// The nightly toolchain.
    pub(crate) fn nightly(&self) -> Result<Result<&Nightly, String>> {
        let found = self.provisioned()?.nightly.as_ref();
        let found = found.ok_or_else(|| anyhow!("nobody asked for the nightly toolchain"))?;
        Ok(found.as_ref().map_err(String::clone))
    }

    /// Whether `file` has to be made: nobody has asked for it in this run.
    pub(crate) fn is_first(&self, file: &Path) -> bool {
        self.made.borrow_mut().insert(file.to_owned())
    }

    /// A cargo command to add arguments to.
    pub(crate) fn cargo(&self) -> Cmd<'_> {
        cmd!(self.shell, "cargo")
    }

    /// The program `name` of the package that has the test target `test`, as tests are
    /// compiled.
    ///
    /// A test target brings the programs of its package along, and the features that tests of
    /// the whole workspace are compiled with: what those have compiled is used, and the
    /// compiler of the guests is not compiled a second time.
    pub(crate) fn program_of_tests(&self, test: &str, name: &str) -> Result<PathBuf> {
        self.cargo()
            .args(["build", "--quiet", "--workspace", "--all-features"])
            .args(["--test", test])
            .run()?;
        Ok(self.target_dir("debug").join(name))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.workspace.root
    }

    /// A folder of its own under the build directory.
    pub(crate) fn target_dir(&self, name: &str) -> PathBuf {
        self.workspace.target_directory.join(name)
    }
}
