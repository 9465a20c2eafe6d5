//! What a kernel has without trapline, too.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use talc::TalcLock;
use talc::source::Manual;

use crate::{embedding, isa};

/// For `isa`: the CPUs.
pub(crate) mod cpus {
    /// How many there are.
    pub(crate) const COUNT: usize = 1;
}

/// For `isa`: where the exceptions arrive.
pub(crate) mod traps {
    pub(crate) use crate::embedding::handle;
}

/// What the emulator ends with when the kernel stops because of an error.
const FAILURE: u8 = 101;

/// Where the entry of the image leads: there is a stack, and interrupts are
/// disabled.
pub(crate) fn start() -> ! {
    let base = HEAP_MEMORY.0.get().cast();
    // SAFETY: memory that nobody else uses.
    let claimed = unsafe { HEAP.lock().claim(base, HEAP_BYTES) };
    assert!(claimed.is_some(), "the block is large enough for a heap");
    embedding::init_cpu();
    let top = EXCEPTION_STACK.0.get().addr() + EXCEPTION_STACK_BYTES;
    // SAFETY: this CPU's alone, and large enough; interrupts are disabled.
    unsafe { isa::init_cpu(0, top) };
    embedding::run();
    log(format_args!("ok"));
    isa::exit(0)
}

const HEAP_BYTES: usize = 256 << 10;
const EXCEPTION_STACK_BYTES: usize = 64 << 10;

/// Memory that is handed out once, by address.
#[repr(C, align(4096))]
struct Memory<const BYTES: usize>(core::cell::UnsafeCell<[u8; BYTES]>);

// SAFETY: nobody accesses it through the static.
unsafe impl<const BYTES: usize> Sync for Memory<BYTES> {}

static HEAP_MEMORY: Memory<HEAP_BYTES> = Memory(core::cell::UnsafeCell::new([0; HEAP_BYTES]));
static EXCEPTION_STACK: Memory<EXCEPTION_STACK_BYTES> =
    Memory(core::cell::UnsafeCell::new([0; EXCEPTION_STACK_BYTES]));

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(isa::serial_write);
        Ok(())
    }
}

/// Writes a line to the serial port.
pub(crate) fn log(line: fmt::Arguments<'_>) {
    _ = writeln!(Serial, "{line}");
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    stop(format_args!("{info}"))
}

/// Stops the kernel.
pub(crate) fn stop(message: fmt::Arguments<'_>) -> ! {
    log(format_args!("kernel stopped: {message}"));
    isa::exit(FAILURE)
}
