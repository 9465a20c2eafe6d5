//! The system calls that the tests make, with types.

use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::{io, ptr};

use libc::{c_int, c_void, sigaction, siginfo_t, stack_t};

pub(crate) type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
pub(crate) type PlainHandler = extern "C" fn(c_int);

pub(crate) fn alarm(seconds: u32) {
    // SAFETY: sets a timer.
    unsafe { libc::alarm(seconds) };
}

pub(crate) fn write(fd: c_int, text: &str) {
    // SAFETY: reads the text.
    unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
}

/// An action with this handler (or `SIG_DFL`, `SIG_IGN`), these flags, and a
/// mask of these signals.
pub(crate) fn action(handler: usize, flags: c_int, mask: &[c_int]) -> sigaction {
    // SAFETY: all zeros is a value of this structure.
    let mut action: sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    for &signal in mask {
        // SAFETY: a valid set and a valid number.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, signal) };
    }
    action
}

/// Installs a three-argument handler with these flags and SA_SIGINFO.
pub(crate) fn install(signal: c_int, handler: Handler, flags: c_int, mask: &[c_int]) {
    let flags = flags | libc::SA_SIGINFO;
    set_action(signal, &action(handler as *const () as usize, flags, mask));
}

pub(crate) fn set_action(signal: c_int, action: &sigaction) {
    // SAFETY: the tests' handlers keep to what handlers may do.
    assert_eq!(unsafe { sigaction(signal, action, ptr::null_mut()) }, 0);
}

pub(crate) fn get_action(signal: c_int) -> sigaction {
    // Zeroed, since musl leaves a part of it as it is.
    // SAFETY: all zeros is a value of this structure.
    let mut action: sigaction = unsafe { mem::zeroed() };
    // SAFETY: asks only.
    let result = unsafe { sigaction(signal, ptr::null(), &raw mut action) };
    assert_eq!(result, 0);
    action
}

/// Set by the C library in whatever it passes to the kernel: where handlers
/// return to (Linux, `asm/signal.h`; not in the `libc` crate).
const SA_RESTORER: c_int = 0x0400_0000;

/// The parts of an action that matter, to compare it by.
pub(crate) fn parts(action: &sigaction) -> (usize, c_int, Vec<c_int>) {
    let mask = (1..=64)
        // SAFETY: a valid set.
        .filter(|&signal| unsafe { libc::sigismember(&raw const action.sa_mask, signal) } == 1)
        .collect();
    (action.sa_sigaction, action.sa_flags & !SA_RESTORER, mask)
}

/// Blocks `signal` on this thread.
pub(crate) fn block(signal: c_int) {
    let mask = action(libc::SIG_DFL, 0, &[signal]).sa_mask;
    // SAFETY: an initialised set; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, ptr::null_mut()) };
}

/// Whether this thread blocks `signal`.
pub(crate) fn is_blocked(signal: c_int) -> bool {
    let mut set = MaybeUninit::uninit();
    // SAFETY: asks only.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr());
        libc::sigismember(set.as_ptr(), signal) == 1
    }
}

/// Sends `signal` to this thread, as another process would.
pub(crate) fn send_to_self(signal: c_int) {
    // SAFETY: sends a signal.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), gettid(), signal) };
}

/// Queues `signal` with `value` for this thread, as `sigqueue` does for a process.
pub(crate) fn queue_to_self(signal: c_int, value: usize) {
    // `rt_sigqueueinfo(2)`: `SI_QUEUE` is the sender's to set; the value follows the process and
    // the user (`siginfo_t` in `asm-generic/siginfo.h`, on 64 bits).
    const VALUE: usize = 24;
    const { assert!(size_of::<usize>() == 8) };
    // SAFETY: zeros are no signal at all, and valid.
    let mut info: siginfo_t = unsafe { mem::zeroed() };
    info.si_signo = signal;
    info.si_code = libc::SI_QUEUE;
    // SAFETY: within the structure, by its definition above.
    unsafe {
        (&raw mut info)
            .byte_add(VALUE)
            .cast::<usize>()
            .write_unaligned(value);
    }
    let call = libc::SYS_rt_tgsigqueueinfo;
    // SAFETY: sends a signal; the structure is only read.
    let result = unsafe { libc::syscall(call, libc::getpid(), gettid(), signal, &raw const info) };
    assert_eq!(result, 0);
}

pub(crate) fn gettid() -> libc::c_long {
    // SAFETY: asks only.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

pub(crate) fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap()
}

pub(crate) fn set_errno(value: c_int) {
    // SAFETY: this thread's own.
    unsafe { *libc::__errno_location() = value };
}

/// This thread's signal stack.
pub(crate) fn signal_stack() -> stack_t {
    let mut stack = MaybeUninit::uninit();
    // SAFETY: asks only.
    unsafe {
        assert_eq!(libc::sigaltstack(ptr::null(), stack.as_mut_ptr()), 0);
        stack.assume_init()
    }
}

/// Makes `memory` this thread's signal stack; it must stay while it is.
pub(crate) fn set_signal_stack(memory: Range<usize>) {
    let stack = stack_t {
        ss_sp: ptr::with_exposed_provenance_mut(memory.start),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: the tests map the memory for this and leave it mapped.
    let result = unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    assert_eq!(result, 0);
}

pub(crate) fn is_on_signal_stack() -> bool {
    signal_stack().ss_flags & libc::SS_ONSTACK != 0
}

/// Maps fresh memory, never to be unmapped.
pub(crate) fn map(size: usize, protection: c_int) -> Range<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping.
    let base = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED);
    let base = base.expose_provenance();
    base..base + size
}

/// Makes whole pages readable and writable; from a handler, too.
pub(crate) fn unprotect(pages: Range<usize>) {
    let start = ptr::with_exposed_provenance_mut(pages.start);
    // SAFETY: the tests do this to memory that they mapped for it.
    let result = unsafe { libc::mprotect(start, pages.len(), libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!(result, 0);
}

/// How many mappings this process has.
pub(crate) fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

// musl has them in its C library.
#[cfg_attr(not(target_env = "musl"), link(name = "m"))]
unsafe extern "C" {
    fn fesetround(mode: c_int) -> c_int;
    fn fegetround() -> c_int;
}

/// The settings of the floating-point units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FloatSettings {
    rounding: c_int,
    /// x86_64 has a second unit, which `fegetround` does not ask.
    second: u32,
}

pub(crate) fn float_settings() -> FloatSettings {
    #[cfg(target_arch = "x86_64")]
    let second = {
        let mut mxcsr = 0_u32;
        // SAFETY: writes one word.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack)) };
        // Without the flags of exceptions that have happened.
        mxcsr & !0x3f
    };
    #[cfg(not(target_arch = "x86_64"))]
    let second = 0;
    FloatSettings {
        // SAFETY: asks only.
        rounding: unsafe { fegetround() },
        second,
    }
}

/// Has floating-point numbers rounded toward zero from now on.
pub(crate) fn round_toward_zero() {
    /// `FE_TOWARDZERO` (`fenv.h`).
    const FE_TOWARDZERO: c_int = cfg_select! {
        target_arch = "x86_64" => { 0xc00 }
        target_arch = "aarch64" => { 0xc0_0000 }
        _ => { 1 }
    };
    // SAFETY: nothing here computes with floating-point numbers.
    assert_eq!(unsafe { fesetround(FE_TOWARDZERO) }, 0);
}

/// Puts `memory` in place as the alternate stack, to be taken away while a handler runs.
pub(crate) fn set_disarming_signal_stack(memory: Range<usize>) {
    let stack = stack_t {
        ss_sp: ptr::with_exposed_provenance_mut(memory.start),
        ss_flags: 1 << 31,
        ss_size: memory.len(),
    };
    // SAFETY: the memory is the stack's from now on.
    let failed = unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    assert_eq!(failed, 0);
}

/// Has the kernel kill this process with `SIGSYS` if it returns from a signal handler.
pub(crate) fn forbid_returns_from_handlers() {
    forbid(libc::SYS_rt_sigreturn);
}

/// The same if it makes this system call.
pub(crate) fn forbid(system_call: libc::c_long) {
    let load = |offset| libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: offset,
    };
    let give = |value| libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: value,
    };
    let filter = [
        // The number of the system call.
        load(0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: system_call as u32,
        },
        give(libc::SECCOMP_RET_KILL_PROCESS),
        give(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program is alive during the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program
            ),
            0
        );
    }
}
