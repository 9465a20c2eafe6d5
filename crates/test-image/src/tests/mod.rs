//! What the image runs: scenarios, guests, scripts.

use crate::isa;
use crate::kernel::serial::log;

/// Runs everything. 0 if all of it passed.
pub(crate) fn run() -> u8 {
    log!("trapline on bare metal: {}", isa::NAME);
    0
}
