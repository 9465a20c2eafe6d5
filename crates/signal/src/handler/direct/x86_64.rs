//! x86_64.

use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::arch::{asm, naked_asm};
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, c_void, mcontext_t, siginfo_t};

pub(super) const JUMPS_BY_DEFAULT: bool = true;

/// The handler that the kernel calls.
///
/// # Safety
///
/// * As for [`handle`](super::super::handle).
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn entry(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    naked_asm!(
        ".cfi_startproc",
        "endbr64",
        // The fourth argument, behind those of the kernel.
        "mov rcx, rsp",
        "jmp {handle}",
        ".cfi_endproc",
        handle = sym super::super::handle,
    )
}

/// Whether `sp` is where the kernel entered a handler with these details and this context:
/// `struct rt_sigframe` has the return address, the context of 304 bytes, the details
/// (`arch/x86/include/asm/sigframe.h`).
pub(super) fn is_kernels_frame(sp: usize, info: usize, context: usize) -> bool {
    context == sp.wrapping_add(8) && info == sp.wrapping_add(8 + 304)
}

/// Byte offset of the protection keys' register in an area of XSAVE; 0 if this machine
/// does not use it.
static PKRU_OFFSET: AtomicU32 = AtomicU32::new(0);

/// Whether this machine has nothing that a jump could not put back.
pub(super) fn find_out() -> bool {
    /// CPUID 7: the operating system uses protection keys (Intel SDM volume 2, CPUID).
    const OSPKE: u32 = 1 << 4;
    /// Number of the protection keys' state component (Intel SDM volume 1, 13.1).
    const PKRU: u32 = 9;
    if __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ecx & OSPKE != 0 {
        // EBX: where the component lies in the standard format, which is the one of
        // signal frames.
        let offset = __cpuid_count(0xd, PKRU).ebx;
        PKRU_OFFSET.store(offset, Ordering::Relaxed);
        return offset != 0;
    }
    true
}

/// What the kernel resets for a handler, as it was.
pub(super) struct Settings {
    /// Control and status of the SSE unit.
    mxcsr: u32,
    /// Control word of the x87 unit.
    x87_control: u16,
}

impl Settings {
    /// The interrupted code's; `None` if they can't be put back here.
    ///
    /// # Safety
    ///
    /// * `registers` are those of a signal frame of the kernel's.
    pub(super) unsafe fn of_interrupted(registers: &mcontext_t) -> Option<Self> {
        let saved = registers.fpregs.cast_const();
        if saved.is_null() || has_shadow_stack() {
            return None;
        }
        let pkru_offset = PKRU_OFFSET.load(Ordering::Relaxed);
        // SAFETY: the frame has a floating-point state, by this function's duty.
        if pkru_offset != 0 && unsafe { saved_pkru(saved.cast(), pkru_offset) }? != pkru() {
            return None;
        }
        // SAFETY: as above; only these two fields are read.
        unsafe {
            Some(Self {
                mxcsr: (&raw const (*saved).mxcsr).read(),
                x87_control: (&raw const (*saved).cwd).read(),
            })
        }
    }

    #[inline]
    pub(super) fn put_back(&self) {
        // SAFETY: reads two words; the settings are those of the code that goes on.
        unsafe {
            asm!(
                "ldmxcsr [{mxcsr}]",
                "fldcw [{x87}]",
                mxcsr = in(reg) &raw const self.mxcsr,
                x87 = in(reg) &raw const self.x87_control,
                options(nostack, readonly, preserves_flags),
            );
        }
    }
}

/// Whether this thread has a shadow stack: its pointer can be read. Where there is
/// none, the instruction does nothing (Intel SDM volume 2, RDSSPQ), also on processors
/// that do not know it.
fn has_shadow_stack() -> bool {
    let mut pointer: usize = 0;
    // SAFETY: reads a register, or does nothing.
    unsafe {
        asm!(
            "rdsspq {}",
            inout(reg) pointer,
            options(nomem, nostack, preserves_flags),
        );
    }
    pointer != 0
}

/// This thread's access rights.
fn pkru() -> u32 {
    let pkru: u32;
    // SAFETY: the operating system uses the register, as `find_out` has found.
    unsafe {
        asm!(
            "rdpkru",
            in("ecx") 0,
            out("eax") pkru,
            out("edx") _,
            options(nomem, nostack, preserves_flags),
        );
    }
    pkru
}

/// The interrupted code's access rights, from the state that the kernel saved.
///
/// # Safety
///
/// * `state` is the floating-point state of a signal frame, `offset` the
///   machine's offset of the register in it.
unsafe fn saved_pkru(state: *const u8, offset: u32) -> Option<u32> {
    /// `FP_XSTATE_MAGIC1`, in the bytes that FXSAVE leaves to software: an area of XSAVE
    /// follows (`arch/x86/include/uapi/asm/sigcontext.h`).
    const MAGIC: u32 = 0x4650_5853;
    const MAGIC_OFFSET: usize = 464;
    /// Size of the area, behind the magic number, the whole size and the features.
    const SIZE_OFFSET: usize = MAGIC_OFFSET + 16;
    /// Which components the area has, in its header (Intel SDM volume 1, 13.4.2).
    const XSTATE_BV_OFFSET: usize = 512;
    const PKRU_BIT: u64 = 1 << 9;
    // SAFETY: the first 512 bytes are always there, and what lies within the size that
    // the kernel tells behind them.
    unsafe {
        let word = |at: usize| ptr::read_unaligned(state.add(at).cast::<u32>());
        let offset = offset as usize;
        if word(MAGIC_OFFSET) != MAGIC || (word(SIZE_OFFSET) as usize) < offset + size_of::<u32>() {
            return None;
        }
        let present = ptr::read_unaligned(state.add(XSTATE_BV_OFFSET).cast::<u64>());
        // A component that is left out is in its first state, which is 0.
        Some(if present & PKRU_BIT == 0 {
            0
        } else {
            word(offset)
        })
    }
}
