//! Scenarios: small tests of what only a kernel can show.
//!
//! Each prints one line, `scenario NAME: ok` or `scenario NAME: FAILED: why`.

mod cpus;
mod first;
mod host;
mod interrupts;
mod memory;
pub(super) mod moving;
mod traps;

use alloc::string::String;
use core::fmt;
use core::ops::AddAssign;

use anyhow::Context as _;
use trapline::activation::panic;
use trapline_embed::{
    Caller, Engine, Error, Instance, Linker, Module, Store, TypedFunc, WasmValues,
};
use trapline_script::{Bundle, Traps, report};

use super::bundles;
use crate::isa;
use crate::kernel::memory as kernel_memory;
use crate::kernel::serial::log;

type KernelScenario = fn() -> anyhow::Result<()>;
type GuestScenario = fn(&Guests) -> anyhow::Result<()>;

/// Those about the kernel itself.
const KERNEL: &[(&str, KernelScenario)] = &[
    ("page_zero_is_not_mapped", memory::page_zero_is_not_mapped),
    (
        "impossible_addresses_are_told_apart",
        memory::impossible_addresses_are_told_apart,
    ),
    ("image_is_protected", memory::image_is_protected),
    ("stacks_have_guards", memory::stacks_have_guards),
    (
        "memory_is_zero_and_given_back",
        memory::memory_is_zero_and_given_back,
    ),
    (
        "memory_runs_out_with_an_error",
        memory::memory_runs_out_with_an_error,
    ),
    (
        "released_memory_is_gone_on_all_cpus",
        memory::released_memory_is_gone_on_all_cpus,
    ),
    ("cpu_locals_are_distinct", cpus::cpu_locals_are_distinct),
    (
        "interrupts_of_timer_and_cpus",
        interrupts::interrupts_of_timer_and_cpus,
    ),
];

/// Those with guests that rely on hardware traps.
const HARDWARE: &[(&str, GuestScenario)] = &[
    ("illegal_instruction", traps::illegal_instruction),
    ("hardware_division", traps::hardware_division),
    ("page_fault", traps::page_fault),
    ("fault_in_page_zero", traps::fault_in_page_zero),
    (
        "published_code_is_read_only",
        memory::published_code_is_read_only,
    ),
    ("kernel_fault_is_no_trap", host::kernel_fault_is_no_trap),
];

/// Those with guests of either kind.
const ANY: &[(&str, GuestScenario)] = &[
    ("first_trap", first::first_trap),
    ("stack_overflow", traps::stack_overflow),
    ("host_error", host::host_error),
    ("host_panic", host::host_panic),
    ("nested_activations", host::nested_activations),
    ("both_cpus_trap", cpus::both_cpus_trap),
    (
        "registry_changes_meanwhile",
        cpus::registry_changes_meanwhile,
    ),
    ("guests_are_interrupted", interrupts::guests_are_interrupted),
    (
        "chain_moves_to_another_cpu",
        moving::chain_moves_to_another_cpu,
    ),
    ("guests_give_memory_back", memory::guests_give_memory_back),
];

/// How many scenarios passed.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) unavailable: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.unavailable += other.unavailable;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            unavailable,
        } = self;
        write!(f, "{passed} passed, {failed} failed")?;
        if *unavailable > 0 {
            write!(f, ", {unavailable} not on this machine")?;
        }
        Ok(())
    }
}

/// Runs the scenarios about the kernel.
pub(crate) fn run_kernel() -> Tally {
    let mut tally = Tally::default();
    for (name, scenario) in KERNEL {
        run(name, scenario, &mut tally);
    }
    tally
}

/// Runs the scenarios whose guests are in the bundle, if they are.
pub(crate) fn run_guests(bundle: &Bundle) -> Tally {
    let mut tally = Tally::default();
    if bundle.artifact_names().len() == 0 {
        return tally;
    }
    let guests = Guests::new(bundle);
    let hardware = match bundle.traps() {
        Traps::Hardware => HARDWARE,
        Traps::Explicit => &[],
    };
    for (name, scenario) in hardware.iter().chain(ANY) {
        run(name, || scenario(&guests), &mut tally);
    }
    tally
}

fn run(name: &str, scenario: impl FnOnce() -> anyhow::Result<()>, tally: &mut Tally) {
    const WITHOUT_UNWINDER: &[(&str, &str)] = &[("host_panic", "built without `host-panics`")];
    let without_unwinder = match cfg!(feature = "host-panics") {
        true => &[],
        false => WITHOUT_UNWINDER,
    };
    let mut unavailable = isa::UNAVAILABLE.iter().chain(without_unwinder);
    if let Some((_, reason)) = unavailable.find(|(known, _)| *known == name) {
        tally.unavailable += 1;
        log!("scenario {name}: not on this machine: {reason}");
        return;
    }
    match panic::catch(scenario) {
        Ok(Ok(())) => {
            tally.passed += 1;
            log!("scenario {name}: ok");
        }
        Ok(Err(error)) => {
            tally.failed += 1;
            log!("scenario {name}: FAILED: {error:#}");
        }
        Err(payload) => {
            tally.failed += 1;
            log!(
                "scenario {name}: FAILED: panic: {}",
                report::panic_message(&*payload)
            );
        }
    }
}

/// What scenarios with guests have.
#[derive(Clone, Debug)]
pub(super) struct Guests {
    engine: Engine,
    bundle: Bundle,
}

impl Guests {
    /// The guests of this bundle.
    pub(super) fn new(bundle: &Bundle) -> Self {
        Self {
            engine: bundles::engine(bundle.traps()),
            bundle: bundle.clone(),
        }
    }

    /// How these guests trap.
    fn traps_by(&self) -> Traps {
        self.bundle.traps()
    }

    /// Loads a module by the name of its file in `guests`.
    fn module(&self, name: &str) -> anyhow::Result<Module> {
        let module = self.bundle.load_artifact(&self.engine, name);
        module.map_err(anyhow::Error::msg)
    }

    /// An instance of `guests/traps.wat`, in a store of its own.
    pub(super) fn traps(&self) -> anyhow::Result<Guest<()>> {
        let module = self.module("traps")?;
        Guest::new(&Linker::new(&self.engine), &module, ())
    }

    /// An instance of `guests/calls_host.wat`, in a store with this data, for which
    /// the host's function is `call`.
    pub(super) fn calls_host<T: 'static>(
        &self,
        data: T,
        call: impl Fn(Caller<'_, T>, i32) -> anyhow::Result<i32> + Send + Sync + 'static,
    ) -> anyhow::Result<Guest<T>> {
        let mut linker = Linker::new(&self.engine);
        linker.func_wrap("test", "call", call);
        Guest::new(&linker, &self.module("calls_host")?, data)
    }
}

/// An instance in a store of its own.
pub(super) struct Guest<T: 'static> {
    pub(super) store: Store<T>,
    pub(super) instance: Instance,
    module: Module,
}

impl<T> Guest<T> {
    fn new(linker: &Linker<T>, module: &Module, data: T) -> anyhow::Result<Self> {
        let mut store = Store::new(linker.engine(), data);
        let instance = linker.instantiate(&mut store, module)?;
        Ok(Self {
            store,
            instance,
            module: module.clone(),
        })
    }

    pub(super) fn func<P: WasmValues, R: WasmValues>(
        &mut self,
        name: &str,
    ) -> anyhow::Result<TypedFunc<P, R>> {
        Ok(self.instance.get_typed_func(&mut self.store, name)?)
    }

    /// Calls a function that is expected to fail.
    fn fail<P: WasmValues, R: WasmValues>(
        &mut self,
        name: &str,
        params: P,
    ) -> anyhow::Result<Error> {
        let func = self.func::<P, R>(name)?;
        let outcome = func.call(&mut self.store, params);
        outcome
            .err()
            .with_context(|| alloc::format!("`{name}` did not fail"))
    }
}

/// The names of the functions in an error's backtrace, innermost first.
fn frames(error: &Error) -> String {
    let frames = error.wasm_backtrace().frames().iter();
    let names = frames.map(|frame| frame.function_name().unwrap_or("-"));
    names.collect::<alloc::vec::Vec<_>>().join(" ")
}

/// Runs `f`, and fails if it keeps memory: compares the free frames before and after.
fn keeps_no_memory(f: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let before = kernel_memory::free_frames();
    f()?;
    let after = kernel_memory::free_frames();
    anyhow::ensure!(
        before == after,
        "{before} pages were free before, {after} are now"
    );
    Ok(())
}
