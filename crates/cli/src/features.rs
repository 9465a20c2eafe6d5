//! Which WebAssembly proposals a module may use.

use wasmparser::{Validator, WasmFeatures};

/// Everything that a module may use here: WebAssembly 3.0 without garbage
/// collection and without exception handling, and the proposals beyond it that
/// the compiler implements.
pub const SUPPORTED: WasmFeatures = CORE_3
    .union(WasmFeatures::THREADS)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES)
    .union(WasmFeatures::WIDE_ARITHMETIC);

/// Version 3.0 of the specification without its two parts that need a
/// garbage-collected heap or exception tables.
const CORE_3: WasmFeatures = WasmFeatures::WASM3
    .difference(WasmFeatures::GC)
    .difference(WasmFeatures::EXCEPTIONS)
    .difference(WasmFeatures::THREADS);

/// Reads a comma-separated list of feature names.
///
/// `wasm1`, `wasm2` and `wasm3` stand for the versions of the specification,
/// `all` for [`SUPPORTED`]; other names are those of proposals
/// (`multi-memory`, `threads`, …). A minus sign in front of a name takes it
/// away again: `all,-multi-memory`. The empty list is the first release of
/// WebAssembly, with no proposal at all.
///
/// # Errors
///
/// Names the first entry that is no feature, or one that is not
/// [`SUPPORTED`].
pub fn parse(list: &str) -> Result<WasmFeatures, String> {
    let mut features = WasmFeatures::MVP;
    for entry in list.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        let (name, take_away) = match entry.strip_prefix('-') {
            Some(name) => (name, true),
            None => (entry, false),
        };
        let named = match name {
            "wasm1" => WasmFeatures::WASM1,
            "wasm2" => WasmFeatures::WASM2,
            "wasm3" => CORE_3,
            "all" => SUPPORTED,
            _ => WasmFeatures::from_name(&name.replace('-', "_").to_uppercase())
                .ok_or_else(|| format!("there is no WebAssembly feature `{name}`"))?,
        };
        if !SUPPORTED.contains(named) {
            return Err(format!("the WebAssembly feature `{name}` is not supported"));
        }
        features.set(named, !take_away);
    }
    Ok(features)
}

/// The proposals beyond [`SUPPORTED`] that a module needs, in the words of a
/// message; `None` if it needs none, or is not valid with any.
#[must_use]
pub fn missing(wasm: &[u8]) -> Option<String> {
    let is_valid = |features| {
        Validator::new_with_features(features)
            .validate_all(wasm)
            .is_ok()
    };
    let mut needed = WasmFeatures::all();
    if is_valid(SUPPORTED) || !is_valid(needed) {
        return None;
    }
    // What it is valid without, it does not need.
    for (_, feature) in WasmFeatures::all().difference(SUPPORTED).iter_names() {
        let without = needed.difference(feature);
        if is_valid(without) {
            needed = without;
        }
    }
    let names: Vec<_> = needed
        .difference(SUPPORTED)
        .iter_names()
        .map(|(name, feature)| match feature {
            WasmFeatures::GC => "garbage collection (`gc`)".into(),
            WasmFeatures::EXCEPTIONS => "exception handling (`exceptions`)".into(),
            WasmFeatures::LEGACY_EXCEPTIONS => {
                "exception handling as it was before it was standardised (`legacy-exceptions`)"
                    .into()
            }
            _ => format!("`{}`", name.to_lowercase().replace('_', "-")),
        })
        .collect();
    Some(names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_contain_their_proposals() {
        assert!(!parse("").unwrap().contains(WasmFeatures::MUTABLE_GLOBAL));
        assert!(
            parse("wasm1")
                .unwrap()
                .contains(WasmFeatures::MUTABLE_GLOBAL)
        );
        assert!(!parse("wasm1").unwrap().contains(WasmFeatures::SIMD));
        assert!(parse("wasm2").unwrap().contains(WasmFeatures::SIMD));
        assert!(parse("wasm3").unwrap().contains(WasmFeatures::TAIL_CALL));
        assert_eq!(parse("all").unwrap(), SUPPORTED);
    }

    #[test]
    fn names_are_added_and_taken_away_in_order() {
        let features = parse("wasm1, threads").unwrap();
        assert!(features.contains(WasmFeatures::THREADS));
        assert!(!features.contains(WasmFeatures::MULTI_MEMORY));
        let features = parse("all,-multi-memory").unwrap();
        assert!(!features.contains(WasmFeatures::MULTI_MEMORY));
        assert!(features.contains(WasmFeatures::MEMORY64));
    }

    #[test]
    fn the_proposals_that_a_module_needs_are_named() {
        let missing = |text: &str| missing(&wat::parse_str(text).unwrap());
        assert_eq!(missing("(module (func (result i32) (i32.const 1)))"), None);
        assert_eq!(missing("(module (func (result i32)))"), None, "not valid");
        assert_eq!(
            missing("(module (type (struct (field i32))))").as_deref(),
            Some("garbage collection (`gc`)")
        );
        assert_eq!(
            missing("(module (tag))").as_deref(),
            Some("exception handling (`exceptions`)")
        );
        assert_eq!(
            missing("(module (type (array i8)) (tag (param i32)))").as_deref(),
            Some("exception handling (`exceptions`), garbage collection (`gc`)")
        );
    }

    #[test]
    fn what_is_unknown_or_not_supported_is_named() {
        assert!(
            parse("wasm2,telepathy")
                .unwrap_err()
                .contains("`telepathy`")
        );
        assert!(parse("gc").unwrap_err().contains("`gc` is not supported"));
        assert!(parse("exceptions").unwrap_err().contains("not supported"));
    }
}
