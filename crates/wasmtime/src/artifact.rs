//! Artifacts: the compiler's output, checked and made accessible.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use trapline_code_registry::TrapKind;
use wasmtime_environ::obj::{
    ELF_WASM_BTI, ELF_WASM_ENGINE, ELF_WASMTIME_ADDRMAP, ELF_WASMTIME_INFO, ELF_WASMTIME_TRAPS,
};
use wasmtime_environ::{
    Abi, CompiledModuleInfo, DefinedFuncIndex, EntityRef as _, FuncIndex, FuncKey, FuncKeyKind,
    FunctionLoc, FunctionName, HostPtr, Module, ModuleInternedTypeIndex, ModuleTypes,
    RuntimeDataIndex, StaticModuleIndex, VMOffsets,
};

use crate::address_map::{AddressMap, lookup_bytecode_offset};
use crate::checksum::{self, Checksum};
use crate::elf::{self, Section, Sections};
use crate::error::{ArtifactError, ArtifactErrorKind as Kind, Place};
use crate::metadata::{Lengths, Metadata};
use crate::trap_kind_from_code;
use crate::trap_table::{TrapTable, lookup_trap_code};
use crate::vm::Builtin;
use crate::{Cpu, Isa, Settings};

/// The bytes of an artifact and who keeps them: side tables are read there for
/// as long as the artifact is in use, so nothing of them is ever copied.
#[derive(Clone)]
pub enum ArtifactBytes {
    /// They are always there: part of the program, or of a boot image.
    Static(&'static [u8]),
    /// They are shared with others.
    Shared(Arc<[u8]>),
    /// They belong to the artifact.
    Owned(Arc<Vec<u8>>),
}

impl fmt::Debug for ArtifactBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArtifactBytes({} bytes)", self.as_slice().len())
    }
}

impl ArtifactBytes {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl From<&'static [u8]> for ArtifactBytes {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Static(bytes)
    }
}

impl<const N: usize> From<&'static [u8; N]> for ArtifactBytes {
    fn from(bytes: &'static [u8; N]) -> Self {
        Self::Static(bytes)
    }
}

impl From<Arc<[u8]>> for ArtifactBytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

impl From<Vec<u8>> for ArtifactBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(Arc::new(bytes))
    }
}

impl From<Box<[u8]>> for ArtifactBytes {
    fn from(bytes: Box<[u8]>) -> Self {
        bytes.into_vec().into()
    }
}

/// A module compiled by the Wasmtime compiler, version 48.
///
/// All offsets named *text offset* are in bytes from the start of the code,
/// [`text`](Self::text), whose address in memory the embedder chooses; those
/// named *bytecode offset* are in bytes from the start of the WebAssembly
/// module that was compiled.
pub struct Artifact {
    bytes: ArtifactBytes,
    checksum: Checksum,
    sections: Sections,
    settings: Settings,
    metadata: Metadata,
    /// Whether instruction set, calling convention and CPU features were compared
    /// with those of a machine.
    checked_for_a_machine: bool,
    /// Whether all names of functions are UTF-8, as they are unless a module is damaged: then
    /// nobody need look again.
    names_are_utf8: bool,
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact")
            .field("bytes", &self.bytes)
            .field("name", &self.module_name())
            .field("target", &self.settings.target())
            .finish_non_exhaustive()
    }
}

/// A function of an artifact: of the module, or one that the compiler added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function<'a> {
    /// Which function it is.
    pub key: FuncKey,
    /// For functions of the module, their index, imports included.
    pub index: Option<FuncIndex>,
    /// For functions of the module, their name if the module had one for them.
    pub name: Option<&'a str>,
    /// Where its code lies.
    pub location: FunctionLoc,
}

impl Function<'_> {
    /// The text offsets of the function's code.
    #[must_use]
    pub const fn text_range(&self) -> Range<u32> {
        self.location.start..self.location.start + self.location.length
    }
}

/// An instruction that may trap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TrapSite {
    /// Its text offset.
    pub text_offset: u32,
    /// The trap.
    pub kind: TrapKind,
}

/// Where the code from one text offset to that of the next entry comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AddressEntry {
    /// The text offset of the first instruction.
    pub text_offset: u32,
    /// The bytecode offset; `None` if no bytecode stands behind the code.
    pub bytecode_offset: Option<u32>,
}

impl Artifact {
    /// Reads an artifact that is meant to run here.
    ///
    /// The bytes may be at any alignment. What is decoded is the description
    /// of the module; code, trap sites, address map, names and data stay where
    /// they are.
    ///
    /// # Errors
    ///
    /// If the bytes are not an artifact of the supported compiler version, or
    /// are damaged; if the code does not run on this machine, or was compiled
    /// with settings that trapline cannot honour. Any bytes are answered by an
    /// error or by an artifact whose tables hold together. Damage that leaves
    /// them so is found by the [checksum](Self::checksum) if there is one;
    /// whether its *code* does what it should, nothing can tell.
    pub fn parse(bytes: impl Into<ArtifactBytes>) -> Result<Self, ArtifactError> {
        match Cpu::host() {
            Some(cpu) => Self::parse_for(bytes, cpu),
            None => {
                let expected = "a machine that the compiler generates code for";
                Err(Place::section(ELF_WASM_ENGINE).error(Kind::Machine, expected, "another one"))
            }
        }
    }

    /// Reads an artifact that is meant to run on the machine that this code
    /// runs on, of which the caller knows more than [`Cpu::host`] finds out.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_for(bytes: impl Into<ArtifactBytes>, cpu: Cpu<'_>) -> Result<Self, ArtifactError> {
        Self::parse_inner(bytes.into(), Some(cpu))
    }

    /// Reads an artifact for any machine, in order to look at it.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), apart from those about the machine.
    pub fn parse_any_target(bytes: impl Into<ArtifactBytes>) -> Result<Self, ArtifactError> {
        Self::parse_inner(bytes.into(), None)
    }

    fn parse_inner(bytes: ArtifactBytes, cpu: Option<Cpu<'_>>) -> Result<Self, ArtifactError> {
        let file = bytes.as_slice();
        let checksum = checksum::check(file)?;
        let (isa, sections, symbols) = elf::parse(file)?;
        let required = |section: &Section, name| match section {
            Some(range) => Ok(slice(file, Some(range))),
            None => Err(Place::section(name).error(Kind::MissingSection, "the section", "none")),
        };
        let settings = Settings::parse(required(&sections.engine, ELF_WASM_ENGINE)?, isa, cpu)?;
        let text = sections.text.as_ref().map_or(0, Range::len);
        let length = |section: &Section| section.as_ref().map_or(0, Range::len);
        let metadata = Metadata::parse(
            required(&sections.info, ELF_WASMTIME_INFO)?,
            &Lengths {
                text,
                wasm_data: length(&sections.wasm_data),
                names: length(&sections.names),
                dwarf: length(&sections.dwarf),
            },
        )?;
        if !symbols.is_empty() {
            metadata.functions.check_symbols(symbols.functions())?;
        }
        // A module without functions has neither text nor tables for it.
        let needed = |name, section: &Section| match section {
            None if text == 0 => Ok(None),
            _ => required(section, name).map(Some),
        };
        if let Some(traps) = needed(ELF_WASMTIME_TRAPS, &sections.traps)? {
            let known = |code| trap_kind_from_code(code).is_some();
            TrapTable::new(traps).check(ELF_WASMTIME_TRAPS, text, "a trap code", known)?;
        }
        if settings.has_address_map()
            && let Some(map) = needed(ELF_WASMTIME_ADDRMAP, &sections.address_map)?
        {
            AddressMap::new(map).check(ELF_WASMTIME_ADDRMAP, text, "a position", |_| true)?;
        }
        if let Some(bti) = &sections.bti {
            let bti = slice(file, Some(bti));
            Place::section(ELF_WASM_BTI).check(
                matches!(bti, [0 | 1]),
                "one byte, 0 or 1",
                || alloc::format!("{bti:02x?}"),
            )?;
        }
        let names = slice(file, sections.names.as_ref());
        let names_are_utf8 = (metadata.info.func_names.iter())
            .all(|name| name_in(names, name).is_some_and(|name| str::from_utf8(name).is_ok()));
        Ok(Self {
            checksum,
            sections,
            settings,
            metadata,
            bytes,
            checked_for_a_machine: cpu.is_some(),
            names_are_utf8,
        })
    }

    /// Whether the artifact was checked against a machine, and not read with
    /// [`parse_any_target`](Self::parse_any_target): only then it may be run.
    #[must_use]
    pub const fn is_checked_for_a_machine(&self) -> bool {
        self.checked_for_a_machine
    }

    /// Whether the artifact carries a checksum. One that is wrong is an error
    /// when the artifact is read; one that is missing is not, so that artifacts
    /// of the Wasmtime compiler itself can be read.
    #[must_use]
    pub const fn checksum(&self) -> Checksum {
        self.checksum
    }

    fn section(&self, section: &Section) -> &[u8] {
        slice(self.bytes.as_slice(), section.as_ref())
    }

    /// The artifact as it was given.
    #[must_use]
    pub const fn bytes(&self) -> &ArtifactBytes {
        &self.bytes
    }

    /// What the artifact was compiled for, and with.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The instruction set of the code.
    #[must_use]
    pub const fn isa(&self) -> Isa {
        self.settings.isa()
    }

    /// The code. It holds no addresses, so that it runs wherever it is copied
    /// to; empty if the module has no functions.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.section(&self.sections.text)
    }

    /// The alignment that the code was laid out for, in bytes: the target's
    /// page size, or 1 if there is no code. A power of two.
    #[must_use]
    pub const fn text_alignment(&self) -> usize {
        self.sections.text_alignment
    }

    /// Whether indirect branches of the code land on `BTI` instructions only
    /// (aarch64), so that its pages may be guarded.
    #[must_use]
    pub fn uses_branch_target_identification(&self) -> bool {
        self.section(&self.sections.bti) == [1]
    }

    /// All that the compiler says about the module.
    #[must_use]
    pub const fn info(&self) -> &CompiledModuleInfo {
        &self.metadata.info
    }

    /// The module: imports, exports, and what instances of it are made of. Its
    /// indices have been checked against its own lists and
    /// [`types`](Self::types).
    #[must_use]
    pub const fn module(&self) -> &Module {
        &self.metadata.info.module
    }

    /// The types of the module's functions, and of functions that the compiler
    /// added: final types of functions only.
    #[must_use]
    pub const fn types(&self) -> &ModuleTypes {
        &self.metadata.types
    }

    /// Where the parts of an instance lie, in bytes from its context, on a
    /// machine with pointers of this size.
    #[must_use]
    pub fn vm_offsets(&self) -> VMOffsets<HostPtr> {
        VMOffsets::new(HostPtr, self.module())
    }

    /// The contents of all data segments.
    #[must_use]
    pub fn wasm_data(&self) -> &[u8] {
        self.section(&self.sections.wasm_data)
    }

    /// The contents of one data segment, as compiled code numbers them; `None`
    /// beyond the last.
    #[must_use]
    pub fn runtime_data(&self, index: RuntimeDataIndex) -> Option<&[u8]> {
        let range = self.module().runtime_data.get(index)?;
        self.wasm_data()
            .get(range.start as usize..range.end as usize)
    }

    /// The `.wasmtime.exceptions` section: call sites and their landing pads,
    /// for [`ExceptionTable`] of the crate `wasmtime-internal-unwinder`.
    ///
    /// [`ExceptionTable`]: https://docs.rs/wasmtime-internal-unwinder/48.0.8
    #[must_use]
    pub fn exception_table(&self) -> &[u8] {
        self.section(&self.sections.exceptions)
    }

    /// The module's own debug information: the sections, numbered as
    /// `gimli::SectionId` does.
    pub fn dwarf_sections(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let all = self.section(&self.sections.dwarf);
        self.info()
            .meta
            .dwarf
            .iter()
            .filter_map(move |(id, range)| {
                let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
                Some((*id, all.get(range)?))
            })
    }

    /// The name of the module, from its name section.
    #[must_use]
    pub fn module_name(&self) -> Option<&str> {
        self.module().strings.get(self.module().name?)
    }

    /// The name of a function, imports included, from the module's name
    /// section.
    #[must_use]
    pub fn func_name(&self, function: FuncIndex) -> Option<&str> {
        let name = name_of(&self.info().func_names, function)?;
        let name = name_in(self.section(&self.sections.names), name)?;
        if self.names_are_utf8 {
            // SAFETY: these very bytes were looked at when the artifact was read; nobody can
            // have changed them, since they are shared.
            return Some(unsafe { str::from_utf8_unchecked(name) });
        }
        str::from_utf8(name).ok()
    }

    /// Where a function lies in the text; `None` if the artifact has no such
    /// function.
    #[must_use]
    pub fn function(&self, key: FuncKey) -> Option<FunctionLoc> {
        self.metadata.functions.get(key)
    }

    /// A function of the module, to be called by compiled code: the `wasm_call`
    /// of a [`VMFuncRef`](crate::vm::VMFuncRef). Each defined function has one.
    #[must_use]
    pub fn defined_function(&self, function: DefinedFuncIndex) -> Option<FunctionLoc> {
        self.function(FuncKey::DefinedWasmFunction(self.module_index(), function))
    }

    /// The entry trampoline of a function of the module: the `array_call` of a
    /// [`VMFuncRef`](crate::vm::VMFuncRef). Each defined function that escapes
    /// (is exported, or referred to) has one.
    #[must_use]
    pub fn array_to_wasm_trampoline(&self, function: DefinedFuncIndex) -> Option<FunctionLoc> {
        self.function(FuncKey::ArrayToWasmTrampoline(
            self.module_index(),
            function,
        ))
    }

    /// The exit trampoline to host functions of this type: the `wasm_call` of
    /// a [`VMFunctionImport`](crate::vm::VMFunctionImport) of a host function.
    /// The types that the module declares have one.
    #[must_use]
    pub fn wasm_to_array_trampoline(&self, ty: ModuleInternedTypeIndex) -> Option<FunctionLoc> {
        let trampoline = *self.metadata.trampolines.get(ty.index())?;
        self.function(FuncKey::WasmToArrayTrampoline(trampoline?))
    }

    /// The function that completes the initialisation of an instance (globals,
    /// tables, memories, and the module's start function), with the array
    /// calling convention, no arguments and no results; `None` if nothing is
    /// left to do.
    #[must_use]
    pub fn startup(&self) -> Option<FunctionLoc> {
        if self.module().startup.is_none() {
            return None;
        }
        self.function(FuncKey::ModuleStartup(Abi::Array, self.module_index()))
    }

    /// The functions that the code calls in its embedder.
    pub fn builtins(&self) -> impl Iterator<Item = Builtin> {
        self.iter_functions()
            .filter_map(|function| match function.key {
                FuncKey::WasmToBuiltinTrampoline(builtin) => Builtin::from_index(builtin.index()),
                _ => None,
            })
    }

    const fn module_index(&self) -> StaticModuleIndex {
        self.module().module_index
    }

    /// The function that the byte at this text offset belongs to.
    #[must_use]
    pub fn function_at(&self, text_offset: usize) -> Option<Function<'_>> {
        let (key, location) = self
            .metadata
            .functions
            .at(u32::try_from(text_offset).ok()?)?;
        Some(self.describe(key, location))
    }

    /// The index, imports included, of the function of the module that the byte at this text
    /// offset belongs to; `None` if it is of no such function, but of a trampoline, say.
    #[must_use]
    pub fn func_index_at(&self, text_offset: usize) -> Option<FuncIndex> {
        let text_offset = u32::try_from(text_offset).ok()?;
        let function = self.metadata.functions.defined_at(text_offset)?;
        Some(self.module().func_index(function))
    }

    /// Where the code of a function of the module begins in the module, as a
    /// bytecode offset.
    #[must_use]
    pub fn function_bytecode_offset(&self, function: DefinedFuncIndex) -> Option<u32> {
        self.metadata.functions.source_position(function)
    }

    /// The trap recorded for exactly the instruction at this text offset.
    ///
    /// Handlers may call this: it does not allocate, lock or panic.
    #[inline]
    #[must_use]
    pub fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind> {
        lookup_trap_code(self.section(&self.sections.traps), text_offset)
    }

    /// The bytecode offset of the instruction that covers this text offset;
    /// `None` if no bytecode stands behind it.
    #[must_use]
    pub fn lookup_bytecode_offset(&self, text_offset: usize) -> Option<u32> {
        lookup_bytecode_offset(self.section(&self.sections.address_map), text_offset)
    }

    fn trap_table(&self) -> TrapTable<'_> {
        TrapTable::new(self.section(&self.sections.traps))
    }

    fn address_map(&self) -> AddressMap<'_> {
        AddressMap::new(self.section(&self.sections.address_map))
    }

    fn func_index(&self, key: FuncKey) -> Option<FuncIndex> {
        match key {
            FuncKey::DefinedWasmFunction(_, function) => Some(self.module().func_index(function)),
            _ => None,
        }
    }

    fn describe(&self, key: FuncKey, location: FunctionLoc) -> Function<'_> {
        let index = self.func_index(key);
        Function {
            key,
            index,
            name: index.and_then(|index| self.func_name(index)),
            location,
        }
    }

    /// All functions, by ascending text offset.
    pub fn iter_functions(&self) -> impl Iterator<Item = Function<'_>> {
        self.metadata
            .functions
            .iter()
            .map(|(key, location)| self.describe(key, location))
    }

    /// The number of trap sites.
    #[must_use]
    pub fn trap_count(&self) -> usize {
        self.trap_table().entries()
    }

    /// All instructions that may trap, by ascending text offset.
    pub fn iter_traps(&self) -> impl Iterator<Item = TrapSite> {
        self.trap_table().iter().filter_map(|(text_offset, code)| {
            Some(TrapSite {
                text_offset,
                kind: trap_kind_from_code(code)?,
            })
        })
    }

    /// The address map, by ascending text offset.
    pub fn iter_addresses(&self) -> impl Iterator<Item = AddressEntry> {
        self.address_map()
            .iter()
            .map(|(text_offset, bytecode_offset)| AddressEntry {
                text_offset,
                bytecode_offset,
            })
    }
}

/// The bytes of a section; none if there is no section.
fn slice<'a>(file: &'a [u8], section: Option<&Range<usize>>) -> &'a [u8] {
    section
        .and_then(|section| file.get(section.clone()))
        .unwrap_or(&[])
}

/// Where the name of `function` is, among names in the order of their functions, each of which has
/// one at most. Mostly all have one, from the first on that has.
fn name_of(names: &[FunctionName], function: FuncIndex) -> Option<&FunctionName> {
    let first = names.first()?.idx;
    // It stands there if none between is missing, else before.
    let last = function.index().checked_sub(first.index())?;
    if let Some(name) = names.get(last)
        && name.idx == function
    {
        return Some(name);
    }
    let names = &names[..last.min(names.len())];
    let found = names.binary_search_by_key(&function, |name| name.idx);
    found.ok().map(|found| &names[found])
}

/// A function's name in the section of names.
fn name_in<'a>(names: &'a [u8], name: &FunctionName) -> Option<&'a [u8]> {
    let start = name.offset as usize;
    names.get(start..start.checked_add(name.len as usize)?)
}

/// What kind of function a key names, in a word or two.
#[must_use]
pub fn function_kind_name(key: FuncKey) -> &'static str {
    match key.kind() {
        FuncKeyKind::DefinedWasmFunction => "function",
        FuncKeyKind::ArrayToWasmTrampoline => "entry trampoline",
        FuncKeyKind::WasmToArrayTrampoline => "exit trampoline",
        FuncKeyKind::WasmToBuiltinTrampoline => "builtin trampoline",
        FuncKeyKind::PatchableToBuiltinTrampoline => "patchable builtin trampoline",
        FuncKeyKind::ModuleStartup => "startup",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_some_are_missing() {
        const FUNCTIONS: u32 = 10;
        for set in 0_u32..1 << FUNCTIONS {
            let has_name = |index: &u32| set & (1 << index) != 0;
            let names: Vec<FunctionName> = (0..FUNCTIONS)
                .filter(has_name)
                .map(|index| FunctionName {
                    idx: FuncIndex::from_u32(index),
                    offset: 100 + index,
                    len: 1,
                })
                .collect();
            for index in (0..FUNCTIONS + 2).chain([u32::MAX - 1]) {
                let found = name_of(&names, FuncIndex::from_u32(index)).map(|name| name.offset);
                let expected = (index < FUNCTIONS && has_name(&index)).then(|| 100 + index);
                assert_eq!(found, expected, "{index} among {set:#b}");
            }
        }
    }
}
