//! The bundles of guests and scripts that are a part of the image.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::arch::global_asm;
use core::slice;

use trapline_embed::{Engine, EngineConfig, MemorySettings};
use trapline_script::{
    Bundle, BundleError, Env, Job, Outcome, RunningJob, Threads, Traps, report, run_guests,
    run_scripts,
};

use crate::isa;
use crate::kernel::cpus;
use crate::kernel::jobs::{self, Handle};
use crate::kernel::platform::Machine;
use crate::kernel::serial::Serial;

// Written by build.rs: the bundles, and a table of where each starts and ends.
global_asm!(include_str!(concat!(env!("OUT_DIR"), "/bundles.s")));

unsafe extern "C" {
    static trapline_bundles: [usize; 0];
    static trapline_bundles_end: [usize; 0];
}

/// The bundles.
pub(crate) fn all() -> impl Iterator<Item = Result<Bundle, BundleError>> {
    let start = &raw const trapline_bundles;
    let words = ((&raw const trapline_bundles_end).addr() - start.addr()) / size_of::<usize>();
    // SAFETY: between the two symbols lies the table, two words for each bundle.
    let table = unsafe { slice::from_raw_parts(start.cast::<usize>(), words) };
    table.chunks_exact(2).map(|place| {
        let start = core::ptr::with_exposed_provenance(place[0]);
        // SAFETY: constants of the image; put there by its build, which names what
        // trapline-bundle wrote.
        let bundle = unsafe { Bundle::parse(slice::from_raw_parts(start, place[1] - place[0])) }?;
        Ok(match isa::CPU_FEATURES {
            // SAFETY: it tells the truth.
            Some(has_feature) => unsafe { bundle.with_cpu_features(has_feature) },
            None => bundle,
        })
    })
}

/// An engine on this machine.
pub(crate) fn engine(traps: Traps) -> Engine {
    Engine::with_config(EngineConfig {
        platform: Arc::new(Machine),
        host_memory: match traps {
            Traps::Hardware => MemorySettings::DEFAULT,
            Traps::Explicit => MemorySettings::COMPACT,
        },
        // Guests run in kernel mode, where `hlt` is no trap.
        trap_by_hlt: false,
    })
}

/// Runs the guests and the scripts of a bundle, and logs what came of it. Whether
/// all did as expected.
pub(crate) fn run(bundle: &Bundle) -> bool {
    let mut env = Env {
        engine: &engine(bundle.traps()),
        threads: Arc::new(Cpus),
        workers: cpus::COUNT,
        catches_panics: cfg!(feature = "host-panics"),
        max_wasm_stack: None,
        filter: "",
        log: &mut Serial,
    };
    // Both, whatever comes of the first.
    let guests = run_guests(bundle, &mut env).failed == 0;
    let scripts = run_scripts(bundle, &mut env).total().failed == 0;
    guests && scripts
}

/// Threads of scripts are jobs of the kernel.
struct Cpus;

impl Threads for Cpus {
    fn spawn(&self, job: Job) -> anyhow::Result<Box<dyn RunningJob>> {
        Ok(Box::new(Running(jobs::spawn(job))))
    }

    fn parallelism(&self) -> usize {
        cpus::COUNT
    }
}

struct Running(Handle<Outcome>);

impl RunningJob for Running {
    fn wait(self: Box<Self>) -> Result<Outcome, String> {
        self.0
            .join()
            .map_err(|payload| report::panic_message(&*payload).into())
    }
}
