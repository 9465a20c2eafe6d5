//! Whatever the bytes, there is an error that says where they are wrong, or an
//! artifact whose tables hold together; never a panic.

mod common;

use common::{
    EXPLICIT, GUEST, HARDWARE, changed, compile_unchecked, section, section_header, with_info,
    with_section, without_checksum, without_section,
};
use proptest::prelude::*;
use trapline_wasmtime::compile::{CompileOptions, compile};
use trapline_wasmtime::wasmtime_environ::packed_option::ReservedValue;
use trapline_wasmtime::wasmtime_environ::wasmparser::WasmFeatures;
use trapline_wasmtime::wasmtime_environ::{
    EntityIndex, EntityRef as _, FuncIndex, GlobalConstValue, MemoryIndex, PassiveElemIndex, Tag,
    TagIndex,
};
use trapline_wasmtime::{Artifact, ArtifactError, ArtifactErrorKind as Kind, Checksum, Cpu, Isa};

/// The error about an artifact that must not be accepted, which must be of
/// this kind, about this section, and say what is expected and found.
fn refused(file: Vec<u8>, kind: Kind, section: &str, says: &[&str]) -> ArtifactError {
    let error = match Artifact::parse(file) {
        Ok(_) => panic!("accepted, against the expectation of {kind:?} in {section}: {says:?}"),
        Err(error) => error,
    };
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    assert_eq!(error.section(), section, "{message}");
    for part in says {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    assert!(message.contains(section) && !error.expected().is_empty() && !error.found().is_empty());
    error
}

/// The guest with one byte changed.
fn with_byte(offset: usize, byte: u8) -> Vec<u8> {
    let mut file = HARDWARE.clone();
    file[offset] = byte;
    file
}

#[test]
fn other_files_are_told_apart() {
    let header = "ELF header";
    let not = Kind::NotAnArtifact;
    refused(Vec::new(), not, header, &["0 bytes"]);
    refused(b"\x7fELF".to_vec(), not, header, &["end of the file"]);
    refused(
        b"\0asm\x01\0\0\0".to_vec(),
        not,
        header,
        &["WebAssembly", "compiled first"],
    );
    refused(b"#!/bin/sh".to_vec(), not, header, &["7f 45 4c 46"]);
    let error = refused(with_byte(4, 1), not, header, &["64-bit"]);
    assert_eq!(error.offset(), Some(4));
    refused(with_byte(5, 3), not, header, &["byte order"]);
    let error = refused(with_byte(7, 0), not, header, &["OS ABI 200"]);
    assert_eq!(error.offset(), Some(7));
    refused(with_byte(48, 0), not, header, &["flags 0x1"]);
    refused(
        with_byte(48, 2),
        Kind::Component,
        header,
        &["a component", "0x2"],
    );
    refused(
        with_byte(48, 0b1001),
        Kind::Machine,
        header,
        &["native code"],
    );
    refused(
        with_byte(18, 3),
        Kind::Machine,
        header,
        &["machine 62", "3, Little"],
    );
    // This program itself.
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    refused(program, not, header, &["OS ABI 200"]);
}

#[test]
fn sections_must_be_there_and_lie_in_the_file() {
    for name in [
        ".wasmtime.engine",
        ".wasmtime.info",
        ".wasmtime.traps",
        ".wasmtime.addrmap",
    ] {
        refused(
            without_section(&HARDWARE, name),
            Kind::MissingSection,
            name,
            &["none"],
        );
    }
    refused(
        without_section(&HARDWARE, ".text"),
        Kind::Corrupt,
        ".wasmtime.info",
        &["0x0 bytes"],
    );
    for name in [".text", ".wasmtime.info", ".wasmtime.traps", ".rodata.wasm"] {
        let header = section_header(&HARDWARE, name);
        let mut file = HARDWARE.clone();
        file[header + 30] = 1;
        refused(file, Kind::Corrupt, name, &["bytes of the file"]);
        let mut file = HARDWARE.clone();
        file[header + 24..header + 40].fill(0xff);
        refused(file, Kind::Corrupt, name, &["bytes of the file"]);
    }
    // A second section of the same name.
    let (traps, map) = (
        section_header(&HARDWARE, ".wasmtime.traps"),
        section_header(&HARDWARE, ".wasmtime.addrmap"),
    );
    let mut file = HARDWARE.clone();
    file.copy_within(traps..traps + 4, map);
    refused(file, Kind::Corrupt, ".wasmtime.traps", &["a second one"]);
    // A section that says that it holds relocations.
    let mut file = HARDWARE.clone();
    file[section_header(&HARDWARE, ".rodata.wasm") + 4] = 4;
    refused(file, Kind::Unsupported, "ELF header", &["relocations"]);
    // An alignment that is none.
    let text = section_header(&HARDWARE, ".text");
    let mut file = HARDWARE.clone();
    file[text + 48] = 3;
    refused(file, Kind::Corrupt, ".text", &["power of two"]);
}

/// A module with something of everything that is small when compiled.
const SMALL: &str = r#"(module $m
    (import "a" "b" (func $i (param i32) (result externref)))
    (memory 1) (table 2 funcref) (global (mut f32) (f32.const 1))
    (func $f (export "f") (param i32 i64) (result i32) local.get 0 i32.load)
    (data (i32.const 0) "x") (elem (i32.const 0) $f $i))"#;

/// What the compiler writes here, with a bit flipped: wherever it is, an error,
/// and one that says that the file is damaged but where it is not even ELF.
#[test]
fn with_a_checksum_every_flipped_bit_of_the_file_is_refused() {
    let file = compile(SMALL.as_bytes(), &CompileOptions::host()).unwrap();
    let artifact = Artifact::parse(file.clone()).unwrap();
    assert_eq!(artifact.checksum(), Checksum::Verified);
    let mut file = file;
    // The code ends with zeros up to the end of a page, which may be a large one.
    let text = section(&file, ".text");
    let code = text.start + 2048;
    for offset in (0..code)
        .chain((code..text.end).step_by(61))
        .chain(text.end..file.len())
    {
        for bit in 0..8 {
            file[offset] ^= 1 << bit;
            // Of any machine: nothing but the bytes is to blame.
            let error = Artifact::parse_any_target(file.clone()).unwrap_err();
            let kind = if offset < 4 {
                Kind::NotAnArtifact
            } else {
                Kind::Checksum
            };
            assert_eq!(error.kind(), kind, "bit {bit} of byte {offset:#x}: {error}");
            file[offset] ^= 1 << bit;
        }
    }
    // Whatever the damage is, if it is larger.
    for length in (0..file.len()).step_by(7) {
        Artifact::parse_any_target(file[..length].to_vec()).unwrap_err();
    }
    file.push(0);
    Artifact::parse_any_target(file).unwrap_err();
}

#[test]
fn errors_about_a_checksum_say_what_is_noted_and_what_was_found() {
    let file = compile(SMALL.as_bytes(), &CompileOptions::host()).unwrap();
    let noted = u32::from_le_bytes(file[12..16].try_into().unwrap());
    let mut damaged = file.clone();
    damaged[file.len() / 2] ^= 4;
    let noted = format!("{noted:#010x}");
    let says = ["a damaged artifact", noted.as_str(), "damaged or changed"];
    let error = refused(damaged, Kind::Checksum, "ELF header", &says);
    assert_eq!(error.offset(), Some(12));
    let mut damaged = file.clone();
    damaged[10] ^= 4;
    let error = refused(
        damaged,
        Kind::Checksum,
        "ELF header",
        &["mark of a checksum"],
    );
    assert_eq!(error.offset(), Some(9));
    // Without: as the compiler itself wrote it.
    let artifact = Artifact::parse(without_checksum(file)).unwrap();
    assert_eq!(artifact.checksum(), Checksum::Absent);
}

#[test]
fn the_compilers_version_must_be_this_one() {
    let name = ".wasmtime.engine";
    let engine = |change: fn(&mut Vec<u8>)| changed(&HARDWARE, name, change);
    let error = refused(
        engine(|bytes| bytes[3] = b'7'),
        Kind::Version,
        name,
        &["\"47\"", "48.0.8"],
    );
    assert_eq!(error.offset(), Some(2));
    refused(
        engine(|bytes| bytes[0] = 1),
        Kind::Version,
        name,
        &["format 0"],
    );
    refused(
        engine(|bytes| bytes[1] = 200),
        Kind::Version,
        name,
        &["a version of 200 bytes"],
    );
    refused(
        engine(Vec::clear),
        Kind::Corrupt,
        name,
        &["end of the section"],
    );
    refused(
        engine(|bytes| bytes.truncate(40)),
        Kind::Corrupt,
        name,
        &["settings"],
    );
    refused(
        engine(|bytes| bytes.push(0)),
        Kind::Corrupt,
        name,
        &["1 more bytes"],
    );
}

#[test]
fn the_machine_must_be_this_one() {
    let name = ".wasmtime.engine";
    // The triple of the settings and the machine of the header differ.
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        62
    } else {
        183
    };
    let mut file = HARDWARE.clone();
    file[18..20].copy_from_slice(&machine.to_le_bytes());
    refused(file, Kind::Corrupt, name, &["machine of the ELF header"]);
    // Code for another calling convention.
    let windows = CompileOptions::for_target("x86_64-pc-windows-msvc");
    let file = compile(GUEST.as_bytes(), &windows).unwrap();
    if cfg!(target_arch = "x86_64") {
        refused(file, Kind::Machine, name, &["System V", "windows"]);
    }
    // A CPU that lacks something, or about which nothing is known.
    let options =
        CompileOptions::for_target("x86_64-unknown-linux-gnu").isa_flag("has_avx512f", "true");
    let file = compile(GUEST.as_bytes(), &options).unwrap();
    let lacks = |name: &str| Some(name != "has_avx512f");
    let error = Artifact::parse_for(file.clone(), Cpu::new(Isa::X86_64, &lacks)).unwrap_err();
    assert_eq!(error.kind(), Kind::Machine);
    assert!(error.to_string().contains("`has_avx512f`") && error.to_string().contains("not have"));
    let error = Artifact::parse_for(file.clone(), Cpu::new(Isa::X86_64, &|_| None)).unwrap_err();
    assert!(error.to_string().contains("nothing says"), "{error}");
    Artifact::parse_for(file, Cpu::new(Isa::X86_64, &|_| Some(true))).unwrap();
}

/// Compiles the guest with the settings of the `host` options, changed.
fn compile_otherwise(change: fn(&mut wasmtime::Config) -> &mut wasmtime::Config) -> Vec<u8> {
    let mut config = wasmtime::Config::new();
    config
        .table_lazy_init(false)
        .memory_init_cow(false)
        .concurrency_support(false)
        .collector(wasmtime::Collector::Null)
        .wasm_features(WasmFeatures::GC | WasmFeatures::EXCEPTIONS, false);
    change(&mut config);
    let module = "(module (memory 1) (func (export \"run\") unreachable))";
    wasmtime::Engine::new(&config)
        .unwrap()
        .precompile_module(module.as_bytes())
        .unwrap()
}

fn refuses_setting(change: fn(&mut wasmtime::Config) -> &mut wasmtime::Config, says: &[&str]) {
    refused(
        compile_otherwise(change),
        Kind::Setting,
        ".wasmtime.engine",
        says,
    );
}

#[test]
fn settings_must_be_such_that_an_embedder_can_honour_them() {
    Artifact::parse(compile_otherwise(|config| config)).unwrap();
    refuses_setting(
        |config| config.table_lazy_init(true),
        &["`table_lazy_init` = false", "found true"],
    );
    refuses_setting(
        |config| config.memory_init_cow(true),
        &["`memory_init_cow` = false"],
    );
    refuses_setting(
        |config| config.consume_fuel(true),
        &["`consume_fuel` = false"],
    );
    refuses_setting(
        |config| config.epoch_interruption(true),
        &["`epoch_interruption` = false"],
    );
    refuses_setting(
        |config| config.memory_reservation_for_growth(u64::MAX),
        &["`memory_reservation_for_growth` up to 0x100000000000000"],
    );
    refuses_setting(|config| config.wasm_gc(true), &["`gc` switched off"]);
    refuses_setting(
        |config| config.wasm_exceptions(true),
        &["`exceptions` switched off"],
    );
}

#[test]
fn trap_tables_must_be_sorted_and_complete() {
    let name = ".wasmtime.traps";
    let table = |change: &dyn Fn(&mut Vec<u8>)| changed(&HARDWARE, name, |bytes| change(bytes));
    let refused = |change: &dyn Fn(&mut Vec<u8>), says: &[&str]| {
        refused(table(change), Kind::Corrupt, name, says)
    };
    refused(&|bytes| bytes.clear(), &["expected"]);
    refused(&|bytes| bytes.truncate(12), &["index of 1 blocks"]);
    refused(&|bytes| bytes.truncate(16), &["an entry"]);
    let error = refused(
        &|bytes| {
            bytes.pop();
        },
        &["an entry", "end of the section"],
    );
    let end = HARDWARE[section(&HARDWARE, name)].len();
    assert!(
        error.offset().is_some_and(|offset| offset >= end - 4),
        "{error}"
    );
    refused(&|bytes| bytes.push(0), &["1 more bytes"]);
    refused(&|bytes| bytes[4] = 9, &["expected"]);
    refused(&|bytes| bytes[0] = bytes[0].wrapping_add(1), &["expected"]);
    refused(&|bytes| bytes[3] = 0xff, &["blocks"]);
    refused(&|bytes| bytes[12] = 1, &["body of block 0"]);
    // The default code, the first byte of the first body.
    refused(&|bytes| bytes[16] = 0x70, &["a trap code"]);
    // Entries that do not ascend, and the first one not where the index says.
    let twice = [2, 0, 0, 0, 1, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0];
    refused(&|bytes| *bytes = twice.to_vec(), &["ascend from 0x10"]);
    refused(&|bytes| bytes[17] = 2, &["first text offset"]);
    // Beyond the text.
    refused(&|bytes| bytes[10] = 0xff, &["below the text's end"]);
}

#[test]
fn address_maps_must_be_sorted_and_complete() {
    let name = ".wasmtime.addrmap";
    let refused = |change: &dyn Fn(&mut Vec<u8>), says: &[&str]| {
        refused(
            changed(&HARDWARE, name, |bytes| change(bytes)),
            Kind::Corrupt,
            name,
            says,
        )
    };
    refused(&|bytes| bytes.clear(), &["expected"]);
    refused(
        &|bytes| {
            bytes.pop();
        },
        &["an entry"],
    );
    refused(&|bytes| bytes.push(0), &["1 more bytes"]);
    refused(&|bytes| bytes[0] = bytes[0].wrapping_add(1), &["expected"]);
    refused(&|bytes| bytes[10] = 0xff, &["below the text's end"]);
}

#[test]
fn functions_must_lie_in_the_text_in_order() {
    let name = ".wasmtime.info";
    let refused = |change: fn(&mut common::Functions), says: &[&str]| {
        refused(
            with_info(&HARDWARE, |info| change(&mut info.1)),
            Kind::Corrupt,
            name,
            says,
        )
    };
    Artifact::parse(with_info(&HARDWARE, |_| {})).unwrap();
    refused(
        |table| table.locations.last_mut().unwrap().1 = u32::MAX,
        &["inside of the text"],
    );
    refused(
        |table| table.locations.last_mut().unwrap().0 = u32::MAX,
        &["inside of the text"],
    );
    refused(|table| table.locations.swap(0, 1), &["follow each other"]);
    // Within the function, so that it begins in the middle of an instruction.
    refused(
        |table| {
            table.locations[0].0 += 2;
            table.locations[0].1 -= 2;
        },
        &["the symbols of the file"],
    );
    refused(|table| table.locations[1].1 = 0, &["the code"]);
    refused(|table| table.location_starts[1] += 100_000, &["starts"]);
    refused(|table| table.location_starts[0] = 1, &["starts"]);
    refused(
        |table| {
            table.location_starts.pop();
        },
        &["one start for each"],
    );
    refused(
        |table| {
            table.sparse_starts.pop();
        },
        &["one start for each"],
    );
    refused(
        |table| {
            table.source_starts.pop();
        },
        &["one start for each"],
    );
    refused(
        |table| table.namespaces.swap(0, 1),
        &["ascending function namespaces"],
    );
    refused(
        |table| *table.namespaces.last_mut().unwrap() = 0xf000_0000,
        &["0xf0000000"],
    );
    refused(
        |table| {
            table.sparse_indices.pop();
        },
        &["one index for each function"],
    );
    refused(
        |table| *table.sparse_indices.last_mut().unwrap() = 3,
        &["function index"],
    );
    refused(
        |table| table.sparse_indices.swap(0, 1),
        &["ascending function indices"],
    );
    refused(
        |table| {
            table.source_positions.pop();
        },
        &["starts of function namespaces"],
    );
    refused(|table| table.namespaces.clear(), &["one start"]);
    // No startup function, although the module has one.
    refused(
        |table| {
            table.namespaces.pop();
            table.source_starts.pop();
            let (location, index) = (
                table.location_starts.pop().unwrap(),
                table.sparse_starts.pop().unwrap(),
            );
            table.locations.truncate(location as usize);
            table.sparse_indices.truncate(index as usize);
        },
        &["the module's startup function"],
    );
}

#[test]
fn metadata_must_refer_to_what_exists() {
    let name = ".wasmtime.info";
    let refused = |change: fn(&mut common::Info), kind, says: &[&str]| {
        refused(with_info(&HARDWARE, change), kind, name, says)
    };
    let corrupt = |change, says: &[&str]| refused(change, Kind::Corrupt, says);
    corrupt(
        |info| info.0.module.num_imported_funcs = 100,
        &["number of imported functions"],
    );
    corrupt(
        |info| info.0.module.num_imported_funcs = 0,
        &["order of their indices"],
    );
    corrupt(
        |info| info.0.module.num_imported_globals = usize::MAX,
        &["imported globals"],
    );
    corrupt(
        |info| info.0.module.num_escaped_funcs = 1,
        &["an escape index"],
    );
    corrupt(
        |info| info.0.module.num_escaped_funcs = usize::MAX,
        &["escaping functions"],
    );
    corrupt(
        |info| {
            let missing = EntityIndex::Function(FuncIndex::new(1000));
            *info.0.module.exports.values_mut().next().unwrap() = missing;
        },
        &["items that exist"],
    );
    corrupt(
        |info| {
            let inner = EntityIndex::Function(FuncIndex::new(4));
            *info.0.module.exports.values_mut().next().unwrap() = inner;
        },
        &["functions that escape"],
    );
    corrupt(
        |info| {
            info.0
                .module
                .memories
                .get_mut(MemoryIndex::new(0))
                .unwrap()
                .page_size_log2 = 70
        },
        &["page size"],
    );
    corrupt(
        |info| {
            info.0
                .module
                .memories
                .get_mut(MemoryIndex::new(0))
                .unwrap()
                .limits
                .max = Some(0)
        },
        &["maximum"],
    );
    // Two functions that share a place, so that another has none.
    corrupt(
        |info| {
            let functions = &mut info.0.module.functions;
            let taken = functions[FuncIndex::new(2)].func_ref;
            functions[FuncIndex::new(3)].func_ref = taken;
        },
        &["an escape index of its own"],
    );
    corrupt(
        |info| {
            let functions = &mut info.0.module.functions;
            functions[FuncIndex::new(2)].func_ref = ReservedValue::reserved_value();
        },
        &["escape"],
    );
    // More than there is memory for.
    corrupt(
        |info| info.0.module.passive_elements[PassiveElemIndex::new(0)].1 = 1 << 60,
        &["ten million elements", "1152921504606846976"],
    );
    corrupt(
        |info| info.0.module.global_initializers[0].1 = GlobalConstValue::F32(1),
        &["global's type"],
    );
    corrupt(
        |info| info.0.func_names.reverse(),
        &["order of the functions"],
    );
    corrupt(
        |info| info.0.func_names[0].idx = FuncIndex::new(100),
        &["function index"],
    );
    refused(
        |info| {
            let signature = info.0.module.functions[FuncIndex::new(0)].signature;
            let _: TagIndex = info
                .0
                .module
                .tags
                .push(Tag {
                    signature,
                    exception: signature,
                })
                .unwrap();
        },
        Kind::Unsupported,
        &["exception tags"],
    );
}

#[test]
fn ranges_in_other_sections_must_lie_there() {
    let data = with_section(&HARDWARE, ".rodata.wasm", b"short");
    refused(
        data,
        Kind::Corrupt,
        ".rodata.wasm",
        &["data inside of the section"],
    );
    let names = with_section(&HARDWARE, ".name.wasm", b"short");
    refused(
        names,
        Kind::Corrupt,
        ".name.wasm",
        &["a name inside of the section"],
    );
    let bti = with_section(&HARDWARE, ".wasmtime.bti", b"\x02");
    refused(bti, Kind::Corrupt, ".wasmtime.bti", &["0 or 1"]);
}

#[test]
fn an_impossible_number_of_exports_makes_no_room_for_them() {
    let name = ".wasmtime.info";
    // Module index, no strings, no name, no imports, then 2^35 exports.
    let contents = [0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    refused(
        with_section(&HARDWARE, name, &contents),
        Kind::Corrupt,
        name,
        &["as many exports"],
    );
}

/// Asks everything of an artifact.
fn exercise(artifact: &Artifact) {
    let text = artifact.text().len();
    let functions = artifact.iter_functions().count();
    assert!(
        artifact
            .iter_traps()
            .all(|site| (site.text_offset as usize) < text)
    );
    assert_eq!(artifact.iter_traps().count(), artifact.trap_count());
    let _ = artifact.iter_addresses().count();
    let step = (text / 64).max(1);
    for offset in (0..text + 2).step_by(step) {
        let _ = artifact.lookup_trap_code(offset);
        let _ = artifact.lookup_bytecode_offset(offset);
        let _ = artifact.function_at(offset);
    }
    for site in artifact.iter_traps() {
        assert_eq!(
            artifact.lookup_trap_code(site.text_offset as usize),
            Some(site.kind)
        );
    }
    for offset in [usize::MAX, u32::MAX as usize, u32::MAX as usize + 1] {
        assert_eq!(artifact.lookup_trap_code(offset), None);
        let _ = artifact.lookup_bytecode_offset(offset);
        assert!(artifact.function_at(offset).is_none());
    }
    let module = artifact.module();
    for function in module.defined_func_indices() {
        assert!(artifact.defined_function(function).is_some());
        let _ = artifact.array_to_wasm_trampoline(function);
        let _ = artifact.function_bytecode_offset(function);
    }
    for (function, ty) in module.functions.iter() {
        let _ = artifact.func_name(function);
        let ty = ty.signature.unwrap_module_type_index();
        let signature = artifact.types()[ty].unwrap_func();
        assert_eq!(
            format!("{signature}").is_empty(),
            signature.params().len() + signature.results().len() == usize::MAX
        );
        let _ = artifact.wasm_to_array_trampoline(ty);
    }
    for (_, group) in artifact.types().rec_groups() {
        assert!(group.end.index() <= artifact.types().len_types());
    }
    for (module_name, field, ty) in module.imports() {
        let _ = (module_name.len(), field.len(), ty);
    }
    for (name, index) in &module.exports {
        let _ = (module.strings[name].len(), module.type_of(*index));
    }
    for memory in module.memories.values() {
        let _ = (memory.minimum_byte_size(), memory.maximum_byte_size());
    }
    for index in module.runtime_data.keys() {
        assert!(artifact.runtime_data(index).is_some());
    }
    let _ = (
        artifact.vm_offsets().size_of_vmctx(),
        artifact.startup(),
        artifact.module_name(),
    );
    let _ = (
        artifact.dwarf_sections().count(),
        artifact.builtins().count(),
        functions,
    );
    let _ = format!("{artifact:?} {:?}", artifact.settings());
}

/// Parses bytes; nobody needs to agree with them.
fn survive(file: Vec<u8>) -> Result<(), ArtifactError> {
    let result = Artifact::parse_any_target(file);
    match &result {
        Ok(artifact) => exercise(artifact),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    result.map(drop)
}

#[test]
fn undamaged_artifacts_survive_everything() {
    survive(HARDWARE.clone()).unwrap();
    survive(EXPLICIT.clone()).unwrap();
}

#[test]
fn truncated_artifacts_are_refused_wherever_they_end() {
    // The section headers come last, so that nothing shorter is complete.
    for length in (0..HARDWARE.len()).step_by(61) {
        survive(HARDWARE[..length].to_vec()).unwrap_err();
    }
}

/// The sections whose bytes mean something to the loader.
const MEANINGFUL: [&str; 4] = [
    ".wasmtime.engine",
    ".wasmtime.info",
    ".wasmtime.traps",
    ".wasmtime.addrmap",
];

#[test]
fn every_byte_of_the_tables_may_be_wrong() {
    // A small module, so that each byte gets its turn.
    let file = compile_unchecked(SMALL, &CompileOptions::host());
    survive(file.clone()).unwrap();
    let headers = (0..64).chain(section_header(&file, ".wasmtime.engine") - 64..file.len());
    let tables = MEANINGFUL.iter().flat_map(|name| section(&file, name));
    for offset in headers.chain(tables) {
        for change in [0x01, 0x80, 0xff] {
            let mut file = file.clone();
            file[offset] ^= change;
            let _ = survive(file);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_damage_is_survived(
        explicit: bool,
        damage in prop::collection::vec((0..4_usize, any::<prop::sample::Index>(), any::<u8>()), 1..6),
        shift in prop::option::weighted(0.3, (0..4_usize, any::<prop::sample::Index>(), 1..4_usize, any::<bool>())),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut file = if explicit { EXPLICIT.clone() } else { HARDWARE.clone() };
        for (table, place, byte) in damage {
            let range = section(&file, MEANINGFUL[table]);
            let offset = range.start + place.index(range.len());
            file[offset] = byte;
        }
        if let Some((table, place, count, longer)) = shift {
            // Everything behind it means something else now.
            file = changed(&file, MEANINGFUL[table], |bytes| {
                let place = place.index(bytes.len() - count);
                if longer {
                    bytes.splice(place..place, core::iter::repeat_n(0x81, count));
                } else {
                    bytes.drain(place..place + count);
                }
            });
        }
        if let Some(cut) = cut {
            file = changed(&file, ".wasmtime.info", |bytes| bytes.truncate(cut.index(bytes.len())));
        }
        let _ = survive(file);
    }

    #[test]
    fn tables_of_random_bytes_are_survived(
        table in 0..4_usize,
        contents in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = survive(with_section(&HARDWARE, MEANINGFUL[table], &contents));
        // Past the version.
        if table == 0 {
            let mut engine = vec![0, 2, b'4', b'8'];
            engine.extend_from_slice(&contents);
            let _ = survive(with_section(&HARDWARE, MEANINGFUL[0], &engine));
        }
    }
}
