//! Everything in a bundle, run and counted.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::AddAssign;
use core::sync::atomic::{AtomicUsize, Ordering};

use trapline_activation::panic::catch;
use trapline_embed::{Engine, MemoryRelocation};

use crate::bundle::{Bundle, Guest, Script};
use crate::console::Captured;
use crate::guest::{GuestOptions, run_guest};
use crate::report::{STATUS_PANIC, panic_message};
use crate::runner::ScriptRunner;
use crate::tally::{Kind, Outcome};
use crate::threads::Threads;

/// What the machine has for running what is in a bundle.
pub struct Env<'a> {
    /// The engine, and with it the platform.
    pub engine: &'a Engine,
    /// Threads for scripts.
    pub threads: Arc<dyn Threads>,
    /// How many threads run scripts, the calling one included; at least 1.
    /// Scripts that start threads themselves run when all others are done.
    pub workers: usize,
    /// Whether [`trapline_activation::panic::catch`] catches panics. Guests
    /// that make the host panic are skipped by name where it does not.
    pub catches_panics: bool,
    /// The stack that guests may use, in bytes, where they don't say it
    /// themselves, if not what is the default. The calling thread, and those of
    /// [`threads`](Self::threads), must have that much, and what the host needs.
    pub max_wasm_stack: Option<usize>,
    /// Only what has this in its name is run; all of it if empty.
    pub filter: &'a str,
    /// Gets a few lines for each failure, and one with the counts at the end.
    pub log: &'a mut dyn fmt::Write,
}

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("engine", &self.engine)
            .field("workers", &self.workers)
            .field("catches_panics", &self.catches_panics)
            .field("max_wasm_stack", &self.max_wasm_stack)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

impl Env<'_> {
    /// A log that nobody reads any more shows in the status, not here.
    fn log(&mut self, text: fmt::Arguments<'_>) {
        let _ = self.log.write_fmt(text);
    }
}

/// How many guests did as expected, and how many did not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct GuestTally {
    /// Did as expected.
    pub passed: usize,
    /// Did something else.
    pub failed: usize,
    /// Could not be run here.
    pub skipped: usize,
}

impl AddAssign for GuestTally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// `P passed, F failed`, and `, S skipped` if any were.
impl fmt::Display for GuestTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed")?;
        if *skipped > 0 {
            write!(f, ", {skipped} skipped")?;
        }
        Ok(())
    }
}

/// Runs the guests of a bundle on the calling thread, and compares exit status
/// and everything printed with what is expected. The last line of the log is
/// `guests: P passed, F failed`.
pub fn run_guests(bundle: &Bundle, env: &mut Env<'_>) -> GuestTally {
    let mut tally = GuestTally::default();
    for guest in bundle.guests() {
        if !guest.name().contains(env.filter) {
            continue;
        }
        if guest.exit() == STATUS_PANIC && !env.catches_panics {
            tally.skipped += 1;
            env.log(format_args!(
                "guest {}: skipped: it makes the host panic, and nothing catches panics here\n",
                guest.name()
            ));
            continue;
        }
        match check_guest(guest, env) {
            Ok(()) => tally.passed += 1,
            Err(message) => {
                tally.failed += 1;
                env.log(format_args!("guest {}: {message}\n", guest.name()));
            }
        }
    }
    env.log(format_args!("guests: {tally}\n"));
    tally
}

fn check_guest(guest: Guest<'_>, env: &Env<'_>) -> Result<(), String> {
    let module = guest.load(env.engine)?;
    let options = GuestOptions {
        max_wasm_stack: guest.options().max_wasm_stack.or(env.max_wasm_stack),
        ..guest.options().clone()
    };
    let (exit, printed) = run_guest(env.engine, &module, &options, Captured::default());
    let Captured { stdout, stderr } = printed;
    if (exit, &*stdout, &*stderr) == (guest.exit(), guest.stdout(), guest.stderr()) {
        return Ok(());
    }
    Err(format!(
        "expected: exit {}\n{}{}got: exit {exit}\n{stdout}{stderr}",
        guest.exit(),
        guest.stdout(),
        guest.stderr(),
    ))
}

/// Runs the scripts of a bundle. The last line of the log is `scripts: P
/// passed, F failed, S skipped (assert_return N, …)`, which counts directives;
/// those in parentheses are the ones that passed, by kind.
pub fn run_scripts(bundle: &Bundle, env: &mut Env<'_>) -> Outcome {
    let outcome = match script_runner(bundle, env) {
        Ok(runner) => run_all(bundle, env, runner),
        Err(message) => Outcome::of_broken_script("spectest", 1, message),
    };
    for failure in &outcome.failures {
        env.log(format_args!("{failure}\n"));
    }
    let mut kinds = Kind::ALL.iter().filter_map(|kind| {
        let passed = outcome.tally(*kind).passed;
        (passed > 0).then(|| format!("{} {passed}", kind.name()))
    });
    let first = kinds.next().unwrap_or_else(|| "none".into());
    let kinds = kinds.fold(first, |list, kind| list + ", " + &kind);
    env.log(format_args!("scripts: {} ({kinds})\n", outcome.total()));
    outcome
}

fn script_runner(bundle: &Bundle, env: &Env<'_>) -> Result<ScriptRunner, String> {
    let spectest = bundle.load_spectest(env.engine)?;
    Ok(ScriptRunner {
        engine: env.engine.clone(),
        spectest,
        threads: Arc::clone(&env.threads),
        relocation: MemoryRelocation::default(),
        max_wasm_stack: env.max_wasm_stack,
    })
}

fn run_all(bundle: &Bundle, env: &Env<'_>, runner: ScriptRunner) -> Outcome {
    let (with_threads, alone): (Vec<Script<'_>>, Vec<Script<'_>>) = bundle
        .scripts()
        .filter(|script| script.name().contains(env.filter))
        .partition(Script::has_threads);
    let queue = Arc::new(Queue {
        bundle: bundle.clone(),
        scripts: alone.iter().map(Script::number).collect(),
        next: AtomicUsize::new(0),
        runner,
    });
    let workers: Vec<_> = (1..env.workers)
        .map(|_| {
            let queue = Arc::clone(&queue);
            env.threads.spawn(Box::new(move || queue.work()))
        })
        .collect();
    let mut outcome = queue.work();
    for worker in workers {
        // What a worker that could not be started would have run, others ran.
        let end = worker.map_or_else(|_| Ok(Outcome::default()), |worker| worker.wait());
        outcome.merge(end.unwrap_or_else(|message| {
            Outcome::of_broken_script("worker", 1, format!("panicked: {message}"))
        }));
    }
    for script in with_threads {
        outcome.merge(run_script(&queue.runner, script));
    }
    outcome
        .failures
        .sort_by(|a, b| (&a.script, a.line).cmp(&(&b.script, b.line)));
    outcome
}

/// The scripts that several threads take from.
struct Queue {
    bundle: Bundle,
    scripts: Vec<usize>,
    next: AtomicUsize,
    runner: ScriptRunner,
}

impl Queue {
    fn work(&self) -> Outcome {
        let mut outcome = Outcome::default();
        // Nothing is passed on with the number: scripts are there from the start.
        while let Some(number) = self.scripts.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(script) = self.bundle.script(*number) {
                outcome.merge(run_script(&self.runner, script));
            }
        }
        outcome
    }
}

/// Runs one script of a bundle. A panic is a failure of this script, where
/// panics are caught.
#[must_use]
pub fn run_script(runner: &ScriptRunner, script: Script<'_>) -> Outcome {
    let name = script.name();
    let actions = match script.actions() {
        Ok(actions) => actions,
        Err(error) => return Outcome::of_broken_script(name, 1, error.to_string()),
    };
    let outcome = catch(|| runner.run(name, &actions, &script.modules()));
    outcome.unwrap_or_else(|payload| {
        let message = format!("the runner panicked: {}", panic_message(&*payload));
        Outcome::of_broken_script(name, 1, message)
    })
}
