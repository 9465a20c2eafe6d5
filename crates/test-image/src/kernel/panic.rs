//! Panics of the kernel.

use core::fmt::Write;
use core::panic::PanicInfo;

use super::serial::Serial;
use crate::isa;

/// What the emulator ends with when the kernel stops because of an error.
const FAILURE: u8 = 101;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    #[cfg(feature = "host-panics")]
    if info.can_unwind() {
        use alloc::boxed::Box;
        use alloc::string::ToString;

        super::serial::write_line(format_args!("{info}"));
        // The unwinder takes the stack apart up to whoever catches the panic. If
        // there is nobody, it comes back.
        unwinding::panic::begin_panic(Box::new(info.message().to_string()));
    }
    stop(format_args!("panic that nobody catches: {info}"))
}

/// Stops the kernel. For every context: takes no lock and allocates nothing.
pub(crate) fn stop(message: core::fmt::Arguments<'_>) -> ! {
    _ = writeln!(Serial, "\nkernel stopped: {message}");
    isa::exit(FAILURE)
}
