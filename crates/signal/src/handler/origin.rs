//! Who raised a signal. (Part of the handler: see the rule in the parent
//! module.)

use libc::{c_int, mcontext_t, siginfo_t};

use crate::regs;

/// `SEGV_MTEAERR`: a memory tag did not match, noticed some time after the
/// access (Linux, `asm-generic/siginfo.h`; not in the `libc` crate).
const SEGV_MTEAERR: c_int = 8;

/// What the kernel knows of the reason for a signal, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    /// The processor refused the instruction at the interrupted program
    /// counter. Only this can be a guest's trap.
    pub(super) may_be_a_trap: bool,
    /// The kernel insists: where the signal is ignored or blocked it takes the
    /// default action instead.
    pub(super) forced: bool,
    /// If the handler returns and changes nothing, the same signal comes again.
    pub(super) repeats: bool,
}

impl Origin {
    /// A process asked the kernel to send it, with `kill`, `tgkill` or
    /// `sigqueue`, to itself or to another.
    const SENT: Self = Self {
        may_be_a_trap: false,
        forced: false,
        repeats: false,
    };

    /// Who raised `signal`.
    ///
    /// Linux numbers the reasons so that what a process can make the kernel
    /// say is 0 or negative, and what the kernel says of itself is positive
    /// (`sigaction(2)`). The exceptions are spelled out.
    pub(super) fn of(signal: c_int, info: &siginfo_t, registers: &mcontext_t) -> Self {
        let code = info.si_code;
        match (signal, code) {
            // The memory itself is broken. That is nothing a guest did, even if
            // it was a guest's load that found it.
            (libc::SIGBUS, libc::BUS_MCEERR_AR) => Self {
                may_be_a_trap: false,
                forced: true,
                repeats: true,
            },
            // The same, found by the machine on its own: advice, which a
            // process may ignore.
            (libc::SIGBUS, libc::BUS_MCEERR_AO) => Self::SENT,
            // Reported some instructions late: the program counter means nothing.
            (libc::SIGSEGV, SEGV_MTEAERR) => Self {
                may_be_a_trap: false,
                forced: true,
                repeats: false,
            },
            _ if code > 0
                || (code == 0
                    && regs::raised_by_processor_with_code_zero(registers, signal, info)) =>
            {
                Self {
                    may_be_a_trap: true,
                    forced: true,
                    repeats: regs::returning_repeats(signal),
                }
            }
            _ => Self::SENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::SIGNALS;

    fn of(signal: c_int, code: c_int) -> Origin {
        // SAFETY: structures of integers, arrays and pointers: all zeros is a
        // value of them.
        let (mut info, registers): (siginfo_t, mcontext_t) =
            unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
        info.si_code = code;
        Origin::of(signal, &info, &registers)
    }

    #[test]
    #[cfg(not(target_arch = "s390x"))]
    fn what_somebody_sent_is_never_a_trap() {
        for signal in SIGNALS {
            for code in [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL, c_int::MIN] {
                assert_eq!(of(signal, code), Origin::SENT);
            }
        }
    }

    #[test]
    fn what_the_processor_raised_may_be_a_trap() {
        for signal in SIGNALS {
            for code in [1, 2, libc::SI_KERNEL] {
                let origin = of(signal, code);
                assert!(origin.may_be_a_trap && origin.forced);
            }
        }
    }

    #[test]
    fn broken_memory_is_never_a_trap() {
        assert!(!of(libc::SIGBUS, libc::BUS_MCEERR_AR).may_be_a_trap);
        assert!(!of(libc::SIGBUS, libc::BUS_MCEERR_AO).may_be_a_trap);
        assert!(!of(libc::SIGSEGV, SEGV_MTEAERR).may_be_a_trap);
        // The same numbers of other signals mean other things.
        assert!(of(libc::SIGFPE, libc::BUS_MCEERR_AR).may_be_a_trap);
        assert!(of(libc::SIGILL, SEGV_MTEAERR).may_be_a_trap);
    }
}
