//! The log, on the serial port.

use core::fmt::{self, Write};

use spin::Mutex;

use crate::isa;

/// Writes bytes as they come: for messages of a kernel that is about to stop,
/// whoever holds the lock.
#[derive(Debug)]
pub(crate) struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(isa::serial_write);
        Ok(())
    }
}

static LOCK: Mutex<()> = Mutex::new(());

/// Writes a line that no other CPU's line gets into. Never called by interrupt
/// handlers: what they interrupt may be in here.
pub(crate) fn write_line(line: fmt::Arguments<'_>) {
    let _guard = LOCK.lock();
    _ = writeln!(Serial, "{line}");
}

/// Writes a line to the log.
macro_rules! log {
    ($($arguments:tt)*) => {
        $crate::kernel::serial::write_line(format_args!($($arguments)*))
    };
}
pub(crate) use log;
