//! From a module and its imports to an instance.
//!
//! 1. Each import is checked against what is offered ([`LinkError`]).
//! 2. Memories and tables are made, then the instance itself: nothing can fail
//!    after that but the guest's own code.
//! 3. The context is filled in: imports, records, simple globals, references.
//! 4. The compiler's startup function does the rest: other globals, element
//!    and data segments, the start function.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ptr::NonNull;

use trapline_wasmtime::vm::{VMFunctionImport, VMMemoryDefinition, VmPtr};
use trapline_wasmtime::wasmtime_environ::{
    DefinedMemoryIndex, DefinedTableIndex, EntityIndex, FuncIndex, GlobalConstValue, GlobalIndex,
    Initializer, MemoryIndex, TableIndex,
};

use crate::calls::instantiate_error::{InstantiateError, LinkError, LinkErrorKind};
use crate::compiled::definition::{Definition, Owner};
use crate::linear_memory::LinearMemory;
use crate::module::Module;
use crate::objects::global::GlobalObject;
use crate::objects::handles::{Extern, Instance};
use crate::objects::instance::{InstanceBox, InstanceHeader, Items};
use crate::objects::limits::Amount;
use crate::objects::memory::MemoryObject;
use crate::objects::owned::{KNOWN, Objects};
use crate::objects::shared_memory::SharedMemory;
use crate::objects::table::{Elements, TableObject};
use crate::store::context::StoreContext;
use crate::store::store_core::StoreCore;
use crate::types::{ExternType, MemoryType};
use crate::usage::UsageError;

impl Instance {
    /// Instantiates a module with these imports, in the order of
    /// [`Module::imports`]. A [`Linker`](crate::Linker) finds them by name.
    ///
    /// # Errors
    ///
    /// If an import is missing or is not what the module asks for, if there are more of them, if there is
    /// no room or the store's [limits](crate::StoreLimits) do not allow it, or if the module's startup traps.
    ///
    /// # Panics
    ///
    /// Goes on with the panic of a host function that the module's startup
    /// called.
    pub fn new<T>(
        store: &mut StoreContext<T>,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Self, InstantiateError> {
        let (expected, found) = (module.imports().count(), imports.len());
        if found > expected {
            return Err(InstantiateError::TooManyImports { expected, found });
        }
        let mut imports = imports.iter();
        Self::with_imports(store, module, |_, _, _| imports.next().cloned())
    }

    /// Instantiates a module; `find` is asked for each import in order.
    pub(crate) fn with_imports<T>(
        store: &mut StoreContext<T>,
        module: &Module,
        mut find: impl FnMut(&StoreCore, &str, &str) -> Option<Extern>,
    ) -> Result<Self, InstantiateError> {
        let core = store.core();
        if !module.engine().same(core.engine()) {
            return Err(InstantiateError::ForeignEngine);
        }
        let mut imports = Vec::new();
        for (import, initializer) in module
            .imports()
            .zip(module.artifact().module().initializers.iter())
        {
            let Initializer::Import { index, .. } = initializer;
            let error = |kind| LinkError {
                module: import.module.to_string(),
                name: import.name.to_string(),
                kind,
            };
            let Some(item) = find(core, import.module, import.name) else {
                return Err(error(LinkErrorKind::Unknown {
                    expected: Box::new(import.ty),
                })
                .into());
            };
            check(core, module, *index, &import.ty, &item).map_err(error)?;
            imports.push((import, *index, item));
        }
        core.check_limits(demand(core, module, imports.iter().map(|(.., item)| item)))?;
        core.add_module(module)?;
        let imports = imports
            .iter()
            .map(|(import, _, item)| {
                Import::new(core, item).map_err(|kind| LinkError {
                    module: import.module.to_string(),
                    name: import.name.to_string(),
                    kind,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let index = build(core, module, &imports)?;
        let instance = core.instances().get(index).expect("built above").header();
        if let Some(startup) = module.artifact().startup() {
            // SAFETY: the startup function of the instance's module, which has
            // neither parameters nor results.
            let outcome = unsafe {
                let no_slots = core::ptr::dangling_mut();
                core.enter(
                    module.address(startup).into(),
                    instance.opaque().get(),
                    no_slots,
                    0,
                )
            };
            outcome.map_err(InstantiateError::Trap)?;
        }
        Ok(Self::in_store(core.id(), index))
    }
}

/// How much a store has in addition when the module is instantiated in it with these imports.
fn demand<'a>(
    core: &StoreCore,
    module: &Module,
    imports: impl Iterator<Item = &'a Extern>,
) -> Amount {
    let environ = module.artifact().module();
    let mut demand = Amount::default().instances(1);
    let mut new_here: Vec<&SharedMemory> = Vec::new();
    for import in imports {
        if let Extern::SharedMemory(memory) = import
            && !core.knows(memory)
            && !new_here.iter().any(|other| other.same(memory))
        {
            new_here.push(memory);
            demand = demand.memory(memory.data_size() as u64);
        }
    }
    for index in environ.num_imported_memories..environ.memories.len() {
        demand = demand.new_memory(module.memory_type(MemoryIndex::from_u32(index as u32)));
    }
    for index in environ.num_imported_tables..environ.tables.len() {
        demand = demand.new_table(module.table_type(TableIndex::from_u32(index as u32)));
    }
    demand
}

/// Checks that `item` is what the module asks for with its import `index`.
fn check(
    core: &StoreCore,
    module: &Module,
    index: EntityIndex,
    expected: &ExternType,
    item: &Extern,
) -> Result<(), LinkErrorKind> {
    let foreign = |_: UsageError| LinkErrorKind::ForeignStore;
    let types = core.engine().types();
    // What there is, whether it fits, and, for memories, how it was made.
    let (found, fits, settings) = match item {
        Extern::Func(func) => {
            func.check(core.id()).map_err(foreign)?;
            let fits = match index {
                EntityIndex::Function(index) => {
                    types.is_subtype(func.type_index(), module.func_type_index(index))
                }
                _ => false,
            };
            let ty = types
                .func(func.type_index())
                .expect("a function of this store");
            (ExternType::Func((*ty).clone()), fits, None)
        }
        Extern::Memory(memory) => {
            let object = core.objects().memory(*memory).map_err(foreign)?;
            let (found, fits) = check_memory(expected, object.ty(), object.pages());
            (found, fits, Some(object.settings()))
        }
        Extern::SharedMemory(memory) => {
            let (found, fits) = check_memory(expected, memory.ty(), memory.size());
            (found, fits, Some(memory.settings()))
        }
        Extern::Table(table) => {
            let object = core.objects().table(*table).map_err(foreign)?;
            let ty = object.ty();
            let fits = matches!(expected, ExternType::Table(expected)
                if ty.index == expected.index
                    && ty.element == expected.element
                    && ty.limits.fits(object.len(), expected.limits));
            let mut found = ty;
            found.limits.min = object.len();
            (ExternType::Table(found), fits, None)
        }
        Extern::Global(global) => {
            let ty = core.objects().global(*global).map_err(foreign)?.ty();
            let fits = matches!(expected, ExternType::Global(expected)
                if ty.mutable == expected.mutable
                    && (ty.value == expected.value
                        || (!ty.mutable && types.matches(ty.value, expected.value))));
            (ExternType::Global(ty), fits, None)
        }
    };
    if !fits {
        return Err(LinkErrorKind::IncompatibleType {
            expected: Box::new(expected.clone()),
            found: Box::new(found),
        });
    }
    // A shared memory may be of an engine whose platform has no guard regions,
    // whatever its settings say.
    let unguarded = matches!(item, Extern::SharedMemory(memory) if !memory.has_guards());
    if (module.needs_guards() && unguarded)
        || settings.is_some_and(|settings| !module.memory_settings().accepts(settings))
    {
        return Err(LinkErrorKind::MemorySettings);
    }
    Ok(())
}

/// Whether a memory that is `pages` large fits, and what it is.
fn check_memory(expected: &ExternType, ty: MemoryType, pages: u64) -> (ExternType, bool) {
    let fits = matches!(expected, ExternType::Memory(expected)
        if ty.index == expected.index
            && ty.shared == expected.shared
            && ty.page_size_log2 == expected.page_size_log2
            && ty.limits.fits(pages, expected.limits));
    let mut found = ty;
    found.limits.min = pages;
    (ExternType::Memory(found), fits)
}

/// An import that was checked: what compiled code is told of it, or its index in
/// the store's list.
enum Import<'a> {
    Func(VMFunctionImport),
    Memory(usize),
    /// Becomes one of the store's memories with the instance.
    SharedMemory(&'a SharedMemory),
    Table(usize),
    Global(usize),
}

impl<'a> Import<'a> {
    fn new(core: &StoreCore, item: &'a Extern) -> Result<Self, LinkErrorKind> {
        let foreign = |_: UsageError| LinkErrorKind::ForeignStore;
        Ok(match item {
            Extern::Func(func) => {
                // SAFETY: a reference of this store, as was checked; no guest is
                // running that could change it.
                let func_ref = unsafe { func.func_ref().as_ref() };
                Self::Func(VMFunctionImport {
                    array_call: func_ref.array_call,
                    wasm_call: func_ref.wasm_call.ok_or(LinkErrorKind::NoTrampoline)?,
                    type_index: func_ref.type_index,
                    vmctx: func_ref.vmctx,
                })
            }
            Extern::Memory(memory) => Self::Memory(memory.index_in(core.id()).map_err(foreign)?),
            Extern::SharedMemory(memory) => Self::SharedMemory(memory),
            Extern::Table(table) => Self::Table(table.index_in(core.id()).map_err(foreign)?),
            Extern::Global(global) => Self::Global(global.index_in(core.id()).map_err(foreign)?),
        })
    }
}

/// A memory that an instance is going to own.
enum NewMemory {
    Local(LinearMemory),
    Shared(SharedMemory),
}

/// Makes an instance whose startup has not run; returns its index in the
/// store's list.
fn build(core: &StoreCore, module: &Module, imports: &[Import<'_>]) -> Result<usize, UsageError> {
    let environ = module.artifact().module();
    let engine = core.engine();
    let settings = *module.memory_settings();
    let memories = (environ.num_imported_memories..environ.memories.len())
        .map(|index| {
            let ty = module.memory_type(MemoryIndex::from_u32(index as u32));
            Ok(if ty.shared {
                NewMemory::Shared(SharedMemory::with_settings(engine, ty, settings)?)
            } else {
                NewMemory::Local(LinearMemory::new(engine.platform(), ty, settings)?)
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(UsageError::Memory)?;
    let tables = (environ.num_imported_tables..environ.tables.len())
        .map(|index| Elements::new(module.table_type(TableIndex::from_u32(index as u32))))
        .collect::<Result<Vec<_>, _>>()?;

    // From here on nothing fails.
    let mut instance = InstanceBox::for_module(core.home(), module);
    let header = instance.header();
    let objects = core.objects();
    // SAFETY: the instance is new, so nobody reads its context yet; imports
    // were checked.
    let items = unsafe {
        fill_data(header, module);
        let mut items = fill_imports(header, module, imports, core);
        items
            .memories
            .extend(fill_memories(header, module, memories, objects));
        items
            .tables
            .extend(fill_tables(header, module, tables, objects));
        items.globals.extend(fill_globals(header, module, objects));
        header.fill_func_refs();
        items
    };
    instance.set_items(Items {
        memories: items.memories.into(),
        tables: items.tables.into(),
        globals: items.globals.into(),
    });
    Ok(core.instances().push(instance))
}

/// As [`Items`], while they are collected.
#[derive(Default)]
struct NewItems {
    memories: Vec<usize>,
    tables: Vec<usize>,
    globals: Vec<usize>,
}

/// Writes what compiled code is told of the imports.
///
/// # Safety
///
/// * The instance is one of `module`, and nobody uses its context yet.
/// * The imports are those of the module, in order.
unsafe fn fill_imports(
    header: &InstanceHeader,
    module: &Module,
    imports: &[Import<'_>],
    core: &StoreCore,
) -> NewItems {
    let objects = core.objects();
    let offsets = module.offsets();
    let mut items = NewItems::default();
    let fill_memory = |items: &mut NewItems, memory: usize| {
        let index = MemoryIndex::from_u32(items.memories.len() as u32);
        let import = objects.memories().get(memory).expect(KNOWN).import();
        // SAFETY: the offset is that of the next import of a memory.
        unsafe {
            let place = header.place(offsets.vmctx_vmmemory_import(index));
            place.write(import);
        }
        items.memories.push(memory);
    };
    let mut functions = 0;
    for import in imports {
        // SAFETY: the offsets are those of the imports of the module, counted
        // by their kind.
        unsafe {
            match import {
                Import::Func(import) => {
                    let index = FuncIndex::from_u32(functions);
                    functions += 1;
                    let place = header.place(offsets.vmctx_vmfunction_import(index));
                    place.write(import.clone());
                }
                Import::Memory(memory) => fill_memory(&mut items, *memory),
                Import::SharedMemory(memory) => {
                    fill_memory(&mut items, core.shared_memory(memory));
                }
                Import::Table(table) => {
                    let index = TableIndex::from_u32(items.tables.len() as u32);
                    let place = header.place(offsets.vmctx_vmtable_import(index));
                    place.write(objects.tables().get(*table).expect(KNOWN).import());
                    items.tables.push(*table);
                }
                Import::Global(global) => {
                    let index = GlobalIndex::from_u32(items.globals.len() as u32);
                    let place = header.place(offsets.vmctx_vmglobal_import(index));
                    place.write(objects.globals().get(*global).expect(KNOWN).import());
                    items.globals.push(*global);
                }
            }
        }
    }
    items
}

/// Writes the records of the instance's own memories, and adds these to the
/// store; returns their indices there.
///
/// # Safety
///
/// * The instance is one of `module`, and nobody uses its context yet.
/// * The memories are those that the module defines, in order.
unsafe fn fill_memories(
    header: &InstanceHeader,
    module: &Module,
    memories: Vec<NewMemory>,
    objects: &Objects,
) -> Vec<usize> {
    let environ = module.artifact().module();
    let offsets = module.offsets();
    let fill = |(index, memory): (usize, NewMemory)| {
        let index = DefinedMemoryIndex::from_u32(index as u32);
        let owner = Owner {
            vmctx: header.vmctx(),
            index: index.as_u32(),
        };
        let (record, memory) = match memory {
            NewMemory::Shared(memory) => {
                (memory.definition(), MemoryObject::Shared { memory, owner })
            }
            NewMemory::Local(memory) => {
                let owned = environ.owned_memory_index(index);
                // SAFETY: the offset is that of the record of this memory,
                // which lives as long as the instance, as does the memory.
                let definition = unsafe {
                    let place = header.place(offsets.vmctx_vmmemory_definition(owned));
                    place.write(MemoryObject::describe(&memory));
                    Definition::in_instance(place)
                };
                let record = definition.as_non_null();
                (
                    record,
                    MemoryObject::Local {
                        memory: memory.into(),
                        definition,
                        owner,
                    },
                )
            }
        };
        let record: VmPtr<VMMemoryDefinition> = record.into();
        // SAFETY: the offset is that of the pointer to the record.
        unsafe {
            header
                .place(offsets.vmctx_vmmemory_pointer(index))
                .write(record)
        };
        objects.memories().push(memory)
    };
    memories.into_iter().enumerate().map(fill).collect()
}

/// Writes the records of the instance's own tables, and adds these to the store;
/// returns their indices there.
///
/// # Safety
///
/// * The instance is one of `module`, and nobody uses its context yet.
/// * The tables are those that the module defines, in order.
unsafe fn fill_tables(
    header: &InstanceHeader,
    module: &Module,
    tables: Vec<Elements>,
    objects: &Objects,
) -> Vec<usize> {
    let fill = |(index, elements): (usize, Elements)| {
        let index = DefinedTableIndex::from_u32(index as u32);
        // SAFETY: the offset is that of the record of this table, which lives
        // as long as the instance, as does the table.
        let definition = unsafe {
            let place = header.place(module.offsets().vmctx_vmtable_definition(index));
            place.write(elements.describe());
            Definition::in_instance(place)
        };
        let owner = Owner {
            vmctx: header.vmctx(),
            index: index.as_u32(),
        };
        objects
            .tables()
            .push(TableObject::new(elements, definition, owner))
    };
    tables.into_iter().enumerate().map(fill).collect()
}

/// Writes the values of the instance's own globals, as far as they are
/// constants, and adds them to the store; returns their indices there.
///
/// # Safety
///
/// * The instance is one of `module`, and nobody uses its context yet.
unsafe fn fill_globals(header: &InstanceHeader, module: &Module, objects: &Objects) -> Vec<usize> {
    let environ = module.artifact().module();
    let offsets = module.offsets();
    for (index, value) in environ.global_initializers.iter() {
        // SAFETY: the offset is that of this global: 16 bytes, aligned. Values
        // are in the byte order of the machine, vectors little-endian.
        unsafe {
            let place: NonNull<u128> = header.place(offsets.vmctx_vmglobal_definition(*index));
            match *value {
                GlobalConstValue::I32(value) => place.cast().write(value),
                GlobalConstValue::I64(value) => place.cast().write(value),
                GlobalConstValue::F32(bits) => place.cast().write(bits),
                GlobalConstValue::F64(bits) => place.cast().write(bits),
                GlobalConstValue::V128(bits) => place.write(bits.to_le()),
            }
        }
    }
    (environ.num_imported_globals..environ.globals.len())
        .map(|index| {
            let index = GlobalIndex::from_u32(index as u32);
            let defined = environ
                .defined_global_index(index)
                .expect("beyond the imported ones");
            // SAFETY: the offset is that of this global, which lives as long as
            // the instance, as does the object.
            let definition = unsafe {
                Definition::in_instance(header.place(offsets.vmctx_vmglobal_definition(defined)))
            };
            objects
                .globals()
                .push(GlobalObject::new(module.global_type(index), definition))
        })
        .collect()
}

/// Writes where the data segments are.
///
/// # Safety
///
/// * The instance is one of `module`, and nobody uses its context yet.
unsafe fn fill_data(header: &InstanceHeader, module: &Module) {
    let artifact = module.artifact();
    let offsets = module.offsets();
    for index in artifact.module().runtime_data.keys() {
        let data = artifact
            .runtime_data(index)
            .expect("checked when the artifact was read");
        // SAFETY: the offsets are those of this segment's base and length. The
        // artifact, and so the segment, lives as long as the instance.
        unsafe {
            header
                .place(offsets.vmctx_runtime_data_base(index))
                .write(data.as_ptr());
            header
                .place(offsets.vmctx_runtime_data_length(index))
                .write(data.len() as u32);
        }
    }
}
