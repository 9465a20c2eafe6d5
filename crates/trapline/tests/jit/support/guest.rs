//! From CLIF text to registered machine code.

use std::any::Any;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use cranelift_codegen::ir::{ExternalName, Function, UserExternalName, UserFuncName};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, isa::OwnedTargetIsa};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use cranelift_reader::parse_functions;
use trapline::{
    CodeAddress, CodeObject, Registration, TrapKind, VMContext, VirtualAddress, register_code,
};

use super::glue::{HostFunction, entry_trampolines, exit_stub};
use super::store::{Entry, EntryTrampoline, raise_builtin, standard_host_functions};
use super::trap_code::trap_kind;

/// Bytes of address space for one guest's code.
const ARENA: usize = 1 << 18;

/// A guest: CLIF functions, compiled and registered.
pub(crate) struct Guest {
    registration: Registration,
    code: Arc<JitCode>,
}

impl Guest {
    /// Compiles the functions in `clif`. They call each other and the
    /// [standard host functions](standard_host_functions) by name.
    pub(crate) fn new(clif: &str) -> Self {
        Self::with_host_functions(clif, &[])
    }

    /// The same, with further host functions.
    pub(crate) fn with_host_functions(clif: &str, hosts: &[HostFunction]) -> Self {
        Self::register(JitCode::compile(clif, hosts))
    }

    pub(crate) fn register(code: Arc<JitCode>) -> Self {
        let registration = register_code(Arc::clone(&code) as Arc<dyn CodeObject>)
            .expect("an address range of our own");
        Self { registration, code }
    }

    /// The same code, no longer registered.
    pub(crate) fn unregister(self) -> Arc<JitCode> {
        drop(self.registration);
        self.code
    }

    pub(crate) fn code(&self) -> &Arc<JitCode> {
        &self.code
    }
}

/// The machine code of a guest, and what was known when it was compiled.
pub(crate) struct JitCode {
    text: Range<VirtualAddress>,
    /// Sorted by where they start.
    functions: Vec<CompiledFunction>,
    /// The names of the guest's functions, by their numbers: the order in the
    /// text.
    names: Vec<String>,
    trampolines: HashMap<(String, Entry), EntryTrampoline>,
    /// Owner of the memory that all of this is about. The lock is for `Sync`
    /// only: nobody uses the module before it is dropped.
    module: Mutex<Option<JITModule>>,
}

struct CompiledFunction {
    /// Offsets in the text.
    text: Range<usize>,
    /// `None` for entry trampolines and exit stubs.
    number: Option<u32>,
    /// Sorted by offset in the function.
    traps: Vec<(u32, TrapKind)>,
    /// Sorted; ranges of offsets in the function, and `@…` in the guest's text.
    locations: Vec<(Range<u32>, u32)>,
}

impl JitCode {
    pub(crate) fn compile(clif: &str, hosts: &[HostFunction]) -> Arc<Self> {
        let guest = parse(clif);
        let mut glue = String::new();
        for function in &guest {
            glue.push_str(&entry_trampolines(&name_of(function), &function.signature));
        }
        let standard = standard_host_functions();
        let hosts: Vec<_> = standard.iter().chain(hosts).collect();
        for host in &hosts {
            glue.push_str(&exit_stub(host));
        }

        let mut builder = JITBuilder::with_isa(host_isa(), default_libcall_names());
        builder.memory_provider(Box::new(
            ArenaMemoryProvider::new_with_size(ARENA).expect("some address space"),
        ));
        builder.symbol("raise", raise_builtin());
        for host in &hosts {
            builder.symbol(format!("{}_host", host.name), host.address);
        }
        let mut module = JITModule::new(builder);

        let names: Vec<_> = guest.iter().map(name_of).collect();
        let functions: Vec<_> = guest.into_iter().chain(parse(&glue)).collect();
        let mut ids = HashMap::new();
        for function in &functions {
            let name = name_of(function);
            let id = module
                .declare_function(&name, Linkage::Local, &function.signature)
                .expect("one function of each name");
            ids.insert(name, id);
        }
        let compiled: Vec<_> = functions
            .into_iter()
            .enumerate()
            .map(|(i, function)| {
                let number = (i < names.len()).then_some(i as u32);
                define(&mut module, &mut ids, function, number)
            })
            .collect();
        module.finalize_definitions().expect("enough memory");
        Arc::new(Self::new(module, compiled, names, &ids))
    }

    fn new(
        module: JITModule,
        compiled: Vec<(FuncId, u32, CompiledFunction)>,
        names: Vec<String>,
        ids: &HashMap<String, FuncId>,
    ) -> Self {
        let address_of = |id| module.get_finalized_function(id);
        let mut placed: Vec<_> = compiled
            .into_iter()
            .map(|(id, size, function)| {
                let start = VirtualAddress::from_ptr(address_of(id));
                let end = start.checked_add(size as usize).expect("in memory");
                (start..end, function)
            })
            .collect();
        placed.sort_by_key(|(range, _)| range.start);
        let (first, last) = (&placed[0].0, &placed[placed.len() - 1].0);
        let text = first.start..last.end;
        let trampolines = names
            .iter()
            .flat_map(|name| Entry::BOTH.map(|entry| (name.clone(), entry)))
            .map(|(name, entry)| {
                let address = address_of(ids[&entry.trampoline_name(&name)]);
                // SAFETY: compiled from the text of `entry_trampolines`, whose
                // signature this is.
                let trampoline =
                    unsafe { std::mem::transmute::<*const u8, EntryTrampoline>(address) };
                ((name, entry), trampoline)
            })
            .collect();
        let functions = placed
            .into_iter()
            .map(|(range, mut function)| {
                let offset = |address: VirtualAddress| {
                    address.offset_from(text.start).expect("inside of the text")
                };
                function.text = offset(range.start)..offset(range.end);
                function
            })
            .collect();
        Self {
            text,
            functions,
            names,
            trampolines,
            module: Mutex::new(Some(module)),
        }
    }

    /// The name of the function with this number.
    pub(crate) fn function_name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    /// The entry trampoline of the function `name`.
    ///
    /// # Panics
    ///
    /// If there is no such function.
    pub(crate) fn trampoline(&self, name: &str, entry: Entry) -> EntryTrampoline {
        *self
            .trampolines
            .get(&(name.to_owned(), entry))
            .unwrap_or_else(|| panic!("no guest function {name}"))
    }

    /// The function at this offset, and the offset in it.
    fn function_at(&self, text_offset: usize) -> Option<(&CompiledFunction, u32)> {
        let after = self
            .functions
            .partition_point(|function| function.text.start <= text_offset);
        let function = self.functions.get(after.checked_sub(1)?)?;
        let offset = text_offset.checked_sub(function.text.start)?;
        let inside = text_offset < function.text.end;
        inside.then_some((function, offset as u32))
    }
}

// SAFETY: the compiler's module owns the memory of the text and goes with this, which the registry keeps. The
// traps are those that the compiler named for its own code. They are looked up by binary searches in place.
unsafe impl CodeObject for JitCode {
    fn text(&self) -> Range<VirtualAddress> {
        self.text.clone()
    }

    fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind> {
        let (function, offset) = self.function_at(text_offset)?;
        let index = function
            .traps
            .binary_search_by_key(&offset, |&(at, _)| at)
            .ok()?;
        function.traps.get(index).map(|&(_, kind)| kind)
    }

    fn lookup_address(&self, text_offset: usize) -> Option<CodeAddress> {
        let (function, offset) = self.function_at(text_offset)?;
        let location = function
            .locations
            .iter()
            .find(|(range, _)| range.contains(&offset));
        Some(CodeAddress {
            function: function.number?,
            bytecode_offset: location.map(|&(_, location)| location),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for JitCode {
    fn drop(&mut self) {
        let module = self.module.get_mut().ok().and_then(Option::take);
        if let Some(module) = module {
            // SAFETY: the code is only run by `JitStore::call`, which borrows
            // a registered guest, which holds this.
            unsafe { module.free_memory() };
        }
    }
}

fn parse(clif: &str) -> Vec<Function> {
    parse_functions(clif).unwrap_or_else(|error| panic!("{error}\nin\n{clif}"))
}

/// `inner` for `function %inner`.
fn name_of(function: &Function) -> String {
    match &function.name {
        UserFuncName::Testcase(name) => {
            String::from_utf8(name.raw().to_vec()).expect("names are ASCII")
        }
        UserFuncName::User(name) => panic!("function {name} has a number, not a name"),
    }
}

/// Compiles one function; its identity, its size in bytes, and what is known of
/// it.
fn define(
    module: &mut JITModule,
    ids: &mut HashMap<String, FuncId>,
    mut function: Function,
    number: Option<u32>,
) -> (FuncId, u32, CompiledFunction) {
    let id = ids[&name_of(&function)];
    link_names(module, ids, &mut function);
    let mut context = Context::for_function(function);
    module
        .define_function(id, &mut context)
        .unwrap_or_else(|error| panic!("{error:?}\nin\n{}", context.func.display()));
    let compiled = context.compiled_code().expect("compiled right above");
    let mut traps: Vec<_> = compiled
        .buffer
        .traps()
        .iter()
        .map(|trap| (trap.offset, trap_kind(trap.code)))
        .collect();
    traps.sort_by_key(|&(offset, _)| offset);
    let locations = compiled
        .buffer
        .get_srclocs_sorted()
        .iter()
        .filter(|location| !location.loc.is_default())
        .map(|location| (location.start..location.end, location.loc.bits()))
        .collect();
    let compiled_function = CompiledFunction {
        text: 0..0,
        number,
        traps,
        locations,
    };
    (id, compiled.code_info().total_size, compiled_function)
}

/// Replaces the names that the text has for called functions by the numbers
/// that a module has. What is not defined in the module is the host's.
fn link_names(module: &mut JITModule, ids: &mut HashMap<String, FuncId>, function: &mut Function) {
    let called: Vec<_> = function.dfg.ext_funcs.keys().collect();
    for called in called {
        let data = &function.dfg.ext_funcs[called];
        let ExternalName::TestCase(name) = &data.name else {
            continue;
        };
        let name = String::from_utf8(name.raw().to_vec()).expect("names are ASCII");
        let signature = &function.dfg.signatures[data.signature];
        let id = *ids.entry(name).or_insert_with_key(|name| {
            module
                .declare_function(name, Linkage::Import, signature)
                .expect("the same signature everywhere")
        });
        let name = function.declare_imported_user_function(UserExternalName {
            namespace: 0,
            index: id.as_u32(),
        });
        function.dfg.ext_funcs[called].name = ExternalName::user(name);
    }
}

/// This machine, with frame pointers, which the walk needs.
fn host_isa() -> OwnedTargetIsa {
    let mut flags = settings::builder();
    for (name, value) in [
        ("preserve_frame_pointers", "true"),
        ("opt_level", "speed"),
        ("unwind_info", "false"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
    ] {
        flags.set(name, value).expect("a setting of Cranelift");
    }
    cranelift_native::builder()
        .expect("Cranelift knows this machine")
        .finish(settings::Flags::new(flags))
        .expect("settings that go together")
}

const _: () = assert!(
    size_of::<*const VMContext>() == 8,
    "guests use i64 for pointers"
);
