//! Artifacts that are damaged and carry no checksum: whatever they say of their
//! module, to load it and to make an instance of it is an error or works, and
//! is never a panic or a crash. (Its code is not run: a function of which the
//! artifact tells a wrong type is called with wrong arguments, and nobody can
//! see that.)

use std::ops::Range;

use trapline_embed::{
    Engine, Extern, ExternType, Func, Global, GlobalType, Instance, Linker, Memory, MemoryType,
    Module, RefType, Store, Table, TableType, Val, ValType,
};
use trapline_wasmtime::compile::{CompileOptions, compile};
use trapline_wasmtime::{Artifact, Checksum};

/// Has no startup function, so that an instance is made without running code.
const GUEST: &str = r#"(module $guest
    (type $unary (func (param i32) (result i32)))
    (type $pair (func (param i32 (ref null $unary)) (result i64)))
    (import "m" "f" (func $f (param i32) (result externref)))
    (import "m" "memory" (memory 1))
    (import "m" "table" (table 1 funcref))
    (import "m" "global" (global i32))
    (memory (export "memory") 1 2)
    (memory i64 1)
    (table (export "table") 3 10 funcref)
    (table 1 externref)
    (global (export "constant") i64 (i64.const 5))
    (global (export "vector") (mut v128) (v128.const i64x2 1 2))
    (data $data "passive")
    (elem declare func $f $load $pair)
    (func $load (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func $pair (export "pair") (type $pair) (i64.const 0))
    (func (export "init") (memory.init $data (i32.const 0) (i32.const 0) (i32.const 7)))
    (func (export "references") (result funcref funcref) (ref.func $f) (ref.func $load))
    (export "imported" (func $f)))"#;

/// Loads the module, asks for everything, and makes an instance if its imports
/// are what they were.
fn use_it(engine: &Engine, artifact: Artifact) -> Option<()> {
    // SAFETY: none of the code is run, since there is no startup function, which
    // was looked at here, and nothing is called.
    let module = unsafe { Module::from_artifact(engine, artifact) }.ok()?;
    let imports: Vec<_> = module.imports().map(|import| import.ty).collect();
    let _ = (module.name(), module.exports().count(), imports.len());
    let mut store = Store::new(engine, ());
    let func = Func::wrap(&mut store, |_: i32| None::<trapline_embed::ExternRef>);
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).ok()?;
    let table_type = TableType::new(RefType::FUNCREF, 1, None);
    let table = Table::new(&mut store, table_type, Val::zero(ValType::FUNCREF)).ok()?;
    let global_type = GlobalType::constant(ValType::I32);
    let global = Global::new(&mut store, global_type, Val::I32(1)).ok()?;
    let mut linker = Linker::new(engine);
    let items: [(&str, Extern); 4] = [
        ("f", func.into()),
        ("memory", memory.into()),
        ("table", table.into()),
        ("global", global.into()),
    ];
    for (name, item) in items {
        linker.define("m", name, item);
    }
    let instance: Instance = linker.instantiate(&mut store, &module).ok()?;
    for (name, ty) in module.exports().map(|export| (export.name, export.ty)) {
        match (instance.get_export(&mut store, name)?, ty) {
            (Extern::Func(func), ExternType::Func(ty)) => assert_eq!(func.ty(&store), ty),
            (Extern::Memory(memory), _) => assert!(memory.size(&store) <= 1 << 16),
            (Extern::Table(table), _) => drop(table.get(&store, 0)),
            (Extern::Global(global), _) => drop(global.get(&store)),
            _ => {}
        }
    }
    Some(())
}

/// Where the description of the module lies in an artifact for this machine.
fn description(file: &[u8]) -> Range<usize> {
    let number = |at: usize, size: usize| {
        let mut bytes = [0; 8];
        let field = &file[at..at + size];
        if cfg!(target_endian = "big") {
            bytes[8 - size..].copy_from_slice(field);
        } else {
            bytes[..size].copy_from_slice(field);
        }
        u64::from_ne_bytes(bytes) as usize
    };
    // Fields of the ELF header and of section headers.
    let header = |section: usize| number(40, 8) + 64 * section;
    let range = |section: usize| {
        let start = number(header(section) + 24, 8);
        start..start + number(header(section) + 32, 8)
    };
    let names = &file[range(number(62, 2))];
    let name = |section: usize| &names[number(header(section), 4)..];
    (0..number(60, 2))
        .find(|section| name(*section).starts_with(b".wasmtime.info\0"))
        .map(range)
        .expect("each artifact has one")
}

#[test]
fn whatever_a_damaged_artifact_says_an_instance_is_made_or_refused() {
    for options in [
        CompileOptions::host(),
        CompileOptions::host().explicit_checks(),
    ] {
        let mut file = compile(GUEST.as_bytes(), &options).unwrap();
        file[9..16].fill(0);
        let engine = Engine::new();
        let artifact = Artifact::parse(file.clone()).unwrap();
        assert_eq!(artifact.checksum(), Checksum::Absent);
        assert!(artifact.startup().is_none());
        use_it(&engine, artifact).expect("undamaged");
        let mut loaded = 0;
        for offset in description(&file) {
            for bit in 0..8 {
                let mut file = file.clone();
                file[offset] ^= 1 << bit;
                let Ok(artifact) = Artifact::parse(file) else {
                    continue;
                };
                loaded += 1;
                if artifact.startup().is_none() {
                    use_it(&engine, artifact);
                }
            }
        }
        assert!(loaded > 100, "damage that nobody sees: {loaded} bits");
    }
}
