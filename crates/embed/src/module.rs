//! Modules: artifacts whose code is in executable memory.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use trapline_arch::VirtualAddress;
use trapline_code_registry::RegisterError;
use trapline_wasmtime::wasmtime_environ::{
    EntityIndex, FuncIndex, FunctionLoc, GlobalIndex, HostPtr, Initializer, MemoryIndex,
    ModuleInternedTypeIndex, TableIndex, VMOffsets,
};
use trapline_wasmtime::{Artifact, ArtifactError};

use crate::code::{Code, Mapped};
use crate::engine::Engine;
use crate::linear_memory::MemorySettings;
use crate::platform::PlatformError;
use crate::type_registry::{Convert, UnsupportedType, memory_type};
use crate::types::{ExternType, GlobalType, MemoryType, TableType, TypeIndex};

/// A compiled module, ready to be instantiated. Cheap to clone: clones are the
/// same module.
///
/// Its code is mapped and registered until the last clone is gone, those that
/// stores and [`Error`](crate::Error)s hold included.
#[derive(Clone)]
pub struct Module(Arc<Inner>);

struct Inner {
    engine: Engine,
    artifact: Arc<Artifact>,
    code: Option<Code>,
    offsets: VMOffsets<HostPtr>,
    memory_settings: MemorySettings,
    /// The engine's index of each of the module's types; compiled code reads it
    /// as an array of `VMSharedTypeIndex`.
    type_ids: Box<[TypeIndex]>,
    memories: Box<[MemoryType]>,
    tables: Box<[TableType]>,
    globals: Box<[GlobalType]>,
}

/// Something that a module asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportType<'a> {
    /// The name of the module to take it from.
    pub module: &'a str,
    /// Its name there.
    pub name: &'a str,
    /// What it must be.
    pub ty: ExternType,
}

/// Something that a module offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportType<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub ty: ExternType,
}

/// The size of a page of WebAssembly in bytes, unless a memory says otherwise.
const WASM_PAGE: u64 = 1 << 16;

impl Module {
    /// Loads an artifact of the Wasmtime compiler: copies its code to
    /// executable memory and makes it known to the trap handlers.
    ///
    /// # Errors
    ///
    /// If the bytes are no artifact for this machine and this embedder, or if
    /// there is no room.
    ///
    /// # Safety
    ///
    /// * The bytes are what the compiler made, unchanged. Its tables are checked,
    ///   but its code is machine code that will run with the rights of this
    ///   process: nobody can tell by looking at it that it stays in its sandbox.
    ///   (That they are unchanged by accident is seen by their
    ///   [checksum](Artifact::checksum), if they have one.)
    pub unsafe fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        let artifact = Artifact::parse(bytes.to_vec())?;
        // SAFETY: the caller's duty is the same.
        unsafe { Self::from_artifact(engine, artifact) }
    }

    /// Loads an artifact that has been read already.
    ///
    /// # Errors
    ///
    /// If the artifact was read for any target and not for this machine, if it
    /// relies on hardware traps or guard regions and the platform does not have
    /// them, or if there is no room.
    ///
    /// # Safety
    ///
    /// * As for [`load`](Self::load), of the bytes that the artifact was read
    ///   from.
    /// * What the caller told [`Artifact::parse_for`] of this machine, if that was
    ///   called, is so.
    pub unsafe fn from_artifact(engine: &Engine, artifact: Artifact) -> Result<Self, LoadError> {
        if !artifact.is_checked_for_a_machine() {
            return Err(LoadError::NotChecked);
        }
        let settings = artifact.settings();
        let memory_settings = MemorySettings {
            reservation: settings.memory_reservation(),
            guard: settings.memory_guard_size(),
            reservation_for_growth: settings.memory_reservation_for_growth(),
            may_move: settings.memory_may_move(),
        };
        let needs_guards = settings.signals_based_traps() || memory_settings.guard > 0;
        if needs_guards && !engine.platform().has_guards() {
            return Err(LoadError::NeedsGuards);
        }
        // Code with hardware traps counts on a fault right behind the last page
        // of a memory; a larger page of the machine would still be accessible.
        let page_size = engine.platform().page_size() as u64;
        if needs_guards && page_size > WASM_PAGE {
            return Err(LoadError::PageSize { page_size });
        }
        let module = artifact.module();
        let type_ids = engine.types().register_module(artifact.types())?;
        let convert = Convert::new(&type_ids);
        let memories = module.memories.values().map(memory_type).collect();
        let tables = module
            .tables
            .values()
            .map(|ty| convert.table(ty))
            .collect::<Result<_, _>>()?;
        let globals = module
            .globals
            .values()
            .map(|ty| convert.global(ty))
            .collect::<Result<_, _>>()?;
        // `needs_gc_heap` says no more than that there are references which are
        // no functions, and those of the host's are numbers here; what lives
        // in the heap was refused with its types above.
        if module.tags.iter().next().is_some() {
            return Err(LoadError::Unsupported(UnsupportedType::TAG));
        }
        let offsets = artifact.vm_offsets();
        let artifact = Arc::new(artifact);
        // SAFETY: the caller's promise.
        let code = unsafe { Mapped::new(engine, &artifact)? };
        let code = code.map(Mapped::register).transpose()?;
        Ok(Self(Arc::new(Inner {
            engine: engine.clone(),
            artifact,
            code,
            offsets,
            memory_settings,
            type_ids,
            memories,
            tables,
            globals,
        })))
    }

    /// The engine that the module was loaded in.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The name of the module, from its name section.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.artifact.module_name()
    }

    /// What the module was loaded from.
    #[must_use]
    pub fn artifact(&self) -> &Artifact {
        &self.0.artifact
    }

    /// Where the code is; `None` if the module has no functions.
    #[must_use]
    pub fn text(&self) -> Option<core::ops::Range<VirtualAddress>> {
        Some(self.0.code.as_ref()?.text())
    }

    /// What the module asks for, in its order.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> {
        let module = self.0.artifact.module();
        module.initializers.iter().map(move |initializer| {
            let Initializer::Import { name, field, index } = initializer;
            ImportType {
                module: &module.strings[name],
                name: &module.strings[field],
                ty: self.item_type(*index),
            }
        })
    }

    /// What the module offers, in its order.
    pub fn exports(&self) -> impl Iterator<Item = ExportType<'_>> {
        self.raw_exports().map(|(name, index)| ExportType {
            name,
            ty: self.item_type(index),
        })
    }

    /// The function, memory, table or global with this index, as a type.
    fn item_type(&self, index: EntityIndex) -> ExternType {
        match index {
            EntityIndex::Function(index) => {
                ExternType::Func(self.func_type(self.func_type_index(index)))
            }
            EntityIndex::Memory(index) => ExternType::Memory(self.memory_type(index)),
            EntityIndex::Table(index) => ExternType::Table(self.table_type(index)),
            EntityIndex::Global(index) => ExternType::Global(self.global_type(index)),
            EntityIndex::Tag(_) => unreachable!("refused when the module was loaded"),
        }
    }

    fn func_type(&self, index: TypeIndex) -> crate::types::FuncType {
        let ty = self.0.engine.types().func(index);
        (*ty.expect("the module's types are interned")).clone()
    }

    pub(crate) fn raw_exports(&self) -> impl Iterator<Item = (&str, EntityIndex)> {
        let module = self.0.artifact.module();
        module
            .exports
            .iter()
            .map(|(name, index)| (&module.strings[name], *index))
    }

    pub(crate) fn export(&self, name: &str) -> Option<EntityIndex> {
        let module = self.0.artifact.module();
        module.exports.get(&module.strings.get_atom(name)?).copied()
    }

    pub(crate) fn offsets(&self) -> &VMOffsets<HostPtr> {
        &self.0.offsets
    }

    pub(crate) fn memory_settings(&self) -> &MemorySettings {
        &self.0.memory_settings
    }

    pub(crate) fn uses_hardware_traps(&self) -> bool {
        self.0.artifact.settings().signals_based_traps()
    }

    /// Whether the code counts on faults behind the end of a memory.
    pub(crate) fn needs_guards(&self) -> bool {
        self.uses_hardware_traps() || self.0.memory_settings.guard > 0
    }

    pub(crate) fn type_ids(&self) -> &[TypeIndex] {
        &self.0.type_ids
    }

    pub(crate) fn func_type_index(&self, index: FuncIndex) -> TypeIndex {
        let signature = self.0.artifact.module().functions[index].signature;
        Convert::new(&self.0.type_ids).index(signature)
    }

    pub(crate) fn memory_type(&self, index: MemoryIndex) -> MemoryType {
        self.0.memories[index.as_u32() as usize]
    }

    pub(crate) fn table_type(&self, index: TableIndex) -> TableType {
        self.0.tables[index.as_u32() as usize]
    }

    pub(crate) fn global_type(&self, index: GlobalIndex) -> GlobalType {
        self.0.globals[index.as_u32() as usize]
    }

    /// The address of a function of the module.
    pub(crate) fn address<T>(&self, location: FunctionLoc) -> core::ptr::NonNull<T> {
        let address = self
            .0
            .code
            .as_ref()
            .and_then(|code| code.address(location.start));
        address
            .and_then(|address| core::ptr::NonNull::new(address.as_mut_ptr()))
            .expect("the artifact's functions lie in its text, which is mapped")
    }

    /// The exit trampolines of the module, each with the (erased) type of the
    /// host functions that it calls.
    pub(crate) fn exit_trampolines(&self) -> impl Iterator<Item = (TypeIndex, FunctionLoc)> {
        (0..self.0.type_ids.len()).filter_map(|index| {
            let location = self
                .0
                .artifact
                .wasm_to_array_trampoline(ModuleInternedTypeIndex::from_u32(index as u32))?;
            Some((
                self.0.engine.types().erased(self.0.type_ids[index])?,
                location,
            ))
        })
    }

    /// The text offset of an instruction; `None` if it is none of the module's.
    #[inline]
    pub(crate) fn text_offset(&self, instruction: VirtualAddress) -> Option<usize> {
        let text = self.0.code.as_ref()?.text();
        let offset = instruction.offset_from(text.start)?;
        (instruction < text.end).then_some(offset)
    }

    /// The index, imports included, of the module's function whose code is at this text offset;
    /// `None` if that is in none of them.
    #[inline]
    pub(crate) fn function_at(&self, text_offset: usize) -> Option<u32> {
        let function = self.0.artifact.func_index_at(text_offset)?;
        Some(function.as_u32())
    }

    /// The bytecode offset that an instruction was compiled from; `None` if it is none of the
    /// module's, or no bytecode stands behind it.
    pub(crate) fn bytecode_offset_of(&self, instruction: VirtualAddress) -> Option<u32> {
        let text_offset = self.text_offset(instruction)?;
        self.0.artifact.lookup_bytecode_offset(text_offset)
    }

    /// The name of a function, imports included, from the name section.
    pub(crate) fn func_name(&self, function: u32) -> Option<&str> {
        self.0.artifact.func_name(FuncIndex::from_u32(function))
    }

    /// Whether this is the same module, not one like it.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.name())
            .field("text", &self.text())
            .finish_non_exhaustive()
    }
}

/// Why an artifact could not be loaded.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes are no artifact, or one that does not run here.
    Artifact(ArtifactError),
    /// The module needs something that this embedder does not have.
    Unsupported(UnsupportedType),
    /// The artifact was read with [`Artifact::parse_any_target`]: nobody has
    /// looked whether this machine can run it.
    NotChecked,
    /// The artifact relies on hardware traps or guard regions, which the
    /// platform does not have.
    NeedsGuards,
    /// The artifact relies on hardware traps or guard regions, and the
    /// platform's pages are larger than WebAssembly's.
    PageSize {
        /// The size of the platform's pages in bytes.
        page_size: u64,
    },
    /// The platform has no room for the code, or does not let it run.
    Platform(PlatformError),
    /// The code could not be made known to the trap handlers.
    Register(RegisterError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact(_) => f.write_str("the artifact cannot be used"),
            Self::Unsupported(error) => error.fmt(f),
            Self::NotChecked => f.write_str(
                "the artifact was read for any target: whether this machine can run it is unknown",
            ),
            Self::PageSize { page_size } => write!(
                f,
                "the artifact relies on hardware traps or guard regions, which needs pages of at \
                 most {WASM_PAGE} bytes; this platform's have {page_size}"
            ),
            Self::NeedsGuards => f.write_str(
                "the artifact relies on hardware traps or guard regions, which this platform does \
                 not have: compile with explicit checks and without guard regions",
            ),
            Self::Platform(_) => f.write_str("no room for the module's code"),
            Self::Register(_) => f.write_str("the module's code cannot be registered"),
        }
    }
}

impl core::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Artifact(error) => Some(error),
            Self::Unsupported(_) | Self::NotChecked | Self::NeedsGuards | Self::PageSize { .. } => {
                None
            }
            Self::Platform(error) => Some(error),
            Self::Register(error) => Some(error),
        }
    }
}

impl From<ArtifactError> for LoadError {
    fn from(error: ArtifactError) -> Self {
        Self::Artifact(error)
    }
}

impl From<UnsupportedType> for LoadError {
    fn from(error: UnsupportedType) -> Self {
        Self::Unsupported(error)
    }
}

impl From<PlatformError> for LoadError {
    fn from(error: PlatformError) -> Self {
        Self::Platform(error)
    }
}

impl From<RegisterError> for LoadError {
    fn from(error: RegisterError) -> Self {
        Self::Register(error)
    }
}

// The compiled code reads the engine's indices as `VMSharedTypeIndex`.
const _: () = {
    use trapline_wasmtime::wasmtime_environ::VMSharedTypeIndex;
    assert!(size_of::<TypeIndex>() == size_of::<VMSharedTypeIndex>());
    assert!(align_of::<TypeIndex>() == align_of::<VMSharedTypeIndex>());
};

/// The modules that a store knows, shared with the errors that it gives out.
pub(crate) type ModuleList = Arc<Vec<Module>>;
