//! A small kernel: two CPUs (or one), memory with guards, exceptions, jobs.
//!
//! Nothing is protected from anything but guests: there is one address space, and
//! all code is the kernel's. What interrupt handlers do is count, so normal code
//! may hold locks with interrupts enabled.

pub(crate) mod cpus;
pub(crate) mod heap;
pub(crate) mod jobs;
pub(crate) mod memory;
mod panic;
pub(crate) mod platform;
pub(crate) mod serial;
pub(crate) mod stack;
pub(crate) mod traps;

use core::sync::atomic::{AtomicU64, Ordering};

use crate::isa;

/// What the emulator was told that the image is to do.
static ORDER: AtomicU64 = AtomicU64::new(0);

/// Where the entry of the image leads, on the first CPU: it has a stack, and
/// interrupts are disabled.
pub(crate) fn start() -> ! {
    // Before the memory that it lies in is used for something else.
    let order = core::ptr::with_exposed_provenance::<u64>(isa::ORDER);
    // SAFETY: memory, and nobody's yet.
    ORDER.store(unsafe { order.read_volatile() }, Ordering::Relaxed);
    // Before all others, since they allocate.
    heap::init();
    memory::init();
    cpus::start(main)
}

/// How many CPUs are to run.
fn wanted_cpus() -> usize {
    crate::tests::cpus_for(ORDER.load(Ordering::Relaxed))
}

/// On the first CPU, with all of the kernel there.
fn main() -> ! {
    isa::exit(crate::tests::run(ORDER.load(Ordering::Relaxed)));
}
