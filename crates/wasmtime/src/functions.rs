//! Which function lies where in the text.
//!
//! The compiler's `CompiledFunctionsTable` has this, but its lookups trust
//! what they find, and it can't be iterated. So the same bytes are decoded
//! into a table of the same shape, which is checked once.
//!
//! Functions are ordered by namespace (a kind of function), then by index; the
//! locations ascend in the same order. In a *dense* namespace, the entry at
//! position `i` belongs to index `i`; in a *sparse* one, a second list says
//! which index each entry belongs to.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use serde::Deserialize;
use wasmtime_environ::obj::ELF_WASMTIME_INFO;
use wasmtime_environ::{
    Abi, BuiltinFunctionIndex, DefinedFuncIndex, EntityRef as _, FuncKey, FuncKeyKind, FunctionLoc,
    Module, ModuleInternedTypeIndex, StaticModuleIndex,
};

use crate::error::{ArtifactError, ArtifactErrorKind as Kind, Place};
use crate::vm::Builtin;

const PLACE: Place = Place::section(ELF_WASMTIME_INFO);

/// A namespace's number has the kind in its upper four bits, for kinds that
/// belong to a module the module's index below.
const KIND_MASK: u32 = 0xf000_0000;

/// The table, field for field as `CompiledFunctionsTable` is encoded.
#[derive(Debug, Deserialize)]
pub(crate) struct FunctionTable {
    namespaces: Vec<u32>,
    /// For each namespace, where its part of `locations` begins.
    location_starts: Vec<u32>,
    /// The same for `sparse_indices`; of use for sparse namespaces only.
    sparse_starts: Vec<u32>,
    /// The same for `source_positions`; of use for defined functions only.
    source_starts: Vec<u32>,
    sparse_indices: Vec<u32>,
    /// (start, length) in bytes, from the start of the text.
    locations: Vec<(u32, u32)>,
    /// Byte offsets in the module, `u32::MAX` for none.
    source_positions: Vec<u32>,
}

/// How the functions of a namespace are numbered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexing {
    Dense,
    Sparse,
}

/// The kind of a namespace of this module, if there is such a kind.
fn kind(namespace: u32) -> Option<(FuncKeyKind, Indexing)> {
    // Modules are compiled alone, so that the module's index is 0. (There are
    // more kinds: of components, and of the compiler's interpreter.)
    let kinds = [
        (FuncKeyKind::DefinedWasmFunction, Indexing::Dense),
        (FuncKeyKind::ArrayToWasmTrampoline, Indexing::Sparse),
        (FuncKeyKind::WasmToArrayTrampoline, Indexing::Dense),
        (FuncKeyKind::WasmToBuiltinTrampoline, Indexing::Sparse),
        (FuncKeyKind::PatchableToBuiltinTrampoline, Indexing::Sparse),
        (FuncKeyKind::ModuleStartup, Indexing::Sparse),
    ];
    kinds
        .into_iter()
        .find(|(kind, _)| kind.into_raw() == namespace)
}

/// The key of the function with this index in a namespace of this kind,
/// `None` if there can't be one.
fn key(kind: FuncKeyKind, index: u32) -> Option<FuncKey> {
    let module = StaticModuleIndex::new(0);
    let valid = (index != u32::MAX).then_some(index);
    let builtin = |index| {
        (index < BuiltinFunctionIndex::len()).then(|| BuiltinFunctionIndex::from_u32(index))
    };
    Some(match kind {
        FuncKeyKind::DefinedWasmFunction => {
            FuncKey::DefinedWasmFunction(module, DefinedFuncIndex::from_u32(valid?))
        }
        FuncKeyKind::ArrayToWasmTrampoline => {
            FuncKey::ArrayToWasmTrampoline(module, DefinedFuncIndex::from_u32(valid?))
        }
        FuncKeyKind::WasmToArrayTrampoline => {
            FuncKey::WasmToArrayTrampoline(ModuleInternedTypeIndex::from_u32(valid?))
        }
        FuncKeyKind::WasmToBuiltinTrampoline => FuncKey::WasmToBuiltinTrampoline(builtin(index)?),
        FuncKeyKind::PatchableToBuiltinTrampoline => {
            FuncKey::PatchableToBuiltinTrampoline(builtin(index)?)
        }
        FuncKeyKind::ModuleStartup => {
            let abi = [Abi::Wasm, Abi::Array, Abi::Patchable]
                .get(index as usize)
                .copied()?;
            FuncKey::ModuleStartup(abi, module)
        }
        _ => return None,
    })
}

impl FunctionTable {
    /// Where a namespace's entries lie in one of the lists.
    fn part(starts: &[u32], length: usize, namespace: usize) -> Range<usize> {
        let start = starts
            .get(namespace)
            .map_or(length, |start| *start as usize);
        let end = starts
            .get(namespace + 1)
            .map_or(length, |start| *start as usize);
        start..end
    }

    fn locations_of(&self, namespace: usize) -> Range<usize> {
        Self::part(&self.location_starts, self.locations.len(), namespace)
    }

    fn sparse_indices_of(&self, namespace: usize) -> &[u32] {
        let part = Self::part(&self.sparse_starts, self.sparse_indices.len(), namespace);
        self.sparse_indices.get(part).unwrap_or(&[])
    }

    /// The number of the entry with this key.
    fn entry(&self, key: FuncKey) -> Option<usize> {
        let (raw_namespace, index) = key.into_raw_parts();
        let namespace = self.namespaces.binary_search(&raw_namespace).ok()?;
        let position = match kind(raw_namespace)?.1 {
            Indexing::Dense => index as usize,
            Indexing::Sparse => self
                .sparse_indices_of(namespace)
                .binary_search(&index)
                .ok()?,
        };
        let locations = self.locations_of(namespace);
        let entry = locations.start.checked_add(position)?;
        locations.contains(&entry).then_some(entry)
    }

    /// The location at this position, unless it only fills a gap.
    fn location(&self, entry: usize) -> Option<FunctionLoc> {
        let (start, length) = *self.locations.get(entry)?;
        (length != 0).then_some(FunctionLoc { start, length })
    }

    /// Where a function lies in the text; `None` if the artifact does not have
    /// it.
    pub(crate) fn get(&self, key: FuncKey) -> Option<FunctionLoc> {
        self.location(self.entry(key)?)
    }

    /// Where the code of a function defined by the module begins in the
    /// module, as a byte offset.
    pub(crate) fn source_position(&self, function: DefinedFuncIndex) -> Option<u32> {
        let key = FuncKey::DefinedWasmFunction(StaticModuleIndex::new(0), function);
        let namespace = self
            .namespaces
            .binary_search(&key.into_raw_parts().0)
            .ok()?;
        let part = Self::part(&self.source_starts, self.source_positions.len(), namespace);
        let position = *self.source_positions.get(part)?.get(function.index())?;
        (position != u32::MAX).then_some(position)
    }

    /// The key of the entry at this position.
    fn key_of(&self, entry: usize) -> Option<FuncKey> {
        let after = self
            .location_starts
            .partition_point(|start| *start as usize <= entry);
        let namespace = after.checked_sub(1)?;
        let (kind, indexing) = kind(*self.namespaces.get(namespace)?)?;
        let position = entry.checked_sub(self.locations_of(namespace).start)?;
        let index = match indexing {
            Indexing::Dense => u32::try_from(position).ok()?,
            Indexing::Sparse => *self.sparse_indices_of(namespace).get(position)?,
        };
        key(kind, index)
    }

    /// The function that a byte of the text belongs to, and where it lies.
    pub(crate) fn at(&self, text_offset: u32) -> Option<(FuncKey, FunctionLoc)> {
        // The last one of those that start at or before the offset is the one,
        // or there is none: entries that fill gaps lie where the previous
        // function ends.
        let after = self
            .locations
            .partition_point(|(start, _)| *start <= text_offset);
        let entries = (0..after).rev();
        let entry = entries
            .into_iter()
            .find(|entry| self.location(*entry).is_some())?;
        let location = self.location(entry)?;
        let inside = text_offset - location.start < location.length;
        inside.then_some((self.key_of(entry)?, location))
    }

    /// The function defined by the module that a byte of the text belongs to.
    #[inline]
    pub(crate) fn defined_at(&self, text_offset: u32) -> Option<DefinedFuncIndex> {
        let defined = FuncKeyKind::DefinedWasmFunction.into_raw();
        let namespace = self.namespaces.iter().position(|raw| *raw == defined)?;
        // Each of them has code, so that none of these entries fills a gap.
        let functions = self.locations.get(self.locations_of(namespace))?;
        let after = functions.partition_point(|(start, _)| *start <= text_offset);
        let index = after.checked_sub(1)?;
        let (start, length) = *functions.get(index)?;
        (text_offset - start < length).then(|| DefinedFuncIndex::new(index))
    }

    /// All functions, by ascending text offset.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (FuncKey, FunctionLoc)> {
        (0..self.locations.len())
            .filter_map(|entry| Some((self.key_of(entry)?, self.location(entry)?)))
    }

    /// Checks that the lists fit together, that the functions lie in the text
    /// one after the other, and that there is everything that an embedder
    /// needs to run the module.
    pub(crate) fn check(
        &self,
        text: usize,
        module: &Module,
        trampolines: &[Option<ModuleInternedTypeIndex>],
    ) -> Result<(), ArtifactError> {
        self.check_shape()?;
        self.check_locations(text)?;
        for namespace in 0..self.namespaces.len() {
            self.check_namespace(namespace, module, trampolines.len())?;
        }
        self.check_complete(module, trampolines)
    }

    fn check_shape(&self) -> Result<(), ArtifactError> {
        let count = self.namespaces.len();
        let lists = [
            (&self.location_starts, self.locations.len()),
            (&self.sparse_starts, self.sparse_indices.len()),
            (&self.source_starts, self.source_positions.len()),
        ];
        for (starts, length) in lists {
            PLACE.check(
                starts.len() == count,
                "one start for each function namespace",
                || format!("{} for {count}", starts.len()),
            )?;
            let holds = starts.is_sorted()
                && starts.first().is_none_or(|first| *first == 0)
                && starts.last().is_none_or(|last| *last as usize <= length);
            PLACE.check(
                holds,
                "ascending starts of function namespaces from 0",
                || format!("{starts:?} in a list of {length}"),
            )?;
        }
        let ascending = self.namespaces.is_sorted_by(|a, b| a < b);
        PLACE.check(ascending, "ascending function namespaces", || {
            format!("{:x?}", self.namespaces)
        })?;
        PLACE.check(
            count > 0 || self.locations.is_empty(),
            "a namespace for each function",
            || format!("{} functions without", self.locations.len()),
        )
    }

    fn check_locations(&self, text: usize) -> Result<(), ArtifactError> {
        let mut end = 0;
        for (start, length) in &self.locations {
            let start = *start as usize;
            PLACE.check(
                start >= end,
                "functions that follow each other in the text",
                || format!("one at {start:#x} after one that ends at {end:#x}"),
            )?;
            end = start + *length as usize;
            if end > text {
                let expected = format!("functions inside of the text, which has {text:#x} bytes");
                return Err(PLACE.corrupt(expected, format!("one from {start:#x} to {end:#x}")));
            }
        }
        Ok(())
    }

    /// Checks that the functions lie where the file's symbols say.
    pub(crate) fn check_symbols(
        &self,
        symbols: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(), ArtifactError> {
        let filled = self.locations.iter().filter(|(_, length)| *length != 0);
        let functions = filled.map(|(start, length)| (u64::from(*start), u64::from(*length)));
        PLACE.check(
            functions.eq(symbols),
            "functions where the symbols of the file say that they are",
            || "others".into(),
        )
    }

    fn check_namespace(
        &self,
        namespace: usize,
        module: &Module,
        types: usize,
    ) -> Result<(), ArtifactError> {
        let raw = self.namespaces[namespace];
        let Some((kind, indexing)) = kind(raw) else {
            let found = format!("{raw:#010x}");
            let component = matches!((raw & KIND_MASK) >> 28, 6..=8);
            let error = if component {
                Kind::Component
            } else {
                Kind::Corrupt
            };
            return Err(PLACE.error(error, "a function namespace of a module", found));
        };
        let count = self.locations_of(namespace).len();
        if indexing == Indexing::Sparse {
            let indices = self.sparse_indices_of(namespace);
            PLACE.check(
                indices.len() == count,
                "one index for each function",
                || format!("{} for {count} of kind {kind:?}", indices.len()),
            )?;
            let ascending = indices.is_sorted_by(|a, b| a < b);
            PLACE.check(ascending, "ascending function indices", || {
                format!("{indices:?}")
            })?;
        }
        let defined = module.num_defined_funcs();
        let limit = match kind {
            FuncKeyKind::DefinedWasmFunction => {
                let part = Self::part(&self.source_starts, self.source_positions.len(), namespace);
                PLACE.check(
                    part.len() == count,
                    "one source position for each function",
                    || format!("{} for {count}", part.len()),
                )?;
                defined
            }
            FuncKeyKind::ArrayToWasmTrampoline => defined,
            FuncKeyKind::WasmToArrayTrampoline => types,
            FuncKeyKind::WasmToBuiltinTrampoline | FuncKeyKind::PatchableToBuiltinTrampoline => {
                BuiltinFunctionIndex::len() as usize
            }
            FuncKeyKind::ModuleStartup => 3,
            _ => 0,
        };
        let last = match indexing {
            Indexing::Dense => count.checked_sub(1),
            Indexing::Sparse => self
                .sparse_indices_of(namespace)
                .last()
                .map(|last| *last as usize),
        };
        if let Some(last) = last {
            PLACE.check_index("a function index", last, limit)?;
        }
        if kind == FuncKeyKind::WasmToBuiltinTrampoline {
            for index in self.sparse_indices_of(namespace) {
                if Builtin::from_index(*index).is_none() {
                    let name = BuiltinFunctionIndex::from_u32(*index).name();
                    let expected = "calls only to builtin functions that trapline has";
                    return Err(PLACE.error(
                        Kind::Unsupported,
                        expected,
                        format!("a call to `{name}`"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_complete(
        &self,
        module: &Module,
        trampolines: &[Option<ModuleInternedTypeIndex>],
    ) -> Result<(), ArtifactError> {
        let index = StaticModuleIndex::new(0);
        let missing = |what: &str, function: DefinedFuncIndex| {
            let expected = format!("{what} of each function that needs one");
            PLACE.corrupt(
                expected,
                format!("none for defined function {}", function.as_u32()),
            )
        };
        for function in module.defined_func_indices() {
            if self
                .get(FuncKey::DefinedWasmFunction(index, function))
                .is_none()
            {
                return Err(missing("the code", function));
            }
            let escapes = module.functions[module.func_index(function)].is_escaping();
            let entry = self.get(FuncKey::ArrayToWasmTrampoline(index, function));
            if escapes && entry.is_none() {
                return Err(missing("the entry trampoline", function));
            }
            PLACE.check(
                escapes || entry.is_none(),
                "entry trampolines of functions that escape",
                || format!("one of defined function {}", function.as_u32()),
            )?;
        }
        let mut served = alloc::vec![false; trampolines.len()];
        for trampoline in trampolines.iter().flatten() {
            served[trampoline.index()] = true;
        }
        for (ty, needed) in served.into_iter().enumerate() {
            let key = FuncKey::WasmToArrayTrampoline(ModuleInternedTypeIndex::new(ty));
            PLACE.check(
                self.get(key).is_some() == needed,
                "exit trampolines of the types that stand for others",
                || format!("type {ty}, needed: {needed}"),
            )?;
        }
        for (function, ty) in module.functions.iter().take(module.num_imported_funcs) {
            let ty = ty.signature.as_module_type_index();
            let trampoline = ty.and_then(|ty| *trampolines.get(ty.index())?);
            let exit = trampoline.and_then(|ty| self.get(FuncKey::WasmToArrayTrampoline(ty)));
            PLACE.check(
                exit.is_some(),
                "an exit trampoline for each imported function",
                || format!("none for function {}", function.as_u32()),
            )?;
        }
        let startup = |abi| self.get(FuncKey::ModuleStartup(abi, index)).is_some();
        let needed = !module.startup.is_none();
        PLACE.check(
            startup(Abi::Array) == needed,
            "the module's startup function if it needs one",
            || format!("needed: {needed}"),
        )
    }
}
