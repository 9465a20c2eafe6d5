//! apt with a state of its own: packages are looked up and downloaded without
//! installing anything, and without being root.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::Log;
use crate::process;

/// An archive as the machine's own sources name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uri: String,
    pub(crate) suite: String,
    pub(crate) components: Vec<String>,
    /// The file with the keys that it is signed with, if the source names one.
    pub(crate) signed_by: Option<String>,
}

/// The binary archives in a `sources.list`, one a line: `deb [options] URI suite component…`.
pub(crate) fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_list_line).collect()
}

fn parse_list_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None; // `deb-src`
    }
    rest = rest.trim_start();
    let mut signed_by = None;
    if let Some(after) = rest.strip_prefix('[') {
        let (options, after) = after.split_once(']')?;
        signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned);
        rest = after;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uri: words.next()?,
        suite: words.next()?,
        components: words.collect(),
        signed_by,
    })
}

/// The binary archives in a `.sources` file (deb822: stanzas of `Field: value`, where a
/// line that starts with a space belongs to the field before it).
pub(crate) fn parse_deb822(text: &str) -> Vec<Source> {
    let mut stanzas: Vec<BTreeMap<String, String>> = vec![BTreeMap::new()];
    let mut field = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let stanza = stanzas.last_mut().expect("there is always one");
        if line.trim().is_empty() {
            stanzas.push(BTreeMap::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = stanza.get_mut(&field) {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            field = name.to_lowercase();
            stanza.insert(field.clone(), value.trim().to_owned());
        }
    }
    stanzas.iter().flat_map(stanza_sources).collect()
}

/// A stanza names any number of archives: each of its URIs with each of its suites.
fn stanza_sources(stanza: &BTreeMap<String, String>) -> Vec<Source> {
    let words = |field: &str| -> Vec<String> {
        let value = stanza.get(field).map(String::as_str).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let enabled = stanza
        .get("enabled")
        .is_none_or(|value| !matches!(value.as_str(), "no" | "false" | "0"));
    if !enabled || !words("types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    // The field may also hold the key itself.
    let signed_by = stanza
        .get("signed-by")
        .filter(|value| value.starts_with('/'))
        .cloned();
    let suites = words("suites");
    words("uris")
        .into_iter()
        .flat_map(|uri| {
            suites.iter().map(move |suite| Source {
                uri: uri.clone(),
                suite: suite.clone(),
                ..Source::default()
            })
        })
        .map(|source| Source {
            components: words("components"),
            signed_by: signed_by.clone(),
            ..source
        })
        .collect()
}

/// The archive of Debian among `sources`: the one that has the machine's own release
/// (`codename`, if it is a Debian), else one whose path says so.
pub(crate) fn debian_archive(sources: &[Source], codename: Option<&str>) -> Option<Source> {
    let candidates = || {
        sources
            .iter()
            .filter(|source| source.components.iter().any(|name| name == "main"))
            .filter(|source| !source.uri.starts_with("cdrom:"))
    };
    let named_debian = |uri: &str| uri.trim_end_matches('/').ends_with("/debian");
    candidates()
        .find(|source| {
            codename.is_some_and(|codename| source.suite == codename) && named_debian(&source.uri)
        })
        .or_else(|| candidates().find(|source| codename == Some(source.suite.as_str())))
        .or_else(|| candidates().find(|source| named_debian(&source.uri)))
        .cloned()
}

/// All sources of this machine.
fn machine_sources() -> Result<Vec<Source>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue; // Not there, or not readable for this user.
        };
        match file.extension().and_then(OsStr::to_str) {
            Some("list") => sources.extend(parse_list(&text)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    Ok(sources)
}

/// The release of the machine, if it is a Debian.
fn machine_codename() -> Option<String> {
    codename(&fs::read_to_string("/etc/os-release").ok()?)
}

/// The value of `VERSION_CODENAME` in an `os-release`, if it is Debian's.
fn codename(os_release: &str) -> Option<String> {
    let value = |name: &str| {
        os_release.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix('=')?;
            Some(value.trim_matches('"').to_owned())
        })
    };
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME"))?
}

/// Packages by name, with what each depends on, as `apt-cache depends` lists them.
pub(crate) type Graph = BTreeMap<String, Vec<String>>;

/// Reads the output of `apt-cache depends`. Of alternatives the first counts, of the
/// packages that provide a virtual one the first.
pub(crate) fn parse_depends(text: &str) -> Graph {
    let mut graph = Graph::new();
    let mut package = None::<String>;
    let mut alternative_chosen = false;
    // A virtual package was named, and the next line names one that provides it.
    let mut provider_wanted = false;
    for line in text.lines() {
        let name = line.trim();
        if !line.starts_with(' ') {
            graph.entry(name.to_owned()).or_default();
            package = Some(name.to_owned());
            alternative_chosen = false;
            provider_wanted = false;
            continue;
        }
        let Some(dependencies) = package.as_ref().and_then(|name| graph.get_mut(name)) else {
            continue;
        };
        let Some((kind, dependency)) = name.split_once(": ") else {
            if provider_wanted {
                dependencies.push(name.to_owned());
                provider_wanted = false;
            }
            continue;
        };
        let more_alternatives = kind.starts_with('|');
        let kind = kind.trim_start_matches('|');
        if (kind == "Depends" || kind == "PreDepends") && !alternative_chosen {
            provider_wanted = dependency.starts_with('<');
            if !provider_wanted {
                dependencies.push(dependency.to_owned());
            }
        } else {
            provider_wanted = false;
        }
        alternative_chosen = more_alternatives;
    }
    graph
}

/// `roots` and all that they depend on, what `left_out` holds for left out.
pub(crate) fn closure(
    graph: &Graph,
    roots: &[String],
    left_out: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = roots.iter().cloned().collect();
    let mut open: VecDeque<&str> = roots.iter().map(String::as_str).collect();
    while let Some(package) = open.pop_front() {
        for dependency in graph.get(package).into_iter().flatten() {
            if !left_out(dependency) && found.insert(dependency.clone()) {
                open.push_back(dependency);
            }
        }
    }
    found
}

/// An apt that knows one archive and has its state in a folder.
#[derive(Debug)]
pub(crate) struct Apt<'l> {
    folder: PathBuf,
    log: &'l Log,
}

/// How long one call of apt may take. A mirror that can't be reached fails sooner.
const LIMIT: Duration = Duration::from_secs(900);

impl<'l> Apt<'l> {
    /// Sets up `folder` for `suite` of the machine's Debian mirror, and fetches the list of
    /// packages for each of `architectures`; the first is the host's.
    pub(crate) fn new(
        folder: PathBuf,
        suite: &str,
        architectures: &[&str],
        log: &'l Log,
    ) -> Result<Self> {
        for tool in ["apt-get", "apt-cache", "apt-config", "dpkg-deb"] {
            super::program(tool)
                .with_context(|| format!("there is no {tool}: this is no Debian system"))?;
        }
        let archive = debian_archive(&machine_sources()?, machine_codename().as_deref())
            .context("the apt sources of this machine name no Debian mirror")?;
        let shown = folder.display();
        for name in ["lists/partial", "cache/archives/partial", "state", "debs"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("status"), "")?;
        let keys = archive
            .signed_by
            .map(|file| format!("[signed-by={file}] "))
            .unwrap_or_default();
        let line = format!("deb {keys}{} {suite} main\n", archive.uri);
        log.line(&format!("archive: {}", line.trim()));
        fs::write(folder.join("sources.list"), line)?;
        let native = architectures.first().context("no architecture")?;
        let listed: String = architectures
            .iter()
            .map(|name| format!("{name:?}; "))
            .collect();
        // How to reach the mirror (proxies, credentials) is the machine's business.
        let machine = Command::new("apt-config").arg("dump").output()?;
        let machine: String = String::from_utf8_lossy(&machine.stdout)
            .lines()
            .filter(|line| line.starts_with("Acquire::") && !line.contains("IndexTargets"))
            .flat_map(|line| [line, "\n"])
            .collect();
        fs::write(
            folder.join("apt.conf"),
            format!(
                "{machine}\
                 Dir::Etc::main \"/dev/null\"; Dir::Etc::parts \"/dev/null\";\n\
                 Dir::Etc::sourcelist \"{shown}/sources.list\"; Dir::Etc::sourceparts \"/dev/null\";\n\
                 Dir::Etc::preferences \"/dev/null\"; Dir::Etc::preferencesparts \"/dev/null\";\n\
                 Dir::State \"{shown}/state\"; Dir::State::lists \"{shown}/lists\";\n\
                 Dir::State::status \"{shown}/status\"; Dir::Cache \"{shown}/cache\";\n\
                 APT::Architecture \"{native}\"; APT::Architectures {{ {listed}}};\n\
                 Debug::NoLocking \"true\"; APT::Sandbox::User \"\"; Acquire::Languages \"none\";\n\
                 Acquire::Retries \"2\"; Acquire::http::Timeout \"20\"; Acquire::https::Timeout \"20\";\n\
                 // A mirror may be a frozen copy, whose dates have passed.\n\
                 Acquire::Check-Valid-Until \"false\";\n"
            ),
        )?;
        let apt = Self { folder, log };
        apt.run("apt-get", &["--quiet", "update"], &apt.folder)
            .context("the list of packages could not be fetched")?;
        Ok(apt)
    }

    /// The packages that are needed for `roots`: see [`closure`].
    pub(crate) fn closure(
        &self,
        roots: &[String],
        left_out: impl Fn(&str) -> bool,
    ) -> Result<BTreeSet<String>> {
        let mut args = vec![
            "depends",
            "--recurse",
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
            "--no-breaks",
            "--no-replaces",
            "--no-enhances",
        ];
        args.extend(roots.iter().map(String::as_str));
        let graph = parse_depends(&self.read("apt-cache", &args)?);
        if let Some(missing) = roots.iter().find(|root| !graph.contains_key(*root)) {
            bail!("the archive has no package {missing}");
        }
        Ok(closure(&graph, roots, left_out))
    }

    /// Downloads and verifies `packages`; the files.
    pub(crate) fn download(&self, packages: &BTreeSet<String>) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join("debs");
        let mut args = vec!["--quiet", "download"];
        args.extend(packages.iter().map(String::as_str));
        self.run("apt-get", &args, &folder)
            .context("the packages could not be downloaded")?;
        let mut files = fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        files.sort();
        ensure!(
            files.len() == packages.len(),
            "{} packages were asked for, and {} came",
            packages.len(),
            files.len()
        );
        Ok(files)
    }

    fn command(&self, program: &str, args: &[&str], folder: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(folder)
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8");
        command
    }

    fn run(&self, program: &str, args: &[&str], folder: &Path) -> Result<()> {
        self.log.run(self.command(program, args, folder), LIMIT)
    }

    fn read(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut output = String::new();
        let end = process::run(self.command(program, args, &self.folder), LIMIT, |line| {
            output.push_str(line);
        })?;
        ensure!(end.success(), "{program} failed: {end}");
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, suite: &str, components: &[&str], signed_by: Option<&str>) -> Source {
        Source {
            uri: uri.to_owned(),
            suite: suite.to_owned(),
            components: components.iter().map(|name| (*name).to_owned()).collect(),
            signed_by: signed_by.map(str::to_owned),
        }
    }

    #[test]
    fn a_line_names_one_archive() {
        let text = "# a comment\n\
                    deb http://mirror.example/debian bookworm main contrib # the rest\n\
                    deb-src http://mirror.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/keys.gpg] https://mirror.example/x trixie main\n\
                    deb\n";
        assert_eq!(
            parse_list(text),
            [
                source(
                    "http://mirror.example/debian",
                    "bookworm",
                    &["main", "contrib"],
                    None
                ),
                source(
                    "https://mirror.example/x",
                    "trixie",
                    &["main"],
                    Some("/keys.gpg")
                ),
            ]
        );
    }

    #[test]
    fn a_stanza_names_each_uri_with_each_suite() {
        let text = "Types: deb deb-src\n\
                    # between the fields\n\
                    URIs: http://a.example/debian\n http://b.example/debian\n\
                    suites: s s-updates\n\
                    Components: main\n\
                    Signed-By: /keys.gpg\n\
                    \n\
                    Types: deb-src\nURIs: http://c.example\nSuites: s\nComponents: main\n\
                    \n\
                    Types: deb\nEnabled: no\nURIs: http://d.example\nSuites: s\nComponents: main\n\
                    \n\
                    Types: deb\nURIs: http://e.example\nSuites: s\nComponents: main\nSigned-By:\n -----BEGIN\n .\n KEY\n";
        let found = parse_deb822(text);
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(
            found[0],
            source("http://a.example/debian", "s", &["main"], Some("/keys.gpg"))
        );
        assert_eq!(
            found[3],
            source(
                "http://b.example/debian",
                "s-updates",
                &["main"],
                Some("/keys.gpg")
            )
        );
        assert_eq!(found[4], source("http://e.example", "s", &["main"], None));
    }

    #[test]
    fn the_archive_is_the_one_of_the_machine_s_release() {
        let sources = [
            source("https://tools.example/apt", "s", &["main"], None),
            source(
                "http://a.example/debian-security",
                "s-security",
                &["main"],
                None,
            ),
            source("cdrom:[Debian]", "s", &["main"], None),
            source("http://a.example/debian/", "s", &["main"], None),
        ];
        let uri = |sources: &[Source], codename| {
            debian_archive(sources, codename).map(|source| source.uri)
        };
        let expected = Some("http://a.example/debian/".to_owned());
        assert_eq!(uri(&sources, Some("s")), expected);
        assert_eq!(uri(&sources, None), expected);
        // A mirror need not be called `debian`.
        let renamed = [source("http://proxy.example/remote", "s", &["main"], None)];
        assert_eq!(
            uri(&renamed, Some("s")).as_deref(),
            Some("http://proxy.example/remote")
        );
        assert_eq!(uri(&renamed, None), None);
    }

    #[test]
    fn only_debian_has_a_codename_here() {
        let debian = "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(codename(debian).as_deref(), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=noble\nID=ubuntu\n"), None);
    }

    const DEPENDS: &str = "\
rustc
  Depends: libc6
  Depends: libstd-rust-dev
 |Depends: gcc
  Depends: clang
  Depends: <libc-dev>
    libc6-dev
    musl-dev
libc6
  PreDepends: libgcc-s1
  Suggests: glibc-doc
<libc-dev>
libc6-dev
  Depends: linux-libc-dev
libstd-rust-dev
  Depends: libstd-rust-1.97
libstd-rust-1.97
  Depends: libc6
";

    #[test]
    fn the_first_alternative_and_the_first_provider_count() {
        let graph = parse_depends(DEPENDS);
        assert_eq!(
            graph["rustc"],
            ["libc6", "libstd-rust-dev", "gcc", "libc6-dev"]
        );
        assert_eq!(graph["libc6"], ["libgcc-s1"]);
    }

    #[test]
    fn what_is_left_out_brings_nothing_in() {
        let packages = closure(&parse_depends(DEPENDS), &["rustc".to_owned()], |name| {
            matches!(name, "gcc" | "libc6-dev")
        });
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        assert_eq!(
            packages,
            [
                "libc6",
                "libgcc-s1",
                "libstd-rust-1.97",
                "libstd-rust-dev",
                "rustc"
            ]
        );
    }
}
