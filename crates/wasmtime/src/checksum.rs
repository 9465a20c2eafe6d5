//! The checksum that the compiler's output gets here: against accidents on the
//! way, such as a damaged disk or a file that was changed. It keeps nobody from
//! making an artifact that does harm.
//!
//! It lies in the last seven of the 16 bytes that identify an ELF file, which
//! mean nothing to ELF (`EI_PAD`, zeros) and which Wasmtime's own loader does
//! not look at, so that the file is as good to it as without:
//!
//! ```text
//!    9  "crc"    the mark: there is a checksum
//!   12  u32      CRC-32 of the whole file, these four bytes as zeros; little-endian
//! ```
//!
//! One bit that flips anywhere is noticed: it makes neither a mark of no mark
//! nor the other way round, and what the mark covers is the whole file. So is
//! any damage within 32 bits; of other damage, one in four billion is missed.

use alloc::format;
use core::ops::Range;

use crc32fast::Hasher;
use object::elf::ELFMAG;
use wasmtime_environ::obj::ELFOSABI_WASMTIME;

use crate::elf::{HEADER, field};
use crate::error::{ArtifactError, ArtifactErrorKind as Kind};

const MARK: [u8; 3] = *b"crc";
const MARK_AT: Range<usize> = 9..12;
const SUM_AT: Range<usize> = 12..16;

/// Whether it is known that an artifact is as the compiler wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Checksum {
    /// It carries the checksum that `compile` wrote, and the checksum is right.
    Verified,
    /// It carries none: it comes from the Wasmtime compiler itself, or was
    /// changed on purpose. Its tables hold together, and that is all.
    Absent,
}

/// Checks the checksum of a file, if it has one. A file that is no artifact at
/// all has none.
pub(crate) fn check(file: &[u8]) -> Result<Checksum, ArtifactError> {
    let (Some(mark), Some(sum)) = (file.get(MARK_AT), file.get(SUM_AT)) else {
        return Ok(Checksum::Absent);
    };
    if !file.starts_with(&ELFMAG) {
        return Ok(Checksum::Absent);
    }
    if *mark == MARK {
        let found = sum_of(file);
        if *sum == found.to_le_bytes() {
            return Ok(Checksum::Verified);
        }
        let noted = sum
            .iter()
            .rev()
            .fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
        let expected = format!("contents with the checksum {noted:#010x}, which is noted there");
        let found = format!("{found:#010x}: the file was damaged or changed");
        return Err(HEADER
            .at(SUM_AT.start)
            .error(Kind::Checksum, expected, found));
    }
    let blank = [mark, sum].concat().iter().all(|byte| *byte == 0);
    if blank || file.get(field::OS_ABI) != Some(&ELFOSABI_WASMTIME) {
        return Ok(Checksum::Absent);
    }
    let expected = format!("{MARK:02x?}, the mark of a checksum, or seven zeros");
    let found = format!("{mark:02x?} and {sum:02x?}: the file was damaged");
    Err(HEADER
        .at(MARK_AT.start)
        .error(Kind::Checksum, expected, found))
}

/// Notes the checksum in what the compiler wrote.
#[cfg(feature = "compile")]
pub(crate) fn write(file: &mut [u8]) {
    file[MARK_AT].copy_from_slice(&MARK);
    let sum = sum_of(file).to_le_bytes();
    file[SUM_AT].copy_from_slice(&sum);
}

/// The checksum of a file that is long enough to have one.
fn sum_of(file: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&file[..SUM_AT.start]);
    hasher.update(&[0; 4]);
    hasher.update(&file[SUM_AT.end..]);
    hasher.finalize()
}
