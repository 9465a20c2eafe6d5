//! A second client of the layers, unlike Wasmtime in every way that matters:
//! plain CLIF functions compiled with `cranelift-jit`, with a store context of
//! their own layout, entered through a saved context or through the landing pad
//! of their own entry trampoline.
//!
//! ```text
//!  test ─► JitStore::call ─► catch_traps ─► entry trampoline ─► guest function ─► …
//!                                                (CLIF)             (CLIF)      │
//!                                                                               ▼
//!                    JitStore::set_host's closure ◄─ shim ◄──────────────── exit stub
//!                                                   (Rust)                   (CLIF)
//! ```
//!
//! The guests are CLIF text, next to what is expected of them. All else that a
//! client has to bring is in [`support`].
#![cfg(all(target_os = "linux", feature = "signal"))]

mod crashes;
mod depth;
mod entering;
mod hardware;
mod host_calls;
mod nesting;
mod own_vector;
mod registers;
mod registration;
mod sentinels;
mod support;
mod threads;
