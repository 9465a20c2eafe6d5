//! The code registry, as the embedder uses it.

use std::sync::Arc;

use trapline_code_registry::{lookup_code, register_code};
use trapline_embed::{Engine, Module};
use trapline_wasmtime::ModuleCode;

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
            let instance = trapline_embed::Linker::new(&engine)
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
        let artifact = Arc::new(trapline_wasmtime::Artifact::parse(setup.artifact(STOP)).unwrap());
        // The very same range: others may be registered right beside it.
        let code = ModuleCode::new(artifact, text.start).expect("the module has code");
        let error = register_code(Arc::new(code)).expect_err("it overlaps");
        let message = error.to_string();
        assert!(message.contains(&text.start.to_string()), "{message}");
        let (code, offset) = lookup_code(text.start).expect("still there");
        assert_eq!((code.text(), offset), (text, 0));
    });
}
