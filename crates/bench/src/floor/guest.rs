//! A guest without a runtime: an instance made by hand, entered through the compiled
//! trampolines of the artifact that both sides run.
//!
//! ```text
//!  caller ── entry trampoline ──► function ── exit trampoline ──► host function
//!                │                                  ▲ │                 │
//!                ▼ landing pad ◄──── `raise` ◄──────┼─┘◄──── false ─────┤
//!              false                                └─────── true ──────┘
//! ```
//!
//! What is not compiled code is what nobody can do without. A host function is a function
//! that does what the row says: nothing around it looks for a store, checks a type, or catches
//! a panic. `raise` reads where the entry trampoline wants to be gone on with, and jumps there.
//! Nothing is ever freed: a process measures one thing.

use core::mem;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context as _, Result};
use trapline_arch::{LandingPoint, VirtualAddress};
use trapline_embed::{Engine, Module};
use trapline_wasmtime::Artifact as Compiled;
use trapline_wasmtime::vm::{
    Builtin, VMArrayCallFunction, VMArrayCallHostFuncContext, VMArrayCallNative,
    VMBuiltinFunctionsArray, VMCONTEXT_MAGIC, VMContext, VMFuncRef, VMFunctionImport,
    VMOpaqueContext, VMStoreContext, VMWasmCallFunction, ValRaw, VmPtr,
};
use trapline_wasmtime::wasmtime_environ::{
    EntityIndex, FuncIndex, FunctionLoc, HostPtr, Initializer, PtrSize as _, VMSharedTypeIndex,
};

use crate::measure::{Artifact, Bench};

/// An instance, and what its code and its host functions share.
pub(super) struct Guest {
    module: &'static Module,
    context: NonNull<VMContext>,
    store_context: StoreContext,
}

/// An entry trampoline, and the instance that it enters.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    code: VMArrayCallNative,
    context: NonNull<VMContext>,
}

/// What a host function gets as its context: the record that compiled code knows, and whatever
/// the floor's host functions share.
#[repr(C)]
struct HostFunction<S: 'static> {
    record: VMArrayCallHostFuncContext,
    shared: &'static S,
}

/// The words that compiled code and its host share.
#[derive(Clone, Copy)]
pub(super) struct StoreContext(NonNull<VMStoreContext>);

/// The frames between an entry into the guest and an exit from it.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) exit_fp: usize,
    pub(super) exit_pc: usize,
    pub(super) entry_fp: usize,
}

impl StoreContext {
    /// Where the entry trampoline that ran last wants to be gone on with.
    #[inline]
    pub(super) fn landing(self) -> LandingPoint {
        let words = self.0.as_ptr();
        // SAFETY: words of a context that is never freed, and that nobody has a reference to.
        unsafe {
            LandingPoint {
                pc: (*words).last_wasm_entry_trap_handler.get().read(),
                sp: (*words).last_wasm_entry_sp.get().read(),
                fp: (*words).last_wasm_entry_fp.get().read(),
            }
        }
    }

    /// What it was before another entry trampoline ran.
    #[inline]
    pub(super) fn set_landing(self, landing: LandingPoint) {
        let words = self.0.as_ptr();
        // SAFETY: as for `landing`; compiled code reads none of them.
        unsafe {
            (*words)
                .last_wasm_entry_trap_handler
                .get()
                .write(landing.pc);
            (*words).last_wasm_entry_sp.get().write(landing.sp);
            (*words).last_wasm_entry_fp.get().write(landing.fp);
        }
    }

    /// The frames of the guest that has called the host.
    #[inline]
    pub(super) fn frames(self) -> Run {
        let words = self.0.as_ptr();
        // SAFETY: as for `landing`.
        unsafe {
            Run {
                exit_fp: (*words).last_wasm_exit_trampoline_fp.get().read(),
                exit_pc: (*words).last_wasm_exit_pc.get().read(),
                entry_fp: (*words).last_wasm_entry_fp.get().read(),
            }
        }
    }

    /// Of the instance with this context.
    ///
    /// # Safety
    ///
    /// * The instance was made by [`Guest::new`].
    #[inline]
    unsafe fn of(context: NonNull<VMContext>) -> Self {
        let word = usize::from(HostPtr.vmctx_store_context());
        // SAFETY: the word was filled in when the instance was made, by our duty.
        Self(unsafe { context.byte_add(word).cast().read() })
    }
}

impl Guest {
    /// An instance whose imports are these host functions, by their names; others may not be
    /// called. All of them get at `shared`, by [`shared`].
    pub(super) fn new<S: 'static>(
        bench: &Bench,
        artifact: Artifact,
        imports: &[(&str, VMArrayCallNative)],
        shared: &'static S,
    ) -> Result<Self> {
        let engine = Engine::new();
        // SAFETY: what the compiler made for this run, unchanged.
        let module = unsafe { Module::load(&engine, &bench.artifact(artifact)?) }?;
        let module: &'static Module = Box::leak(Box::new(module));
        let compiled = module.artifact();
        let offsets = compiled.vm_offsets();
        // No limit of the stack is as good as one.
        let store_context = zeroed(size_of::<VMStoreContext>()).cast();
        let context: NonNull<VMContext> = zeroed(offsets.size_of_vmctx() as usize).cast();
        // SAFETY: the places are those of the context's head, which every context has.
        unsafe {
            let head = |offset: u8| context.byte_add(offset.into());
            head(HostPtr.vmctx_magic()).cast().write(VMCONTEXT_MAGIC);
            head(HostPtr.vmctx_store_context())
                .cast()
                .write(store_context);
            head(HostPtr.vmctx_builtin_functions())
                .cast()
                .write(builtins());
        }
        let guest = Self {
            module,
            context,
            store_context: StoreContext(store_context),
        };
        let environ = compiled.module();
        for Initializer::Import { field, index, .. } in &environ.initializers {
            let EntityIndex::Function(index) = *index else {
                anyhow::bail!("the guest imports more than functions");
            };
            let shim = imports
                .iter()
                .find(|(name, _)| *name == &environ.strings[*field]);
            let shim = shim.map_or(not_there as VMArrayCallNative, |(_, shim)| *shim);
            let import = guest.import(compiled, index, shim, shared)?;
            let place = offsets.vmctx_vmfunction_import(index) as usize;
            // SAFETY: the place of the import, which no code has used yet.
            unsafe { context.byte_add(place).cast().write(import) };
        }
        Ok(guest)
    }

    /// A host function as compiled code knows it.
    fn import<S: 'static>(
        &self,
        compiled: &Compiled,
        index: FuncIndex,
        shim: VMArrayCallNative,
        shared: &'static S,
    ) -> Result<VMFunctionImport> {
        let signature = compiled.module().functions[index].signature;
        let trampoline = compiled
            .wasm_to_array_trampoline(signature.unwrap_module_type_index())
            .context("no exit trampoline")?;
        let wasm_call = VmPtr::from(self.address(trampoline)?.cast::<VMWasmCallFunction>());
        let array_call = NonNull::new(shim as *mut VMArrayCallFunction).context("address")?;
        let array_call = VmPtr::from(array_call);
        // Nobody asks for the types of functions.
        let type_index = VMSharedTypeIndex::new(0);
        let function = Box::leak(Box::new(HostFunction {
            record: VMArrayCallHostFuncContext {
                magic: VMArrayCallHostFuncContext::MAGIC,
                func_ref: VMFuncRef {
                    array_call,
                    wasm_call: Some(wasm_call),
                    type_index,
                    vmctx: VmPtr::dangling(),
                },
            },
            shared,
        }));
        let vmctx = VmPtr::from(NonNull::from(function).cast::<VMOpaqueContext>());
        Ok(VMFunctionImport {
            array_call,
            wasm_call,
            type_index,
            vmctx,
        })
    }

    fn address(&self, location: FunctionLoc) -> Result<NonNull<()>> {
        let text = self.module.text().context("no code")?.start;
        let address = text.checked_add(location.start as usize);
        let address = address.context("beyond the end of memory")?;
        NonNull::new(address.as_mut_ptr()).context("address")
    }

    /// The function of this name.
    fn function(&self, name: &str) -> Result<FuncIndex> {
        let environ = self.module.artifact().module();
        let atom = environ.strings.get_atom(name).context("no such name")?;
        match environ.exports.get(&atom) {
            Some(EntityIndex::Function(function)) => Ok(*function),
            _ => anyhow::bail!("{name} is no function"),
        }
    }

    /// The entry trampoline of the function of this name.
    pub(super) fn entry(&self, name: &str) -> Result<Entry> {
        let compiled = self.module.artifact();
        let trampoline = compiled
            .module()
            .defined_func_index(self.function(name)?)
            .and_then(|function| compiled.array_to_wasm_trampoline(function))
            .context("no entry trampoline")?;
        let code = self.address(trampoline)?.as_ptr();
        Ok(Entry {
            // SAFETY: the address is that of a function of this type, which stays mapped.
            code: unsafe { mem::transmute::<*mut (), VMArrayCallNative>(code) },
            context: self.context,
        })
    }

    /// What the code and its host functions share.
    pub(super) fn store_context(&self) -> StoreContext {
        self.store_context
    }

    /// Where each of the code's instructions comes from.
    pub(super) fn map(&self) -> Result<Map> {
        let compiled = self.module.artifact();
        let functions = compiled.iter_functions().map(|function| {
            let index = function.index.map_or(u32::MAX, FuncIndex::as_u32);
            (function.text_range().start, index)
        });
        let addresses = compiled.iter_addresses().map(|entry| {
            let offset = entry.bytecode_offset.unwrap_or(u32::MAX);
            (entry.text_offset, offset)
        });
        Ok(Map {
            text: self.module.text().context("no code")?.start,
            functions: functions.collect(),
            addresses: addresses.collect(),
        })
    }

    /// The index of the function of this name, as frames have it.
    pub(super) fn index(&self, name: &str) -> Result<u32> {
        Ok(self.function(name)?.as_u32())
    }
}

impl Entry {
    /// Enters the guest; `false` if it was left by [`raise`].
    ///
    /// # Safety
    ///
    /// * There are as many slots as the function has parameters or results, whichever are
    ///   more; the parameters are filled in.
    /// * The function causes no fault, and calls no host functions but those that the
    ///   instance has.
    #[inline]
    pub(super) unsafe fn call(self, slots: &mut [ValRaw]) -> bool {
        // SAFETY: the trampoline of a function of the instance; by our duties.
        unsafe {
            (self.code)(
                self.context.cast::<VMOpaqueContext>(),
                self.context,
                slots.as_mut_ptr(),
                slots.len(),
            )
        }
    }
}

/// What host functions share: from what one of them got as its context.
///
/// # Safety
///
/// * Called in a host function of a [`Guest`] made with an `S`.
#[inline]
pub(super) unsafe fn shared<S>(function: NonNull<VMOpaqueContext>) -> &'static S {
    // SAFETY: what compiled code passes is what the import was made with.
    unsafe { function.cast::<HostFunction<S>>().as_ref().shared }
}

/// The functions of instructions, and their bytecode offsets: lists that are sorted by what
/// things begin at in the code.
pub(super) struct Map {
    text: VirtualAddress,
    functions: Vec<(u32, u32)>,
    addresses: Vec<(u32, u32)>,
}

/// A function's index and a bytecode offset.
pub(super) type Place = (u32, u32);

impl Map {
    /// The place of the call that returns to this address.
    #[inline]
    pub(super) fn of_return_address(&self, pc: VirtualAddress) -> Place {
        let offset = pc.get().wrapping_sub(self.text.get()).wrapping_sub(1) as u32;
        let find = |list: &[(u32, u32)]| {
            let behind = list.partition_point(|(start, _)| *start <= offset);
            behind.checked_sub(1).map_or(u32::MAX, |at| list[at].1)
        };
        (find(&self.functions), find(&self.addresses))
    }
}

/// The builtins: one that notes a trap's code, one that leaves the guest.
fn builtins() -> NonNull<*const ()> {
    const LEN: usize = size_of::<VMBuiltinFunctionsArray>() / size_of::<*const ()>();
    let mut builtins = [no_builtin as *const (); LEN];
    builtins[Builtin::Trap.index().index() as usize] = trap as *const ();
    builtins[Builtin::Raise.index().index() as usize] = raise as *const ();
    NonNull::from(Box::leak(Box::new(builtins))).cast()
}

/// The code of the trap that is about to be raised.
static TRAP: AtomicU8 = AtomicU8::new(0);

unsafe extern "C" fn trap(_: NonNull<VMContext>, code: u8) {
    TRAP.store(code, Ordering::Relaxed);
}

/// Leaves the guest for the entry trampoline, which returns `false`.
unsafe extern "C" fn raise(context: NonNull<VMContext>) {
    // SAFETY: called by code of an instance that was made here.
    let landing = unsafe { StoreContext::of(context) }.landing();
    // SAFETY: the landing pad of the trampoline that was entered last, which is running; what
    // lies in between is compiled code and this function, which have no destructors.
    unsafe { landing.with_payload(0, 0).jump() }
}

unsafe extern "C" fn no_builtin() -> ! {
    std::process::abort()
}

unsafe extern "C" fn not_there(
    _: NonNull<VMOpaqueContext>,
    _: NonNull<VMContext>,
    _: *mut ValRaw,
    _: usize,
) -> bool {
    std::process::abort()
}

/// So many bytes of zeros, aligned for whatever compiled code keeps in them.
fn zeroed(bytes: usize) -> NonNull<u128> {
    let words = vec![0_u128; bytes.div_ceil(size_of::<u128>())];
    NonNull::from(Vec::leak(words)).cast()
}
