//! What is said when a guest went wrong, and its exit status.
//!
//! ```text
//! error: wasm trap: out of bounds memory access
//! caused by: memory fault at wasm address 0x10000 in linear memory of size 0x10000
//! wasm backtrace:
//!    0:     0x2f - demo!load_past_end
//!    1:     0x3a - demo!<wasm function 3>
//! ```
//!
//! The first line is the error, each `caused by:` line one error of its cause
//! chain, outermost first. The backtrace has one line a frame, innermost
//! first: its index, the offset of the instruction in the WebAssembly module
//! (`-` where no instruction of the module stands behind the machine
//! instruction), and module and function by the names of the name section
//! (`<unknown>` and `<wasm function N>` without one).

use alloc::format;
use alloc::string::{String, ToString as _};
use core::any::Any;
use core::error::Error as StdError;
use core::fmt;

use trapline_embed::{Error, Printable, WasmBacktrace};

/// The exit status of a guest that returned.
pub const STATUS_SUCCESS: u8 = 0;
/// The exit status after a trap: that of a process ended by `SIGABRT` as a
/// shell reports it, which is what other WebAssembly runtimes use, too.
pub const STATUS_TRAP: u8 = 134;
/// The exit status after any other failure.
pub const STATUS_FAILURE: u8 = 1;
/// The exit status when the command line does not make sense, by itself or
/// for the module it names.
pub const STATUS_USAGE: u8 = 2;
/// The exit status after a panic, as that of every Rust program.
pub const STATUS_PANIC: u8 = 101;

/// An error and its causes, one a line, as [`Printable`] text. What goes on in further lines,
/// such as the piece of a file that an error is about, is indented there.
///
/// Causes that their effect already quotes at its end are left out.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        write_message(f, "error", &said)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !said.ends_with(&text) {
                write_message(f, "caused by", &text)?;
            }
            said = text;
            next = cause.source();
        }
        Ok(())
    }
}

/// Messages of tools that know nothing of terminals may have names of guests in them.
fn write_message(f: &mut fmt::Formatter<'_>, head: &str, text: &str) -> fmt::Result {
    write!(f, "{head}:")?;
    for (number, line) in text.lines().enumerate() {
        let indentation = if number == 0 { " " } else { "    " };
        match line {
            "" => writeln!(f)?,
            line => writeln!(f, "{indentation}{}", Printable(line))?,
        }
    }
    if text.is_empty() {
        writeln!(f)?;
    }
    Ok(())
}

/// The report of a trap, or of an error that a host function raised: the
/// error, its causes and the wasm backtrace; and how to get more of that, if
/// frames were left out.
#[derive(Debug)]
pub struct TrapReport<'a>(pub &'a Error);

impl fmt::Display for TrapReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backtrace = self.0.wasm_backtrace();
        write!(f, "{}{}", Chain(self.0), Backtrace(backtrace))?;
        if backtrace.is_limited() {
            f.write_str("note: `--backtrace-limit N` keeps more frames\n")?;
        }
        Ok(())
    }
}

/// A backtrace, one line a frame under a heading; nothing at all when it has
/// no frames.
#[derive(Debug)]
pub struct Backtrace<'a>(pub &'a WasmBacktrace);

impl fmt::Display for Backtrace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.frames().is_empty() {
            return Ok(());
        }
        writeln!(f, "wasm backtrace:\n{}", self.0)
    }
}

/// An error and its causes on one line.
#[must_use]
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What a panic said, if its payload is text.
#[must_use]
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "(no message)",
    }
}
