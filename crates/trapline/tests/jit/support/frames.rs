//! Backtraces in readable form.

use trapline::{Frame, RawBacktrace, Trap, TrapReason, VirtualAddress, lookup_code};

use super::guest::JitCode;

/// The frames of a trap's backtrace, innermost first, each as
/// `function@offset`, with the offset in hexadecimal as in the guest's text.
pub(crate) fn frames(trap: &Trap) -> Vec<String> {
    let backtrace = trap.backtrace.as_ref().expect("the store wants backtraces");
    let trapping = match trap.reason {
        TrapReason::Jit { pc, .. } => Some(pc),
        _ => None,
    };
    resolve(backtrace, trapping)
}

/// The frames of a backtrace in the same form; the innermost one is of the
/// instruction at `trapping`, if there is one, and of a call otherwise.
pub(crate) fn resolve(backtrace: &RawBacktrace, trapping: Option<VirtualAddress>) -> Vec<String> {
    backtrace
        .frames()
        .enumerate()
        .map(|(index, frame)| describe(frame, index == 0 && trapping == Some(frame.pc)))
        .collect()
}

fn describe(frame: Frame, is_trap: bool) -> String {
    // A return address may belong to the next instruction already.
    let pc = VirtualAddress::new(frame.pc.get() - usize::from(!is_trap));
    let Some((code, offset)) = lookup_code(pc) else {
        return format!("no code at {pc}");
    };
    let jit = code
        .as_any()
        .downcast_ref::<JitCode>()
        .expect("nobody else registers code here");
    match code.lookup_address(offset) {
        Some(address) => format!(
            "{}@{}",
            jit.function_name(address.function),
            address
                .bytecode_offset
                .map_or_else(|| "?".to_owned(), |offset| format!("{offset:x}"))
        ),
        None => format!("no function at text offset {offset:#x}"),
    }
}
