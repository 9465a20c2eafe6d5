//! From the text of a script to actions.

use std::borrow::Cow;

use trapline_script::{Action, Call, Kind, Run, Step, encode};
use wasmparser::{Validator, WasmFeatures};
use wast::lexer::Lexer;
use wast::parser::ParseBuffer;
use wast::token::Id;
use wast::{QuoteWat, WastDirective, WastExecute, WastInvoke, WastThread};

use super::exclusions::Exclusions;
use super::messages::Refusal;
use super::values::{argument, result};

/// A script without its text: what [`trapline_script::ScriptRunner`] takes,
/// but for the modules, which are not compiled yet.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The encoded actions.
    pub actions: Vec<u8>,
    /// The modules that the actions know by numbers, in the binary format, or
    /// why there is none: it does not parse or is not valid. Their order is that
    /// of the text.
    pub modules: Vec<Result<Vec<u8>, String>>,
    /// Whether the script starts threads.
    pub has_threads: bool,
}

/// A script that cannot be parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptError {
    /// The line where it stops to make sense, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

/// Parses a script, encodes and validates its modules, and decides everything
/// that is only about parsing and validating.
///
/// `name` is what the exclusions go by.
///
/// # Errors
///
/// If the script cannot be parsed.
pub fn translate(
    name: &str,
    text: &str,
    features: WasmFeatures,
    exclusions: &Exclusions,
) -> Result<Translated, ScriptError> {
    let mut lexer = Lexer::new(text);
    // The test suite has characters on purpose that look like others.
    lexer.allow_confusing_unicode(true);
    let error = |error: wast::Error| ScriptError {
        line: error.span().linecol_in(text).0 + 1,
        message: error.message(),
    };
    let buffer = ParseBuffer::new_with_lexer(lexer).map_err(error)?;
    let script = wast::parser::parse::<wast::Wast<'_>>(&buffer).map_err(error)?;
    let mut translator = Translator {
        name,
        lines: Lines::of(text),
        features,
        exclusions,
        modules: Vec::new(),
        has_threads: false,
    };
    let actions = translator.directives(script.directives);
    Ok(Translated {
        actions: encode(&actions),
        modules: translator.modules,
        has_threads: translator.has_threads,
    })
}

/// The kind of a directive.
const fn kind_of(directive: &WastDirective<'_>) -> Kind {
    match directive {
        WastDirective::Module(_) => Kind::Module,
        WastDirective::ModuleDefinition(_) => Kind::ModuleDefinition,
        WastDirective::ModuleInstance { .. } => Kind::ModuleInstance,
        WastDirective::Register { .. } => Kind::Register,
        WastDirective::Invoke(_) => Kind::Invoke,
        WastDirective::AssertReturn { .. } => Kind::AssertReturn,
        WastDirective::AssertTrap { .. } => Kind::AssertTrap,
        WastDirective::AssertExhaustion { .. } => Kind::AssertExhaustion,
        WastDirective::AssertInvalid { .. } => Kind::AssertInvalid,
        WastDirective::AssertMalformed { .. } => Kind::AssertMalformed,
        WastDirective::AssertInvalidCustom { .. } => Kind::AssertInvalidCustom,
        WastDirective::AssertMalformedCustom { .. } => Kind::AssertMalformedCustom,
        WastDirective::AssertUnlinkable { .. } => Kind::AssertUnlinkable,
        WastDirective::AssertException { .. } => Kind::AssertException,
        WastDirective::AssertSuspension { .. } => Kind::AssertSuspension,
        WastDirective::Thread(_) => Kind::Thread,
        WastDirective::Wait { .. } => Kind::Wait,
    }
}

struct Translator<'t> {
    name: &'t str,
    lines: Lines,
    features: WasmFeatures,
    exclusions: &'t Exclusions,
    modules: Vec<Result<Vec<u8>, String>>,
    has_threads: bool,
}

impl Translator<'_> {
    fn directives<'a>(&mut self, directives: Vec<WastDirective<'a>>) -> Vec<Action<'a>> {
        let actions = directives.into_iter().map(|directive| {
            let kind = kind_of(&directive);
            let line = self.lines.of_offset(directive.span().offset());
            let step = match self.exclusions.directive(self.name, line) {
                Some(_) => Step::Skip,
                None => self.step(directive),
            };
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            Action { line, kind, step }
        });
        actions.collect()
    }

    fn step<'a>(&mut self, directive: WastDirective<'a>) -> Step<'a> {
        match directive {
            WastDirective::Module(mut module) => Step::Module {
                name: id(module.name()),
                module: self.module(&mut module),
            },
            WastDirective::ModuleDefinition(mut module) => Step::Definition {
                name: id(module.name()),
                module: self.module(&mut module),
            },
            WastDirective::ModuleInstance {
                instance, module, ..
            } => Step::Instance {
                name: id(instance),
                definition: id(module),
            },
            WastDirective::Register { name, module, .. } => Step::Register {
                name,
                instance: id(module),
            },
            WastDirective::Invoke(invoke) => Step::Invoke(call(&invoke)),
            WastDirective::AssertReturn { exec, results, .. } => Step::AssertReturn {
                run: self.run(exec),
                results: results.iter().map(result).collect(),
            },
            WastDirective::AssertTrap { exec, message, .. } => Step::AssertTrap {
                run: self.run(exec),
                message,
            },
            WastDirective::AssertExhaustion {
                call: invoke,
                message,
                ..
            } => Step::AssertTrap {
                run: Run::Call(call(&invoke)),
                message,
            },
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
            } => self.refused(&mut module, message),
            WastDirective::AssertUnlinkable {
                module, message, ..
            } => Step::AssertUnlinkable {
                module: self.module(&mut QuoteWat::Wat(module)),
                message,
            },
            WastDirective::Thread(thread) => self.thread(thread),
            WastDirective::Wait { thread, .. } => Step::Wait {
                thread: thread.name(),
            },
            WastDirective::AssertException { .. } | WastDirective::AssertSuspension { .. } => {
                Step::Skip
            }
        }
    }

    /// The number of a module, which is encoded and validated.
    fn module(&mut self, module: &mut QuoteWat<'_>) -> u32 {
        let wasm = module
            .encode()
            .map_err(|error| format!("cannot parse: {}", error.message()))
            .and_then(|wasm| self.validate(&wasm).map(|()| wasm));
        self.modules.push(wasm);
        u32::try_from(self.modules.len() - 1).expect("a text has less than 2^32 modules")
    }

    /// The error is the validator's own message.
    fn validate(&self, wasm: &[u8]) -> Result<(), String> {
        Validator::new_with_features(self.features)
            .validate_all(wasm)
            .map(drop)
            .map_err(|error| error.message().to_string())
    }

    fn refused<'a>(&self, module: &mut QuoteWat<'_>, message: &str) -> Step<'a> {
        let refusal = match module.encode() {
            Err(error) => Refusal::Parser(error.message()),
            Ok(wasm) => match self.validate(&wasm) {
                Err(message) => Refusal::Validator(message),
                Ok(()) => {
                    return fail(format!("expected {message:?}, but the module is valid"));
                }
            },
        };
        if refusal.matches(message) {
            Step::Pass
        } else {
            fail(format!("expected {message:?}, refused for \"{refusal}\""))
        }
    }

    fn run<'a>(&mut self, exec: WastExecute<'a>) -> Run<'a> {
        match exec {
            WastExecute::Invoke(invoke) => Run::Call(call(&invoke)),
            WastExecute::Get { module, global, .. } => Run::Global {
                instance: id(module),
                name: global,
            },
            WastExecute::Wat(module) => Run::Module(self.module(&mut QuoteWat::Wat(module))),
        }
    }

    fn thread<'a>(&mut self, thread: WastThread<'a>) -> Step<'a> {
        self.has_threads = true;
        Step::Thread {
            name: thread.name.name(),
            shared: id(thread.shared_module),
            actions: Cow::Owned(encode(&self.directives(thread.directives))),
        }
    }
}

fn id(id: Option<Id<'_>>) -> Option<&str> {
    id.map(|id| id.name())
}

fn call<'a>(invoke: &WastInvoke<'a>) -> Call<'a> {
    Call {
        instance: id(invoke.module),
        name: invoke.name,
        arguments: invoke.args.iter().map(argument).collect(),
    }
}

fn fail<'a>(message: String) -> Step<'a> {
    Step::Fail(Cow::Owned(message))
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The line of a byte, from 1.
    fn of_offset(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset) + 1
    }
}
