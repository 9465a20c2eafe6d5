//! The `.wasmtime.info` section: what the module is made of.
//!
//! The section is `postcard`'s encoding of the compiler's
//! `(CompiledModuleInfo, CompiledFunctionsTable, ModuleTypes)`. Decoding makes
//! no sense of the numbers, so each index and range that anybody may later
//! follow without looking is checked here.

use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::ops::Range;

use serde::Deserialize;
use wasmtime_environ::obj::{ELF_NAME_DATA, ELF_WASM_DATA, ELF_WASMTIME_DWARF, ELF_WASMTIME_INFO};
use wasmtime_environ::packed_option::ReservedValue as _;
use wasmtime_environ::prelude::TryVec;
use wasmtime_environ::{
    Atom, CompiledModuleInfo, EngineOrModuleTypeIndex, EntityIndex, EntityRef as _,
    GlobalConstValue, Initializer, MemoryInitialization, Module, ModuleInternedTypeIndex,
    ModuleStartup, ModuleTypes, StaticModuleIndex, TypeTrace as _, WasmArrayType, WasmContType,
    WasmExnType, WasmHeapType, WasmRefType, WasmStructType, WasmValType,
};

use crate::error::{ArtifactError, ArtifactErrorKind as Kind, Place};
use crate::functions::FunctionTable;

const PLACE: Place = Place::section(ELF_WASMTIME_INFO);

/// The decoded section.
pub(crate) struct Metadata {
    pub(crate) info: CompiledModuleInfo,
    pub(crate) functions: FunctionTable,
    pub(crate) types: ModuleTypes,
    /// For each type, the type whose exit trampoline serves it. (The lookup
    /// that `ModuleTypes` has panics for types that were not declared by the
    /// module but added by the compiler.)
    pub(crate) trampolines: Vec<Option<ModuleInternedTypeIndex>>,
}

/// The lengths of the sections that the metadata points into, in bytes.
pub(crate) struct Lengths {
    pub(crate) text: usize,
    pub(crate) wasm_data: usize,
    pub(crate) names: usize,
    pub(crate) dwarf: usize,
}

impl Metadata {
    /// Decodes and checks the section.
    pub(crate) fn parse(section: &[u8], lengths: &Lengths) -> Result<Self, ArtifactError> {
        check_export_count(section)?;
        let (info, rest) =
            decode::<CompiledModuleInfo>(section, section, "the description of a module")?;
        let (functions, encoded_types) =
            decode::<FunctionTable>(section, rest, "a table of functions")?;
        let (types, rest) = decode::<ModuleTypes>(section, encoded_types, "a list of types")?;
        if !rest.is_empty() {
            let at = section.len() - rest.len();
            return Err(PLACE.at(at).corrupt(
                "the end of the section",
                format!("{} more bytes", rest.len()),
            ));
        }
        check_types(section, encoded_types, &types)?;
        check_module(&info.module, &types)?;
        check_ranges(&info, lengths)?;
        let mut trampolines = alloc::vec![None; types.len_types()];
        for (ty, trampoline) in types.trampoline_types() {
            trampolines[ty.index()] = Some(trampoline);
        }
        functions.check(lengths.text, &info.module, &trampolines)?;
        Ok(Self {
            info,
            functions,
            types,
            trampolines,
        })
    }
}

/// Decodes a value from the front of `rest`, the end of `section`.
fn decode<'a, T: Deserialize<'a>>(
    section: &'a [u8],
    rest: &'a [u8],
    what: &'static str,
) -> Result<(T, &'a [u8]), ArtifactError> {
    postcard::take_from_bytes(rest).map_err(|error| {
        PLACE
            .at(section.len() - rest.len())
            .corrupt(what, format!("{error}"))
    })
}

/// Checks the number of exports: the decoder makes room for as many as that
/// says, before it sees whether there is even one. (Other lists are limited by
/// the bytes that are left.)
fn check_export_count(section: &[u8]) -> Result<(), ArtifactError> {
    // The fields of `Module` up to the exports.
    type Prefix<'a> = (
        StaticModuleIndex,
        Vec<&'a str>,
        Option<Atom>,
        TryVec<Initializer>,
    );
    let (_, rest) = decode::<Prefix<'_>>(section, section, "a module's imports")?;
    let (count, exports) = decode::<u64>(section, rest, "the number of exports")?;
    if count > exports.len() as u64 {
        let at = PLACE.at(section.len() - rest.len());
        let expected = format!("at most as many exports as bytes left, {}", exports.len());
        return Err(at.corrupt(expected, format!("{count}")));
    }
    Ok(())
}

/// The fields of `ModuleTypes` as they are encoded, as far as they are looked
/// at: `WasmFuncType` splits its list of types without looking.
#[derive(Deserialize)]
struct EncodedTypes {
    _groups: Vec<Range<u32>>,
    types: Vec<EncodedType>,
}

#[derive(Deserialize)]
struct EncodedType {
    is_final: bool,
    supertype: Option<EngineOrModuleTypeIndex>,
    inner: EncodedInner,
    shared: bool,
}

#[derive(Deserialize)]
enum EncodedInner {
    #[expect(dead_code, reason = "decoded to get past it")]
    Array(WasmArrayType),
    Func(EncodedFunc),
    #[expect(dead_code, reason = "decoded to get past it")]
    Struct(WasmStructType),
    #[expect(dead_code, reason = "decoded to get past it")]
    Cont(WasmContType),
    #[expect(dead_code, reason = "decoded to get past it")]
    Exn(WasmExnType),
}

#[derive(Deserialize)]
struct EncodedFunc {
    params_results: Vec<WasmValType>,
    params_len: u32,
    _non_i31_gc_ref_params_count: u32,
    _non_i31_gc_ref_results_count: u32,
}

/// Checks that the types are those of functions, and refer to each other.
fn check_types(section: &[u8], encoded: &[u8], types: &ModuleTypes) -> Result<(), ArtifactError> {
    let (decoded, _) = decode::<EncodedTypes>(section, encoded, "a list of types")?;
    for (index, ty) in decoded.types.iter().enumerate() {
        let EncodedInner::Func(function) = &ty.inner else {
            let expected = "types of functions only";
            return Err(PLACE.error(
                Kind::Unsupported,
                expected,
                format!("type {index} is another one"),
            ));
        };
        if ty.shared || ty.supertype.is_some() || !ty.is_final {
            let expected = "types of functions that are final, unshared and no subtypes";
            return Err(PLACE.error(Kind::Unsupported, expected, format!("type {index} is not")));
        }
        let length = function.params_results.len();
        PLACE.check_index(
            "number of parameters",
            function.params_len as usize,
            length + 1,
        )?;
        for ty in &function.params_results {
            check_value_type(*ty)?;
        }
    }
    let count = types.len_types();
    // Each type belongs to a group, and refers to types up to the end of that.
    let mut end = 0;
    for (_, group) in types.rec_groups() {
        PLACE.check(
            group.start.index() == end && group.end.index() >= end,
            "recursion groups that follow each other",
            || format!("one from {:?} to {:?} after {end}", group.start, group.end),
        )?;
        end = group.end.index();
        PLACE.check_index("end of a recursion group", end, count + 1)?;
        for index in group.start.index()..end {
            let ty = &types[ModuleInternedTypeIndex::new(index)];
            ty.trace(&mut |index| check_type_index(index, end))?;
        }
    }
    PLACE.check(end == count, "a recursion group for each type", || {
        format!("{end} of {count} types in groups")
    })?;
    for (ty, trampoline) in types.trampoline_types() {
        PLACE.check_index("a type index", ty.index(), count)?;
        PLACE.check_index("a trampoline's type index", trampoline.index(), count)?;
        let erased = types[ty].unwrap_func().trampoline_type();
        PLACE.check(
            erased.is_ok_and(|erased| *erased == *types[trampoline].unwrap_func()),
            "trampolines of their types, without what references refer to",
            || format!("{trampoline:?} for {ty:?}"),
        )?;
    }
    Ok(())
}

fn check_type_index(index: EngineOrModuleTypeIndex, types: usize) -> Result<(), ArtifactError> {
    match index.as_module_type_index() {
        Some(index) => PLACE.check_index("a type index", index.index(), types),
        None => Err(PLACE.corrupt("an index of a type of this module", format!("{index:?}"))),
    }
}

fn check_value_type(ty: WasmValType) -> Result<(), ArtifactError> {
    match ty {
        WasmValType::Ref(ty) => check_reference_type(ty),
        _ => Ok(()),
    }
}

/// Checks that references of this type can exist without a collector.
fn check_reference_type(ty: WasmRefType) -> Result<(), ArtifactError> {
    match ty.heap_type {
        WasmHeapType::Extern
        | WasmHeapType::NoExtern
        | WasmHeapType::Func
        | WasmHeapType::ConcreteFunc(_)
        | WasmHeapType::NoFunc => Ok(()),
        _ => {
            let expected = "references to functions and to host objects only";
            Err(PLACE.error(Kind::Unsupported, expected, format!("{ty:?}")))
        }
    }
}

/// Checks all indices in the description of the module.
fn check_module(module: &Module, types: &ModuleTypes) -> Result<(), ArtifactError> {
    PLACE.check_index("a module index", module.module_index.index(), 1)?;
    check_counts(module)?;
    let count = types.len_types();
    for ty in module.types.values() {
        check_type_index(*ty, count)?;
    }
    for function in module.functions.values() {
        check_type_index(function.signature, count)?;
    }
    check_escapes(module)?;
    for table in module.tables.values() {
        check_reference_type(table.ref_type)?;
        table.trace(&mut |index| check_type_index(index, count))?;
        let limits = table.limits;
        PLACE.check(
            limits.max.is_none_or(|max| max >= limits.min),
            "a maximum of at least the minimum",
            || format!("{limits:?}"),
        )?;
    }
    for memory in module.memories.values() {
        PLACE.check(
            matches!(memory.page_size_log2, 0 | 16),
            "a page size of 1 or 65536 bytes",
            || format!("2 to the power of {}", memory.page_size_log2),
        )?;
        let limits = memory.limits;
        PLACE.check(
            limits.max.is_none_or(|max| max >= limits.min),
            "a maximum of at least the minimum",
            || format!("{limits:?}"),
        )?;
        PLACE.check(
            !memory.shared || limits.max.is_some(),
            "a maximum for each shared memory",
            || "none".into(),
        )?;
    }
    for global in module.globals.values() {
        check_value_type(global.wasm_ty)?;
        global.trace(&mut |index| check_type_index(index, count))?;
    }
    if let ModuleStartup::Always(ty) | ModuleStartup::IfMemoriesNeedInit(ty) = module.startup {
        check_type_index(ty, count)?;
    }
    for (ty, count) in module.passive_elements.values() {
        check_reference_type(*ty)?;
        check_elements(*count)?;
    }
    check_names(module)?;
    check_initial_values(module)?;
    check_instance_size(module)
}

/// Checks that functions which can be referred to have a place each for that.
fn check_escapes(module: &Module) -> Result<(), ArtifactError> {
    let mut taken = alloc::vec![false; module.num_escaped_funcs];
    for function in module.functions.values() {
        if !function.is_escaping() {
            continue;
        }
        let index = function.func_ref.index();
        PLACE.check_index("an escape index", index, taken.len())?;
        let twice = core::mem::replace(&mut taken[index], true);
        PLACE.check(
            !twice,
            "an escape index of its own for each function",
            || format!("{index} twice"),
        )?;
    }
    PLACE.check(
        taken.iter().all(|taken| *taken),
        "a function for each escape index",
        || format!("some of {} without", taken.len()),
    )
}

/// Checks the number of elements of a segment: embedders make room for them.
fn check_elements(count: u64) -> Result<(), ArtifactError> {
    // What validation allows.
    const MAX: u64 = 10_000_000;
    PLACE.check(
        count <= MAX,
        "at most ten million elements of a segment",
        || count.to_string(),
    )
}

/// Checks that the counts of imports fit the index spaces and the imports.
fn check_counts(module: &Module) -> Result<(), ArtifactError> {
    if !module.tags.is_empty() {
        let expected = "no exception tags";
        return Err(PLACE.error(
            Kind::Unsupported,
            expected,
            format!("{}", module.tags.len()),
        ));
    }
    let mut left = [
        (
            "functions",
            module.num_imported_funcs,
            module.functions.len(),
        ),
        ("tables", module.num_imported_tables, module.tables.len()),
        (
            "memories",
            module.num_imported_memories,
            module.memories.len(),
        ),
        ("globals", module.num_imported_globals, module.globals.len()),
        ("tags", module.num_imported_tags, module.tags.len()),
    ];
    for (what, imported, all) in left {
        PLACE.check_index(&format!("number of imported {what}"), imported, all + 1)?;
    }
    // The imports of a kind are numbered in the order of the import list.
    for Initializer::Import { index, .. } in module.initializers.iter() {
        let (kind, index) = match index {
            EntityIndex::Function(index) => (0, index.index()),
            EntityIndex::Table(index) => (1, index.index()),
            EntityIndex::Memory(index) => (2, index.index()),
            EntityIndex::Global(index) => (3, index.index()),
            EntityIndex::Tag(index) => (4, index.index()),
        };
        let all = [
            module.num_imported_funcs,
            module.num_imported_tables,
            module.num_imported_memories,
            module.num_imported_globals,
            module.num_imported_tags,
        ][kind];
        let (what, left, _) = &mut left[kind];
        PLACE.check(
            *left > 0 && index == all - *left,
            "imports in the order of their indices",
            || format!("number {index} of the imported {what}"),
        )?;
        *left -= 1;
    }
    for (what, left, _) in left {
        PLACE.check(left == 0, "each imported item in the import list", || {
            format!("{left} {what} missing")
        })?;
    }
    PLACE.check_index(
        "number of escaping functions",
        module.num_escaped_funcs,
        module.functions.len() + 1,
    )
}

/// Checks names and what they stand for.
fn check_names(module: &Module) -> Result<(), ArtifactError> {
    let check =
        |name: Atom| PLACE.check_index("a string index", name.index(), module.strings.len());
    if let Some(name) = module.name {
        check(name)?;
    }
    for Initializer::Import { name, field, .. } in module.initializers.iter() {
        check(*name)?;
        check(*field)?;
    }
    for (name, index) in &module.exports {
        check(*name)?;
        PLACE.check(
            module.is_valid(*index),
            "exports of items that exist",
            || format!("{index:?}"),
        )?;
        if let EntityIndex::Function(function) = index {
            let escaping = module.functions[*function].is_escaping();
            PLACE.check(escaping, "exports of functions that escape", || {
                format!("{index:?}")
            })?;
        }
    }
    Ok(())
}

/// Checks the initial values of globals, tables and memories.
fn check_initial_values(module: &Module) -> Result<(), ArtifactError> {
    for (defined, value) in module.global_initializers.iter() {
        PLACE.check_index(
            "a defined global index",
            defined.index(),
            module.num_defined_globals(),
        )?;
        let ty = module.globals[module.global_index(*defined)].wasm_ty;
        let fits = matches!(
            (value, ty),
            (GlobalConstValue::I32(_), WasmValType::I32)
                | (GlobalConstValue::I64(_), WasmValType::I64)
                | (GlobalConstValue::F32(_), WasmValType::F32)
                | (GlobalConstValue::F64(_), WasmValType::F64)
                | (GlobalConstValue::V128(_), WasmValType::V128)
        );
        PLACE.check(fits, "initial values of their global's type", || {
            format!("{value:?} for {ty}")
        })?;
    }
    let images = module.table_initialization.len();
    PLACE.check_index(
        "number of table images",
        images,
        module.num_defined_tables() + 1,
    )?;
    for image in module.table_initialization.values() {
        for function in image
            .iter()
            .filter(|function| !function.is_reserved_value())
        {
            PLACE.check_index("a function index", function.index(), module.functions.len())?;
        }
    }
    if let MemoryInitialization::Static { map } = &module.memory_initialization {
        PLACE.check_index(
            "number of memory images",
            map.len(),
            module.memories.len() + 1,
        )?;
        for (_, data) in map.values().flatten() {
            PLACE.check_index("a data index", data.index(), module.runtime_data.len())?;
        }
    }
    Ok(())
}

/// Checks that an instance is small enough for its offsets to be computed.
fn check_instance_size(module: &Module) -> Result<(), ArtifactError> {
    /// More bytes than any item takes up in an instance.
    const PER_ITEM: u64 = 64;
    let items = module.functions.len()
        + module.num_escaped_funcs
        + module.tables.len()
        + module.memories.len()
        + module.globals.len()
        + module.runtime_data.len()
        + module.passive_elements.len();
    let limit = u64::from(u32::MAX) / PER_ITEM / 2;
    PLACE.check(
        (items as u64) < limit,
        "fewer than 33 million items",
        || items.to_string(),
    )
}

/// Checks the ranges in other sections.
fn check_ranges(info: &CompiledModuleInfo, lengths: &Lengths) -> Result<(), ArtifactError> {
    let check = |section, what: &str, start: u64, end: u64, length: usize| {
        if start <= end && end <= length as u64 {
            return Ok(());
        }
        let expected = format!("{what} inside of the section, which has {length:#x} bytes");
        Err(Place::section(section).corrupt(expected, format!("one from {start:#x} to {end:#x}")))
    };
    for range in info.module.runtime_data.values() {
        check(
            ELF_WASM_DATA,
            "data",
            range.start.into(),
            range.end.into(),
            lengths.wasm_data,
        )?;
    }
    let functions = info.module.functions.len();
    let mut previous = None;
    for name in &info.func_names {
        PLACE.check_index("a function index", name.idx.index(), functions)?;
        PLACE.check(
            previous < Some(name.idx),
            "function names in the order of the functions",
            || format!("{:?} after {previous:?}", name.idx),
        )?;
        let start = u64::from(name.offset);
        check(
            ELF_NAME_DATA,
            "a name",
            start,
            start + u64::from(name.len),
            lengths.names,
        )?;
        previous = Some(name.idx);
    }
    for (_, range) in &info.meta.dwarf {
        check(
            ELF_WASMTIME_DWARF,
            "debug information",
            range.start,
            range.end,
            lengths.dwarf,
        )?;
    }
    Ok(())
}
