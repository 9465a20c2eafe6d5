//! The layout of a bundle.
//!
//! ```text
//! byte  0  magic                        8 bytes
//!       8  version of the format        u16
//!      10  instruction set              u8, see `isa_code`
//!      11  trap mode                    u8: 0 hardware, 1 explicit checks
//!      12  length of the contents       u32
//!      16  CRC-32 of the contents       u32
//!      20  length of the blobs          u64
//!      28  CRC-32 of bytes 0..28        u32
//!      32  the contents: `Contents` in postcard's encoding
//!       …  the blobs, one after another: lz4 blocks
//! ```
//!
//! Numbers are little-endian on every machine. Nothing has to be aligned.
//! Each blob has a CRC-32 (that of IEEE 802.3, as in gzip) in the contents; it
//! is checked when the blob is used.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use trapline_wasmtime::Isa;

use crate::expected::Traps;
use crate::guest::GuestOptions;

pub(super) const MAGIC: &[u8; 8] = b"TRAPLINE";
/// Counted up with each change of the format, of what stands in actions, or of
/// the kinds of directives.
pub(super) const VERSION: u16 = 1;
/// The size of what comes before the contents.
pub(super) const HEADER: usize = 32;

/// A blob has at most this many bytes for each of its compressed ones: the
/// longest run of the lz4 block format that one byte can add.
pub(super) const LARGEST_RATIO: u64 = 255;

/// The number that stands for an instruction set in the header.
pub(super) fn isa_code(isa: Isa) -> u8 {
    match isa {
        Isa::X86_64 => 0,
        Isa::Aarch64 => 1,
        Isa::Riscv64 => 2,
        Isa::S390x => 3,
        _ => u8::MAX,
    }
}

pub(super) fn isa_of_code(code: u8) -> Option<Isa> {
    [Isa::X86_64, Isa::Aarch64, Isa::Riscv64, Isa::S390x]
        .into_iter()
        .find(|isa| isa_code(*isa) == code)
}

pub(super) const fn traps_code(traps: Traps) -> u8 {
    match traps {
        Traps::Hardware => 0,
        Traps::Explicit => 1,
    }
}

pub(super) const fn traps_of_code(code: u8) -> Option<Traps> {
    match code {
        0 => Some(Traps::Hardware),
        1 => Some(Traps::Explicit),
        _ => None,
    }
}

/// What is in a bundle. Blobs are meant by their numbers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Contents<'a> {
    pub(super) blobs: Vec<BlobEntry>,
    pub(super) spectest: Option<u32>,
    #[serde(borrow)]
    pub(super) guests: Vec<GuestEntry<'a>>,
    #[serde(borrow)]
    pub(super) scripts: Vec<ScriptEntry<'a>>,
    #[serde(borrow)]
    pub(super) artifacts: Vec<(&'a str, u32)>,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct BlobEntry {
    /// The length in the file.
    pub(super) compressed: u32,
    /// The length of what it stands for.
    pub(super) size: u32,
    /// The checksum of the bytes in the file.
    pub(super) crc: u32,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct GuestEntry<'a> {
    pub(super) name: &'a str,
    pub(super) artifact: u32,
    pub(super) options: GuestOptions,
    pub(super) exit: u8,
    pub(super) stdout: &'a str,
    pub(super) stderr: &'a str,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct ScriptEntry<'a> {
    pub(super) name: &'a str,
    pub(super) actions: u32,
    pub(super) has_threads: bool,
    /// For each module of the script its artifact, or why there is none.
    #[serde(borrow)]
    pub(super) modules: Vec<Result<u32, &'a str>>,
}
