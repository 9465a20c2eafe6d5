//! What the image runs: scenarios, guests, scripts.

use crate::isa;
use crate::kernel::serial::log;
use crate::kernel::{cpus, jobs};

/// Runs everything. 0 if all of it passed.
pub(crate) fn run() -> u8 {
    log!("trapline on bare metal: {}", isa::NAME);
    let other = jobs::spawn(cpus::index);
    while cpus::index() == 0 && alloc::sync::Arc::strong_count(&other.0) == 2 {
        isa::pause();
    }
    log!(
        "CPU {:?} ran a job of CPU {}",
        other.join().ok(),
        cpus::index()
    );
    0
}
