//! A toolchain from Debian packages, under the build directory: unpacked, not
//! installed, and made to run from where it lies.
//!
//! Programs name their loader by an absolute path and find their libraries
//! through the loader's own rules. Both would lead to the machine's libraries,
//! which may be older than the programs; so the packages' own `patchelf`, run
//! through the packages' own loader, writes the paths of this folder into
//! them. The folder therefore can't be moved, and nobody has to be root.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::Log;
use super::apt::Apt;
use crate::arch::Arch;

/// The release whose packages are taken: the one under development, whose Rust is recent.
/// One release for everything, so that the parts fit each other.
const SUITE: &str = "testing";

/// The architecture whose programs are made to run from a folder.
const HOST: Arch = Arch::X86_64;

/// What somebody needs from the packages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Part {
    /// `rustc` and `rustdoc`, with the standard library of the host.
    Rust,
    /// The sources of the standard library, which bare-metal targets are built from.
    RustSource,
    /// The standard library of an instruction set, for Linux.
    Std(Arch),
    /// A C compiler as a linker, and the C library, for programs on Linux.
    Linker(Arch),
    /// A linker for bare metal, where the active toolchain has none.
    BareLinker,
    /// The emulator of programs for Linux.
    QemuUser,
    /// The emulator of machines.
    QemuSystem(Arch),
}

impl Part {
    fn all() -> impl Iterator<Item = Self> {
        let single = [
            Self::Rust,
            Self::RustSource,
            Self::BareLinker,
            Self::QemuUser,
        ];
        let each = [Self::Std, Self::Linker, Self::QemuSystem];
        let each = each.into_iter().flat_map(|part| Arch::ALL.map(part));
        single.into_iter().chain(each)
    }

    /// As the stamp names it.
    fn name(self) -> String {
        format!("{self:?}")
    }

    /// Packages, with what they depend on.
    fn packages(self) -> Vec<String> {
        match self {
            Self::Rust => vec!["rustc".to_owned()],
            Self::RustSource => vec!["rust-src".to_owned()],
            Self::Std(_) => Vec::new(),
            Self::Linker(arch) => vec![
                format!("gcc-{}", arch.gnu()),
                format!("libc6-dev-{}-cross", arch.debian()),
            ],
            Self::BareLinker => vec!["lld".to_owned()],
            Self::QemuUser => vec!["qemu-user".to_owned()],
            Self::QemuSystem(arch) => vec![format!(
                "qemu-system-{}",
                match arch {
                    Arch::X86_64 => "x86",
                    Arch::Aarch64 => "arm",
                    Arch::Riscv64 => "riscv",
                    Arch::S390x => "s390x",
                }
            )],
        }
    }

    /// A package of another architecture, without what it depends on: that would be a
    /// whole compiler to run there.
    fn foreign_package(self) -> Option<(Arch, String)> {
        match self {
            Self::Std(arch) => Some((arch, format!("libstd-rust-dev:{}", arch.debian()))),
            _ => None,
        }
    }
}

/// Dependencies that are left out, together with what only they need: nothing here
/// compiles C, only links; nothing is sanitized, debugged or booted from the network.
fn left_out(package: &str) -> bool {
    const EXACT: &[&str] = &[
        "gcc",
        "binutils",
        "libc6-dev",
        "libcc1-0",
        "ipxe-qemu",
        "perl",
    ];
    const STARTS: &[&str] = &[
        "cpp-",
        "libasan",
        "libhwasan",
        "liblsan",
        "libtsan",
        "libubsan",
        "libitm1-",
        "libgomp1-",
        "linux-libc-dev",
        "libc-gconv-modules",
    ];
    EXACT.contains(&package) || STARTS.iter().any(|start| package.starts_with(start))
}

/// Files that are not unpacked, as patterns of tar.
const NOT_UNPACKED: &[&str] = &[
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/info",
    "./usr/share/locale",
    "./usr/share/lintian",
    "./usr/share/bug",
    "./usr/share/gdb",
    // Of Rust's sources, the library is used.
    "./usr/src/rustc-*/compiler",
    "./usr/src/rustc-*/src",
    "./usr/src/rustc-*/tests",
    "./usr/src/rustc-*/vendor",
    "./usr/src/rustc-*/debian",
    // Optimisation by the linker's plug-in is not used.
    "lto1",
    "*-lto-dump*",
    "./usr/bin/*-gcov*",
    "./usr/bin/*-gprof*",
    "./usr/bin/gp-*",
    "./usr/bin/gprofng*",
    "./usr/lib/*/gconv",
];

/// Folders whose programs are made to run here.
const PROGRAMS: &[&str] = &[
    "usr/bin",
    "usr/libexec",
    "usr/lib/gcc-cross",
    "usr/lib/llvm-*/bin",
];

/// First line of the stamp. Another number where another version of this file would make
/// something else of the same parts.
const STAMP_HEAD: &str = "packages of trapline's xtask, 3";

/// What a finished root has been made from; it stands in a file in the root.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stamp {
    /// The root itself: its files name it.
    root: PathBuf,
    parts: BTreeSet<String>,
}

impl Stamp {
    fn new(root: &Path, parts: &BTreeSet<Part>) -> Self {
        Self {
            root: root.to_owned(),
            parts: parts.iter().map(|part| part.name()).collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{STAMP_HEAD}\n{}\n", self.root.display());
        for part in &self.parts {
            text.push_str(part);
            text.push('\n');
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == STAMP_HEAD).then_some(())?;
        Some(Self {
            root: PathBuf::from(lines.next()?),
            parts: lines.map(str::to_owned).collect(),
        })
    }

    /// Is all that `wanted` names there?
    fn has(&self, wanted: &Self) -> bool {
        self.root == wanted.root && self.parts.is_superset(&wanted.parts)
    }
}

/// A folder with `parts` under `base`, which is made if it is not there. All parts come
/// from one look at the archive, so that their versions match.
pub(crate) fn root(base: &Path, parts: &BTreeSet<Part>, log: &Log) -> Result<PathBuf> {
    ensure!(
        Arch::host() == Some(HOST),
        "programs from packages are made to run on {} only",
        HOST.name()
    );
    fs::create_dir_all(base)?;
    let base = base.canonicalize()?;
    let root = base.join("debian");
    let stamp_file = root.join("stamp");
    let lock = File::create(base.join("lock"))?;
    lock.lock()?;
    let mut parts = parts.clone();
    let old = fs::read_to_string(&stamp_file)
        .ok()
        .and_then(|text| Stamp::parse(&text));
    if let Some(old) = old {
        if old.has(&Stamp::new(&root, &parts)) {
            return Ok(root);
        }
        // What somebody else needed stays, or two users would take turns.
        parts.extend(Part::all().filter(|part| old.parts.contains(&part.name())));
    }
    let wanted = Stamp::new(&root, &parts);
    if root.exists() {
        log.line("the packages here are others, or incomplete: they are fetched anew");
        fs::remove_dir_all(&root)?;
    }
    let names: Vec<&str> = wanted.parts.iter().map(String::as_str).collect();
    log.line(&format!("from Debian packages: {}", names.join(", ")));
    fill(&root, &parts, log)?;
    fs::write(&stamp_file, wanted.text())?;
    Ok(root)
}

fn fill(root: &Path, parts: &BTreeSet<Part>, log: &Log) -> Result<()> {
    for folder in ["bin", "lib", "lib64", "sbin"] {
        fs::create_dir_all(root.join("usr").join(folder))?;
        symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    let foreign: BTreeSet<(Arch, String)> = parts
        .iter()
        .filter_map(|part| part.foreign_package())
        .collect();
    let mut architectures = vec![HOST.debian()];
    architectures.extend(foreign.iter().map(|(arch, _)| arch.debian()));
    let mut roots = vec!["patchelf".to_owned()];
    roots.extend(parts.iter().flat_map(|part| part.packages()));

    let state = root.join("apt");
    let apt = Apt::new(state.clone(), SUITE, &architectures, log)?;
    let mut packages = apt.closure(&roots, left_out)?;
    packages.extend(foreign.into_iter().map(|(_, package)| package));
    for file in apt.download(&packages)? {
        unpack(&file, root).with_context(|| format!("{} could not be unpacked", file.display()))?;
        fs::remove_file(&file)?;
    }
    fs::remove_dir_all(&state)?;
    let count = relocate(root, log)?;
    log.line(&format!(
        "{count} programs and libraries run from {}",
        root.display()
    ));
    Ok(())
}

fn unpack(package: &Path, root: &Path) -> Result<()> {
    let mut files = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--directory").arg(root).args([
        "--keep-directory-symlink",
        "--no-same-owner",
        // A `*` stands for a part of one name: what the patterns leave out of one folder
        // stays in the folders below the others.
        "--wildcards",
        "--no-wildcards-match-slash",
    ]);
    for pattern in NOT_UNPACKED {
        tar.arg(format!("--exclude={pattern}"));
    }
    let status = tar
        .stdin(files.stdout.take().expect("stdout was piped"))
        .status()?;
    let end = files.wait()?;
    ensure!(
        status.success() && end.success(),
        "tar: {status}, dpkg-deb: {end}"
    );
    Ok(())
}

/// How long `patchelf` may take for one file.
const PATCH_LIMIT: Duration = Duration::from_secs(60);

/// `patchelf` from the packages, run through their own loader.
#[derive(Debug)]
struct Patchelf<'r> {
    root: &'r Path,
    loader: PathBuf,
    libraries: PathBuf,
}

impl Patchelf<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.loader);
        command
            .arg("--library-path")
            .arg(&self.libraries)
            .arg(self.root.join("usr/bin/patchelf"));
        command
    }

    /// What `--print-…` says about a file; nothing if the file has no such thing.
    fn print(&self, what: &str, file: &Path) -> Result<Option<String>> {
        let output = self.command().arg(what).arg(file).output()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok((output.status.success() && !text.is_empty()).then_some(text))
    }
}

impl Patchelf<'_> {
    /// Makes a program find its loader and its libraries.
    ///
    /// `patchelf` 0.18 moves the headers of programs at fixed addresses so that, for some
    /// lengths of what it writes, the loader's own table comes to lie on a page that can't be
    /// written, and the program dies before it starts. The other order makes another layout.
    fn relocate(&self, file: &Path, log: &Log) -> Result<()> {
        let original = fs::read(file)?;
        let loader: [&OsStr; 2] = ["--set-interpreter".as_ref(), self.loader.as_ref()];
        // The old kind of search path, which also holds for the libraries' own dependencies.
        let libraries: [&OsStr; 3] = [
            "--force-rpath".as_ref(),
            "--set-rpath".as_ref(),
            self.libraries.as_ref(),
        ];
        for order in [[&loader[..], &libraries[..]], [&libraries[..], &loader[..]]] {
            for arguments in order {
                let mut command = self.command();
                command.args(arguments).arg(file);
                log.run(command, PATCH_LIMIT)?;
            }
            if starts(file)? {
                return Ok(());
            }
            // In place, so that links to the file and its mode stay.
            fs::write(file, &original)?;
        }
        bail!("{} does not start from here", file.display())
    }
}

/// Does a program get as far as its own code?
fn starts(program: &Path) -> Result<bool> {
    let status = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| program.display().to_string())?;
    Ok(status.signal().is_none())
}

/// Makes the programs and libraries of `root` find their loader and each other; how many.
fn relocate(root: &Path, log: &Log) -> Result<usize> {
    let libraries = root.join("usr/lib").join(HOST.gnu());
    let loader = root.join(HOST.loader());
    let patchelf = Patchelf {
        root,
        loader: loader.clone(),
        libraries: libraries.clone(),
    };
    let mut count = 0;
    for file in programs(root)? {
        // Static programs have no loader, and programs of other architectures have theirs.
        let interpreter = patchelf.print("--print-interpreter", &file)?;
        if interpreter.as_deref() != Some(&format!("/{}", HOST.loader())) {
            continue;
        }
        patchelf.relocate(&file, log)?;
        count += 1;
    }
    // A library with a search path of its own does not use the program's.
    for entry in fs::read_dir(&libraries)? {
        let file = entry?.path();
        if !file.is_symlink() && is_elf(&file)? && patchelf.print("--print-rpath", &file)?.is_some()
        {
            let mut command = patchelf.command();
            command
                .arg("--force-rpath")
                .arg("--set-rpath")
                .arg(&libraries)
                .arg(&file);
            log.run(command, PATCH_LIMIT)?;
            count += 1;
        }
    }
    Ok(count)
}

/// The ELF files that are programs, but for `patchelf`, which can't rewrite itself.
fn programs(root: &Path) -> Result<Vec<PathBuf>> {
    let mut open = Vec::new();
    for folder in PROGRAMS {
        match folder.split_once('*') {
            None => open.push(root.join(folder)),
            // One `*` in the name of a folder.
            Some((start, end)) => {
                let (parent, start) = start.rsplit_once('/').context("a pattern in a folder")?;
                let Ok(entries) = fs::read_dir(root.join(parent)) else {
                    continue;
                };
                for entry in entries {
                    let entry = entry?;
                    if entry.file_name().to_string_lossy().starts_with(start) {
                        open.push(entry.path().join(end.trim_start_matches('/')));
                    }
                }
            }
        }
    }
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue; // No package has it.
        };
        for entry in entries {
            let path = entry?.path();
            let metadata = path.symlink_metadata()?;
            if metadata.is_dir() {
                open.push(path);
            } else if metadata.is_file()
                && metadata.permissions().mode() & 0o100 != 0
                && path.file_name() != Some("patchelf".as_ref())
                && is_elf(&path)?
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_elf(file: &Path) -> Result<bool> {
    let mut magic = [0; 4];
    if !file.is_file() {
        return Ok(false);
    }
    // A shorter file is none either.
    Ok(File::open(file)?.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp::new(
            Path::new("/r"),
            &[Part::Rust, Part::Linker(Arch::S390x)].into(),
        );
        assert_eq!(
            stamp.text().lines().skip(1).collect::<Vec<_>>(),
            ["/r", "Linker(S390x)", "Rust"]
        );
        assert_eq!(Stamp::parse(&stamp.text()), Some(stamp));
        assert_eq!(Stamp::parse(""), None);
        assert_eq!(Stamp::parse("packages of something else\n/r\nRust\n"), None);
    }

    #[test]
    fn a_root_serves_who_wants_less_but_not_from_another_place() {
        let stamp = |root: &str, parts: &[Part]| {
            Stamp::new(Path::new(root), &parts.iter().copied().collect())
        };
        let full = stamp("/r", &[Part::Rust, Part::RustSource]);
        assert!(full.has(&stamp("/r", &[Part::Rust])));
        assert!(!full.has(&stamp("/moved", &[Part::Rust])));
        assert!(!full.has(&stamp("/r", &[Part::Rust, Part::QemuUser])));
    }

    #[test]
    fn what_is_needed_is_not_left_out() {
        for package in [
            "libc6",
            "libgcc-16-dev-arm64-cross",
            "libgcc-s1-arm64-cross",
            "libc6-dev-arm64-cross",
            "gcc-16-aarch64-linux-gnu",
            "binutils-aarch64-linux-gnu",
            "libllvm22",
            "seabios",
            "opensbi",
        ] {
            assert!(!left_out(package), "{package}");
        }
        for package in ["gcc", "cpp-16-s390x-linux-gnu", "libasan8-arm64-cross"] {
            assert!(left_out(package), "{package}");
        }
    }
}
