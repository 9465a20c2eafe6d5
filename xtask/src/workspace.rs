//! The workspace as `cargo metadata` and the manifests describe it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use xshell::Cmd;

/// The members of the workspace, without their dependencies from elsewhere.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target_directory: PathBuf,
    /// Sorted by name.
    pub(crate) packages: Vec<Package>,
}

/// One member.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) description: Option<String>,
    pub(crate) readme: Option<PathBuf>,
    /// `None`: may be published anywhere; an empty list: `publish = false`.
    pub(crate) publish: Option<Vec<String>>,
    /// Feature to what it turns on, the implicit features of optional dependencies included.
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    /// The manifest's `[package.metadata]`.
    #[serde(default)]
    pub(crate) metadata: serde_json::Value,
}

/// Something that a package builds.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Target {
    /// `lib`, `bin`, `test` and so on.
    pub(crate) kind: Vec<String>,
}

/// One line of a `[dependencies]` table.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// `None` for a dependency from a registry.
    pub(crate) path: Option<PathBuf>,
    /// What the crate that has the dependency calls it, if not by its name.
    pub(crate) rename: Option<String>,
    pub(crate) optional: bool,
    /// What is turned on outright.
    pub(crate) features: Vec<String>,
    pub(crate) uses_default_features: bool,
}

impl Dependency {
    /// What features of the crate that has it call it.
    pub(crate) fn key(&self) -> &str {
        self.rename.as_deref().unwrap_or(&self.name)
    }

    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

impl Package {
    pub(crate) fn dir(&self) -> &Path {
        self.manifest_path
            .parent()
            .expect("a manifest lies in a folder")
    }

    /// The parsed manifest, for what `cargo metadata` leaves out.
    pub(crate) fn manifest(&self) -> Result<toml::Table> {
        read_toml(&self.manifest_path)
    }

    /// Somebody installs it, and names it in no manifest.
    pub(crate) fn is_program(&self) -> bool {
        self.targets
            .iter()
            .any(|target| target.kind.iter().any(|kind| kind == "bin"))
    }

    pub(crate) fn may_be_published(&self) -> bool {
        self.publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty())
    }
}

impl Workspace {
    pub(crate) fn load(cargo: Cmd<'_>, root: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Package>,
            target_directory: PathBuf,
        }
        let json = cargo
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .quiet()
            .read()?;
        let mut metadata: Metadata =
            serde_json::from_str(&json).context("output of `cargo metadata`")?;
        metadata.packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            root: root.to_owned(),
            target_directory: metadata.target_directory,
            packages: metadata.packages,
        })
    }

    /// The members under `crates/`: all but xtask.
    pub(crate) fn crates(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| package.name != env!("CARGO_PKG_NAME"))
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The names in `[workspace.dependencies]` that are not members themselves.
    pub(crate) fn external_dependencies(&self) -> Result<Vec<String>> {
        let manifest = read_toml(&self.root.join("Cargo.toml"))?;
        let table = manifest
            .get("workspace")
            .and_then(|workspace| workspace.get("dependencies"))
            .and_then(toml::Value::as_table)
            .context("the root manifest has no [workspace.dependencies]")?;
        Ok(table
            .iter()
            .filter(|(_, value)| value.get("path").is_none())
            .map(|(name, _)| name.clone())
            .collect())
    }
}

fn read_toml(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.parse().with_context(|| path.display().to_string())
}
