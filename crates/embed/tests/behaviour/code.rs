//! The code of modules, and the registry as the embedder uses it.

use std::sync::Arc;

use trapline_arch::VirtualAddress;
use trapline_code_registry::{TrapKind, lookup_code, register_code};
use trapline_embed::{Engine, EngineConfig, Linker, Module};
use trapline_wasmtime::{Artifact, ModuleCode};

use crate::support::{call_to_fail, in_every_setup, names};

const STOP: &str = r#"(module (func $stop (export "stop") (unreachable)))"#;

#[test]
fn code_is_found_while_its_module_lives_and_not_a_moment_longer() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module = setup.module(&engine, STOP);
        let text = module.text().expect("the module has code");
        let (code, offset) = lookup_code(text.start).expect("registered");
        assert_eq!((code.text(), offset), (text.clone(), 0));
        drop(code);
        drop(module);
        assert!(lookup_code(text.start).is_none());
    });
}

#[test]
fn the_same_image_can_be_loaded_twice_and_each_copy_is_its_own_code() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let artifact = setup.artifact(STOP);
        // SAFETY: the compiler's own output, unchanged.
        let modules = [(); 2].map(|()| unsafe { Module::load(&engine, &artifact) }.unwrap());
        let texts = modules.each_ref().map(|module| module.text().unwrap());
        assert!(texts[0].end <= texts[1].start || texts[1].end <= texts[0].start);
        for module in &modules {
            let mut store = setup.store(&engine, ());
            let instance = Linker::new(&engine)
                .instantiate(&mut store, module)
                .unwrap();
            let error = call_to_fail(&mut store, instance, "stop");
            assert_eq!(names(error.wasm_backtrace()), ["stop"]);
        }
    });
}

#[test]
fn code_that_overlaps_is_refused_and_what_was_there_stays() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module = setup.module(&engine, STOP);
        let text = module.text().unwrap();
        let artifact = Arc::new(Artifact::parse(setup.artifact(STOP)).unwrap());
        // The very same range: others may be registered right beside it.
        // SAFETY: the module's own code and artifact, and the module stays until the end.
        let code = unsafe { ModuleCode::new(artifact, text.start) }.expect("the module has code");
        let error = register_code(Arc::new(code)).expect_err("it overlaps");
        let message = error.to_string();
        assert!(message.contains(&text.start.to_string()), "{message}");
        let (code, offset) = lookup_code(text.start).expect("still there");
        assert_eq!((code.text(), offset), (text, 0));
    });
}

/// Traps in many ways, and has a constant in its code that looks like a `ud2`.
const MANY_TRAPS: &str = r#"(module
    (memory 1)
    (table 2 funcref)
    (func $stop (export "stop") (unreachable))
    (func (export "zero") (drop (i32.div_u (i32.const 1) (i32.load (i32.const 0)))))
    (func (export "convert") (drop (i32.trunc_f64_s (f64.div (f64.const 1) (f64.const 0)))))
    (func (export "null") (call_indirect (i32.load (i32.const 0))))
    (func (export "beyond") (call_indirect (i32.sub (i32.load (i32.const 0)) (i32.const 1))))
    (func (export "load") (drop (i32.load (i32.const 65536))))
    (func (export "constant") (result i32) (i32.const 0x0b0f0b0f)))"#;

/// An engine whose code traps by `hlt`, or by what the compiler has for it.
fn engine(trap_by_hlt: bool) -> Engine {
    Engine::with_config(EngineConfig {
        trap_by_hlt,
        ..EngineConfig::default()
    })
}

#[test]
fn mapped_code_is_the_artifacts_but_for_listed_traps_by_ud2_which_are_hlt_unless_that_is_off() {
    in_every_setup(|setup| {
        for trap_by_hlt in [true, false] {
            let module = setup.module(&engine(trap_by_hlt), MANY_TRAPS);
            let text = module.text().expect("the module has code");
            let artifact: &Artifact = module.artifact();
            // SAFETY: the module's code, which is readable and does not change.
            let mapped = unsafe {
                core::slice::from_raw_parts(text.start.as_mut_ptr::<u8>(), artifact.text().len())
            };
            let mut expected = artifact.text().to_vec();
            let mut replaced = 0;
            if cfg!(target_arch = "x86_64") && trap_by_hlt {
                for site in artifact.iter_traps() {
                    let at = site.text_offset as usize;
                    if expected[at..].starts_with(&[0x0f, 0x0b]) {
                        expected[at] = 0xf4;
                        replaced += 1;
                    }
                }
                assert!(replaced > 0 || !setup.hardware_traps);
            }
            assert!(mapped == expected, "{setup}, {replaced} traps by hlt");
        }
    });
}

#[test]
fn traps_by_hlt_are_the_traps_that_they_were_with_no_address_and_the_same_frame() {
    in_every_setup(|setup| {
        for trap_by_hlt in [true, false] {
            let engine = engine(trap_by_hlt);
            let module = setup.module(&engine, MANY_TRAPS);
            let mut store = setup.store(&engine, ());
            let instance = Linker::new(&engine)
                .instantiate(&mut store, &module)
                .unwrap();
            for (name, kind) in [
                ("stop", TrapKind::UnreachableCodeReached),
                ("zero", TrapKind::IntegerDivisionByZero),
                ("convert", TrapKind::IntegerOverflow),
                ("null", TrapKind::IndirectCallToNull),
                ("beyond", TrapKind::TableOutOfBounds),
                ("load", TrapKind::MemoryOutOfBounds),
            ] {
                let func = instance.get_func(&mut store, name).unwrap();
                let error = func.call(&mut store, &[]).unwrap_err();
                assert_eq!(error.kind(), Some(kind), "{name}");
                assert_eq!(error.wasm_backtrace().frames().len(), 1, "{name}");
                let has_address = name == "load" && setup.hardware_traps;
                assert_eq!(error.wasm_fault().is_some(), has_address, "{name}");
            }
        }
    });
}

#[test]
fn code_that_somebody_keeps_stays_where_it_is_when_its_module_is_gone() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module = setup.module(&engine, STOP);
        let text = module.text().unwrap();
        let bytes = |text: &core::ops::Range<VirtualAddress>| {
            let len = text.end.get() - text.start.get();
            // SAFETY: mapped and not written to as long as the code object is there.
            let bytes = unsafe { core::slice::from_raw_parts(text.start.as_ptr::<u8>(), len) };
            bytes.to_vec()
        };
        let before = bytes(&text);
        let kept = lookup_code(text.start).unwrap().0.to_arc();
        drop(module);
        assert!(lookup_code(text.start).is_none());
        // Others get memory of their own.
        let _others: Vec<_> = (0..3).map(|_| setup.module(&engine, STOP)).collect();
        let _again = register_code(kept).expect("the range is still its own");
        assert_eq!(lookup_code(text.start).unwrap().0.text(), text);
        assert!(before == bytes(&text));
    });
}
