//! Per-ISA assembly and frame ABI.
#![no_std]

mod address;

pub use address::VirtualAddress;
