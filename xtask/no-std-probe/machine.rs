//! What a kernel would bring along: an entry point, an allocator, a panic
//! handler, and the memory functions that compilers call.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

global_asm!(
    ".globl _start",
    "_start:",
    // The kernel enters here with an aligned stack and no return address.
    "xor ebp, ebp",
    "call {start}",
    "ud2",
    start = sym start,
);

extern "C" fn start() -> ! {
    exit(match crate::probe() {
        Ok(()) => 0,
        Err(number) => number,
    })
}

fn exit(status: u8) -> ! {
    // SAFETY: exit_group (231) takes one number and does not return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") u64::from(status), options(noreturn)) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

/// The prebuilt `core` names it; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Hands out parts of one block and takes nothing back.
struct Bump {
    used: AtomicUsize,
}

const HEAP_SIZE: usize = 1 << 20;

#[repr(align(4096))]
struct Heap(#[expect(dead_code, reason = "only its address is used")] [u8; HEAP_SIZE]);

static mut HEAP: Heap = Heap([0; HEAP_SIZE]);

#[global_allocator]
static ALLOCATOR: Bump = Bump {
    used: AtomicUsize::new(0),
};

// SAFETY: each block is inside HEAP, aligned, and disjoint from all others,
// since `used` only grows, by at least the size of the block each time.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let space = layout.size() + layout.align();
        let start = self.used.fetch_add(space, Ordering::Relaxed);
        if start + space > HEAP_SIZE {
            return null_mut();
        }
        let start = start.next_multiple_of(layout.align());
        (&raw mut HEAP).cast::<u8>().wrapping_add(start)
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// # Safety
///
/// As for C's function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's duty; `rep movsb` reads and writes `count` bytes upwards.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _)
    };
    to
}

/// # Safety
///
/// As for C's function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: `to` does not start inside the source, so copying upwards is right.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller's duty; copies downwards, and puts the direction flag back.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") count => _,
            inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _,
        );
    }
    to
}

/// # Safety
///
/// As for C's function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller's duty; `rep stosb` writes `count` bytes upwards.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") value as u8)
    };
    to
}

/// # Safety
///
/// As for C's function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for offset in 0..count {
        // SAFETY: the caller's duty; `offset` is below `count`.
        let (a, b) = unsafe { (*a.wrapping_add(offset), *b.wrapping_add(offset)) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
///
/// As for C's function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's duty.
    unsafe { memcmp(a, b, count) }
}

/// # Safety
///
/// As for C's function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller's duty; reading stops at the first zero.
    while unsafe { *text.wrapping_add(length) } != 0 {
        length += 1;
    }
    length
}
