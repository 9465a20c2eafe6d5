//! Says where the linker script is, and which bundles of guests and scripts
//! go into the image.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Paths of bundles, with `:` between them.
const BUNDLES: &str = "TRAPLINE_IMAGE_BUNDLE";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if variable("CARGO_CFG_TARGET_OS") != "none" {
        return;
    }

    // Not in RUSTFLAGS, where it would make cargo build `core` anew for each image.
    let scripts = Path::new(&variable("CARGO_MANIFEST_DIR")).join("link");
    let script = scripts.join(format!("{}.ld", variable("CARGO_CFG_TARGET_ARCH")));
    println!("cargo::rerun-if-changed={}", scripts.display());
    println!("cargo::rustc-link-search={}", scripts.display());
    println!("cargo::rustc-link-arg-bins=-T{}", script.display());
    // The scripts include this one, from the crate whose data it is for.
    let out = PathBuf::from(variable("OUT_DIR"));
    write(
        &out.join("cpu_local.ld"),
        trapline_cpu_local::LINKER_FRAGMENT,
    );
    println!("cargo::rustc-link-search={}", out.display());

    println!("cargo::rerun-if-env-changed={BUNDLES}");
    let bundles = env::var(BUNDLES).unwrap_or_default();
    let bundles: Vec<PathBuf> = env::split_paths(&bundles)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    for bundle in &bundles {
        assert!(
            bundle.is_absolute() && bundle.is_file(),
            "{BUNDLES}: {} is not the absolute path of a file",
            bundle.display()
        );
        println!("cargo::rerun-if-changed={}", bundle.display());
    }
    write(&out.join("bundles.s"), &assembly(&bundles));
}

/// The bundles as data, and a table of where each starts and ends. (The
/// compiler would take its time with arrays of that size.)
fn assembly(bundles: &[PathBuf]) -> String {
    let mut text = String::from(".pushsection .rodata.bundles,\"a\"\n");
    let mut table = String::from(".balign 8\n.globl trapline_bundles\ntrapline_bundles:\n");
    for (index, bundle) in bundles.iter().enumerate() {
        let path = bundle.display();
        _ = writeln!(
            text,
            ".balign 16\n.Lbundle{index}:\n.incbin \"{path}\"\n.Lbundle{index}_end:"
        );
        _ = writeln!(table, ".quad .Lbundle{index}, .Lbundle{index}_end");
    }
    table.push_str(".globl trapline_bundles_end\ntrapline_bundles_end:\n.popsection\n");
    text + &table
}

fn write(path: &Path, contents: &str) {
    fs::write(path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
