//! What the image runs: scenarios, and the bundles that were built into it; or what it is
//! told instead.

mod bundles;
mod counts;
mod fiber;
mod scenarios;
mod stops;

use crate::isa;
use crate::kernel::cpus;
use crate::kernel::serial::log;

/// The order to count instructions. `xtask/src/counts.rs` has the same number.
const COUNT_INSTRUCTIONS: u64 = 1000;

/// How many CPUs an order needs.
pub(crate) fn cpus_for(order: u64) -> usize {
    match order {
        COUNT_INSTRUCTIONS => 1,
        _ => cpus::COUNT,
    }
}

/// Does what the emulator was told: 0 is to run everything. 0 if all of it passed.
pub(crate) fn run(order: u64) -> u8 {
    log!("trapline on bare metal: {}", isa::NAME);
    match order {
        0 => {}
        COUNT_INSTRUCTIONS => return counts::run(),
        stop => return stops::run(stop),
    }
    let mut tally = scenarios::run_kernel();
    let mut bundles_passed = true;
    for bundle in bundles::all() {
        match bundle {
            Ok(bundle) => {
                log!("{}, {}", bundle.isa(), bundle.traps());
                tally += scenarios::run_guests(&bundle);
                bundles_passed &= bundles::run(&bundle);
            }
            Err(error) => {
                log!("FAILED: {error}");
                bundles_passed = false;
            }
        }
    }
    log!("scenarios: {tally}");
    u8::from(tally.failed != 0 || !bundles_passed)
}
