//! Guests in a library that a program loads with `dlopen`, on threads that were there before.
//!
//! The library is built by this test: a package of its own, with the versions of this workspace.
//! None in a static program, which loads nothing.
#![cfg(all(
    target_os = "linux",
    not(target_feature = "crt-static"),
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "s390x",
    ),
))]

use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::{env, fs, thread};

use trapline_test_support::skipped_under_emulation;

/// Builds the library; where it is.
fn build() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = package.join("../..");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("loaded");
    fs::create_dir_all(&folder).unwrap();
    let crates = [
        ("trapline-activation", "activation"),
        ("trapline-arch", "arch"),
        ("trapline-backtrace", "backtrace"),
        ("trapline-code-registry", "code-registry"),
        ("trapline-signal", "signal"),
        ("trapline-test-support", "test-support"),
    ];
    let mut manifest = format!(
        "[workspace]\n[package]\nname = \"loaded\"\nedition = \"2024\"\n\
         [lib]\ncrate-type = [\"cdylib\"]\npath = {:?}\n\
         [profile.dev]\ndebug = false\n\
         [dependencies]\nlibc = \"0.2\"\n",
        package.join("tests/loaded/library/lib.rs"),
    );
    for (name, at) in crates {
        let path = workspace.join("crates").join(at);
        manifest += &format!("{name} = {{ path = {path:?} }}\n");
    }
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(folder.join("target"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .unwrap();
    assert!(status.success());
    folder.join("target/debug/libloaded.so")
}

#[test]
fn guests_in_a_loaded_library_trap_on_new_threads_and_on_older_ones() {
    if skipped_under_emulation!("cargo, which the test calls, is of the other machine") {
        return;
    }
    let (to_older, function) = mpsc::channel::<extern "C" fn() -> i32>();
    let older = thread::spawn(move || function.recv().unwrap()());

    let file = CString::new(build().to_str().unwrap()).unwrap();
    // SAFETY: the library's initialisers do nothing; the function has this type, and stays loaded.
    let run_guests = unsafe {
        let library = libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null());
        let function = libc::dlsym(library, c"run_guests".as_ptr());
        assert!(!function.is_null());
        std::mem::transmute::<*mut c_void, extern "C" fn() -> i32>(function)
    };
    to_older.send(run_guests).unwrap();
    assert_eq!(older.join().unwrap(), 0);
    assert_eq!(run_guests(), 0);
    assert_eq!(thread::spawn(move || run_guests()).join().unwrap(), 0);
}
