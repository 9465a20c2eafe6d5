//! Artifacts to read, and ways to damage them.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of this module"
)]

use std::ops::Range;
use std::sync::LazyLock;

use trapline_wasmtime::compile::{CompileOptions, compile};
use trapline_wasmtime::wasmtime_environ::{CompiledModuleInfo, ModuleTypes};

/// A module with something of everything.
pub const GUEST: &str = include_str!("guest.wat");

/// Targets other than the host's, one for each instruction set and one
/// without an operating system.
pub const TARGETS: [&str; 5] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu",
    "s390x-unknown-linux-gnu",
    "x86_64-unknown-none",
];

/// [`GUEST`], compiled for this machine with hardware traps; without a checksum,
/// so that it can be changed.
pub static HARDWARE: LazyLock<Vec<u8>> =
    LazyLock::new(|| compile_unchecked(GUEST, &CompileOptions::host()));

/// [`GUEST`], compiled for this machine with explicit checks; without a checksum.
pub static EXPLICIT: LazyLock<Vec<u8>> =
    LazyLock::new(|| compile_unchecked(GUEST, &CompileOptions::host().explicit_checks()));

/// Compiles a module, and takes the checksum away.
pub fn compile_unchecked(wat: &str, options: &CompileOptions) -> Vec<u8> {
    without_checksum(compile(wat.as_bytes(), options).unwrap())
}

/// The artifact as Wasmtime's compiler wrote it: the bytes that identify an ELF
/// file end with zeros.
pub fn without_checksum(mut file: Vec<u8>) -> Vec<u8> {
    file[9..16].fill(0);
    file
}

/// The section headers of an ELF file, which is little-endian.
fn headers(file: &[u8]) -> Vec<usize> {
    let start = u64::from_le_bytes(file[40..48].try_into().unwrap()) as usize;
    let count = u16::from_le_bytes(file[60..62].try_into().unwrap()) as usize;
    (0..count).map(|number| start + 64 * number).collect()
}

fn range(file: &[u8], header: usize) -> Range<usize> {
    let start = u64::from_le_bytes(file[header + 24..header + 32].try_into().unwrap()) as usize;
    let size = u64::from_le_bytes(file[header + 32..header + 40].try_into().unwrap()) as usize;
    start..start + size
}

fn name(file: &[u8], header: usize) -> &[u8] {
    let table = u16::from_le_bytes(file[62..64].try_into().unwrap()) as usize;
    let names = &file[range(file, headers(file)[table])];
    let start = u32::from_le_bytes(file[header..header + 4].try_into().unwrap()) as usize;
    names[start..].split(|byte| *byte == 0).next().unwrap()
}

/// The offset in the file of a section's header.
pub fn section_header(file: &[u8], section: &str) -> usize {
    let is_it = |header: &usize| name(file, *header) == section.as_bytes();
    headers(file)
        .into_iter()
        .skip(1)
        .find(is_it)
        .expect("there is such a section")
}

/// The range of a section in the file.
pub fn section(file: &[u8], section: &str) -> Range<usize> {
    range(file, section_header(file, section))
}

/// The file with other bytes in one of its sections.
pub fn with_section(file: &[u8], section: &str, contents: &[u8]) -> Vec<u8> {
    let header = section_header(file, section);
    let mut file = file.to_vec();
    let start = file.len() as u64;
    file.extend_from_slice(contents);
    file[header + 24..header + 32].copy_from_slice(&start.to_le_bytes());
    file[header + 32..header + 40].copy_from_slice(&(contents.len() as u64).to_le_bytes());
    file
}

/// The file with a section changed.
pub fn changed(file: &[u8], name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut contents = file[section(file, name)].to_vec();
    change(&mut contents);
    with_section(file, name, &contents)
}

/// The file without a section: its name is no longer one that means anything.
pub fn without_section(file: &[u8], name: &str) -> Vec<u8> {
    let header = section_header(file, name);
    let mut file = file.to_vec();
    // The name of the first section, which is empty.
    file[header..header + 4].fill(0);
    file
}

/// The compiler's table of functions, as it is encoded.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Functions {
    pub namespaces: Vec<u32>,
    pub location_starts: Vec<u32>,
    pub sparse_starts: Vec<u32>,
    pub source_starts: Vec<u32>,
    pub sparse_indices: Vec<u32>,
    pub locations: Vec<(u32, u32)>,
    pub source_positions: Vec<u32>,
}

/// What `.wasmtime.info` holds.
pub type Info = (CompiledModuleInfo, Functions, ModuleTypes);

/// The file with its metadata changed.
pub fn with_info(file: &[u8], change: impl FnOnce(&mut Info)) -> Vec<u8> {
    changed(file, ".wasmtime.info", |contents| {
        let mut info: Info = postcard::from_bytes(contents).unwrap();
        change(&mut info);
        *contents = postcard::to_allocvec(&info).unwrap();
    })
}
