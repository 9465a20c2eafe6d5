//! What the legs on other instruction sets need: a compiler that has the target,
//! a linker, an emulator. Each is taken from where it is found first:
//!
//! 1. what the machine has: the active toolchain, programs on the path;
//! 2. what rustup adds to the active toolchain (and to a nightly one that is there, for Miri and the
//!    sanitizers); for QEMU, linkers and Valgrind, and only
//!    where nobody minds, packages installed on the machine ([`system`]);
//! 3. Debian packages unpacked under the build directory ([`debian`]).
//!
//! `TRAPLINE_TOOLCHAIN_ROOT` names a folder like that of 3, and is then used instead of
//! all compilers and linkers.

mod apt;
mod debian;
mod nightly;
mod rustup;
mod system;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use xshell::{Shell, cmd};

use self::debian::Part;
pub(crate) use self::nightly::Nightly;
use self::rustup::Active;
use crate::arch::{Arch, cargo_variable};
use crate::counts;
use crate::process;
use crate::qemu;

/// The variable that names a folder to take compilers and linkers from.
pub(crate) const ROOT_VARIABLE: &str = "TRAPLINE_TOOLCHAIN_ROOT";

/// How far to go for what is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum From {
    /// Only what is here.
    Here,
    /// What rustup adds, else packages.
    #[default]
    Anywhere,
    /// Compilers and linkers from packages, whatever is here.
    Packages,
}

/// Programs with musl, linked statically. The target brings the C library and all else that a
/// program begins and ends with; the host's own C compiler links it.
pub(crate) const MUSL_TARGET: &str = "x86_64-unknown-linux-musl";

/// The legs to get things for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Programs for Linux, under an emulator.
    pub(crate) hosted: BTreeSet<Arch>,
    /// Kernels.
    pub(crate) bare: BTreeSet<Arch>,
    /// Programs with musl.
    pub(crate) musl: bool,
    /// Valgrind, for programs of this machine.
    pub(crate) valgrind: bool,
    /// The nightly toolchain, for the same.
    pub(crate) nightly: bool,
}

impl Wanted {
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            hosted,
            bare,
            musl,
            valgrind,
            nightly,
        } = self;
        hosted.is_empty() && bare.is_empty() && !musl && !valgrind && !nightly
    }

    /// All that this machine doesn't run by itself.
    pub(crate) fn all() -> Self {
        Self {
            hosted: Arch::emulated().collect(),
            bare: Arch::bare().collect(),
            musl: true,
            valgrind: counts::is_possible(),
            nightly: true,
        }
    }
}

/// What was got, or why not.
#[derive(Debug, Default)]
pub(crate) struct Provisioned {
    pub(crate) hosted: BTreeMap<Arch, Result<Hosted, String>>,
    pub(crate) bare: BTreeMap<Arch, Result<Bare, String>>,
    /// `None`: nobody wanted it.
    pub(crate) musl: Option<Result<(), String>>,
    /// The same.
    pub(crate) valgrind: Option<Result<PathBuf, String>>,
    /// The same.
    pub(crate) nightly: Option<Result<Nightly, String>>,
}

/// A Rust compiler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Compiler {
    /// The one that cargo uses here.
    Active,
    /// From packages, in this folder.
    Packages(PathBuf),
}

impl Compiler {
    /// The variables that make cargo use it.
    pub(crate) fn variables(&self) -> Vec<(String, OsString)> {
        match self {
            Self::Active => Vec::new(),
            Self::Packages(root) => [("RUSTC", "usr/bin/rustc"), ("RUSTDOC", "usr/bin/rustdoc")]
                .map(|(name, program)| (name.to_owned(), root.join(program).into_os_string()))
                .into(),
        }
    }

    /// What `rustc --version` says.
    pub(crate) fn version(&self, shell: &Shell) -> Result<String> {
        let variables = self.variables();
        let rustc = variables
            .iter()
            .find(|(name, _)| name == "RUSTC")
            .map_or("rustc".into(), |(_, program)| program.clone());
        Ok(cmd!(shell, "{rustc} --version").read()?)
    }
}

impl Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Active => f.write_str("the active toolchain"),
            Self::Packages(root) => write!(f, "packages in {}", root.display()),
        }
    }
}

/// What it takes to build and run programs of one instruction set for Linux.
#[derive(Clone, Debug)]
pub(crate) struct Hosted {
    pub(crate) arch: Arch,
    pub(crate) compiler: Compiler,
    linker: PathBuf,
    /// Where the linker finds files with absolute names; `None`: at the root of the file system.
    sysroot: Option<PathBuf>,
    /// Where the programs find their loader and libraries.
    libraries: PathBuf,
    pub(crate) emulator: PathBuf,
}

impl Hosted {
    /// The emulator and its arguments, before those of a program.
    pub(crate) fn run_with(&self) -> Vec<OsString> {
        let mut words = vec![
            self.emulator.clone().into(),
            "-L".into(),
            self.libraries.clone().into(),
        ];
        words.extend(qemu::user_cpu(self.arch).iter().map(OsString::from));
        words
    }

    /// The variables that make cargo build for the target, and run with the emulator
    /// (tests that start programs read the same ones). A program that runs for longer than
    /// `limit` is stopped.
    pub(crate) fn variables(&self, limit: Duration) -> Vec<(String, OsString)> {
        let target = self.arch.hosted_target();
        let mut runner = OsString::from(format!(
            "timeout --foreground --kill-after=10 {}",
            limit.as_secs()
        ));
        for word in self.run_with() {
            runner.push(" ");
            runner.push(word);
        }
        let mut variables = self.compiler.variables();
        variables.push((cargo_variable(target, "LINKER"), self.linker.clone().into()));
        variables.push((cargo_variable(target, "RUNNER"), runner));
        if let Some(sysroot) = &self.sysroot {
            let mut flag = OsString::from("-Clink-arg=--sysroot=");
            flag.push(sysroot);
            variables.push((cargo_variable(target, "RUSTFLAGS"), flag.clone()));
            // Documentation tests are linked by rustdoc, which has flags of its own.
            variables.push(("RUSTDOCFLAGS".to_owned(), flag));
        }
        variables
    }
}

/// What it takes to build and run kernels of one instruction set.
#[derive(Clone, Debug)]
pub(crate) struct Bare {
    pub(crate) arch: Arch,
    pub(crate) compiler: Compiler,
    /// `None`: the compiler brings its own.
    linker: Option<PathBuf>,
    pub(crate) emulator: PathBuf,
}

impl Bare {
    /// Rust's target.
    pub(crate) fn target(&self) -> &'static str {
        self.arch.bare_target().expect("it has one")
    }

    /// The variables that make cargo build for the target.
    pub(crate) fn variables(&self) -> Vec<(String, OsString)> {
        let mut variables = self.compiler.variables();
        if let Some(linker) = &self.linker {
            variables.push((
                cargo_variable(self.target(), "LINKER"),
                linker.clone().into(),
            ));
        }
        variables
    }
}

/// Gets what `wanted` needs, with all files under `folder`.
pub(crate) fn provision(folder: &Path, wanted: &Wanted, from: From, log: &Log) -> Provisioned {
    Search::new(folder, from, log).run(wanted)
}

/// One run of [`provision`].
struct Search<'l> {
    folder: &'l Path,
    from: From,
    log: &'l Log,
    active: Option<Active>,
    /// The folder with unpacked packages.
    root: Option<PathBuf>,
    /// What was tried in vain.
    failures: Vec<String>,
}

impl<'l> Search<'l> {
    fn new(folder: &'l Path, from: From, log: &'l Log) -> Self {
        Self {
            folder,
            from,
            log,
            active: Active::find().ok(),
            root: None,
            failures: Vec::new(),
        }
    }

    fn run(mut self, wanted: &Wanted) -> Provisioned {
        if let Some(root) = std::env::var_os(ROOT_VARIABLE) {
            self.root = Some(PathBuf::from(root));
            self.from = From::Here;
        } else {
            self.add_with_rustup(wanted);
        }
        self.install_emulators(wanted);
        self.install_linkers(wanted);
        self.install_valgrind(wanted);
        self.unpack(wanted);
        let nightly = wanted.nightly.then(|| self.nightly());
        let hosted = wanted.hosted.iter();
        let bare = wanted.bare.iter();
        Provisioned {
            hosted: hosted
                .map(|arch| (*arch, self.explained(self.hosted(*arch))))
                .collect(),
            bare: bare
                .map(|arch| (*arch, self.explained(self.bare(*arch))))
                .collect(),
            musl: wanted.musl.then(|| self.explained(self.musl())),
            valgrind: wanted.valgrind.then(|| self.explained(valgrind())),
            nightly: nightly.map(|found| self.explained(found)),
        }
    }

    fn failed(&mut self, what: &str, error: &anyhow::Error) {
        let failure = format!("{what}: {error:#}");
        self.log.line(&failure);
        self.failures.push(failure);
    }

    /// The reason why something is missing, with what was tried in vain.
    fn explained<T>(&self, found: Result<T>) -> Result<T, String> {
        found.map_err(|error| {
            let mut reason = format!("{error:#}");
            for failure in &self.failures {
                reason.push_str("; ");
                reason.push_str(failure);
            }
            reason
        })
    }

    fn add_with_rustup(&mut self, wanted: &Wanted) {
        let Some(active) = &self.active else { return };
        if self.from != From::Anywhere {
            return;
        }
        let hosted = wanted.hosted.iter().map(|arch| arch.hosted_target());
        let bare = wanted.bare.iter().filter_map(|arch| arch.bare_target());
        let musl = (wanted.musl && runs_musl()).then_some(MUSL_TARGET);
        let missing: Vec<&str> = hosted
            .chain(bare)
            .chain(musl)
            .filter(|target| !active.has_target(target))
            .collect();
        let source = !wanted.bare.is_empty() && !active.has_source();
        if missing.is_empty() && !source {
            return;
        }
        if let Err(error) = active.add(&missing, source, self.log) {
            self.failed("rustup", &error);
        }
    }

    fn install_emulators(&mut self, wanted: &Wanted) {
        if self.from == From::Here || self.missing_emulators(wanted).is_empty() {
            return;
        }
        let packages = qemu::packages().map(str::to_owned);
        if let Err(error) = system::install(&packages, self.log) {
            self.failed("installing QEMU", &error);
        }
    }

    fn install_linkers(&mut self, wanted: &Wanted) {
        if self.from != From::Anywhere {
            return;
        }
        // A library from packages of one release can't be linked with the C library of
        // another: for a compiler from packages, linkers are unpacked with it.
        let missing: Vec<Arch> = wanted
            .hosted
            .iter()
            .copied()
            .filter(|arch| {
                self.linker(*arch).is_err()
                    && self
                        .compiler(*arch)
                        .is_ok_and(|compiler| compiler == Compiler::Active)
            })
            .collect();
        let packages: Vec<String> = missing
            .iter()
            .flat_map(|arch| {
                [
                    format!("gcc-{}", arch.gnu()),
                    format!("libc6-dev-{}-cross", arch.debian()),
                ]
            })
            .collect();
        if packages.is_empty() {
            return;
        }
        if let Err(error) = system::install(&packages, self.log) {
            self.failed("installing linkers", &error);
        }
    }

    fn install_valgrind(&mut self, wanted: &Wanted) {
        if self.from == From::Here || !wanted.valgrind || valgrind().is_ok() {
            return;
        }
        if let Err(error) = system::install(&[VALGRIND.to_owned()], self.log) {
            self.failed("installing Valgrind", &error);
        }
    }

    /// The nightly toolchain, with its components if they can be got.
    fn nightly(&mut self) -> Result<Nightly> {
        let nightly = Nightly::find()?;
        if self.from == From::Anywhere
            && let Err(error) = nightly.complete(self.log)
        {
            self.failed("rustup", &error);
        }
        Ok(nightly)
    }

    fn missing_emulators(&self, wanted: &Wanted) -> BTreeSet<Part> {
        let user = wanted
            .hosted
            .iter()
            .filter(|arch| self.emulator(&qemu::user_program(**arch)).is_err())
            .map(|_| Part::QemuUser);
        let system = wanted
            .bare
            .iter()
            .filter(|arch| self.emulator(&qemu::system_program(**arch)).is_err())
            .map(|arch| Part::QemuSystem(*arch));
        user.chain(system).collect()
    }

    /// Unpacks what is still missing.
    fn unpack(&mut self, wanted: &Wanted) {
        if self.from == From::Here {
            return;
        }
        let has_target = |target: &str| {
            self.from != From::Packages
                && self
                    .active
                    .as_ref()
                    .is_some_and(|active| active.has_target(target))
        };
        let mut parts = self.missing_emulators(wanted);
        for arch in &wanted.hosted {
            if !has_target(arch.hosted_target()) {
                parts.extend([Part::Rust, Part::Std(*arch), Part::Linker(*arch)]);
            } else if self.linker(*arch).is_err() {
                parts.insert(Part::Linker(*arch));
            }
        }
        let bare_is_missing = wanted
            .bare
            .iter()
            .filter_map(|arch| arch.bare_target())
            .any(|target| !has_target(target));
        let source_is_missing =
            !wanted.bare.is_empty() && !self.active.as_ref().is_some_and(Active::has_source);
        if bare_is_missing || source_is_missing {
            parts.extend([Part::Rust, Part::RustSource]);
            if self.lld().is_none() {
                parts.insert(Part::BareLinker);
            }
        }
        if parts.is_empty() {
            return;
        }
        match debian::root(self.folder, &parts, self.log) {
            Ok(root) => self.root = Some(root),
            Err(error) => self.failed("Debian packages", &error),
        }
    }

    fn emulator(&self, name: &str) -> Result<PathBuf> {
        let unpacked = self
            .root
            .as_ref()
            .map(|root| root.join("usr/bin").join(name))
            .filter(|file| file.is_file());
        let installed = program(name);
        ensure!(
            installed.is_some() || unpacked.is_some(),
            "there is no {name}"
        );
        // One that was unpacked is there since the other is too old.
        qemu::check(unpacked.or(installed).as_deref().expect("one of them"))
    }

    /// LLVM's linker of the active toolchain.
    fn lld(&self) -> Option<PathBuf> {
        self.active.as_ref()?.lld(Arch::host()?.hosted_target())
    }

    /// The compiler for programs of `arch`: the active one if it will do, for all legs
    /// that it has the targets of.
    fn compiler(&self, arch: Arch) -> Result<Compiler> {
        let target = arch.hosted_target();
        if let Some(root) = self.packages_first()
            && rustup::has_target(&root.join("usr"), target)
        {
            return Ok(Compiler::Packages(root.clone()));
        }
        if let Some(active) = &self.active
            && active.has_target(target)
        {
            return Ok(Compiler::Active);
        }
        match &self.root {
            Some(root) if rustup::has_target(&root.join("usr"), target) => {
                Ok(Compiler::Packages(root.clone()))
            }
            _ => bail!("no compiler here has the target {target}"),
        }
    }

    fn bare_compiler(&self, target: &str) -> Result<Compiler> {
        let unpacked = self
            .root
            .as_ref()
            .filter(|root| rustup::has_source(&root.join("usr")));
        if let (Some(_), Some(root)) = (self.packages_first(), unpacked) {
            return Ok(Compiler::Packages(root.clone()));
        }
        match (&self.active, unpacked) {
            (Some(active), _) if active.has_target(target) && active.has_source() => {
                Ok(Compiler::Active)
            }
            (_, Some(root)) => Ok(Compiler::Packages(root.clone())),
            _ => bail!("no compiler here has the target {target} and rust-src"),
        }
    }

    /// The unpacked packages, if they are to be used although the active toolchain would do.
    fn packages_first(&self) -> Option<&PathBuf> {
        let first = self.from == From::Packages || std::env::var_os(ROOT_VARIABLE).is_some();
        self.root.as_ref().filter(|_| first)
    }

    /// A linker for programs of `arch`, and the folder that its absolute names start from.
    fn linker(&self, arch: Arch) -> Result<(PathBuf, Option<PathBuf>)> {
        let name = format!("{}-gcc", arch.gnu());
        let unpacked = self
            .root
            .as_ref()
            .map(|root| (root.join("usr/bin").join(&name), Some(root.clone())))
            .filter(|(file, _)| file.is_file());
        // Libraries from packages need the linker from packages: see `install_linkers`.
        let from_packages = self
            .compiler(arch)
            .is_ok_and(|compiler| compiler != Compiler::Active);
        let installed = program(&name)
            .filter(|_| !from_packages)
            .map(|file| (file, None));
        installed
            .or(unpacked)
            .with_context(|| format!("there is no {name}"))
    }

    fn hosted(&self, arch: Arch) -> Result<Hosted> {
        let compiler = self.compiler(arch)?;
        let (linker, sysroot) = self.linker(arch)?;
        let base = sysroot.as_deref().unwrap_or(Path::new("/"));
        // Packages for cross compilers have a folder of their own, those of the other
        // architecture itself share the common one.
        let libraries = [base.join("usr").join(arch.gnu()), base.to_owned()]
            .into_iter()
            .find(|folder| folder.join(arch.loader()).exists())
            .with_context(|| format!("there is no C library for {}", arch.gnu()))?;
        // Cargo splits the runner's words at spaces.
        let shown = libraries.to_string_lossy();
        ensure!(
            !shown.contains(char::is_whitespace),
            "cargo can't run programs with libraries in a folder that has a space in its name: {shown}"
        );
        Ok(Hosted {
            arch,
            compiler,
            linker,
            sysroot,
            libraries,
            emulator: self.emulator(&qemu::user_program(arch))?,
        })
    }

    /// Whether the active toolchain builds programs with musl that this machine runs. (No
    /// packages have the target.)
    fn musl(&self) -> Result<()> {
        ensure!(
            runs_musl(),
            "programs for {MUSL_TARGET} don't run on this machine"
        );
        let active = self.active.as_ref();
        ensure!(
            active.is_some_and(|active| active.has_target(MUSL_TARGET)),
            "the active toolchain lacks the target {MUSL_TARGET}"
        );
        Ok(())
    }

    fn bare(&self, arch: Arch) -> Result<Bare> {
        let target = arch
            .bare_target()
            .with_context(|| format!("there is no image for {}", arch.name()))?;
        let compiler = self.bare_compiler(target)?;
        let linker = match &compiler {
            Compiler::Active => None,
            Compiler::Packages(root) => Some(
                self.lld()
                    .or(Some(root.join("usr/bin/ld.lld")).filter(|file| file.is_file()))
                    .context("there is no linker for bare metal")?,
            ),
        };
        Ok(Bare {
            arch,
            compiler,
            linker,
            emulator: self.emulator(&qemu::system_program(arch))?,
        })
    }
}

/// Whether this machine runs programs for [`MUSL_TARGET`].
fn runs_musl() -> bool {
    cfg!(target_os = "linux") && Arch::host() == Some(Arch::X86_64)
}

/// The file of `name` on the path.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A program, and the package that has it.
const VALGRIND: &str = "valgrind";

fn valgrind() -> Result<PathBuf> {
    program(VALGRIND).with_context(|| format!("there is no {VALGRIND}"))
}

/// A file with the output of all commands, and a line on stderr for what a reader wants
/// to know.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join("log");
        File::create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    pub(crate) fn line(&self, text: &str) {
        eprintln!("toolchain: {text}");
    }

    /// Runs `command` with its output going to the file; fails with its last words.
    fn run(&self, mut command: Command, limit: Duration) -> Result<()> {
        let mut file = File::options().append(true).read(true).open(&self.path)?;
        let start = file.seek(SeekFrom::End(0))?;
        command.stdout(file.try_clone()?).stderr(file.try_clone()?);
        let program = command.get_program().to_string_lossy().into_owned();
        let end = process::run_silently(command, limit)?;
        if end.success() {
            return Ok(());
        }
        file.seek(SeekFrom::Start(start))?;
        let mut output = Vec::new();
        file.read_to_end(&mut output)?;
        let output = String::from_utf8_lossy(&output);
        bail!("{program} failed ({end}): {}", last_words(&output))
    }
}

/// The line of `output` that says most about a failure.
fn last_words(output: &str) -> &str {
    let lines = || {
        output
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    lines()
        .find(|line| line.starts_with("E: ") || line.starts_with("error: "))
        .or(lines().next_back())
        .unwrap_or("it printed nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_says_most() {
        let output = "Hit:1\nE: Unable to fetch some archives\nE: and more\n";
        assert_eq!(last_words(output), "E: Unable to fetch some archives");
        assert_eq!(last_words("info: x\n\n last \n\n"), "last");
        assert_eq!(last_words(""), "it printed nothing");
    }

    #[test]
    fn cargo_is_told_linker_runner_and_flags() {
        let hosted = Hosted {
            arch: Arch::S390x,
            compiler: Compiler::Packages(PathBuf::from("/r")),
            linker: PathBuf::from("/r/usr/bin/s390x-linux-gnu-gcc"),
            sysroot: Some(PathBuf::from("/r")),
            libraries: PathBuf::from("/r/usr/s390x-linux-gnu"),
            emulator: PathBuf::from("/usr/bin/qemu-s390x"),
        };
        let variables: BTreeMap<_, _> = hosted
            .variables(Duration::from_secs(60))
            .into_iter()
            .collect();
        let value = |name: &str| variables[name].to_str().expect("UTF-8");
        assert_eq!(value("RUSTC"), "/r/usr/bin/rustc");
        assert_eq!(
            value("CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER"),
            "timeout --foreground --kill-after=10 60 /usr/bin/qemu-s390x -L /r/usr/s390x-linux-gnu"
        );
        assert_eq!(
            value("CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUSTFLAGS"),
            "-Clink-arg=--sysroot=/r"
        );
    }
}
