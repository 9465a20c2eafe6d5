//! What happens to signals in a process with trapline's handlers installed.
//!
//! Whatever changes the process, or ends it, happens in a child: the test
//! binary runs itself again with the name of one test, and the parent looks at
//! how the child ended and what it wrote (see `support::child`).
//!
//! The whole binary has an allocator that stops the process when anything
//! allocates on a signal stack (see `support::poison`).
#![cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "s390x",
    ),
))]

mod alt_stack;
mod diagnosis;
mod ends;
mod forwarding;
mod host_faults;
mod installing;
mod leaving;
mod support;
mod traps;
