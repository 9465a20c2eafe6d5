//! Tells the crate which target it is built for, as cargo calls it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").expect("cargo says which target it builds for");
    println!("cargo::rustc-env=TRAPLINE_TARGET={target}");
}
