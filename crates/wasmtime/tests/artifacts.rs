//! What is read from an artifact is what the compiler wrote.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{EXPLICIT, GUEST, HARDWARE, TARGETS, compile_unchecked, section};
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeAddress, CodeObject as _, TrapKind};
use trapline_wasmtime::compile::{CompileOptions, compile};
use trapline_wasmtime::vm::Builtin;
use trapline_wasmtime::wasmtime_environ::{
    self as environ, CompiledFunctionsTable, CompiledModuleInfo, DefinedFuncIndex, EntityRef as _,
    FuncIndex, FuncKey, ModuleTypes, RuntimeDataIndex,
};
use trapline_wasmtime::{Artifact, ArtifactBytes, ModuleCode, trap_kind_from_compiled};

fn artifact(file: &[u8]) -> Artifact {
    Artifact::parse(file.to_vec()).unwrap()
}

/// Compares all tables with what the compiler's own readers find in the same
/// sections.
fn compare_with_the_compilers_readers(file: &[u8], artifact: &Artifact) {
    let traps = &file[section(file, ".wasmtime.traps")];
    let theirs: Vec<_> = environ::iterate_traps(traps)
        .unwrap()
        .map(|(offset, trap)| (offset, trap_kind_from_compiled(&trap).unwrap()))
        .collect();
    let ours: Vec<_> = artifact
        .iter_traps()
        .map(|site| (site.text_offset, site.kind))
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(artifact.trap_count(), theirs.len());

    let map = &file[section(file, ".wasmtime.addrmap")];
    let theirs: Vec<_> = environ::iterate_address_map(map)
        .unwrap()
        .map(|(offset, position)| (offset, position.file_offset()))
        .collect();
    let ours: Vec<_> = artifact
        .iter_addresses()
        .map(|entry| (entry.text_offset, entry.bytecode_offset))
        .collect();
    assert_eq!(ours, theirs);
    assert!(!ours.is_empty());

    let info = &file[section(file, ".wasmtime.info")];
    let (_, functions, _): (CompiledModuleInfo, CompiledFunctionsTable, ModuleTypes) =
        postcard::from_bytes(info).unwrap();
    for offset in 0..artifact.text().len() + 2 {
        let theirs = environ::lookup_trap_code(traps, offset);
        let theirs = theirs.map(|trap| trap_kind_from_compiled(&trap).unwrap());
        assert_eq!(
            artifact.lookup_trap_code(offset),
            theirs,
            "trap at {offset:#x}"
        );

        let theirs =
            environ::lookup_file_pos(map, offset).and_then(|position| position.file_offset());
        assert_eq!(
            artifact.lookup_bytecode_offset(offset),
            theirs,
            "position of {offset:#x}"
        );

        // Theirs counts the byte after a function as part of it.
        let theirs = functions.func_by_text_offset(offset as u32);
        match artifact.function_at(offset) {
            Some(function) => {
                assert_eq!(Some(function.key), theirs, "function at {offset:#x}");
                assert!(function.text_range().contains(&(offset as u32)));
                assert_eq!(functions.func_loc(function.key), Some(&function.location));
            }
            None => assert!(
                theirs.is_none_or(|key| {
                    let location = functions.func_loc(key).unwrap();
                    (location.start + location.length) as usize == offset
                }),
                "no function at {offset:#x}"
            ),
        }
    }
    for function in artifact.module().defined_func_indices() {
        let key = FuncKey::DefinedWasmFunction(artifact.module().module_index, function);
        let theirs = functions
            .src_loc(key)
            .and_then(|position| position.file_offset());
        assert_eq!(artifact.function_bytecode_offset(function), theirs);
    }
}

#[test]
fn tables_read_as_the_compilers_own_readers_read_them() {
    compare_with_the_compilers_readers(&HARDWARE, &artifact(&HARDWARE));
    compare_with_the_compilers_readers(&EXPLICIT, &artifact(&EXPLICIT));
}

#[test]
fn tables_of_many_blocks_read_the_same() {
    use std::fmt::Write as _;
    let mut module = String::from("(module (memory 1)");
    for number in 0..60 {
        write!(module, "(func (param i32) (result i32) local.get 0").unwrap();
        for _ in 0..20 {
            write!(
                module,
                " i32.load offset={number} i32.const {number} i32.div_s"
            )
            .unwrap();
        }
        module.push(')');
    }
    module.push(')');
    let file = compile(module.as_bytes(), &CompileOptions::host()).unwrap();
    let artifact = artifact(&file);
    assert!(artifact.trap_count() > 1000);
    compare_with_the_compilers_readers(&file, &artifact);
}

#[test]
fn settings_are_those_given_to_the_compiler() {
    let (hardware, explicit) = (artifact(&HARDWARE), artifact(&EXPLICIT));
    let settings = hardware.settings();
    assert!(settings.signals_based_traps());
    assert_eq!(settings.memory_reservation(), 4 << 30);
    assert_eq!(settings.memory_guard_size(), 32 << 20);
    assert!(settings.has_address_map());
    assert!(settings.target().starts_with(hardware.isa().name()));
    assert!(!settings.table_lazy_init() && !settings.memory_init_cow());
    assert!(!settings.consume_fuel() && !settings.epoch_interruption());
    assert!(!settings.isa_flags().is_empty() && !settings.shared_flags().is_empty());

    let settings = explicit.settings();
    assert!(!settings.signals_based_traps());
    assert_eq!(settings.memory_reservation(), 0);
    assert_eq!(settings.memory_guard_size(), 0);
    assert_eq!(settings.memory_reservation_for_growth(), 0);
}

#[test]
fn trap_sites_are_those_of_the_guest() {
    let kinds = |artifact: &Artifact| {
        let mut kinds = BTreeMap::new();
        for site in artifact.iter_traps() {
            *kinds.entry(site.kind).or_insert(0) += 1;
        }
        kinds
    };
    let hardware = kinds(&artifact(&HARDWARE));
    for kind in [
        TrapKind::UnreachableCodeReached,
        TrapKind::IntegerDivisionByZero,
        TrapKind::IntegerOverflow,
        TrapKind::MemoryOutOfBounds,
        TrapKind::TableOutOfBounds,
        TrapKind::IndirectCallToNull,
        TrapKind::BadSignature,
        TrapKind::BadConversionToInteger,
        TrapKind::StackOverflow,
    ] {
        assert!(hardware.contains_key(&kind), "{kind:?} in {hardware:?}");
    }
    let explicit = kinds(&artifact(&EXPLICIT));
    assert!(explicit.values().sum::<i32>() < hardware.values().sum());
}

#[test]
fn a_name_that_is_no_text_is_none_and_the_others_stay() {
    let whole = artifact(&HARDWARE);
    let bytes = whole.bytes().as_slice();
    let name = whole.func_name(FuncIndex::new(3)).expect("a name");
    let at = name.as_ptr().addr() - bytes.as_ptr().addr();
    let mut damaged = bytes.to_vec();
    damaged[at] = 0xff;
    let damaged = Artifact::parse(damaged).expect("its tables hold together");
    for index in 0..8 {
        let name = (index != 3).then(|| whole.func_name(FuncIndex::new(index)));
        assert_eq!(damaged.func_name(FuncIndex::new(index)), name.flatten());
    }
}

#[test]
fn functions_have_names_indices_and_trampolines() {
    let artifact = artifact(&HARDWARE);
    assert_eq!(artifact.module_name(), Some("guest"));
    let names = ["log", "begin", "divide", "run", "inner"];
    for (index, name) in names.into_iter().enumerate() {
        assert_eq!(artifact.func_name(FuncIndex::new(index)), Some(name));
    }
    assert_eq!(
        artifact.func_name(FuncIndex::new(5)),
        None,
        "it has no name"
    );
    assert_eq!(artifact.func_name(FuncIndex::new(7)), Some("stop"));
    assert_eq!(
        artifact.func_name(FuncIndex::new(8)),
        None,
        "there is no such function"
    );

    let defined: Vec<_> = artifact
        .iter_functions()
        .filter_map(|function| function.index)
        .collect();
    assert_eq!(defined, (1..8).map(FuncIndex::new).collect::<Vec<_>>());
    let divide = artifact
        .iter_functions()
        .find(|function| function.name == Some("divide"))
        .unwrap();
    assert_eq!(
        artifact.defined_function(DefinedFuncIndex::new(1)),
        Some(divide.location)
    );
    assert!(
        artifact
            .array_to_wasm_trampoline(DefinedFuncIndex::new(1))
            .is_some()
    );
    assert_eq!(
        artifact.array_to_wasm_trampoline(DefinedFuncIndex::new(3)),
        None,
        "inner is private"
    );
    assert_eq!(artifact.defined_function(DefinedFuncIndex::new(7)), None);

    let module = artifact.module();
    let log = module.functions[FuncIndex::new(0)]
        .signature
        .unwrap_module_type_index();
    assert!(artifact.wasm_to_array_trampoline(log).is_some());
    assert_eq!(
        artifact.wasm_to_array_trampoline(EntityFrom::beyond(&artifact)),
        None
    );
    assert!(artifact.startup().is_some());
}

/// An index just beyond the types of an artifact.
struct EntityFrom;

impl EntityFrom {
    fn beyond(artifact: &Artifact) -> environ::ModuleInternedTypeIndex {
        environ::ModuleInternedTypeIndex::new(artifact.types().len_types())
    }
}

#[test]
fn the_builtins_that_are_called_are_known() {
    let builtins = |file: &[u8]| artifact(file).builtins().collect::<Vec<_>>();
    let hardware = builtins(&HARDWARE);
    for builtin in [
        Builtin::MemoryGrow,
        Builtin::MemoryCopy,
        Builtin::MemoryFill,
        Builtin::TableGrow,
        Builtin::RefFunc,
        Builtin::PassiveElemSegmentLen,
        Builtin::PassiveElemSegmentBase,
        Builtin::PassiveElemSegmentDrop,
        Builtin::MemoryAtomicNotify,
        Builtin::MemoryAtomicWait32,
    ] {
        assert!(hardware.contains(&builtin), "{builtin:?} in {hardware:?}");
    }
    assert!(!hardware.contains(&Builtin::Trap));
    let explicit = builtins(&EXPLICIT);
    assert!(explicit.contains(&Builtin::Trap) && explicit.contains(&Builtin::Raise));
}

#[test]
fn data_segments_are_found() {
    let artifact = artifact(&HARDWARE);
    let segments: Vec<_> = (0..artifact.module().runtime_data.len())
        .map(|index| artifact.runtime_data(RuntimeDataIndex::new(index)).unwrap())
        .collect();
    assert!(
        segments.iter().any(|data| data.starts_with(b"hello")),
        "{segments:?}"
    );
    assert!(segments.contains(&&b"later"[..]), "{segments:?}");
    assert_eq!(
        artifact.runtime_data(RuntimeDataIndex::new(segments.len())),
        None
    );
}

#[test]
fn code_objects_answer_for_their_text() {
    let artifact = Arc::new(artifact(&HARDWARE));
    let base = VirtualAddress::new(0x7000_0000);
    // SAFETY: never registered.
    let code_at = |base| unsafe { ModuleCode::new(artifact.clone(), base) };
    let code = code_at(base).unwrap();
    assert_eq!(code.text().start, base);
    assert_eq!(code.text().end.get(), 0x7000_0000 + artifact.text().len());
    assert_eq!(code.address(0x10), Some(VirtualAddress::new(0x7000_0010)));
    assert_eq!(
        code.address(artifact.text().len() as u32),
        Some(code.text().end)
    );
    assert_eq!(code.address(artifact.text().len() as u32 + 1), None);
    assert!(code.as_any().is::<ModuleCode>());
    assert!(code_at(VirtualAddress::new(usize::MAX)).is_none());

    for function in artifact.iter_functions() {
        let offset = function.location.start as usize;
        let address = code.lookup_address(offset);
        assert_eq!(
            address.map(|address| address.function),
            function.index.map(|index| index.as_u32()),
            "{function:?}"
        );
    }
    for offset in 0..=artifact.text().len() {
        let function = artifact.function_at(offset);
        assert_eq!(
            artifact.func_index_at(offset),
            function.and_then(|function| function.index),
            "{offset:#x}"
        );
    }
    // `unreachable` is the only instruction of the last function; it lies three
    // bytes before the module's end: unreachable, end, and the names come after.
    let stop = artifact
        .iter_functions()
        .find(|function| function.name == Some("stop"))
        .unwrap();
    let site = artifact
        .iter_traps()
        .find(|site| {
            stop.text_range().contains(&site.text_offset)
                && site.kind == TrapKind::UnreachableCodeReached
        })
        .unwrap();
    let body = artifact
        .function_bytecode_offset(DefinedFuncIndex::new(6))
        .unwrap();
    let expected = CodeAddress {
        function: 7,
        bytecode_offset: Some(body + 1),
    };
    assert_eq!(
        code.lookup_address(site.text_offset as usize),
        Some(expected)
    );
    assert_eq!(
        code.lookup_trap_code(site.text_offset as usize),
        Some(site.kind)
    );
}

#[test]
fn a_module_without_functions_has_no_text() {
    let file = compile_unchecked("(module)", &CompileOptions::host());
    // The compiler writes an empty section; there may as well be none.
    let without = common::without_section(&file, ".text");
    assert_eq!(Artifact::parse(without).unwrap().text_alignment(), 1);
    let artifact = artifact(&file);
    assert!(artifact.text().is_empty());
    assert!(artifact.text_alignment().is_power_of_two());
    assert_eq!(artifact.iter_functions().count(), 0);
    assert_eq!(artifact.iter_traps().count(), 0);
    assert_eq!(artifact.iter_addresses().count(), 0);
    assert_eq!(artifact.lookup_trap_code(0), None);
    assert_eq!(artifact.lookup_bytecode_offset(0), None);
    assert!(artifact.function_at(0).is_none());
    assert!(artifact.startup().is_none());
    // SAFETY: never registered.
    let code = unsafe { ModuleCode::new(Arc::new(artifact), VirtualAddress::new(0x1000)) }.unwrap();
    assert!(code.text().is_empty());
}

#[test]
fn bytes_may_lie_anywhere_and_belong_to_anyone() {
    let aligned = artifact(&HARDWARE);
    for shift in 1..16 {
        // One copy is leaked per alignment.
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(&HARDWARE);
        let bytes: &'static [u8] = Vec::leak(bytes);
        let artifact = Artifact::parse(&bytes[shift..]).unwrap();
        assert_eq!(artifact.text(), aligned.text());
        assert!(artifact.iter_traps().eq(aligned.iter_traps()));
    }
    let shared: Arc<[u8]> = HARDWARE.as_slice().into();
    let artifact = Artifact::parse(shared.clone()).unwrap();
    assert!(
        std::ptr::eq(artifact.bytes().as_slice(), &*shared),
        "nothing is copied"
    );
    let inside = shared.as_ptr_range();
    assert!(
        inside.contains(&artifact.text().as_ptr()),
        "the text is read in place"
    );
    assert!(matches!(artifact.bytes(), ArtifactBytes::Shared(_)));

    let boxed: Box<[u8]> = HARDWARE.as_slice().into();
    let address = boxed.as_ptr();
    let artifact = Artifact::parse(boxed).unwrap();
    assert_eq!(
        artifact.bytes().as_slice().as_ptr(),
        address,
        "nothing is copied"
    );
}

#[test]
fn artifacts_for_other_machines_can_be_looked_at_but_not_loaded() {
    for target in TARGETS {
        let file = compile(GUEST.as_bytes(), &CompileOptions::for_target(target)).unwrap();
        let artifact = Artifact::parse_any_target(file.clone())
            .unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(artifact.settings().target(), target);
        assert!(target.starts_with(artifact.isa().name()));
        assert_eq!(
            artifact.settings().signals_based_traps(),
            target != "x86_64-unknown-none"
        );
        assert_eq!(
            artifact
                .iter_functions()
                .filter(|function| function.index.is_some())
                .count(),
            7
        );
        assert!(
            artifact
                .iter_traps()
                .any(|site| site.kind == TrapKind::IntegerDivisionByZero
                    || !artifact.settings().signals_based_traps())
        );
        assert!(artifact.iter_addresses().count() > 20);
        assert!(artifact.text_alignment() >= 4096);
        let host = cfg!(target_arch = "x86_64") && target.starts_with("x86_64");
        match Artifact::parse(file) {
            Ok(_) => assert!(host, "{target}"),
            Err(error) => {
                assert!(!host, "{error}");
                assert_eq!(error.kind(), trapline_wasmtime::ArtifactErrorKind::Machine);
                assert!(error.to_string().contains(target), "{error}");
            }
        }
    }
}

#[test]
fn offsets_in_instances_can_be_computed() {
    let artifact = artifact(&HARDWARE);
    let offsets = artifact.vm_offsets();
    assert!(offsets.size_of_vmctx() > 0x30);
    assert_eq!(offsets.num_imported_functions, 1);
    assert_eq!(offsets.num_defined_memories, 1);
    assert!(offsets.has_startup_func);
}

#[test]
fn debug_information_of_the_guest_is_kept() {
    // A custom section named like DWARF's line table; the contents do not
    // matter to the compiler unless it is told to translate them.
    let wat = r#"(module (func) (@custom ".debug_str" "\00some\00"))"#;
    let file = compile(wat.as_bytes(), &CompileOptions::host()).unwrap();
    let artifact = artifact(&file);
    let sections: Vec<_> = artifact.dwarf_sections().collect();
    assert_eq!(sections.len(), 1, "{sections:?}");
    assert_eq!(sections[0].1, b"\0some\0");
}
