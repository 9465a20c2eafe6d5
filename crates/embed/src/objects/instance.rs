//! Instances of modules.
//!
//! An instance is one allocation. Compiled code knows the part from the
//! context on; what the host needs to know lies before it, where builtins find
//! it by the context's address:
//!
//! ```text
//!   InstanceHeader: store, module, memories, …      size_of::<InstanceHeader>()
//!   VMContext: magic, pointers, imports, records    VMOffsets::size_of_vmctx()
//!   ▲
//!   └ what compiled code, and all pointers to contexts, point to
//! ```

use alloc::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::offset_of;
use core::ptr::{self, NonNull};

use trapline_activation::VMContext;
use trapline_wasmtime::vm::{
    VMBuiltinFunctionsArray, VMCONTEXT_MAGIC, VMFuncRef, VMFunctionImport, VMOpaqueContext,
    VMStoreContext, ValRaw, VmPtr,
};
use trapline_wasmtime::wasmtime_environ::{
    DefinedFuncIndex, EntityIndex, FuncIndex, HostPtr, PtrSize as _, VMSharedTypeIndex,
};

use crate::module::Module;
use crate::objects::func::Func;
use crate::objects::handles::{Extern, Global, Memory, Table};
use crate::objects::owned::{KNOWN, Objects};

/// What an instance is told of its store.
#[derive(Clone, Copy)]
pub(crate) struct Home {
    /// What the store owns. Lives as long as the instance.
    pub(crate) objects: NonNull<Objects>,
    /// What compiled code writes to.
    pub(crate) context: NonNull<VMStoreContext>,
    /// What compiled code calls.
    pub(crate) builtins: &'static VMBuiltinFunctionsArray,
}

/// What the host knows of an instance; see the module for where it is.
#[repr(C, align(16))]
pub(crate) struct InstanceHeader {
    objects: NonNull<Objects>,
    vmctx: NonNull<VMContext>,
    /// `None` for the one that stands for the host.
    module: Option<Module>,
    items: Items,
    /// The passive element segments, as compiled code reads and fills them.
    passive: UnsafeCell<Vec<Vec<ValRaw>>>,
}

/// The indices, in the store's lists, of an instance's memories, tables and
/// globals, imported ones first.
#[derive(Default, Debug)]
pub(crate) struct Items {
    pub(crate) memories: Box<[usize]>,
    pub(crate) tables: Box<[usize]>,
    pub(crate) globals: Box<[usize]>,
}

impl InstanceHeader {
    /// The header before a context.
    ///
    /// # Safety
    ///
    /// * The context is that of an instance, which lives for `'a`.
    #[inline]
    pub(crate) unsafe fn from_vmctx<'a>(vmctx: NonNull<VMContext>) -> &'a Self {
        // SAFETY: the header lies right before the context.
        unsafe { vmctx.byte_sub(size_of::<Self>()).cast::<Self>().as_ref() }
    }

    pub(crate) fn vmctx(&self) -> NonNull<VMContext> {
        self.vmctx
    }

    /// What the store owns that the instance belongs to.
    pub(crate) fn objects(&self) -> &Objects {
        // SAFETY: instances live as long as their store.
        unsafe { self.objects.as_ref() }
    }

    /// A place in the context.
    ///
    /// # Safety
    ///
    /// * The offset is of a `T` in the context of the instance's module.
    pub(crate) unsafe fn place<T>(&self, offset: u32) -> NonNull<T> {
        // SAFETY: the caller's duty.
        unsafe { self.vmctx.byte_add(offset as usize).cast() }
    }

    /// The module; `None` for the one that stands for the host.
    pub(crate) fn try_module(&self) -> Option<&Module> {
        self.module.as_ref()
    }

    fn module(&self) -> &Module {
        self.module
            .as_ref()
            .expect("the host has no code that could ask for its module")
    }

    /// The index, in the store's list, of the memory that compiled code knows by
    /// this index.
    pub(crate) fn defined_memory(&self, index: u32) -> usize {
        match &self.module {
            Some(module) => {
                let imported = module.artifact().module().num_imported_memories;
                self.items.memories[imported + index as usize]
            }
            None => index as usize,
        }
    }

    /// The index, in the store's list, of the table that compiled code knows by
    /// this index.
    pub(crate) fn defined_table(&self, index: u32) -> usize {
        match &self.module {
            Some(module) => {
                let imported = module.artifact().module().num_imported_tables;
                self.items.tables[imported + index as usize]
            }
            None => index as usize,
        }
    }

    /// The reference to a function, which is the same one every time.
    pub(crate) fn func_ref(&self, index: FuncIndex) -> NonNull<VMFuncRef> {
        let module = self.module();
        let environ = module.artifact().module();
        if environ.is_imported_function(index) {
            let offset = module.offsets().vmctx_vmfunction_import(index);
            // SAFETY: the offset is that of the import, a record that begins
            // like a function reference (asserted below).
            unsafe { self.place::<VMFunctionImport>(offset).cast() }
        } else {
            let offset = module
                .offsets()
                .vmctx_func_ref(environ.functions[index].func_ref);
            // SAFETY: the offset is that of the reference.
            unsafe { self.place(offset) }
        }
    }

    /// Fills in the references to the functions that the module defines and that can
    /// be referred to.
    ///
    /// # Safety
    ///
    /// * No code of the instance has run yet.
    pub(crate) unsafe fn fill_func_refs(&self) {
        let module = self.module();
        let artifact = module.artifact();
        for (index, function) in artifact.module().functions.iter() {
            let Some(defined) = artifact.module().defined_func_index(index) else {
                continue;
            };
            if !function.is_escaping() {
                continue;
            }
            let locations = |defined: DefinedFuncIndex| {
                Some((
                    artifact.array_to_wasm_trampoline(defined)?,
                    artifact.defined_function(defined)?,
                ))
            };
            let (entry, code) =
                locations(defined).expect("the artifact was found to have both when it was read");
            let func_ref = VMFuncRef {
                array_call: module.address(entry).into(),
                wasm_call: Some(module.address(code).into()),
                type_index: VMSharedTypeIndex::new(module.func_type_index(index).0),
                vmctx: self.opaque(),
            };
            // SAFETY: the place of the reference; nobody reads it yet.
            unsafe { self.func_ref(index).write(func_ref) };
        }
    }

    /// The context as functions get it.
    pub(crate) fn opaque(&self) -> VmPtr<VMOpaqueContext> {
        self.vmctx.cast::<VMOpaqueContext>().into()
    }

    /// The number of elements of a passive segment.
    pub(crate) fn passive_len(&self, segment: u32) -> usize {
        self.with_passive(segment, |elements| elements.len())
    }

    /// The elements of a passive segment.
    pub(crate) fn passive_base(&self, segment: u32) -> *mut ValRaw {
        self.with_passive(segment, Vec::as_mut_ptr)
    }

    /// Drops a passive segment.
    pub(crate) fn drop_passive(&self, segment: u32) {
        self.with_passive(segment, |elements| *elements = Vec::new());
    }

    fn with_passive<R>(&self, segment: u32, f: impl FnOnce(&mut Vec<ValRaw>) -> R) -> R {
        // SAFETY: the only reference, since `f` is one of the closures above;
        // compiled code, which waits, uses raw pointers to the elements.
        let segments = unsafe { &mut *self.passive.get() };
        f(&mut segments[segment as usize])
    }

    /// What the instance exports under a name.
    pub(crate) fn export(&self, name: &str) -> Option<Extern> {
        Some(self.item(self.module.as_ref()?.export(name)?))
    }

    /// All that the instance exports, in the module's order.
    pub(crate) fn exports(&self) -> impl Iterator<Item = (&str, Extern)> {
        let exports = self.module().raw_exports();
        exports.map(|(name, index)| (name, self.item(index)))
    }

    fn item(&self, index: EntityIndex) -> Extern {
        let id = self.objects().id();
        match index {
            EntityIndex::Function(index) => {
                // SAFETY: a reference of this store.
                Extern::Func(unsafe { Func::new_in(id, self.func_ref(index)) })
            }
            EntityIndex::Memory(index) => {
                let index = self.items.memories[index.as_u32() as usize];
                let memory = self.objects().memories().get(index).expect(KNOWN);
                match memory.as_shared() {
                    Some(shared) => Extern::SharedMemory(shared.clone()),
                    None => Extern::Memory(Memory::in_store(id, index)),
                }
            }
            EntityIndex::Table(index) => Extern::Table(Table::in_store(
                id,
                self.items.tables[index.as_u32() as usize],
            )),
            EntityIndex::Global(index) => Extern::Global(Global::in_store(
                id,
                self.items.globals[index.as_u32() as usize],
            )),
            EntityIndex::Tag(_) => unreachable!("refused when the module was loaded"),
        }
    }
}

// `func_ref` returns imports as references.
const _: () = {
    assert!(size_of::<VMFunctionImport>() == size_of::<VMFuncRef>());
    assert!(offset_of!(VMFunctionImport, array_call) == offset_of!(VMFuncRef, array_call));
    assert!(offset_of!(VMFunctionImport, wasm_call) == offset_of!(VMFuncRef, wasm_call));
    assert!(offset_of!(VMFunctionImport, type_index) == offset_of!(VMFuncRef, type_index));
    assert!(offset_of!(VMFunctionImport, vmctx) == offset_of!(VMFuncRef, vmctx));
};

/// An instance, owned.
pub(crate) struct InstanceBox(NonNull<InstanceHeader>);

impl InstanceBox {
    /// The instance that stands for the host: no module, no items.
    pub(crate) fn for_host(home: Home) -> Self {
        let bytes = usize::from(HostPtr.vmctx_dynamic_data_start());
        Self::allocate(home, None, Items::default(), Vec::new(), bytes)
    }

    /// An instance of `module` in which nothing is filled in but the
    /// context's head: no imports, no items, no references.
    pub(crate) fn for_module(home: Home, module: &Module) -> Self {
        let segments = module.artifact().module().passive_elements.values();
        let passive = segments
            .map(|(_, len)| {
                let len = usize::try_from(*len).expect("segments fit in the artifact's memory");
                alloc::vec![ValRaw::default(); len]
            })
            .collect();
        let bytes = module.offsets().size_of_vmctx() as usize;
        Self::allocate(home, Some(module.clone()), Items::default(), passive, bytes)
    }

    fn layout(context_bytes: usize) -> Layout {
        Layout::new::<InstanceHeader>()
            .extend(Layout::from_size_align(context_bytes, 16).expect("contexts are small"))
            .map(|(layout, offset)| {
                debug_assert_eq!(offset, size_of::<InstanceHeader>());
                layout
            })
            .expect("contexts are small")
    }

    fn allocate(
        home: Home,
        module: Option<Module>,
        items: Items,
        passive: Vec<Vec<ValRaw>>,
        context_bytes: usize,
    ) -> Self {
        let layout = Self::layout(context_bytes);
        // SAFETY: the layout has the size of the header at least.
        let Some(header) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        let header = header.cast::<InstanceHeader>();
        // SAFETY: the context begins where the header ends, in the allocation.
        let vmctx = unsafe { header.add(1).cast::<VMContext>() };
        // Builtins get at the header through what compiled code has.
        vmctx.as_ptr().expose_provenance();
        let type_ids = module.as_ref().map_or(&[][..], Module::type_ids).as_ptr();
        // SAFETY: the places are those of the context's head, which every context has.
        unsafe {
            let head = |offset: u8| vmctx.byte_add(offset.into());
            head(HostPtr.vmctx_magic()).cast().write(VMCONTEXT_MAGIC);
            head(HostPtr.vmctx_store_context())
                .cast()
                .write(home.context);
            head(HostPtr.vmctx_builtin_functions())
                .cast()
                .write(&raw const *home.builtins);
            head(HostPtr.vmctx_type_ids_array()).cast().write(type_ids);
            header.write(InstanceHeader {
                objects: home.objects,
                vmctx,
                module,
                items,
                passive: passive.into(),
            });
        }
        Self(header)
    }

    /// Sets the items, before the instance is used.
    pub(crate) fn set_items(&mut self, items: Items) {
        // SAFETY: the header is alive, and borrowed exclusively with the box.
        unsafe { (*self.0.as_ptr()).items = items };
    }

    pub(crate) fn header(&self) -> &InstanceHeader {
        // SAFETY: the header lives as long as the box.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn vmctx(&self) -> NonNull<VMContext> {
        self.header().vmctx
    }
}

impl Drop for InstanceBox {
    fn drop(&mut self) {
        let module = self.header().module.as_ref();
        let context_bytes = match module {
            Some(module) => module.offsets().size_of_vmctx() as usize,
            None => usize::from(HostPtr.vmctx_dynamic_data_start()),
        };
        // SAFETY: allocated with this layout, the header written in full, and
        // this is the last use. The context needs no destructor.
        unsafe {
            ptr::drop_in_place(self.0.as_ptr());
            dealloc(self.0.as_ptr().cast(), Self::layout(context_bytes));
        }
    }
}

impl fmt::Debug for InstanceBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("module", &self.header().module)
            .finish_non_exhaustive()
    }
}
