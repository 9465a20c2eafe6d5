//! The allocator: the same instructions wherever the program is built.

use core::cell::UnsafeCell;

use talc::TalcLock;
use talc::source::Claim;

/// What the largest registry needs, twice.
const BYTES: usize = 256 << 20;

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[u8; BYTES]>);

// SAFETY: nobody accesses it but the allocator, which has a lock.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; BYTES]));

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Claim> =
    // SAFETY: memory that nobody else uses, for ever.
    TalcLock::new(unsafe { Claim::array(MEMORY.0.get()) });
