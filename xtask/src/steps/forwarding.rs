//! Features of lower crates are passed on: what nobody above turns on is as good as not there for
//! embedders, who name the facade or the embedder in their manifests and nothing below.
//!
//! Asked are published crates about the published crates that they are built on, at any depth:
//!
//! * A feature that both have by the same name: the higher crate's turns on the lower one's.
//! * For a crate that embedders begin with (the facade and libraries of the top): each feature of
//!   the lower crates is turned on by some feature of the higher one, or outright. Below another crate of
//!   this kind it is that one's duty. The rest stands in [`policy::LEFT_TO_USERS`].
//!
//! Dependencies of tests and build scripts turn on nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::fail_with;
use crate::context::Context;
use crate::policy::{self, Layer, LeftToUsers};
use crate::step::{Group, Report, Step};
use crate::workspace::{Dependency, Package};

pub(crate) const FORWARDING: Step = Step {
    name: "forwarding",
    about: "who embeds a crate can turn on the features of those below it",
    group: Group::Lint,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    let published = Published::new(context.workspace.crates().filter_map(|package| {
        let policy = policy::of(&package.name)?;
        let begun_with =
            matches!(policy.layer, Layer::Facade | Layer::Top) && !package.is_program();
        policy.published.then_some((package, begun_with))
    }));
    fail_with(&published.problems(policy::LEFT_TO_USERS))
}

/// A crate and a feature of it.
type Feature<'p> = (&'p str, &'p str);

/// The crates that are published.
struct Published<'p> {
    packages: BTreeMap<&'p str, &'p Package>,
    /// Those that embedders begin with.
    begun_with: BTreeSet<&'p str>,
}

impl<'p> Published<'p> {
    /// Of packages, and whether embedders begin with them.
    fn new(packages: impl Iterator<Item = (&'p Package, bool)>) -> Self {
        let mut published = Self {
            packages: BTreeMap::new(),
            begun_with: BTreeSet::new(),
        };
        for (package, begun_with) in packages {
            published.packages.insert(&package.name, package);
            if begun_with {
                published.begun_with.insert(&package.name);
            }
        }
        published
    }

    fn problems(&self, left_to_users: &[LeftToUsers]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut left_out = BTreeSet::new();
        for package in self.packages.values() {
            let all = self.turned_on(package, names(package));
            for (krate, feature) in self.features_below(package) {
                let name = &package.name;
                if package.features.contains_key(feature) {
                    if !self
                        .turned_on(package, [feature])
                        .contains(&(krate, feature))
                    {
                        problems.push(format!(
                            "{name}: its feature `{feature}` does not turn on that of {krate}, which it is built on"
                        ));
                    }
                } else if self.begun_with.contains(name.as_str())
                    && !all.contains(&(krate, feature))
                {
                    left_out.insert((name.as_str(), krate, feature));
                }
            }
        }
        let mut excused = BTreeSet::new();
        for row in left_to_users {
            for feature in row.features {
                if left_out.contains(&(row.by, row.krate, *feature)) {
                    excused.insert((row.by, row.krate, *feature));
                } else {
                    problems.push(format!(
                        "{}: xtask/src/policy.rs leaves the feature `{feature}` of {} to its users ({}), but no need is left for that",
                        row.by, row.krate, row.reason
                    ));
                }
            }
        }
        problems.extend(left_out.difference(&excused).map(|(name, krate, feature)| {
            format!(
                "{name}: none of its features turns on `{feature}` of {krate}, which it is built on, so who has {name} alone can't"
            )
        }));
        problems
    }

    /// The features of the crates below `package`, but for what stands below another one that
    /// embedders begin with.
    fn features_below(&self, package: &'p Package) -> BTreeSet<Feature<'p>> {
        let mut features = BTreeSet::new();
        for below in self.below(package) {
            features.extend(names(below).map(|feature| (below.name.as_str(), feature)));
        }
        for between in self.below(package) {
            if self.begun_with.contains(between.name.as_str()) {
                for below in self.below(between) {
                    features.retain(|(krate, _)| *krate != below.name);
                }
            }
        }
        features
    }

    /// What `package` is built on, with all its optional dependencies.
    fn below(&self, package: &'p Package) -> Vec<&'p Package> {
        let mut names = BTreeSet::new();
        let mut open = vec![package];
        while let Some(package) = open.pop() {
            for dependency in self.dependencies(package) {
                if names.insert(dependency.name.as_str()) {
                    open.push(self.packages[dependency.name.as_str()]);
                }
            }
        }
        names.into_iter().map(|name| self.packages[name]).collect()
    }

    fn dependencies(&self, package: &'p Package) -> impl Iterator<Item = &'p Dependency> {
        package.dependencies.iter().filter(|dependency| {
            dependency.kind.is_none()
                && dependency.path.is_some()
                && self.packages.contains_key(dependency.name.as_str())
        })
    }

    /// Everything that is on in the crates below if `package` has `features` on. What a feature
    /// turns on only if a crate is there otherwise (`crate?/feature`) counts.
    fn turned_on(
        &self,
        package: &'p Package,
        features: impl IntoIterator<Item = &'p str>,
    ) -> BTreeSet<Feature<'p>> {
        let mut on = BTreeSet::new();
        // The empty feature is the crate itself, with none.
        let mut open: Vec<Feature<'p>> = vec![(&package.name, "")];
        open.extend(
            features
                .into_iter()
                .map(|feature| (package.name.as_str(), feature)),
        );
        while let Some((krate, feature)) = open.pop() {
            if !on.insert((krate, feature)) {
                continue;
            }
            let package = self.packages[krate];
            if feature.is_empty() {
                let needed = self.dependencies(package).filter(|found| !found.optional);
                open.extend(needed.flat_map(turned_on_outright));
            }
            for item in package.features.get(feature).into_iter().flatten() {
                let (key, passed_on) = match (item.strip_prefix("dep:"), item.split_once('/')) {
                    (Some(key), _) => (key, None),
                    (None, Some((key, feature))) => (key, Some(feature)),
                    (None, None) => {
                        open.push((krate, item));
                        continue;
                    }
                };
                let weak = key.ends_with('?');
                let key = key.trim_end_matches('?');
                for dependency in self
                    .dependencies(package)
                    .filter(|found| found.key() == key)
                {
                    if !weak {
                        open.extend(turned_on_outright(dependency));
                    }
                    open.extend(passed_on.map(|feature| (dependency.name.as_str(), feature)));
                }
            }
        }
        on
    }
}

/// What a dependency that is there turns on, the empty feature (see `turned_on`) included.
fn turned_on_outright(dependency: &Dependency) -> impl Iterator<Item = Feature<'_>> {
    let default = dependency.uses_default_features.then_some("default");
    [""].into_iter()
        .chain(default)
        .chain(dependency.features.iter().map(String::as_str))
        .map(|feature| (dependency.name.as_str(), feature))
}

/// The features that a crate's users can name.
fn names(package: &Package) -> impl Iterator<Item = &str> {
    package
        .features
        .keys()
        .map(String::as_str)
        .filter(|feature| *feature != "default")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate with features (`a = b dep:c`, one a line) and dependencies (`lower`,
    /// `lower? feature`, `lower feature default`, `dev lower feature`).
    fn krate(name: &str, features: &[&str], dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            features: features.iter().copied().map(feature).collect(),
            dependencies: dependencies.iter().copied().map(dependency).collect(),
            ..Package::default()
        }
    }

    fn feature(line: &str) -> (String, Vec<String>) {
        let (name, on) = line.split_once(" =").unwrap_or((line, ""));
        let on = on.split_whitespace().map(str::to_owned).collect();
        (name.to_owned(), on)
    }

    fn dependency(line: &str) -> Dependency {
        let (kind, line) = match line.split_once(' ') {
            Some((kind @ ("dev" | "build"), rest)) => (Some(kind.to_owned()), rest),
            _ => (None, line),
        };
        let mut words = line.split(' ');
        let name = words.next().expect("a name");
        let features: Vec<&str> = words.collect();
        Dependency {
            name: name.trim_end_matches('?').to_owned(),
            kind,
            path: Some(Default::default()),
            optional: name.ends_with('?'),
            uses_default_features: features.contains(&"default"),
            features: features
                .into_iter()
                .filter(|feature| *feature != "default")
                .map(str::to_owned)
                .collect(),
            ..Dependency::default()
        }
    }

    /// Embedders begin with those whose names begin with `top`.
    fn problems(packages: &[Package], left_to_users: &[LeftToUsers]) -> Vec<String> {
        let packages = packages
            .iter()
            .map(|package| (package, package.name.starts_with("top")));
        Published::new(packages).problems(left_to_users)
    }

    #[track_caller]
    fn assert_reported(packages: &[Package], expected: &[&str]) {
        let problems = problems(packages, &[]);
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem}\nnot {expected}");
        }
    }

    const NOT_REACHED: &str = "top: none of its features turns on `fast` of low";

    #[test]
    fn a_feature_that_nobody_above_turns_on_is_reported() {
        let low = || krate("low", &["fast"], &[]);
        assert_reported(&[low(), krate("top", &[], &["low"])], &[NOT_REACHED]);
        // Nor does it help that a crate has a feature which turns on another one.
        let low = krate("low", &["fast", "other"], &[]);
        let top = krate("top", &["some = low/other"], &["low"]);
        assert_reported(&[low, top], &[NOT_REACHED]);
    }

    #[test]
    fn a_feature_is_reached_outright_by_default_and_through_features() {
        for (low, features, dependency) in [
            (vec!["fast"], vec![], "low fast"),
            (vec!["fast", "all = fast"], vec![], "low all"),
            (vec!["fast", "default = fast"], vec![], "low default"),
            (vec!["fast"], vec!["quick = low/fast"], "low"),
            (
                vec!["fast"],
                vec!["quick = low?/fast", "low = dep:low"],
                "low?",
            ),
            (vec!["fast"], vec!["quick = dep:low"], "low? fast"),
            (vec!["fast"], vec!["low = dep:low"], "low? fast"),
            (
                vec!["fast"],
                vec!["quick = other", "other = low/fast"],
                "low",
            ),
        ] {
            let top = krate("top", &features, &[dependency]);
            assert_reported(&[krate("low", &low, &[]), top], &[]);
        }
    }

    #[test]
    fn a_feature_is_reached_through_the_crates_between() {
        let low = || krate("low", &["fast"], &[]);
        let middle = || krate("middle", &["quick = low/fast"], &["low"]);
        let top = krate("top", &["quick = middle/quick"], &["middle"]);
        assert_reported(&[low(), middle(), top], &[]);
        // The crate between is asked by nobody, the one above it for both.
        let top = krate("top", &[], &["middle"]);
        assert_reported(
            &[low(), middle(), top],
            &[
                NOT_REACHED,
                "top: none of its features turns on `quick` of middle",
            ],
        );
    }

    #[test]
    fn default_features_that_are_switched_off_are_not_turned_on() {
        let low = krate("low", &["default = fast", "fast"], &[]);
        assert_reported(&[low, krate("top", &[], &["low"])], &[NOT_REACHED]);
    }

    #[test]
    fn what_tests_and_build_scripts_turn_on_does_not_count() {
        for other in ["dev low fast", "build low fast"] {
            let low = krate("low", &["fast"], &[]);
            assert_reported(&[low, krate("top", &[], &["low", other])], &[NOT_REACHED]);
        }
    }

    #[test]
    fn a_feature_turns_on_the_one_of_its_name_by_itself() {
        let low = || krate("low", &["std"], &[]);
        let middle = || krate("middle", &["std = low/std"], &["low"]);
        let message = "top: its feature `std` does not turn on that of low";
        // That another feature does is not enough, nor that an optional dependency does.
        let top = krate(
            "top",
            &["std", "signal = dep:middle"],
            &["low", "middle? std"],
        );
        assert_reported(
            &[low(), middle(), top],
            &[
                message,
                "top: its feature `std` does not turn on that of middle",
            ],
        );
        let top = krate("top", &["std = middle/std"], &["low", "middle"]);
        assert_reported(&[low(), middle(), top], &[]);
        // It holds for every crate.
        assert_reported(
            &[low(), krate("middle", &["std"], &["low"])],
            &["middle: its feature `std` does not turn on that of low"],
        );
    }

    #[test]
    fn what_stands_below_another_crate_that_embedders_begin_with_is_that_ones_duty() {
        let low = krate("low", &["fast"], &[]);
        let top = krate("top", &["quick = low/fast"], &["low"]);
        let above = |features| krate("top-of-top", features, &["low", "top"]);
        assert_reported(
            &[low.clone(), top.clone(), above(&[])],
            &["top-of-top: none of its features turns on `quick` of top"],
        );
        assert_reported(&[low, top, above(&["quick = top/quick"])], &[]);
    }

    #[test]
    fn dependencies_go_by_the_name_that_they_are_given() {
        let mut renamed = dependency("low");
        renamed.rename = Some("lowest".to_owned());
        let mut top = krate("top", &["quick = lowest/fast"], &[]);
        top.dependencies = vec![renamed];
        assert_reported(&[krate("low", &["fast"], &[]), top], &[]);
    }

    #[test]
    fn what_is_left_to_users_is_excused_as_long_as_it_has_to_be() {
        let left = |features| LeftToUsers {
            by: "top",
            krate: "low",
            features,
            reason: "",
        };
        let low = || krate("low", &["fast", "small"], &[]);
        let top = || krate("top", &["tiny = low/small"], &["low"]);
        assert_eq!(problems(&[low(), top()], &[left(&["fast"])]), [""; 0]);
        let found = problems(&[low(), top()], &[left(&["fast", "small"])]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("top: xtask/src/policy.rs leaves the feature `small` of low"),
            "{found:?}"
        );
    }

    #[test]
    fn each_row_says_why() {
        for row in policy::LEFT_TO_USERS {
            assert!(row.reason.split_whitespace().count() >= 4, "{row:?}");
        }
    }
}
