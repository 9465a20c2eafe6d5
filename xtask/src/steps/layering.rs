//! The layering rule: which crate may be built on which.

use anyhow::Result;

use super::fail_with;
use crate::context::Context;
use crate::policy::{self, COMPILERS, CratePolicy, Layer};
use crate::step::{Group, Report, Step};
use crate::workspace::{Dependency, Package};

pub(crate) const LAYERING: Step = Step {
    name: "layering",
    about: "lower layers know nothing of higher ones",
    group: Group::Lint,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    let mut problems = Vec::new();
    for package in context.workspace.crates() {
        match policy::of(&package.name) {
            Some(policy) => problems.extend(violations(package, policy)),
            None => problems.push(format!(
                "{}: has no row in xtask/src/policy.rs, which says what each crate may be built on",
                package.name
            )),
        }
    }
    for policy in policy::CRATES {
        if context.workspace.package(policy.name).is_none() {
            problems.push(format!(
                "{}: has a row in xtask/src/policy.rs, but is no crate here",
                policy.name
            ));
        }
    }
    fail_with(&problems)
}

fn violations(package: &Package, policy: &CratePolicy) -> Vec<String> {
    package
        .dependencies
        .iter()
        .filter_map(|dependency| violation(dependency, policy))
        .collect()
}

/// Names crate, dependency and rule, if `dependency` breaks one.
fn violation(dependency: &Dependency, policy: &CratePolicy) -> Option<String> {
    let name = dependency.name.as_str();
    let (this, layer) = (policy.name, policy.layer.name());
    if dependency.path.is_none() {
        let forbidden = policy.layer.knows_no_compiler()
            && !dependency.is_dev()
            && COMPILERS.iter().any(|start| name.starts_with(start));
        return forbidden.then(|| {
            format!("{this} depends on {name}: no crate up to the facade may know a compiler or its formats ({this} is of the {layer} layer)")
        });
    }
    if policy.may_use.contains(&name) || name == this {
        return None;
    }
    if dependency.is_dev() {
        let top = policy::of(name).is_none_or(|other| other.layer == Layer::Top);
        return (top && policy.layer != Layer::Top).then(|| {
            format!("{this} dev-depends on {name}: the tests of a lower layer ({layer}) may not need a crate from the top")
        });
    }
    let allowed = if policy.may_use.is_empty() {
        "none".to_owned()
    } else {
        policy.may_use.join(", ")
    };
    Some(format!(
        "{this} depends on {name}: of the workspace's crates it may use {allowed} (it is of the {layer} layer)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(this: &str, dependency: &str, kind: Option<&str>, path: bool) -> Option<String> {
        let dependency = Dependency {
            name: dependency.to_owned(),
            kind: kind.map(str::to_owned),
            path: path.then(Default::default),
            ..Dependency::default()
        };
        violation(&dependency, policy::of(this).expect("a row"))
    }

    #[test]
    fn a_lower_layer_may_not_use_a_higher_one() {
        let message =
            check("trapline-backtrace", "trapline-activation", None, true).expect("a violation");
        assert!(
            message.starts_with("trapline-backtrace depends on trapline-activation: "),
            "{message}"
        );
        assert_eq!(
            check("trapline-activation", "trapline-backtrace", None, true),
            None
        );
    }

    #[test]
    fn build_dependencies_are_no_way_around() {
        assert!(check("trapline-arch", "trapline-embed", Some("build"), true).is_some());
    }

    #[test]
    fn tests_may_use_other_layers_but_nothing_from_the_top() {
        assert_eq!(
            check("trapline-arch", "trapline-code-registry", Some("dev"), true),
            None
        );
        assert!(check("trapline-wasmtime", "trapline-embed", Some("dev"), true).is_some());
        assert!(check("trapline-arch", "trapline-not-yet-known", Some("dev"), true).is_some());
    }

    #[test]
    fn the_layers_up_to_the_facade_know_no_compiler() {
        assert!(check("trapline", "cranelift-codegen", None, false).is_some());
        assert_eq!(
            check("trapline", "cranelift-codegen", Some("dev"), false),
            None
        );
        assert_eq!(
            check("trapline-wasmtime", "wasmtime-environ", None, false),
            None
        );
    }

    #[test]
    fn no_row_allows_a_higher_layer() {
        for policy in policy::CRATES {
            for used in policy.may_use {
                let used = policy::of(used).expect("a row for each name in may_use");
                assert!(
                    used.layer <= policy.layer,
                    "{} may use {}",
                    policy.name,
                    used.name
                );
            }
        }
    }
}
