//! Everything that the program prints, and one rule for what cannot be printed.
//!
//! * What is printed goes through a buffer, and is written when it is complete: it stays in order
//!   with what is said on standard error, where both go to one place.
//! * Who closes a pipe has seen enough. What would go there is dropped without a word, and the
//!   exit status is what it would have been.
//! * Any other failure of standard output, such as a disk that is full, is said once on standard
//!   error; a success then is a failure. The exit status of anything else stays.
//! * What can't be said on standard error is lost: nobody is left to tell.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use trapline_script::report::{Chain, STATUS_FAILURE, STATUS_SUCCESS};

/// Why standard output takes nothing any more.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// The room of the buffer in bytes.
const BUFFER: usize = 1 << 16;

/// Has `write` write to standard output, unless that has failed before.
///
/// It is told of a failure to stop, and hands it on; nobody else has to care.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    if FAILED.get().is_some() {
        return;
    }
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let written = write(&mut out).and_then(|()| out.flush());
    // Without the buffer, which it would try to write once more.
    let _ = out.into_parts();
    note(written);
}

/// Says something on standard error.
pub(crate) fn say(what: impl fmt::Display) {
    // As one piece: what several processes say there is not mixed.
    let text = what.to_string();
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Prints what the reader of the command line has to say, help or an error.
pub(crate) fn print_usage(usage: &clap::Error) -> ExitCode {
    let printed = usage.print();
    if !usage.use_stderr() {
        note(printed);
    }
    exit(u8::try_from(usage.exit_code()).unwrap_or(STATUS_FAILURE))
}

/// The exit status of the program whose command has ended with `status`; says what standard
/// output has failed with.
pub(crate) fn exit(status: u8) -> ExitCode {
    match FAILED.get() {
        None => status.into(),
        Some(error) if error.kind() == ErrorKind::BrokenPipe => status.into(),
        Some(error) => {
            let because = Chain(error).to_string();
            let because = because.strip_prefix("error: ").unwrap_or(&because);
            say(format_args!(
                "error: cannot write to standard output\ncaused by: {because}"
            ));
            let failed = if status == STATUS_SUCCESS {
                STATUS_FAILURE
            } else {
                status
            };
            failed.into()
        }
    }
}

/// Keeps the first failure of standard output.
fn note(written: io::Result<()>) {
    if let Err(error) = written {
        let _ = FAILED.set(error);
    }
}
