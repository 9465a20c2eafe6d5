//! One script on its way through its directives.

use std::collections::BTreeMap;
use std::thread::{Scope, ScopedJoinHandle};

use trapline_embed::{
    Error, Extern, InstantiateError, Linker, MemoryRelocation, Module, Store, Val,
};
use wast::token::Id;
use wast::{QuoteWat, WastDirective, WastExecute, WastInvoke, WastRet, WastThread, Wat};

use super::instances::Exports;
use super::messages::{Refusal, trap_matches};
use super::tally::{Failure, Kind, Outcome};
use super::values::{ShownResults, argument, results_match};
use super::{Runner, chain, panic_message};

/// Runs the directives of a script whose text is `text`.
pub(super) fn run(
    runner: &Runner,
    name: &str,
    text: &str,
    directives: Vec<WastDirective<'_>>,
) -> Outcome {
    std::thread::scope(|scope| match Script::new(runner, name, text, scope) {
        Ok(script) => script.run(directives),
        Err(error) => {
            let mut outcome = Outcome::default();
            outcome.fail(Failure {
                script: name.into(),
                line: 1,
                kind: None,
                message: format!("cannot instantiate spectest: {error:#}"),
            });
            outcome
        }
    })
}

/// What became of one directive that did not fail.
enum Verdict {
    Passed,
    /// Nothing here implements it.
    Skipped,
}

/// What a directive ends with; the error says what was expected and what
/// happened.
type Checked = Result<Verdict, String>;

struct Script<'scope, 'env> {
    runner: &'env Runner,
    name: &'env str,
    text: &'env str,
    scope: &'scope Scope<'scope, 'env>,
    store: Store<()>,
    /// Instances by the names that imports know them by.
    registered: BTreeMap<String, Exports>,
    /// Instances by the script's own identifiers.
    named: BTreeMap<String, Exports>,
    /// The instance that directives without an identifier mean.
    current: Option<Exports>,
    /// Modules that were defined without being instantiated.
    definitions: BTreeMap<String, Module>,
    last_definition: Option<Module>,
    threads: BTreeMap<String, ScopedJoinHandle<'scope, Outcome>>,
    outcome: Outcome,
}

impl<'scope, 'env> Script<'scope, 'env> {
    fn new(
        runner: &'env Runner,
        name: &'env str,
        text: &'env str,
        scope: &'scope Scope<'scope, 'env>,
    ) -> anyhow::Result<Self> {
        let mut store = Store::new(&runner.engine, ());
        if runner.options.move_memories {
            store.set_memory_relocation(MemoryRelocation::MoveOnGrow);
        }
        let spectest = Exports::spectest(&runner.engine, &mut store, &runner.spectest)?;
        Ok(Self {
            runner,
            name,
            text,
            scope,
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

    /// Takes the directives one by one, and waits for the threads that the
    /// script did not wait for.
    fn run(mut self, directives: Vec<WastDirective<'env>>) -> Outcome {
        for directive in directives {
            let kind = Kind::of(&directive);
            let (line, _) = directive.span().linecol_in(self.text);
            let line = line + 1;
            let exclusions = &self.runner.options.exclusions;
            if exclusions.directive(self.name, line).is_some() {
                self.outcome.skip(kind);
                continue;
            }
            match self.directive(directive) {
                Ok(Verdict::Passed) => self.outcome.pass(kind),
                Ok(Verdict::Skipped) => self.outcome.skip(kind),
                Err(message) => self.outcome.fail(Failure {
                    script: self.name.into(),
                    line,
                    kind: Some(kind),
                    message,
                }),
            }
        }
        for (name, thread) in core::mem::take(&mut self.threads) {
            if let Err(message) = self.join(thread) {
                self.outcome.fail(Failure {
                    script: self.name.into(),
                    line: 1,
                    kind: None,
                    message: format!("thread ${name}: {message}"),
                });
            }
        }
        self.outcome
    }

    fn directive(&mut self, directive: WastDirective<'env>) -> Checked {
        match directive {
            WastDirective::Module(mut module) => {
                let name = module.name();
                let loaded = self.load(&mut module)?;
                self.instance(name, &loaded)
            }
            WastDirective::ModuleDefinition(mut module) => {
                let loaded = self.load(&mut module)?;
                if let Some(name) = module.name() {
                    self.definitions.insert(name.name().into(), loaded.clone());
                }
                self.last_definition = Some(loaded);
                Ok(Verdict::Passed)
            }
            WastDirective::ModuleInstance {
                instance, module, ..
            } => {
                let definition = match module {
                    Some(name) => self.definitions.get(name.name()),
                    None => self.last_definition.as_ref(),
                };
                let definition = definition.cloned().ok_or("there is no such definition")?;
                self.instance(instance, &definition)
            }
            WastDirective::Register { name, module, .. } => {
                let exports = self.exports(module)?;
                self.registered.insert(name.into(), exports);
                Ok(Verdict::Passed)
            }
            WastDirective::Invoke(invoke) => match self.invoke(&invoke)? {
                Ok(_) => Ok(Verdict::Passed),
                Err(error) => Err(format!("expected a return, got {}", chain(&error))),
            },
            WastDirective::AssertReturn { exec, results, .. } => self.assert_return(exec, &results),
            WastDirective::AssertTrap { exec, message, .. } => {
                let end = self.execute(exec)?;
                expect_trap(message, end)
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let end = self.invoke(&call)?;
                expect_trap(message, end)
            }
            WastDirective::AssertInvalid {
                mut module,
                message,
                ..
            }
            | WastDirective::AssertMalformed {
                mut module,
                message,
                ..
            }
            | WastDirective::AssertInvalidCustom {
                mut module,
                message,
                ..
            }
            | WastDirective::AssertMalformedCustom {
                mut module,
                message,
                ..
            } => self.assert_refused(&mut module, message),
            WastDirective::AssertUnlinkable {
                module, message, ..
            } => self.assert_unlinkable(module, message),
            WastDirective::Thread(thread) => self.spawn(thread),
            WastDirective::Wait { thread, .. } => {
                let thread = self.threads.remove(thread.name());
                self.join(thread.ok_or("there is no such thread")?)?;
                Ok(Verdict::Passed)
            }
            WastDirective::AssertException { .. } | WastDirective::AssertSuspension { .. } => {
                Ok(Verdict::Skipped)
            }
        }
    }

    fn load(&self, module: &mut QuoteWat<'_>) -> Result<Module, String> {
        let wasm = module
            .encode()
            .map_err(|error| format!("cannot parse: {}", error.message()))?;
        self.runner.load(&wasm)
    }

    /// Instantiates a module and makes it the current one.
    fn instance(&mut self, name: Option<Id<'_>>, module: &Module) -> Checked {
        let exports = match self.instantiate(module) {
            Ok(exports) => exports,
            Err(error) => {
                // Directives that follow must not meet the instance before.
                self.current = None;
                if let Some(name) = name {
                    self.named.remove(name.name());
                }
                return Err(format!("cannot instantiate: {}", chain(&error)));
            }
        };
        if let Some(name) = name {
            self.named.insert(name.name().into(), exports.clone());
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

    fn exports(&self, name: Option<Id<'_>>) -> Result<Exports, String> {
        match name {
            Some(name) => self
                .named
                .get(name.name())
                .cloned()
                .ok_or_else(|| format!("there is no instance ${}", name.name())),
            None => self
                .current
                .clone()
                .ok_or_else(|| "there is no current instance".into()),
        }
    }

    fn export(&mut self, module: Option<Id<'_>>, name: &str) -> Result<Extern, String> {
        let exports = self.exports(module)?;
        let item = exports.get(&mut self.store, name);
        item.ok_or_else(|| format!("there is no export {name:?}"))
    }

    /// Calls a function. The outer error is one of the script's: there is no
    /// such function, or an argument has no value here.
    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Result<Vec<Val>, Error>, String> {
        let Extern::Func(func) = self.export(invoke.module, invoke.name)? else {
            return Err(format!("the export {:?} is no function", invoke.name));
        };
        let arguments: Option<Vec<Val>> = invoke.args.iter().map(argument).collect();
        let arguments = arguments.ok_or("an argument has a type that is not supported")?;
        Ok(func.call(&mut self.store, &arguments))
    }

    /// Does what an assertion is about: calls, reads a global, or
    /// instantiates. The outer error is one of the script's.
    fn execute(&mut self, exec: WastExecute<'_>) -> Result<Result<Vec<Val>, Error>, String> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Get { module, global, .. } => match self.export(module, global)? {
                Extern::Global(global) => Ok(Ok(vec![global.get(&self.store)])),
                _ => Err(format!("the export {global:?} is no global")),
            },
            WastExecute::Wat(module) => {
                let module = self.load(&mut QuoteWat::Wat(module))?;
                match self.instantiate(&module) {
                    Ok(_) => Ok(Ok(Vec::new())),
                    Err(InstantiateError::Trap(error)) => Ok(Err(error)),
                    Err(error) => Err(format!("cannot instantiate: {}", chain(&error))),
                }
            }
        }
    }

    fn assert_return(&mut self, exec: WastExecute<'_>, expected: &[WastRet<'_>]) -> Checked {
        match self.execute(exec)? {
            Ok(actual) if results_match(expected, &actual) => Ok(Verdict::Passed),
            Ok(actual) => Err(format!(
                "expected {}, got {}",
                shown_expected(expected),
                ShownResults(&actual)
            )),
            Err(error) => Err(format!(
                "expected {}, got {}",
                shown_expected(expected),
                chain(&error)
            )),
        }
    }

    fn assert_refused(&self, module: &mut QuoteWat<'_>, message: &str) -> Checked {
        let refusal = match module.encode() {
            Err(error) => Refusal::Parser(error.message()),
            Ok(wasm) => match self.runner.validate(&wasm) {
                Err(message) => Refusal::Validator(message),
                Ok(()) => return Err(format!("expected {message:?}, but the module is valid")),
            },
        };
        if refusal.matches(message) {
            Ok(Verdict::Passed)
        } else {
            Err(format!("expected {message:?}, refused for \"{refusal}\""))
        }
    }

    fn assert_unlinkable(&mut self, module: Wat<'_>, message: &str) -> Checked {
        let module = self.load(&mut QuoteWat::Wat(module))?;
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
    fn spawn(&mut self, thread: WastThread<'env>) -> Checked {
        let shared = match thread.shared_module {
            Some(name) => {
                let exports = self.exports(Some(name))?;
                Some((
                    name.name().to_string(),
                    exports.shared_memories(&mut self.store),
                ))
            }
            None => None,
        };
        let (runner, name, text, scope) = (self.runner, self.name, self.text, self.scope);
        let handle = scope.spawn(move || match Script::new(runner, name, text, scope) {
            Ok(mut script) => {
                script.named.extend(shared);
                script.run(thread.directives)
            }
            Err(error) => panic!("cannot instantiate spectest: {error:#}"),
        });
        self.threads.insert(thread.name.name().into(), handle);
        Ok(Verdict::Passed)
    }

    /// Waits for a thread, and adds what its directives came to.
    fn join(&mut self, thread: ScopedJoinHandle<'scope, Outcome>) -> Result<(), String> {
        let outcome = thread
            .join()
            .map_err(|payload| format!("the thread panicked: {}", panic_message(&*payload)))?;
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

fn shown_expected(expected: &[WastRet<'_>]) -> String {
    let shown: Vec<String> = expected
        .iter()
        .map(|expected| match expected {
            WastRet::Core(expected) => format!("{expected:?}"),
            _ => "a value of a component".into(),
        })
        .collect();
    format!("[{}]", shown.join(", "))
}
