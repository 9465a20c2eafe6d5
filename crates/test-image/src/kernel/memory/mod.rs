//! Physical frames, page tables, and ranges of addresses to hand out.
//!
//! ```text
//!  0                 never mapped: compiled code tells some traps by a fault there
//!  …                 devices and memory, at their physical addresses:
//!                      the image: text read and executed, constants read, data written
//!                      the heap, and the frames that pages are made of
//!  RANGES.start      ranges: memories of guests with their guards, code, stacks;
//!  RANGES.end          reserved as they are asked for, committed page by page
//! ```

mod frames;
pub(crate) mod image;
mod ranges;
mod tables;

use core::ops::Range;

use spin::{Mutex, Once};

use self::frames::Frames;
pub(crate) use self::frames::OutOfFrames;
use self::ranges::Ranges;
use self::tables::Tables;
use super::heap;
use crate::isa::{self, Access, PAGE};

/// The addresses that [`reserve`] hands out: beyond all physical memory, below
/// the end of what any of the machines can address. Enough for thousands of
/// memories with 4 GiB and a guard each.
pub(crate) const RANGES: Range<usize> = 1 << 40..1 << 46;

static MEMORY: Once<Mutex<Memory>> = Once::new();

/// All that a lock guards: page tables change under it only.
struct Memory {
    frames: Frames,
    tables: Tables,
    ranges: Ranges,
}

/// Makes the kernel's page tables, and uses them on this CPU.
pub(crate) fn init() {
    // SAFETY: the memory between heap and end is nobody else's.
    let mut frames = unsafe { Frames::new(heap::range().end..isa::RAM.end) };
    let tables = kernel_tables(&mut frames).expect("there are frames for page tables");
    let memory = MEMORY.call_once(|| {
        Mutex::new(Memory {
            frames,
            tables,
            ranges: Ranges::new(RANGES),
        })
    });
    // SAFETY: they map all of the image, the heap and the frames where they were.
    unsafe { isa::activate(memory.lock().tables.root()) };
}

fn kernel_tables(frames: &mut Frames) -> Result<Tables, OutOfFrames> {
    let mut tables = Tables::new(frames)?;
    for device in isa::DEVICES {
        tables.map_at_own_address(device.clone(), Access::Device, frames)?;
    }
    for (range, access) in image::sections() {
        tables.map_at_own_address(range, access, frames)?;
    }
    tables.map_at_own_address(image::end()..isa::RAM.end, Access::ReadWrite, frames)?;
    Ok(tables)
}

fn memory() -> spin::MutexGuard<'static, Memory> {
    MEMORY
        .get()
        .expect("memory is set up before it is used")
        .lock()
}

/// The physical address of the root of the page tables.
pub(crate) fn root() -> usize {
    memory().tables.root()
}

/// How many frames are free.
pub(crate) fn free_frames() -> usize {
    memory().frames.available()
}

/// Reserves addresses that nobody else uses and where nothing is mapped. `None` if
/// there are not that many left.
pub(crate) fn reserve(bytes: usize) -> Option<usize> {
    memory().ranges.take(bytes.checked_next_multiple_of(PAGE)?)
}

/// Maps frames of zeroes at `start`: readable and writable.
///
/// # Errors
///
/// If there are not that many frames; nothing is mapped then.
///
/// # Panics
///
/// If something is mapped there already.
pub(crate) fn commit(start: usize, bytes: usize) -> Result<(), OutOfFrames> {
    let memory = &mut *memory();
    memory.frames.check(bytes)?;
    for page in (start..start + bytes).step_by(PAGE) {
        let mapped = memory.frames.take().and_then(|frame| {
            memory
                .tables
                .map(page, frame, Access::ReadWrite, &mut memory.frames)
        });
        mapped.expect("asked above whether there are enough");
    }
    isa::after_mapping(start, bytes);
    Ok(())
}

/// Makes committed bytes executable, and no longer writable, on all CPUs.
pub(crate) fn make_executable(start: usize, bytes: usize) {
    memory()
        .tables
        .set_access(start..start + bytes, Access::ReadExecute);
    // Before code runs that somebody might still be able to change.
    isa::flush_everywhere(start, bytes);
    isa::synchronize_code(start, bytes);
}

/// Gives a reserved range back, with the frames that are mapped there.
///
/// # Safety
///
/// * `start` and `bytes` are those of a range that was reserved, and nobody
///   uses it any more.
pub(crate) unsafe fn release(start: usize, bytes: usize) {
    let bytes = bytes.next_multiple_of(PAGE);
    let memory = &mut *memory();
    let unmapped = memory.tables.unmap(start..start + bytes);
    // Only after this can no CPU get at the frames any more, by the mapping or
    // by way of tables that it remembers.
    isa::flush_everywhere(start, bytes);
    memory.frames.give_back(unmapped);
    memory.ranges.give_back(start..start + bytes);
}
