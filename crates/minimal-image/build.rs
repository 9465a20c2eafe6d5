//! Says where the linker script is: the test image's.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if variable("CARGO_CFG_TARGET_OS") != "none" {
        return;
    }
    let scripts = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../test-image/link");
    let script = scripts.join(format!("{}.ld", variable("CARGO_CFG_TARGET_ARCH")));
    println!("cargo::rerun-if-changed={}", scripts.display());
    println!("cargo::rustc-link-search={}", scripts.display());
    println!("cargo::rustc-link-arg-bins=-T{}", script.display());
    let out = PathBuf::from(variable("OUT_DIR"));
    let fragment = out.join("cpu_local.ld");
    fs::write(&fragment, trapline_cpu_local::LINKER_FRAGMENT)
        .unwrap_or_else(|error| panic!("{}: {error}", fragment.display()));
    println!("cargo::rustc-link-search={}", out.display());
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
