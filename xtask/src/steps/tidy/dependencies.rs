//! `docs/dependencies.md` has one row for each dependency from elsewhere, which
//! names the crates that use it: no more, no less.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::workspace::Workspace;

const PAGE: &str = "docs/dependencies.md";

pub(super) fn problems(context: &Context) -> Result<Vec<String>> {
    let page = fs::read_to_string(context.root().join(PAGE)).context(PAGE)?;
    let declared = context.workspace.external_dependencies()?;
    Ok(compare(&rows(&page), &declared, &users(&context.workspace)))
}

/// Dependency to the content of the column "used by", for rows that start like ``| `name` | …``.
fn rows(page: &str) -> BTreeMap<&str, &str> {
    page.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            Some((name, cells.next()?))
        })
        .collect()
}

/// Dependency to the members that use it, in any way.
fn users(workspace: &Workspace) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &workspace.packages {
        let member = package
            .name
            .strip_prefix("trapline-")
            .unwrap_or(&package.name);
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_none())
        {
            users.entry(&dependency.name).or_default().insert(member);
        }
    }
    users
}

fn compare(
    rows: &BTreeMap<&str, &str>,
    declared: &[String],
    users: &BTreeMap<&str, BTreeSet<&str>>,
) -> Vec<String> {
    let mut problems = Vec::new();
    for name in declared {
        let used_by = users
            .get(name.as_str())
            .into_iter()
            .flatten()
            .copied()
            .collect::<Vec<_>>()
            .join(", ");
        match rows.get(name.as_str()) {
            _ if used_by.is_empty() => {
                problems.push(format!(
                    "Cargo.toml: no crate uses the workspace dependency `{name}`"
                ));
            }
            None => problems.push(format!(
                "{PAGE}: a row is missing: | `{name}` | {used_by} | why |"
            )),
            Some(listed) if *listed != used_by => {
                problems.push(format!(
                    "{PAGE}: `{name}` is used by: {used_by} (the row says: {listed})"
                ));
            }
            Some(_) => {}
        }
    }
    for name in users
        .keys()
        .filter(|name| !declared.iter().any(|declared| declared == *name))
    {
        problems.push(format!(
            "`{name}` has to stand in [workspace.dependencies] of the root Cargo.toml"
        ));
    }
    for name in rows
        .keys()
        .filter(|name| !declared.iter().any(|declared| declared == *name))
    {
        problems.push(format!(
            "{PAGE}: `{name}` is no dependency of this workspace"
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_the_manifests_have_to_agree() {
        let rows = rows(
            "| dependency | used by | why |\n|---|---|---|\n| `a` | arch | x |\n| `gone` | arch | x |\n",
        );
        let declared = ["a", "new", "unused"].map(str::to_owned);
        let users = BTreeMap::from([
            ("a", BTreeSet::from(["arch", "cli"])),
            ("new", BTreeSet::from(["cli"])),
            ("stray", BTreeSet::from(["cli"])),
        ]);
        let problems = compare(&rows, &declared, &users);
        assert_eq!(problems.len(), 5, "{problems:#?}");
        assert!(problems[0].contains("`a` is used by: arch, cli"));
        assert!(problems[1].contains("| `new` | cli |"));
        assert!(problems[2].contains("no crate uses"));
        assert!(problems[3].contains("`stray`"));
        assert!(problems[4].contains("`gone`"));
    }
}
