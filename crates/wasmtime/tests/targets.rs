//! Modules of the shapes that real programs have are compiled for every target.

use trapline_wasmtime::compile::{CompileError, CompileOptions, Compiler};
use trapline_wasmtime::{Artifact, Isa};

/// Everything that modules are compiled for: the hosted targets, then those
/// without an operating system.
const TARGETS: [&str; 8] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu",
    "s390x-unknown-linux-gnu",
    "x86_64-unknown-none",
    "aarch64-unknown-none",
    "riscv64gc-unknown-none-elf",
    "s390x-unknown-none",
];

/// What riscv64 without vectors cannot do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    /// It can do it all.
    Nothing,
    /// Vectors are a part of WebAssembly that has to be switched off.
    Vectors,
    /// The compiler uses vectors on its own account.
    VectorsForCopies,
}

/// The modules, each by its name.
fn modules() -> Vec<(&'static str, Needs, String)> {
    use Needs::{Nothing, Vectors, VectorsForCopies};
    macro_rules! module {
        ($name:literal, $needs:expr) => {
            (
                $name,
                $needs,
                include_str!(concat!("modules/", $name, ".wat")).to_owned(),
            )
        };
    }
    vec![
        module!("arithmetic", Nothing),
        module!("bulk_memory", Nothing),
        module!("constant_copies", VectorsForCopies),
        module!("control_flow", Nothing),
        module!("memories", Nothing),
        module!("references", Nothing),
        module!("segments", Nothing),
        module!("tables", Nothing),
        module!("threads", Nothing),
        module!("vectors", Vectors),
        ("large", Nothing, large()),
    ]
}

/// A module with a function that has thousands of instructions and hundreds of
/// locals, and a hundred functions that call each other.
fn large() -> String {
    const FUNCTIONS: usize = 100;
    let mut text = String::from("(module (memory 4)\n(func $big (param i32) (result i32)\n");
    for local in 0..200 {
        text += &format!("(local $l{local} i32)");
    }
    for step in 0..1000 {
        let (from, to) = (step % 200, (step * 7 + 1) % 200);
        text += &format!(
            "(local.set $l{to} (i32.add (i32.mul (local.get $l{from}) (i32.const {step}))
               (i32.load offset={} (local.get 0))))\n",
            step * 4
        );
    }
    text += "(local.get $l1))\n";
    for function in 0..FUNCTIONS {
        text += &format!(
            "(func $f{function} (export \"f{function}\") (param i32 i64 f64) (result i64)
               (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
               (i64.store (local.get 0) (i64.trunc_sat_f64_s (local.get 2)))
               (i64.add (i64.extend_i32_u (call $big (local.get 0)))
                 (call $f{} (i32.sub (local.get 0) (i32.const 1)) (local.get 1) (local.get 2))))\n",
            (function * 31 + 7) % FUNCTIONS
        );
    }
    text + ")"
}

fn chain(error: &CompileError) -> String {
    let mut text = error.to_string();
    let mut source = core::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Compiles all modules for a target, in both trap modes and at both levels of
/// optimisation.
fn compile_all(target: &str) {
    let options = CompileOptions::for_target(target);
    let mut plain = options.clone();
    plain.optimize = false;
    let modes = [options.clone(), options.explicit_checks(), plain];
    for options in modes {
        let riscv = target.starts_with("riscv64");
        let with_vectors = options.clone().isa_flag("has_v", "true");
        let vectors = riscv.then(|| Compiler::new(&with_vectors).expect("options that fit"));
        let compiler = Compiler::new(&options).expect("options that fit");
        for (name, needs, text) in modules() {
            let compile = |compiler: &Compiler| {
                let bytes = compiler.compile(text.as_bytes())?;
                let artifact = Artifact::parse_any_target(bytes)
                    .unwrap_or_else(|error| panic!("{name} for {target}: {error}"));
                assert!(artifact.iter_functions().count() > 0);
                Ok::<Isa, CompileError>(artifact.isa())
            };
            let compiled = compile(&compiler);
            if riscv && needs != Needs::Nothing {
                let text = chain(&compiled.expect_err(name));
                let says = match needs {
                    Needs::VectorsForCopies => "set the flag has_v to true",
                    _ => "SIMD support is not enabled",
                };
                assert!(text.contains(says), "{name} for {target}: {text}");
                compile(vectors.as_ref().expect("made above"))
                    .unwrap_or_else(|error| panic!("{name} for {target}: {}", chain(&error)));
            } else if let Err(error) = compiled {
                panic!("{name} for {target}: {}", chain(&error));
            }
        }
    }
}

macro_rules! every_module_is_compiled {
    ($($name:ident: $target:literal,)*) => {
        $(
            #[test]
            fn $name() {
                compile_all(TARGETS[$target]);
            }
        )*
    };
}

every_module_is_compiled! {
    every_module_is_compiled_for_x86_64_linux: 0,
    every_module_is_compiled_for_aarch64_linux: 1,
    every_module_is_compiled_for_riscv64_linux: 2,
    every_module_is_compiled_for_s390x_linux: 3,
    every_module_is_compiled_for_bare_x86_64: 4,
    every_module_is_compiled_for_bare_aarch64: 5,
    every_module_is_compiled_for_bare_riscv64: 6,
    every_module_is_compiled_for_bare_s390x: 7,
}
