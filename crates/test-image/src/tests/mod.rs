//! What the image runs: scenarios, and the bundles that were built into it.

mod bundles;
mod fiber;
mod scenarios;
mod stops;

use crate::isa;
use crate::kernel::serial::log;

/// Does what the emulator was told: 0 is to run everything. 0 if all of it passed.
pub(crate) fn run(order: u64) -> u8 {
    log!("trapline on bare metal: {}", isa::NAME);
    if order != 0 {
        return stops::run(order);
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
