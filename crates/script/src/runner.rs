//! One script on its way through its actions.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use trapline_embed::{
    Engine, Error, Extern, InstantiateError, Linker, MemoryRelocation, Module, Store, Val,
};

use crate::action::{Action, Call, Run, Step, Value, decode};
use crate::expect::{Expect, ShownResults, results_match};
use crate::instances::Exports;
use crate::messages::trap_matches;
use crate::report::chain;
use crate::tally::{Failure, Outcome};
use crate::threads::{RunningJob, Threads};

/// The module `spectest` in the text format: what scripts import beside
/// functions that print, which [`ScriptRunner`] adds.
pub const SPECTEST: &str = include_str!("spectest.wat");

/// The modules of one script, which its actions know by numbers.
pub trait Modules: Send + Sync {
    /// Loads a module.
    ///
    /// # Errors
    ///
    /// Why there is no such module: it cannot be parsed, is not valid, cannot
    /// be compiled or loaded.
    fn load(&self, engine: &Engine, module: u32) -> Result<Module, String>;
}

/// What a script runs with. Cheap to clone.
#[derive(Clone)]
pub struct ScriptRunner {
    /// The types of all modules, and the platform.
    pub engine: Engine,
    /// The compiled module [`SPECTEST`].
    pub spectest: Module,
    /// Threads for scripts that start some.
    pub threads: Arc<dyn Threads>,
    /// When memories move.
    pub relocation: MemoryRelocation,
    /// The stack that guests may use, in bytes, if not what is the default.
    pub max_wasm_stack: Option<usize>,
}

impl fmt::Debug for ScriptRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptRunner")
            .field("engine", &self.engine)
            .field("relocation", &self.relocation)
            .field("max_wasm_stack", &self.max_wasm_stack)
            .finish_non_exhaustive()
    }
}

impl ScriptRunner {
    /// Runs the (encoded) actions of a script in a store of their own. `name`
    /// stands in the failures.
    #[must_use]
    pub fn run(&self, name: &str, actions: &[u8], modules: &Arc<dyn Modules>) -> Outcome {
        match Script::new(self, name, modules) {
            Ok(script) => script.run(actions),
            Err(error) => {
                let message = format!("cannot instantiate spectest: {error:#}");
                Outcome::of_broken_script(name, 1, message)
            }
        }
    }
}

/// What became of one action that did not fail.
enum Verdict {
    Passed,
    Skipped,
}

/// What an action ends with; the error says what was expected and what
/// happened.
type Checked = Result<Verdict, String>;

struct Script<'a> {
    runner: &'a ScriptRunner,
    name: &'a str,
    modules: &'a Arc<dyn Modules>,
    store: Store<()>,
    /// Instances by the names that imports know them by.
    registered: BTreeMap<String, Exports>,
    /// Instances by the script's own identifiers.
    named: BTreeMap<String, Exports>,
    /// The instance that actions without an identifier mean.
    current: Option<Exports>,
    /// Modules that were defined without being instantiated.
    definitions: BTreeMap<String, Module>,
    last_definition: Option<Module>,
    threads: BTreeMap<String, Box<dyn RunningJob>>,
    outcome: Outcome,
}

impl<'a> Script<'a> {
    fn new(
        runner: &'a ScriptRunner,
        name: &'a str,
        modules: &'a Arc<dyn Modules>,
    ) -> anyhow::Result<Self> {
        let mut store = Store::new(&runner.engine, ());
        store.set_memory_relocation(runner.relocation);
        if let Some(bytes) = runner.max_wasm_stack {
            store.set_max_wasm_stack(bytes);
        }
        let spectest = Exports::spectest(&runner.engine, &mut store, &runner.spectest)?;
        Ok(Self {
            runner,
            name,
            modules,
            store,
            registered: BTreeMap::from([("spectest".into(), spectest)]),
            named: BTreeMap::new(),
            current: None,
            definitions: BTreeMap::new(),
            last_definition: None,
            threads: BTreeMap::new(),
            outcome: Outcome::default(),
        })
    }

    /// Takes the actions one by one, and waits for the threads that the script
    /// did not wait for.
    fn run(mut self, actions: &[u8]) -> Outcome {
        for action in decode(actions) {
            match action {
                Ok(Action { line, kind, step }) => match self.step(step) {
                    Ok(Verdict::Passed) => self.outcome.pass(kind),
                    Ok(Verdict::Skipped) => self.outcome.skip(kind),
                    Err(message) => self.outcome.fail(Failure {
                        script: self.name.into(),
                        line: line as usize,
                        kind: Some(kind),
                        message,
                    }),
                },
                Err(error) => self.broken(chain(&error)),
            }
        }
        for (name, thread) in core::mem::take(&mut self.threads) {
            if let Err(message) = self.join(thread) {
                self.broken(format!("thread ${name}: {message}"));
            }
        }
        self.outcome
    }

    /// Notes a failure of the script as a whole.
    fn broken(&mut self, message: String) {
        let broken = Outcome::of_broken_script(self.name, 1, message);
        self.outcome.merge(broken);
    }

    fn step(&mut self, step: Step<'_>) -> Checked {
        match step {
            Step::Skip => Ok(Verdict::Skipped),
            Step::Pass => Ok(Verdict::Passed),
            Step::Fail(message) => Err(message.into_owned()),
            Step::Module { name, module } => {
                let loaded = self.load(module)?;
                self.instance(name, &loaded)
            }
            Step::Definition { name, module } => {
                let loaded = self.load(module)?;
                if let Some(name) = name {
                    self.definitions.insert(name.into(), loaded.clone());
                }
                self.last_definition = Some(loaded);
                Ok(Verdict::Passed)
            }
            Step::Instance { name, definition } => {
                let definition = match definition {
                    Some(name) => self.definitions.get(name),
                    None => self.last_definition.as_ref(),
                };
                let definition = definition.cloned().ok_or("there is no such definition")?;
                self.instance(name, &definition)
            }
            Step::Register { name, instance } => {
                let exports = self.exports(instance)?;
                self.registered.insert(name.into(), exports);
                Ok(Verdict::Passed)
            }
            Step::Invoke(call) => match self.call(&call)? {
                Ok(_) => Ok(Verdict::Passed),
                Err(error) => Err(format!("expected a return, got {}", chain(&error))),
            },
            Step::AssertReturn { run, results } => self.assert_return(&run, &results),
            Step::AssertTrap { run, message } => {
                let end = self.execute(&run)?;
                expect_trap(message, end)
            }
            Step::AssertUnlinkable { module, message } => self.assert_unlinkable(module, message),
            Step::Thread {
                name,
                shared,
                actions,
            } => self.spawn(name, shared, actions.into_owned()),
            Step::Wait { thread } => {
                let thread = self.threads.remove(thread);
                self.join(thread.ok_or("there is no such thread")?)?;
                Ok(Verdict::Passed)
            }
        }
    }

    fn load(&self, module: u32) -> Result<Module, String> {
        self.modules.load(&self.runner.engine, module)
    }

    /// Instantiates a module and makes it the current one.
    fn instance(&mut self, name: Option<&str>, module: &Module) -> Checked {
        let exports = match self.instantiate(module) {
            Ok(exports) => exports,
            Err(error) => {
                // Actions that follow must not meet the instance before.
                self.current = None;
                if let Some(name) = name {
                    self.named.remove(name);
                }
                return Err(format!("cannot instantiate: {}", chain(&error)));
            }
        };
        if let Some(name) = name {
            self.named.insert(name.into(), exports.clone());
        }
        self.current = Some(exports);
        Ok(Verdict::Passed)
    }

    /// Instantiates a module with what is registered under the names that it
    /// imports.
    fn instantiate(&mut self, module: &Module) -> Result<Exports, InstantiateError> {
        let mut items: BTreeMap<(&str, &str), Extern> = BTreeMap::new();
        for import in module.imports() {
            let item = self
                .registered
                .get(import.module)
                .and_then(|exports| exports.get(&mut self.store, import.name));
            if let Some(item) = item {
                items.insert((import.module, import.name), item);
            }
        }
        let mut linker = Linker::new(&self.runner.engine);
        for ((module, name), item) in items {
            linker.define(module, name, item);
        }
        linker
            .instantiate(&mut self.store, module)
            .map(Exports::Instance)
    }

    fn exports(&self, name: Option<&str>) -> Result<Exports, String> {
        match name {
            Some(name) => self
                .named
                .get(name)
                .cloned()
                .ok_or_else(|| format!("there is no instance ${name}")),
            None => self
                .current
                .clone()
                .ok_or_else(|| "there is no current instance".into()),
        }
    }

    fn export(&mut self, instance: Option<&str>, name: &str) -> Result<Extern, String> {
        let exports = self.exports(instance)?;
        let item = exports.get(&mut self.store, name);
        item.ok_or_else(|| format!("there is no export {name:?}"))
    }

    /// Calls a function. The outer error is one of the script's: there is no
    /// such function, or an argument has no value here.
    fn call(&mut self, call: &Call<'_>) -> Result<Result<Vec<Val>, Error>, String> {
        let Extern::Func(func) = self.export(call.instance, call.name)? else {
            return Err(format!("the export {:?} is no function", call.name));
        };
        let arguments = call.arguments.as_ref().and_then(|arguments| {
            let values = arguments.iter().copied().map(Value::to_val);
            values.collect::<Option<Vec<Val>>>()
        });
        let arguments = arguments.ok_or("an argument has a type that is not supported")?;
        Ok(func.call(&mut self.store, &arguments))
    }

    /// Does what an assertion is about: calls, reads a global, or
    /// instantiates. The outer error is one of the script's.
    fn execute(&mut self, run: &Run<'_>) -> Result<Result<Vec<Val>, Error>, String> {
        match run {
            Run::Call(call) => self.call(call),
            Run::Global { instance, name } => match self.export(*instance, name)? {
                Extern::Global(global) => Ok(Ok(vec![global.get(&self.store)])),
                _ => Err(format!("the export {name:?} is no global")),
            },
            Run::Module(module) => {
                let module = self.load(*module)?;
                match self.instantiate(&module) {
                    Ok(_) => Ok(Ok(Vec::new())),
                    Err(InstantiateError::Trap(error)) => Ok(Err(error)),
                    Err(error) => Err(format!("cannot instantiate: {}", chain(&error))),
                }
            }
        }
    }

    fn assert_return(&mut self, run: &Run<'_>, expected: &[Expect]) -> Checked {
        match self.execute(run)? {
            Ok(actual) if results_match(expected, &actual) => Ok(Verdict::Passed),
            Ok(actual) => Err(format!(
                "expected {expected:?}, got {}",
                ShownResults(&actual)
            )),
            Err(error) => Err(format!("expected {expected:?}, got {}", chain(&error))),
        }
    }

    fn assert_unlinkable(&mut self, module: u32, message: &str) -> Checked {
        let module = self.load(module)?;
        match self.instantiate(&module) {
            Err(InstantiateError::Link(error)) if chain(&error).contains(message) => {
                Ok(Verdict::Passed)
            }
            Err(error) => Err(format!("expected {message:?}, got {}", chain(&error))),
            Ok(_) => Err(format!(
                "expected {message:?}, but the module was instantiated"
            )),
        }
    }

    /// Starts a thread with a store of its own, that shares memories of one
    /// instance of this script.
    fn spawn(&mut self, name: &str, shared: Option<&str>, actions: Vec<u8>) -> Checked {
        let shared = match shared {
            Some(name) => {
                let exports = self.exports(Some(name))?;
                Some((String::from(name), exports.shared_memories(&mut self.store)))
            }
            None => None,
        };
        let runner = self.runner.clone();
        let modules = Arc::clone(self.modules);
        let script_name = String::from(self.name);
        let job = move || match Script::new(&runner, &script_name, &modules) {
            Ok(mut script) => {
                script.named.extend(shared);
                script.run(&actions)
            }
            Err(error) => {
                let message = format!("cannot instantiate spectest in a thread: {error:#}");
                Outcome::of_broken_script(&script_name, 1, message)
            }
        };
        let running = self.runner.threads.spawn(Box::new(job));
        let running = running.map_err(|error| format!("cannot start a thread: {error:#}"))?;
        self.threads.insert(name.into(), running);
        Ok(Verdict::Passed)
    }

    /// Waits for a thread, and adds what its actions came to.
    fn join(&mut self, thread: Box<dyn RunningJob>) -> Result<(), String> {
        let outcome = thread
            .wait()
            .map_err(|message| format!("the thread panicked: {message}"))?;
        self.outcome.merge(outcome);
        Ok(())
    }
}

/// Whether a call or instantiation ended in the trap that is expected.
fn expect_trap(message: &str, end: Result<Vec<Val>, Error>) -> Checked {
    match end {
        Ok(results) => Err(format!(
            "expected the trap {message:?}, got {}",
            ShownResults(&results)
        )),
        Err(error) => match error.kind() {
            Some(kind) if trap_matches(message, kind) => Ok(Verdict::Passed),
            _ => Err(format!(
                "expected the trap {message:?}, got {}",
                chain(&error)
            )),
        },
    }
}
