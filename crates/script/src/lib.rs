//! Runs compiled guests and specification scripts on `trapline-embed`, on any
//! platform.
//!
//! A compiler belongs on a development machine; a kernel has no use for one.
//! What a kernel needs to show that it runs WebAssembly right is what comes
//! after the compiler: artifacts, and what is expected of them. This crate
//! has that part, for both sides:
//!
//! ```text
//!  development machine                             any machine
//!  ───────────────────                             ───────────
//!  guest.wat ──────► artifact ─┐                ┌► run_guests   exit status, output,
//!  guest.expected ─────────────┤                │               trap report
//!                              ├──► Bundle ─────┤
//!  script.wast ─┬──► actions ──┤   (one file)   └► run_scripts  counts by kind of
//!               └──► artifacts ┘                                directive, failures
//! ```
//!
//! * [`run_guest`] runs one guest with the functions of [`host`], and prints
//!   its results or the [`report`] of its trap to a [`Console`]: what the program
//!   `trapline run` does.
//! * [`ScriptRunner`] runs a script of the specification's test suite that was
//!   turned into [`Action`]s: its modules compiled, and everything that only
//!   needs a parser and a validator decided. [`Outcome`] is what came of it.
//!   `trapline wast` does the same with one script after the other.
//! * A [`Bundle`] has many of both in one file; [`run_guests`] and
//!   [`run_scripts`] run it, in an [`Env`] that says what the machine has.
//!
//! Threads of scripts are jobs of the platform's: see [`Threads`].
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use trapline_embed::Engine;
//! use trapline_script::{Bundle, BundleWriter, Env, OsThreads, Traps, run_guests};
//! use trapline_wasmtime::Isa;
//!
//! // Made on the development machine, with what the compiler wrote; here empty.
//! let file = BundleWriter::new(Isa::HOST.unwrap(), Traps::Explicit).finish();
//!
//! // In the kernel, the file is a part of the image.
//! // SAFETY: made above.
//! let bundle = unsafe { Bundle::parse(file.leak()) }?;
//! let mut log = String::new();
//! let tally = run_guests(&bundle, &mut Env {
//!     engine: &Engine::new(),
//!     threads: Arc::new(OsThreads),
//!     workers: 1,
//!     catches_panics: true,
//!     max_wasm_stack: None,
//!     filter: "",
//!     log: &mut log,
//! });
//! assert_eq!(log, "guests: 0 passed, 0 failed\n");
//! assert_eq!(tally.failed, 0);
//! # Ok::<(), trapline_script::BundleError>(())
//! ```
//!
//! # Trust
//!
//! The artifacts in a bundle are machine code. Checksums tell damage, not
//! intent, so [`Bundle::parse`] is `unsafe`: use only bundles that your own
//! compiler's output went into.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod action;
mod bundle;
mod console;
mod error;
mod expect;
mod expected;
mod guest;
pub mod host;
mod instances;
mod messages;
pub mod report;
mod run;
mod runner;
mod tally;
mod threads;
pub mod values;

pub use action::{Action, Call, Run, Step, Value, decode, encode};
pub use bundle::{Blob, Bundle, BundleWriter, Guest, NewGuest, NewScript, Script};
pub use console::{Captured, Console};
pub use error::{BundleError, BundleErrorKind};
pub use expect::{Expect, Pattern, results_match};
pub use expected::{Expected, ExpectedError, Traps};
pub use guest::{GuestOptions, run_guest};
pub use messages::trap_matches;
pub use run::{Env, GuestTally, run_guests, run_script, run_scripts};
pub use runner::{Modules, SPECTEST, ScriptRunner};
pub use tally::{Failure, Kind, Outcome, Tally};
#[cfg(feature = "std")]
pub use threads::OsThreads;
pub use threads::{Job, RunningJob, Threads};

#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
