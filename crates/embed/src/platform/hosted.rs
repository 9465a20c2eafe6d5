//! The platform that a hosted process runs on: memory by `mmap`, hardware
//! traps by POSIX signals where trapline-signal has them, threads that wait in
//! the kernel.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicU32;
use core::time::Duration;
use std::io;
use std::time::Instant;

use alloc::format;
use alloc::string::ToString;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

use super::{Platform, PlatformError, given_back};
use crate::sync::OnceBox;

/// The operating system as a [`Platform`].
#[derive(Clone, Copy, Default, Debug)]
pub struct Hosted;

impl Hosted {
    /// How many bytes of address space this process has released and the kernel has not taken
    /// back: memories and code of stores and modules that are gone.
    ///
    /// 0, unless the process has as many mappings as it may (`vm.max_map_count`, 65,530 by
    /// default): the kernel then refuses to take a range out of the middle of a mapping, and it
    /// makes one mapping of neighbours. What it refuses holds no memory, and is tried again with
    /// each reservation and each release: the number goes down as mappings go. What stays is lost.
    #[must_use]
    pub fn unreleased_bytes() -> usize {
        given_back::unreleased()
    }
}

// SAFETY: `mmap` hands out page-aligned ranges that nobody else has, and with
// PROT_NONE every access to them faults; anonymous pages are zero;
// trapline-signal passes the faults on, and knows which are of `hlt`; the page at address 0 is not mapped in
// processes on the operating systems that Rust has a `std` for.
unsafe impl Platform for Hosted {
    fn page_size(&self) -> usize {
        rustix::param::page_size()
    }

    fn has_guards(&self) -> bool {
        signals::CAN_BE_CAUGHT
    }

    fn can_trap_by_hlt(&self) -> bool {
        signals::CAN_BE_CAUGHT
    }

    fn reserve(&self, bytes: usize) -> Result<NonNull<u8>, PlatformError> {
        // Address space that is never touched must not count against the
        // limits on memory.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let flags = MapFlags::PRIVATE;
        given_back::try_again();
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::empty(), flags) }
            .map_err(|error| failed("reserving address space", bytes, error))?;
        NonNull::new(start.cast::<u8>())
            .ok_or_else(|| PlatformError::new("reserving address space", "got address 0"))
    }

    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PlatformError> {
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: our own mapping, by this method's duty; no Rust reference points
        // to bytes that were not accessible before.
        unsafe { mprotect(start.as_ptr().cast::<c_void>(), bytes, access) }
            .map_err(|error| failed("committing memory", bytes, error))
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize) {
        let start = start.as_ptr().addr();
        // SAFETY: our own mapping, unused from now on, by this method's duty.
        unsafe { given_back::give_back(start..start + bytes) };
    }

    unsafe fn publish_code(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PlatformError> {
        flush_instruction_cache(start, bytes).map_err(|error| {
            PlatformError::new("making code visible to all CPUs", error.to_string())
        })?;
        let access = MprotectFlags::READ | MprotectFlags::EXEC;
        // SAFETY: our own mapping, by this method's duty; whoever wrote the
        // code is done with it.
        unsafe { mprotect(start.as_ptr().cast::<c_void>(), bytes, access) }
            .map_err(|error| failed("making code executable", bytes, error))
    }

    #[inline]
    fn prepare_thread(&self) -> Result<(), PlatformError> {
        if PREPARED.get() {
            return Ok(());
        }
        prepare_this_thread()
    }

    fn park(&self, word: &AtomicU32, timeout: Option<Duration>) {
        futex::wait_while_zero(word, timeout);
    }

    fn unpark(&self, word: &AtomicU32) {
        futex::wake_one(word);
    }

    fn now(&self) -> Duration {
        // Waits for nobody, who may not exist in a forked child.
        static START: OnceBox<Instant> = OnceBox::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

std::thread_local! {
    /// Whether [`prepare_this_thread`] has succeeded on this thread: the few
    /// instructions that are left of it for each entry into a guest.
    static PREPARED: Cell<bool> = const { Cell::new(false) };
}

#[cold]
#[inline(never)]
fn prepare_this_thread() -> Result<(), PlatformError> {
    signals::prepare()?;
    PREPARED.set(true);
    Ok(())
}

cfg_if::cfg_if! {
    // The targets of trapline-signal.
    if #[cfg(all(
        target_os = "linux",
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64",
            target_arch = "s390x",
        ),
    ))] {
        mod signals {
            use super::*;

            pub(super) const CAN_BE_CAUGHT: bool = true;

            pub(super) fn prepare() -> Result<(), PlatformError> {
                trapline_signal::ensure_installed().map_err(|error| {
                    PlatformError::new("installing signal handlers", error.to_string())
                })?;
                trapline_signal::prepare_thread()
                    .map_err(|error| PlatformError::new("preparing the thread", error.to_string()))
            }
        }
    } else {
        mod signals {
            use super::*;

            pub(super) const CAN_BE_CAUGHT: bool = false;

            pub(super) fn prepare() -> Result<(), PlatformError> {
                Err(PlatformError::new("catching hardware traps", "not on this target"))
            }
        }
    }
}

#[cold]
fn failed(what: &'static str, bytes: usize, error: rustix::io::Errno) -> PlatformError {
    PlatformError::new(what, format!("{bytes:#x} bytes: {error}"))
}

/// Makes the CPUs' instruction fetches see what was written.
///
/// x86_64 and s390x keep them coherent (Intel SDM vol. 3, 13.6; z/Architecture
/// Principles of Operation, 5-87).
#[cfg(any(target_arch = "x86_64", target_arch = "s390x"))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere the kernel is asked")]
fn flush_instruction_cache(_start: NonNull<u8>, _bytes: usize) -> io::Result<()> {
    Ok(())
}

/// Makes the CPUs' instruction fetches see what was written: clean the data
/// cache to the point of unification, invalidate the instruction cache, each
/// line (Arm ARM, B2.7.4); then a barrier on every thread of the process.
#[cfg(target_arch = "aarch64")]
fn flush_instruction_cache(start: NonNull<u8>, bytes: usize) -> io::Result<()> {
    use core::arch::asm;
    let start = start.as_ptr().addr();
    // SAFETY: reading the cache type register, cleaning and invalidating caches
    // have no effect that a program can see but the intended one; Linux
    // allows them to user code.
    unsafe {
        let cache_type: usize;
        asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nomem, nostack));
        let data_line = 4_usize << ((cache_type >> 16) & 0xf);
        let code_line = 4_usize << (cache_type & 0xf);
        for line in (start & !(data_line - 1)..start + bytes).step_by(data_line) {
            asm!("dc cvau, {}", in(reg) line, options(nostack));
        }
        asm!("dsb ish", options(nostack));
        for line in (start & !(code_line - 1)..start + bytes).step_by(code_line) {
            asm!("ic ivau, {}", in(reg) line, options(nostack));
        }
        asm!("dsb ish", "isb", options(nostack));
    }
    membarrier::synchronize_core()
}

/// Makes the instruction fetches of every hart that runs this process see what
/// was written (`man 2 riscv_flush_icache`, flags 0: all threads).
#[cfg(target_arch = "riscv64")]
fn flush_instruction_cache(start: NonNull<u8>, bytes: usize) -> io::Result<()> {
    /// `__NR_arch_specific_syscall + 15`, asm/unistd.h of the kernel.
    const SYS_RISCV_FLUSH_ICACHE: libc::c_long = 244 + 15;
    let start = start.as_ptr().addr();
    // SAFETY: the system call reads nothing and writes nothing.
    let outcome = unsafe { libc::syscall(SYS_RISCV_FLUSH_ICACHE, start, start + bytes, 0_usize) };
    // Every kernel has the call; a filter on system calls may refuse it.
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(target_arch = "aarch64")]
mod membarrier {
    //! `man 2 membarrier`: an instruction barrier on all threads of the process.

    use super::io;

    /// Runs the barrier; registers the process for it the first time.
    ///
    /// # Errors
    ///
    /// If the kernel has no such barrier, or a filter on system calls refuses it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn synchronize_core() -> io::Result<()> {
        const GLOBAL: libc::c_int = 1 << 0;
        const PRIVATE_EXPEDITED_SYNC_CORE: libc::c_int = 1 << 5;
        const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: libc::c_int = 1 << 6;
        let call = |command: libc::c_int| {
            // SAFETY: the call takes no pointers.
            unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
        };
        let done = call(PRIVATE_EXPEDITED_SYNC_CORE)
            || call(REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) && call(PRIVATE_EXPEDITED_SYNC_CORE)
            // Kernels before 4.16 have neither. This one, slow, is since 4.3: it waits until
            // every CPU has been in the kernel, the return from which is a barrier, too.
            || call(GLOBAL);
        if done {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Elsewhere the kernel does it when the mapping becomes executable.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn synchronize_core() -> io::Result<()> {
        Ok(())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod futex {
    //! `man 2 futex`: waiting for a word of memory to change.

    use super::*;

    pub(super) fn wait_while_zero(word: &AtomicU32, timeout: Option<Duration>) {
        let timeout = timeout.map(|timeout| libc::timespec {
            // A time too long to be told is as good as a very long one.
            tv_sec: timeout.as_secs().min(u64::from(u32::MAX)) as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as _,
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the word and the time are alive during the call. The outcome
        // does not matter: the caller looks at the word and the clock again.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                0,
                timeout,
            );
        }
    }

    pub(super) fn wake_one(word: &AtomicU32) {
        // SAFETY: the kernel takes the address as a key and reads nothing there.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                1,
            );
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod futex {
    //! Waiting for a word of memory to change, where the kernel has no call
    //! for it: one condition variable for all words.

    use super::*;
    use core::sync::atomic::Ordering;
    use std::sync::{Condvar, Mutex, PoisonError};

    static LOCK: Mutex<()> = Mutex::new(());
    static CHANGED: Condvar = Condvar::new();

    pub(super) fn wait_while_zero(word: &AtomicU32, timeout: Option<Duration>) {
        let guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        if word.load(Ordering::Acquire) == 0 {
            match timeout {
                Some(timeout) => drop(CHANGED.wait_timeout(guard, timeout)),
                None => drop(CHANGED.wait(guard)),
            }
        }
    }

    pub(super) fn wake_one(_word: &AtomicU32) {
        // Taken and given back, so that nobody is between looking at the word
        // and starting to wait.
        drop(LOCK.lock().unwrap_or_else(PoisonError::into_inner));
        CHANGED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    #[test]
    fn committed_memory_is_zero_and_writable() {
        let page = Hosted.page_size();
        let start = Hosted.reserve(4 * page).unwrap();
        // SAFETY: the range was reserved above, and is used by nobody else.
        unsafe {
            Hosted.commit(start.add(page), page).unwrap();
            assert_eq!(start.add(2 * page - 1).read(), 0);
            start.add(page).write(7);
            assert_eq!(start.add(page).read(), 7);
            Hosted.release(start, 4 * page);
        }
    }

    #[test]
    fn what_cannot_be_reserved_is_an_error_that_says_how_much_it_was() {
        let error = Hosted.reserve(1 << 62).unwrap_err();
        assert!(
            error.to_string().contains("0x4000000000000000 bytes"),
            "{error}"
        );
    }

    #[test]
    fn a_parked_thread_is_woken_or_times_out() {
        let word = AtomicU32::new(0);
        let start = Hosted.now();
        Hosted.park(&word, Some(Duration::from_millis(5)));
        assert!(Hosted.now() >= start);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                word.store(1, Ordering::Release);
                Hosted.unpark(&word);
            });
            while word.load(Ordering::Acquire) == 0 {
                Hosted.park(&word, None);
            }
        });
    }
}
