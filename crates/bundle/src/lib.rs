//! Compiles guests and specification scripts for any machine into one file, a
//! [`Bundle`](trapline_script::Bundle), which [`trapline_script`] runs there.
//!
//! The compiler runs on all CPUs of the development machine, and compiles each
//! module once, in however many suites it stands. Whatever the order in which
//! that happens, the same input makes the same file.

mod parallel;
pub mod suite;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, bail};
use trapline_cli::guest_args;
use trapline_cli::source::Source;
use trapline_cli::wast::{ScriptError, Translated, compile, translate};
use trapline_script::{Blob, BundleWriter, Expected, NewGuest, NewScript, SPECTEST, Traps};
use trapline_wasmtime::Artifact;
use trapline_wasmtime::compile::{CompileOptions, Compiler};

use crate::parallel::in_parallel;
use crate::suite::Script;

/// What to put into a bundle.
#[derive(Clone, Debug)]
pub struct Options {
    /// The target triple to compile for.
    pub target: String,
    /// How traps are found.
    pub traps: Traps,
    /// The folder with guests, each `NAME.wat` with its `NAME.expected`.
    pub guests: Option<PathBuf>,
    /// The scripts.
    pub scripts: Vec<Script>,
    /// The folder with modules that become artifacts by name, each `NAME.wat`.
    pub scenarios: Option<PathBuf>,
}

/// Compiles a bundle.
///
/// # Errors
///
/// Names what cannot be read or compiled. (A module of a script that cannot be
/// compiled is the script's failure, where and when it is run.)
pub fn bundle(options: &Options) -> anyhow::Result<Vec<u8>> {
    let compile_options = CompileOptions::for_target(&options.target);
    let compile_options = if options.target.starts_with("riscv64") {
        // The suite has vectors; so have guests.
        compile_options.isa_flag("has_v", "true")
    } else {
        compile_options
    };
    let mut compile_options = match options.traps {
        Traps::Hardware => compile_options,
        Traps::Explicit => compile_options.explicit_checks(),
    };
    compile_options.debug_info = false;
    let for_guests = Compiler::new(&compile_options)?;
    // Nobody looks at backtraces of scripts.
    compile_options.address_map = false;
    let for_scripts = Compiler::new(&compile_options)?;

    let spectest = for_scripts.compile(SPECTEST.as_bytes())?;
    let isa = Artifact::parse_any_target(spectest.clone())?.isa();
    let mut bundle = BundleWriter::new(isa, options.traps);
    bundle.set_spectest(Blob::new(&spectest));

    let guests = files(options.guests.as_deref(), "wat")?;
    let guests = in_parallel(&guests, |path| -> anyhow::Result<NewGuest> {
        let expected = path.with_extension("expected");
        let text = fs::read_to_string(&expected)
            .with_context(|| format!("cannot read {}", expected.display()))?;
        let parsed = Expected::parse(&text);
        let parsed = parsed.with_context(|| expected.display().to_string())?;
        let options_of_guest = guest_args::parse_words(&parsed.args)
            .with_context(|| format!("{}: `args`", expected.display()))?;
        Ok(NewGuest {
            name: name(path)?,
            artifact: artifact(&for_guests, path)?,
            options: options_of_guest,
            exit: parsed.exit,
            stderr: parsed.stderr_on(isa, options.traps),
            stdout: parsed.stdout,
        })
    });
    for guest in guests {
        bundle.add_guest(guest?);
    }

    let scenarios = files(options.scenarios.as_deref(), "wat")?;
    let artifacts = in_parallel(&scenarios, |path| -> anyhow::Result<_> {
        Ok((name(path)?, artifact(&for_guests, path)?))
    });
    for artifact in artifacts {
        let (name, artifact) = artifact?;
        bundle.add_artifact(&name, artifact);
    }

    let exclusions = suite::exclusions();
    let compiled = Compiled::new(for_scripts);
    let scripts = in_parallel(&options.scripts, |script| {
        let Script {
            name,
            text,
            features,
            ..
        } = script;
        let translated = translate(name, text, *features, &exclusions);
        let modules = translated.map(|script| {
            let modules = script.modules.iter().map(|wasm| match wasm {
                Ok(wasm) => compiled.get(wasm),
                Err(message) => Err(message.clone()),
            });
            let modules: Vec<_> = modules.collect();
            (script, modules)
        });
        modules.map_err(|ScriptError { line, message }| format!("{name}:{line}: {message}"))
    });
    for (script, translated) in options.scripts.iter().zip(scripts) {
        let (translated, modules) = match translated {
            Ok(translated) => translated,
            Err(message) => bail!("{message}"),
        };
        let Translated {
            actions,
            has_threads,
            ..
        } = translated;
        let modules = modules
            .into_iter()
            .map(|module| Ok(bundle.add_blob(Blob::clone(&*module?))))
            .collect();
        bundle.add_script(NewScript {
            name: script.name.clone(),
            actions: Blob::new(&actions),
            has_threads,
            modules,
        });
    }
    Ok(bundle.finish())
}

/// The files with this extension in a folder, sorted.
fn files(folder: Option<&Path>, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let Some(folder) = folder else {
        return Ok(Vec::new());
    };
    let context = || format!("cannot read {}", folder.display());
    let mut paths = Vec::new();
    for file in fs::read_dir(folder).with_context(context)? {
        let path = file.with_context(context)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The scripts of a folder; they may use everything that is supported.
///
/// # Errors
///
/// If the folder or a file cannot be read.
pub fn scripts_of_folder(folder: &Path) -> anyhow::Result<Vec<Script>> {
    let script = |path: &PathBuf| {
        let text = fs::read_to_string(path);
        Ok(Script {
            suite: "",
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into(),
            text: text.with_context(|| format!("cannot read {}", path.display()))?,
            features: trapline_cli::features::SUPPORTED,
        })
    };
    files(Some(folder), "wast")?.iter().map(script).collect()
}

fn name(path: &Path) -> anyhow::Result<String> {
    let name = path.file_stem().and_then(|name| name.to_str());
    Ok(name
        .with_context(|| format!("{} has a name that is not text", path.display()))?
        .into())
}

fn artifact(compiler: &Compiler, path: &Path) -> anyhow::Result<Blob> {
    let context = || format!("cannot compile {}", path.display());
    match Source::read(path)? {
        Source::Wasm(wasm) => Ok(Blob::new(&compiler.compile(&wasm).with_context(context)?)),
        Source::Compiled(_) => bail!("{} is compiled already", path.display()),
    }
}

/// What became of a module.
type Module = Result<Arc<Blob>, String>;

/// The modules of scripts, each compiled once.
struct Compiled {
    compiler: Compiler,
    modules: Mutex<HashMap<Vec<u8>, Arc<OnceLock<Module>>>>,
}

impl Compiled {
    fn new(compiler: Compiler) -> Self {
        Self {
            compiler,
            modules: Mutex::default(),
        }
    }

    /// The artifact of a module; compiles it unless another script has the same.
    fn get(&self, wasm: &[u8]) -> Module {
        let module = {
            let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
            match modules.get(wasm) {
                Some(module) => Arc::clone(module),
                None => Arc::clone(modules.entry(wasm.into()).or_default()),
            }
        };
        let compile = || Ok(Arc::new(Blob::new(&compile(&self.compiler, wasm)?)));
        module.get_or_init(compile).clone()
    }
}
