//! No circle of files inside a crate: a file that uses what another one defines is above it, so
//! that the crate can be read from the bottom up. Two files may use each other.
//!
//! Only of crates that are published: programs that test and measure are not asked. Looked at are the paths in a file's own text (see [`graph`]). What a method of another file's
//! type does is not seen, and neither is what is compiled for tests only.

mod graph;
mod source;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::graph::{Crate, Uses};
use self::source::Module;
use super::fail_with;
use crate::context::Context;
use crate::policy;
use crate::step::{Group, Report, Step};

pub(crate) const CIRCLES: Step = Step {
    name: "circles",
    about: "no files of a crate that use each other in a circle",
    group: Group::Lint,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    let mut problems = Vec::new();
    let published = |name: &str| policy::of(name).is_some_and(|policy| policy.published);
    for package in context
        .workspace
        .crates()
        .filter(|package| published(&package.name))
    {
        let src = package.dir().join("src");
        let root = ["lib.rs", "main.rs"]
            .into_iter()
            .find(|root| src.join(root).is_file());
        let root = root.with_context(|| format!("{}: no root file", package.name))?;
        let mut krate = Crate::default();
        read(&mut krate, &src, Path::new(root), Vec::new())?;
        let known = policy::CIRCLES
            .iter()
            .filter(|(name, _)| *name == package.name)
            .map(|(_, files)| files.iter().copied().collect());
        problems.extend(
            compare(&krate.uses(), known.collect())
                .into_iter()
                .map(|problem| format!("{}: {problem}", package.name)),
        );
    }
    fail_with(&problems)
}

/// Reads `file`, the text of `module`, and those of the modules that it declares. Files are named
/// from `src` on.
fn read(krate: &mut Crate, src: &Path, file: &Path, module: Module) -> Result<()> {
    let path = src.join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let source = source::read(&text, &module);
    let mut below = Vec::new();
    for declared in source.files.iter().filter(|declared| !declared.for_tests) {
        below.push((
            file_of(src, file, &module, declared)?,
            declared.module.clone(),
        ));
    }
    let name = file.to_string_lossy().into_owned();
    krate.files.insert(name, (module, source));
    for (file, module) in below {
        read(krate, src, &file, module)?;
    }
    Ok(())
}

/// The file of a module that `file` declares.
fn file_of(
    src: &Path,
    file: &Path,
    module: &Module,
    declared: &source::FileModule,
) -> Result<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    if let Some(path) = &declared.path {
        return Ok(folder.join(path));
    }
    // Below a file that is no folder's, and below modules with braces, there are folders by name.
    let is_folders = file.ends_with("mod.rs") || module.is_empty();
    let mut at = if is_folders {
        folder.to_owned()
    } else {
        file.with_extension("")
    };
    at.extend(&declared.module[module.len()..]);
    [at.with_extension("rs"), at.join("mod.rs")]
        .into_iter()
        .find(|file| src.join(file).is_file())
        .with_context(|| format!("no file of the module {}", declared.module.join("::")))
}

/// What has to be said of circles that are not `known`, and of known ones that are no more.
fn compare(uses: &Uses<'_>, known: Vec<BTreeSet<&str>>) -> Vec<String> {
    let circles = graph::circles(uses);
    let list = |files: &BTreeSet<&str>| {
        let files: Vec<&str> = files.iter().copied().collect();
        files.join(", ")
    };
    let mut problems = Vec::new();
    for circle in circles.iter().filter(|circle| !known.contains(circle)) {
        let mut problem = format!("these files use each other in a circle: {}", list(circle));
        for from in circle {
            for (to, path) in uses.get(from).into_iter().flatten() {
                if circle.contains(to) {
                    problem.push_str(&format!("\n    {from} uses {to}: {path}"));
                }
            }
        }
        problems.push(problem);
    }
    for circle in known.iter().filter(|circle| !circles.contains(circle)) {
        problems.push(format!(
            "xtask/src/policy.rs lists a circle that is none any more: {}",
            list(circle)
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_that_are_new_and_circles_that_are_gone_are_told() {
        let mut uses = Uses::new();
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a")] {
            uses.entry(from)
                .or_default()
                .insert(to, format!("crate::{to}::X"));
        }
        let circle = BTreeSet::from(["a", "b", "c"]);
        assert!(compare(&uses, vec![circle.clone()]).is_empty());
        let problems = compare(&uses, Vec::new());
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].contains("c uses a: crate::a::X"),
            "{problems:?}"
        );
        let problems = compare(&Uses::new(), vec![circle]);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].contains("none any more: a, b, c"),
            "{problems:?}"
        );
    }
}
