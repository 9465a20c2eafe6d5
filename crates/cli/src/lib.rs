//! The parts of the program `trapline` that are of use to tests and other
//! programs.
//!
//! * [`wast`] compiles and runs scripts of the WebAssembly specification's test
//!   suite;
//! * [`guest_args`] are the options of `trapline run` that the guest is run with;
//! * [`inspect`] lists what a compiled artifact contains;
//! * [`features`] names proposals, [`source`] tells text, binary and compiled
//!   modules apart.
//!
//! What needs no compiler is in the crate [`trapline_script`]: running a guest
//! and a script, the host functions and the reports.
//!
//! The command line itself is described in the crate's README.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod features;
pub mod guest_args;
pub mod inspect;
pub mod source;
pub mod wast;
