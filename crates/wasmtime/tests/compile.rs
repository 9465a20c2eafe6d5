//! What the compiler accepts with trapline's settings, and what it makes of it.

use trapline_wasmtime::compile::{CompileError, CompileOptions, Compiler, compile, is_compiling};
use trapline_wasmtime::vm::Builtin;
use trapline_wasmtime::{Artifact, Cpu, FlagSetting, Isa};

fn artifact(wat: &str, options: &CompileOptions) -> Artifact {
    let file = compile(wat.as_bytes(), options).unwrap_or_else(|error| panic!("{}", chain(&error)));
    Artifact::parse(file).unwrap_or_else(|error| panic!("{error}"))
}

/// In both trap modes, and both levels of optimisation.
fn all(wat: &str) -> Vec<Artifact> {
    let host = CompileOptions::host();
    let mut plain = CompileOptions::host();
    plain.optimize = false;
    [host.clone(), host.explicit_checks(), plain]
        .iter()
        .map(|options| artifact(wat, options))
        .collect()
}

fn chain(error: &CompileError) -> String {
    let mut text = error.to_string();
    let mut source = core::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[test]
fn typed_function_references_need_no_collector() {
    let wat = r#"(module
        (type $unary (func (param i32) (result i32)))
        (type $second (func (param (ref null $unary)) (result (ref null $unary))))
        (import "" "call" (func $import (type $unary)))
        (table $typed 2 (ref $unary) (ref.func $double))
        (table $nullable 2 (ref null $unary))
        (global $global (ref $unary) (ref.func $double))
        (global $null (mut (ref null $unary)) (ref.null $unary))
        (elem declare func $double $import)
        (func $double (type $unary) (i32.add (local.get 0) (local.get 0)))
        (func (export "call") (param (ref null $unary) i32) (result i32)
          (call_ref $unary (local.get 1) (local.get 0)))
        (func (export "tail") (param (ref $unary) i32) (result i32)
          (return_call_ref $unary (local.get 1) (local.get 0)))
        (func (export "assert") (param (ref null $unary)) (result (ref $unary))
          (ref.as_non_null (local.get 0)))
        (func (export "branch") (param (ref null $unary)) (result i32)
          (block $null
            (br_on_null $null (local.get 0))
            (drop)
            (return (i32.const 1)))
          (block $full (result (ref $unary))
            (br_on_non_null $full (local.get 0))
            (return (i32.const 0)))
          (drop) (i32.const 2))
        (func (export "table") (param i32) (result i32)
          (table.set $nullable (local.get 0) (table.get $typed (i32.const 1)))
          (call_ref $unary (i32.const 3) (table.get $nullable (local.get 0))))
        (func (export "second") (type $second) (local.get 0))
        (func (export "global") (result i32)
          (global.set $null (global.get $global))
          (call_ref $unary (i32.const 4) (global.get $null))))"#;
    for artifact in all(wat) {
        let allowed = [Builtin::RefFunc, Builtin::Raise, Builtin::Trap];
        let builtins: Vec<_> = artifact.builtins().collect();
        assert!(
            builtins.iter().all(|builtin| allowed.contains(builtin)),
            "{builtins:?}"
        );
        assert!(!artifact.module().needs_gc_heap);
        assert!(
            !artifact.settings().signals_based_traps()
                || artifact
                    .iter_traps()
                    .any(|site| { site.kind == trapline_code_registry::TrapKind::NullReference })
        );
    }
}

#[test]
fn every_part_of_webassembly_without_a_collector_is_accepted() {
    for (name, wat) in [
        (
            "sign extension",
            "(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))",
        ),
        (
            "saturating conversion",
            "(module (func (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0))))",
        ),
        (
            "multi-value",
            "(module (func (result i32 i64 f32) (i32.const 1) (i64.const 2) (f32.const 3)))",
        ),
        (
            "bulk memory",
            "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 1) (i32.const 2))))",
        ),
        (
            "reference types",
            "(module (table 1 externref) (func (param externref) (table.set 0 (i32.const 0) (local.get 0))))",
        ),
        (
            "simd",
            "(module (func (param v128) (result v128) (i8x16.swizzle (local.get 0) (local.get 0))))",
        ),
        (
            "relaxed simd",
            "(module (func (param v128) (result v128) (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0))))",
        ),
        ("tail calls", "(module (func $f (return_call $f)))"),
        (
            "extended constants",
            "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
        ),
        (
            "multi-memory",
            "(module (memory 1) (memory $b 1) (func (result i32) (i32.load $b (i32.const 0))))",
        ),
        (
            "memory64",
            "(module (memory i64 1) (func (result i32) (i32.load (i64.const 0))))",
        ),
        (
            "table64",
            "(module (table i64 1 funcref) (func (call_indirect (i64.const 0))))",
        ),
        (
            "threads",
            "(module (memory 1 1 shared) (func (result i32) (i32.atomic.rmw.add (i32.const 0) (i32.const 1))))",
        ),
        (
            "custom page sizes",
            "(module (memory 100 (pagesize 1)) (func (result i32) (i32.load (i32.const 0))))",
        ),
        (
            "wide arithmetic",
            "(module (func (param i64 i64) (result i64 i64) (i64.mul_wide_u (local.get 0) (local.get 1))))",
        ),
    ] {
        assert_eq!(all(wat).len(), 3, "{name}");
    }
}

#[test]
fn what_needs_a_collector_is_refused_by_the_compiler() {
    for wat in [
        "(module (type (struct (field i32))))",
        "(module (type (array i32)))",
        "(module (func (param i31ref)))",
        "(module (tag))",
        "(module (type $f (sub (func))))",
    ] {
        let error = compile(wat.as_bytes(), &CompileOptions::host()).unwrap_err();
        assert_eq!(error.to_string(), "the module cannot be compiled", "{wat}");
        assert!(
            chain(&error).len() > error.to_string().len(),
            "{}",
            chain(&error)
        );
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let error = compile(b"(module (func (result i32)))", &CompileOptions::host()).unwrap_err();
    assert!(chain(&error).contains("type mismatch"), "{}", chain(&error));
    let error = compile(b"(module", &CompileOptions::host()).unwrap_err();
    assert!(chain(&error).contains("expected `)`"), "{}", chain(&error));
    let error = Compiler::new(&CompileOptions::for_target("z80-unknown-none")).unwrap_err();
    assert_eq!(error.to_string(), "the options do not fit together");
    let options = CompileOptions::host().isa_flag("has_wings", "true");
    assert!(Compiler::new(&options).is_err());
    let options = CompileOptions::for_target("wasm32-unknown-unknown");
    assert!(Compiler::new(&options).is_err());
}

#[test]
fn targets_without_an_operating_system_get_explicit_checks() {
    for target in [
        "x86_64-unknown-none",
        "riscv64gc-unknown-none-elf",
        "aarch64-unknown-none",
    ] {
        let options = CompileOptions::for_target(target);
        assert!(!options.signals_based_traps, "{target}");
        assert_eq!(options.memory_reservation, 0);
        assert_eq!(options.memory_guard_size, 0);
        assert_eq!(options.memory_reservation_for_growth, 0);
        let file = compile(b"(module (memory 1) (func unreachable))", &options).unwrap();
        let artifact = Artifact::parse_any_target(file).unwrap();
        assert!(artifact.builtins().any(|builtin| builtin == Builtin::Trap));
    }
    assert!(CompileOptions::for_target("aarch64-unknown-linux-gnu").signals_based_traps);
    assert_eq!(CompileOptions::default(), CompileOptions::host());
}

#[test]
fn flags_reach_the_code_generator() {
    let options =
        CompileOptions::for_target("x86_64-unknown-linux-gnu").isa_flag("has_avx", "true");
    let file = compile(b"(module (func))", &options).unwrap();
    let artifact = Artifact::parse_any_target(file).unwrap();
    let flags = artifact.settings().isa_flags();
    let flag = |name: &str| {
        flags
            .iter()
            .find(|(flag, _)| flag == name)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(flag("has_avx"), FlagSetting::Bool(true));
    assert_eq!(flag("has_sse42"), FlagSetting::Bool(true));
    assert_eq!(flag("has_avx2"), FlagSetting::Bool(false));
}

#[test]
fn on_x86_without_extensions_rounding_is_a_call() {
    let mut options = CompileOptions::for_target("x86_64-unknown-linux-gnu");
    options.isa_flags.clear();
    let wat = b"(module (func (param f64) (result f64) (f64.nearest (local.get 0))))";
    let artifact = Artifact::parse_any_target(compile(wat, &options).unwrap()).unwrap();
    assert!(
        artifact
            .builtins()
            .any(|builtin| builtin == Builtin::NearestF64)
    );
    // Shuffles of vectors are calls too, to functions that trapline lacks.
    let wat =
        b"(module (func (param v128) (result v128) (i8x16.swizzle (local.get 0) (local.get 0))))";
    let error = Artifact::parse_any_target(compile(wat, &options).unwrap()).unwrap_err();
    assert!(error.to_string().contains("i8x16_swizzle"), "{error}");
}

/// The code generator would panic on them.
#[test]
fn vectors_are_refused_on_riscv_without_the_vector_extension() {
    let wat = "(module (func (param v128) (result v128) (i8x16.neg (local.get 0))))";
    let options = CompileOptions::for_target("riscv64gc-unknown-linux-gnu");
    let error = compile(wat.as_bytes(), &options).unwrap_err();
    assert!(
        chain(&error).contains("SIMD support is not enabled"),
        "{error:?}"
    );
    let options = options.isa_flag("has_v", "true");
    let bytes = compile(wat.as_bytes(), &options).unwrap();
    let artifact = Artifact::parse_any_target(bytes.clone()).unwrap();
    assert_eq!(artifact.isa(), Isa::Riscv64);
    if Isa::HOST == Some(Isa::Riscv64) {
        // Whether it runs here is for the CPU to say.
        let cpu = Cpu::new(Isa::Riscv64, &|flag| (flag != "has_v").then_some(true));
        assert!(Artifact::parse_for(bytes, cpu).is_err());
    }
}

/// Modules that the compiler panics at for riscv64 without vectors: it copies
/// short constant lengths by them.
const COPIES: [&str; 3] = [
    "(memory.copy (local.get 0) (local.get 1) (i32.const 16))",
    "(memory.init $data (local.get 0) (local.get 1) (i32.const 128))",
    "(table.copy (local.get 0) (local.get 1) (i32.const 9))",
];

/// A module of four functions, the third of which has this body.
fn with_body(body: &str) -> String {
    format!(
        r#"(module
        (import "a" "b" (func $import))
        (memory 1) (table 20 funcref) (data $data "sixteen bytes or")
        (func $first (call $import))
        (func $second (param i32) (result i32) (i32.load (local.get 0)))
        (func $culprit (param i32 i32) {body})
        (func $last (param f64) (result f64) (f64.sqrt (local.get 0))))"#
    )
}

#[test]
fn a_panic_of_the_compiler_is_an_error_that_names_the_function() {
    let options = CompileOptions::for_target("riscv64gc-unknown-linux-gnu");
    let compiler = Compiler::new(&options).unwrap();
    for body in COPIES {
        let error = compiler.compile(with_body(body).as_bytes()).unwrap_err();
        let text = chain(&error);
        assert!(
            text.starts_with("the compiler panicked at function 3 (\"culprit\"): "),
            "{text}"
        );
        assert!(text.contains("set the flag has_v to true"), "{text}");
        assert!(!is_compiling());
    }
    // The compiler is as good as before.
    let file = compiler.compile(with_body("").as_bytes()).unwrap();
    Artifact::parse_any_target(file).unwrap();
}

#[test]
fn with_vectors_or_by_calls_copies_are_compiled_for_riscv() {
    let options = CompileOptions::for_target("riscv64gc-unknown-linux-gnu");
    for body in COPIES {
        let options = options.clone().isa_flag("has_v", "true");
        compile(with_body(body).as_bytes(), &options).unwrap();
    }
    for length in ["(i32.const 15)", "(i32.const 129)", "(local.get 0)"] {
        let body = format!("(memory.copy (local.get 0) (local.get 1) {length})");
        compile(with_body(&body).as_bytes(), &options).unwrap();
    }
}

#[test]
fn flags_that_a_target_does_not_have_are_told_with_those_that_it_has() {
    let error = |target: &str, name: &str, value: &str| {
        let options = CompileOptions::for_target(target).isa_flag(name, value);
        chain(&Compiler::new(&options).unwrap_err())
    };
    let riscv = "riscv64gc-unknown-none-elf";
    let text = error(riscv, "has_wings", "true");
    assert!(
        text.contains("\"has_wings\"") && text.contains("has_v, "),
        "{text}"
    );
    // One of another target; one that decides about conventions, for all targets.
    assert!(error(riscv, "has_avx", "true").contains("unknown flag"));
    assert!(error(riscv, "preserve_frame_pointers", "false").contains("unknown flag"));
    assert!(error(riscv, "has_v", "yes").contains("true or false, not \"yes\""));
    let x86 = "x86_64-unknown-linux-gnu";
    assert!(error(x86, "x86-64-v3", "false").contains("set of other flags"));
    let preset = CompileOptions::for_target(x86).isa_flag("x86-64-v3", "true");
    compile(b"(module (func))", &preset).unwrap();
    // On this machine as well.
    let options = CompileOptions::host().isa_flag("has_wings", "true");
    let text = chain(&Compiler::new(&options).unwrap_err());
    assert!(text.contains("unknown flag"), "{text}");
}

#[test]
fn sizes_beyond_every_address_space_are_refused() {
    let wat = b"(module (memory 1) (memory i64 1)
        (func (param i32) (result i32) (i32.load offset=4294967295 (local.get 0)))
        (func (param i64) (result i32) (i32.load 1 offset=4294967295 (local.get 0))))";
    let fields: [fn(&mut CompileOptions) -> &mut u64; 3] = [
        |options| &mut options.memory_reservation,
        |options| &mut options.memory_guard_size,
        |options| &mut options.memory_reservation_for_growth,
    ];
    for field in fields {
        for size in [0, 1, 1 << 16, 1 << 32, CompileOptions::MAX_SIZE] {
            let mut options = CompileOptions::host();
            *field(&mut options) = size;
            Artifact::parse(compile(wat, &options).unwrap()).unwrap();
        }
        for size in [CompileOptions::MAX_SIZE + 1, u64::MAX] {
            let mut options = CompileOptions::host();
            *field(&mut options) = size;
            let text = chain(&compile(wat, &options).unwrap_err());
            assert!(text.contains("from 0 to 0x100000000000000 bytes"), "{text}");
            assert!(text.contains(&format!("not {size:#x}")), "{text}");
        }
    }
    // All at their largest: they are added to each other.
    let mut options = CompileOptions::host();
    for field in fields {
        *field(&mut options) = CompileOptions::MAX_SIZE;
    }
    Artifact::parse(compile(wat, &options).unwrap()).unwrap();
}

#[test]
fn without_an_address_map_there_are_no_bytecode_offsets() {
    let mut options = CompileOptions::host();
    options.address_map = false;
    let artifact = artifact("(module (func unreachable))", &options);
    assert!(!artifact.settings().has_address_map());
    assert_eq!(artifact.iter_addresses().count(), 0);
    assert_eq!(
        artifact.trap_count() > 0,
        artifact.settings().signals_based_traps()
    );
}

#[test]
fn one_compiler_compiles_many_modules() {
    let compiler = Compiler::new(&CompileOptions::host()).unwrap();
    let one = compiler.compile(b"(module (func unreachable))").unwrap();
    let two = compiler.compile(b"(module (func unreachable))").unwrap();
    assert_eq!(one, two, "compiling is deterministic");
}
