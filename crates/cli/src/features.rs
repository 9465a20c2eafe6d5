//! Which WebAssembly proposals a module may use.

use wasmparser::WasmFeatures;

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
