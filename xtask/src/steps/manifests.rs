//! What every crate brings along: a description, a README, the workspace's
//! lints, and `no_std` where it is promised.

use std::fs;

use anyhow::{Context as _, Result};

use super::fail_with;
use crate::context::Context;
use crate::policy;
use crate::step::{Group, Report, Step};
use crate::workspace::Package;

pub(crate) const MANIFESTS: Step = Step {
    name: "manifests",
    about: "every crate has its README, description, lints and no_std",
    group: Group::Lint,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    let mut problems = Vec::new();
    for package in &context.workspace.packages {
        let mut found = common(package)?;
        // A crate without a row is the layering step's to report.
        if let Some(policy) = policy::of(&package.name) {
            if package.may_be_published() != policy.published {
                found.push(format!("`publish` has to say {}", policy.published));
            }
            if policy.published {
                found.extend(published(package)?);
            }
            if policy.no_std {
                found.extend(no_std(package)?);
            }
        }
        problems.extend(
            found
                .into_iter()
                .map(|problem| format!("{}: {problem}", package.name)),
        );
    }
    fail_with(&problems)
}

/// For every member.
fn common(package: &Package) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let manifest = package.manifest()?;
    let lints = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"));
    if lints.and_then(toml::Value::as_bool) != Some(true) {
        problems.push("Cargo.toml lacks `[lints] workspace = true`".to_owned());
    }
    let described = package
        .description
        .as_deref()
        .is_some_and(|text| text.split_whitespace().count() >= 4);
    if !described {
        problems.push("Cargo.toml has no `description` that says what the crate is for".to_owned());
    }
    Ok(problems)
}

/// For crates that a registry shows.
fn published(package: &Package) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    if !package.metadata["docs"]["rs"].is_object() {
        problems.push("Cargo.toml lacks `[package.metadata.docs.rs]`".to_owned());
    }
    let readme = package.dir().join("README.md");
    if package.readme.is_none() || !readme.is_file() {
        problems
            .push("there is no README.md, or Cargo.toml does not name it as `readme`".to_owned());
        return Ok(problems);
    }
    let readme = fs::read_to_string(readme)?;
    let features = package
        .features
        .keys()
        .filter(|feature| *feature != "default");
    problems.extend(
        features
            .filter(|feature| !readme.contains(&format!("`{feature}`")))
            .map(|feature| format!("README.md does not name the feature `{feature}`")),
    );
    Ok(problems)
}

fn no_std(package: &Package) -> Result<Option<String>> {
    let lib = package.dir().join("src/lib.rs");
    let text = fs::read_to_string(&lib).with_context(|| lib.display().to_string())?;
    let promised = text.lines().any(|line| {
        line == "#![no_std]" || line.starts_with("#![cfg_attr(") && line.ends_with("no_std)]")
    });
    Ok((!promised).then(|| "src/lib.rs lacks `#![no_std]`".to_owned()))
}
