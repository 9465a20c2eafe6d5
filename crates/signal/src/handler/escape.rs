//! The last words of a process whose sandbox did not hold. (Part of the
//! handler: see the rule in the parent module.)

use trapline_activation::SandboxEscape;

use super::line::Line;

/// Says on standard error what happened, and stops the process with `SIGABRT`.
#[cold]
pub(super) fn report_and_stop(escape: &SandboxEscape) -> ! {
    let line = describe(escape);
    line.write_to_stderr();
    // SAFETY: ends the process; it does not return.
    unsafe { libc::abort() }
}

fn describe(escape: &SandboxEscape) -> Line {
    let mut line = Line::new();
    line.text_part("trapline: guest fault at a trap site outside all memories of its store: pc ");
    line.address(escape.pc.get());
    line.text_part(", address ");
    line.address(escape.faulting_addr.get());
    line.text_part(", trap ");
    line.text_part(escape.trap.message());
    line.text_part("; this is a sandbox escape, the process stops\n");
    line
}
