//! Host code at whose instructions the processor refuses to go on.
//!
//! One file per instruction set, each with the same items in the same order:
//!
//! | item | what |
//! | --- | --- |
//! | `SIGNALS` | the signals that its integer instructions can raise |
//! | `FAULTING_ADDRESS_ALIGN` | what faulting addresses are rounded down to |
//! | `read` | reads a word |
//! | `illegal_instruction` | runs an instruction that does not exist |
//! | `illegal_instruction_without_a_stack` | the same, when the stack pointer is wild |
//! | `divide_by_zero` | divides an integer by zero, where that is a fault |
//! | `skip` | goes on after one of these |

use std::ptr;

use libc::{c_int, c_void};

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod isa;
#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod isa;
#[cfg(target_arch = "riscv64")]
#[path = "riscv64.rs"]
mod isa;
#[cfg(target_arch = "s390x")]
#[path = "s390x.rs"]
mod isa;

pub use isa::{
    FAULTING_ADDRESS_ALIGN, SIGNALS, illegal_instruction, illegal_instruction_without_a_stack,
    read, skip,
};

/// Makes the processor raise `signal`, one of [`SIGNALS`], at an instruction of
/// host code. Returns if a handler repairs the cause or calls [`skip`].
///
/// # Panics
///
/// If `signal` is none of those.
pub fn raise(signal: c_int) {
    match signal {
        libc::SIGSEGV => read(inaccessible_page() + 0x128),
        libc::SIGBUS => read(page_of_an_empty_file() + 0x128),
        libc::SIGILL => illegal_instruction(),
        libc::SIGFPE if SIGNALS.contains(&signal) => isa::divide_by_zero(),
        _ => panic!("no instruction here raises signal {signal}"),
    }
}

/// What the kernel says that the faulting address is, for an access to `address`.
#[must_use]
pub const fn reported(address: usize) -> usize {
    address & !(FAULTING_ADDRESS_ALIGN - 1)
}

/// Maps a page that nobody may access, for good.
fn inaccessible_page() -> usize {
    map(libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
}

/// Maps a page of a file that is empty, for good: there is nothing to read.
///
/// # Panics
///
/// If there is no memory.
#[must_use]
pub fn page_of_an_empty_file() -> usize {
    // SAFETY: a new file without a name.
    let file = unsafe { libc::memfd_create(c"empty".as_ptr(), 0) };
    assert!(file >= 0);
    map(libc::PROT_READ, libc::MAP_SHARED, file)
}

fn map(protection: c_int, flags: c_int, file: c_int) -> usize {
    // SAFETY: a new mapping.
    let page: *mut c_void =
        unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, file, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    page.expose_provenance()
}
