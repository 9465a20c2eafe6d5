//! The parts of the program `trapline` that are of use to tests and other
//! programs.
//!
//! * [`wast`] runs scripts of the WebAssembly specification's test suite;
//! * [`report`] prints errors, traps and wasm backtraces;
//! * [`host`] is the small set of host functions for trying out traps;
//! * [`inspect`] lists what a compiled artifact contains;
//! * [`values`] reads and prints guest values, [`features`] names proposals,
//!   [`source`] tells text, binary and compiled modules apart.
//!
//! The command line itself is described in the crate's README.

pub mod features;
pub mod host;
pub mod inspect;
pub mod report;
pub mod source;
pub mod values;
pub mod wast;
