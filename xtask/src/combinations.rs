//! Which sets of features a crate is checked with: none, the default ones,
//! each alone, and all.

use std::collections::BTreeSet;

use crate::workspace::Package;

/// One set of features, as cargo arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Combination {
    pub(crate) args: Vec<String>,
}

/// The combinations for one crate, without those that turn on the same as an earlier one.
pub(crate) fn combinations(package: &Package) -> Vec<Combination> {
    let names = || {
        package
            .features
            .keys()
            .map(String::as_str)
            .filter(|name| *name != "default")
    };
    let none = || vec!["--no-default-features".to_owned()];

    let mut candidates: Vec<(Vec<&str>, Vec<String>)> =
        vec![(vec!["default"], Vec::new()), (vec![], none())];
    for name in names() {
        let mut args = none();
        args.extend(["--features".to_owned(), name.to_owned()]);
        candidates.push((vec![name], args));
    }
    candidates.push((names().collect(), vec!["--all-features".to_owned()]));

    let mut seen = BTreeSet::new();
    candidates
        .into_iter()
        .filter(|(features, _)| seen.insert(turned_on(package, features)))
        .map(|(_, args)| Combination { args })
        .collect()
}

/// Everything that `features` turn on in the end, `default` itself left out.
fn turned_on<'p>(package: &'p Package, features: &[&'p str]) -> BTreeSet<&'p str> {
    let mut result = BTreeSet::new();
    let mut open: Vec<&str> = features.to_vec();
    while let Some(feature) = open.pop() {
        if result.insert(feature) {
            open.extend(
                package
                    .features
                    .get(feature)
                    .into_iter()
                    .flatten()
                    .map(String::as_str),
            );
        }
    }
    result.remove("default");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(features: &[(&str, &[&str])]) -> Package {
        Package {
            features: features
                .iter()
                .map(|(name, on)| {
                    (
                        (*name).to_owned(),
                        on.iter().map(|on| (*on).to_owned()).collect(),
                    )
                })
                .collect(),
            ..Package::default()
        }
    }

    fn args(package: &Package) -> Vec<String> {
        combinations(package)
            .iter()
            .map(|combination| combination.args.join(" "))
            .collect()
    }

    #[test]
    fn a_crate_without_features_has_one_combination() {
        assert_eq!(args(&package(&[])), [""]);
    }

    #[test]
    fn each_alone_none_and_all() {
        assert_eq!(
            args(&package(&[
                ("default", &["a"]),
                ("a", &[]),
                ("b", &["dep:b"])
            ])),
            [
                "",
                "--no-default-features",
                "--no-default-features --features b",
                "--all-features"
            ]
        );
    }

    #[test]
    fn what_turns_on_the_same_is_checked_once() {
        // `all` turns on `a`, so it alone is the same as all features.
        assert_eq!(
            args(&package(&[
                ("default", &["all"]),
                ("a", &[]),
                ("all", &["a"])
            ])),
            [
                "",
                "--no-default-features",
                "--no-default-features --features a"
            ]
        );
    }
}
