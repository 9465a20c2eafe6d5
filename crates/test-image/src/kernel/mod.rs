//! A small kernel: two CPUs, memory with guards, exceptions, jobs.
//!
//! Nothing is protected from anything but guests: there is one address space, and
//! all code is the kernel's. What interrupt handlers do is count, so normal code
//! may hold locks with interrupts enabled.

pub(crate) mod cpus;
mod heap;
pub(crate) mod jobs;
pub(crate) mod memory;
mod panic;
pub(crate) mod platform;
pub(crate) mod serial;
pub(crate) mod stack;
pub(crate) mod traps;

use crate::isa;

/// Where the entry of the image leads, on the first CPU: it has a stack, and
/// interrupts are disabled.
pub(crate) fn start() -> ! {
    // First, since all the others allocate.
    heap::init();
    memory::init();
    cpus::start(main)
}

/// On the first CPU, with all of the kernel there.
fn main() -> ! {
    isa::exit(crate::tests::run());
}
