//! x86_64.

use core::arch::x86_64::__cpuid_count;
use core::arch::{asm, naked_asm};
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, c_ulong, c_void, mcontext_t, sigaction, siginfo_t};

use super::MASK_BYTES;

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

/// Whether it was for our action that the kernel entered a handler with this stack pointer, so
/// that it blocked what our action says: nothing. Else it was for that of somebody who has gone
/// on to our handler.
///
/// The return address is then in [`sigaction_restorer`], which nobody else's action has: the C library
/// gives all that it installs one of its own.
///
/// # Safety
///
/// * `sp` is where the kernel entered a handler.
pub(super) unsafe fn is_ours(sp: usize) -> bool {
    // SAFETY: the return address is there, by this function's duty.
    let returns_to = unsafe { ptr::with_exposed_provenance::<usize>(sp).read() };
    returns_to == restorer_address()
}

/// Where our handlers return to: the system call that ends a signal, with the bytes by which
/// unwinders and debuggers know a signal's frame (`MD_FALLBACK_FRAME_STATE_FOR` of libgcc,
/// `setInfoForSigReturn` of LLVM's libunwind). It has no entry in the unwinder's tables, and neither
/// has what lies before it, where they look for return addresses. gdb looks at the bytes only
/// where it finds no name, or one with "sigaction" in it (`amd64_linux_sigtramp_p`).
#[unsafe(naked)]
unsafe extern "C" fn sigaction_restorer() {
    naked_asm!(
        // `int3`, never run.
        ".fill {before}, 1, 0xcc",
        // `mov rax, {SYS_rt_sigreturn}` in the long form
        ".byte 0x48, 0xc7, 0xc0, {number}, 0, 0, 0",
        "syscall",
        before = const RESTORER_OFFSET,
        number = const libc::SYS_rt_sigreturn,
    )
}

/// How far into [`sigaction_restorer`] it starts, in bytes.
const RESTORER_OFFSET: usize = 16;

fn restorer_address() -> usize {
    (sigaction_restorer as *const () as usize).wrapping_add(RESTORER_OFFSET)
}

/// `struct sigaction` of the kernel (`arch/x86/include/asm/signal.h`).
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: c_ulong,
    restorer: usize,
    mask: [u8; MASK_BYTES],
}

const _: () = assert!(size_of::<KernelAction>() == 32);

impl KernelAction {
    const DEFAULT: Self = Self {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: [0; MASK_BYTES],
    };

    /// Installs `new` if there is one, for `signal`; what was there, `None` if the kernel refuses.
    ///
    /// # Safety
    ///
    /// * As for the system call; in normal context.
    unsafe fn exchange(signal: c_int, new: Option<&Self>) -> Option<Self> {
        let mut old = Self::DEFAULT;
        let new = new.map_or(ptr::null(), ptr::from_ref);
        // SAFETY: this function's duty; `old` is writable.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                new,
                &raw mut old,
                MASK_BYTES,
            )
        };
        (result == 0).then_some(old)
    }

    /// Whether it has our handler, and blocks nothing.
    fn is_ours(&self) -> bool {
        self.handler == entry as *const () as usize
            && self.flags as c_int & libc::SA_NODEFER != 0
            && self.mask == [0; MASK_BYTES]
    }
}

/// Installs an action with our handler, and puts down what was there: `sigaction(2)`, with
/// a restorer of our own, and with its result.
///
/// # Safety
///
/// * As for the system call; in normal context.
pub(crate) unsafe fn install(
    signal: c_int,
    action: *const sigaction,
    replaced: *mut sigaction,
) -> c_int {
    // By way of the function that all others use, since it may be more than the system call: musl
    // keeps notes in it, and preloaded libraries that chain handlers (`libjsig.so`) stand in front of it.
    // SAFETY: this function's duty.
    let result = unsafe { sigaction(signal, action, replaced) };
    if result == 0 {
        // SAFETY: this function's duty.
        unsafe { set_restorer(signal) };
    }
    result
}

/// Gives our action a restorer of our own, where it is the kernel's that has just been installed.
/// Else, and if the kernel refuses, everything stays as it is, and a trap sets the mask.
///
/// # Safety
///
/// * In normal context.
unsafe fn set_restorer(signal: c_int) {
    // SAFETY: asks only.
    let Some(mut ours) = (unsafe { KernelAction::exchange(signal, None) }) else {
        return;
    };
    if !ours.is_ours() {
        return;
    }
    ours.restorer = restorer_address();
    // SAFETY: the action that is there, with a place to return to that does what that of the C
    // library does.
    let replaced = unsafe { KernelAction::exchange(signal, Some(&ours)) };
    if let Some(theirs) = replaced.filter(|replaced| !replaced.is_ours()) {
        // Somebody came between.
        // SAFETY: an action that was there before.
        unsafe { KernelAction::exchange(signal, Some(&theirs)) };
    }
}

/// Whether this machine has nothing that a jump could not put back: each frame tells. Valgrind
/// takes what lies below the stack that a handler is left for without a return for undefined.
pub(super) fn find_out() -> bool {
    !is_emulated_by_valgrind()
}

/// Whether Valgrind runs this program: it knows a sequence of instructions that do nothing else
/// (`valgrind.h`, `RUNNING_ON_VALGRIND`), and puts its answer into the register that holds 0.
fn is_emulated_by_valgrind() -> bool {
    let mut answer: usize = 0;
    // SAFETY: turns a register around, by 128 bits, and exchanges another with itself; Valgrind reads
    // the request, and changes the one register.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const VALGRIND_REQUEST,
            inout("rdx") answer,
            options(nostack),
        );
    }
    answer != 0
}

/// `VG_USERREQ__RUNNING_ON_VALGRIND`, and five arguments, which it has not.
static VALGRIND_REQUEST: [usize; 6] = [0x1001, 0, 0, 0, 0, 0];

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
        let saved = floating_point_state(registers);
        if saved.is_null() || has_shadow_stack() {
            return None;
        }
        // SAFETY: the frame has a floating-point state, by this function's duty.
        if !unsafe { has_saved_pkru(saved, &PKRU_OFFSET) } {
            return None;
        }
        // SAFETY: as above; only these two fields are read.
        unsafe {
            Some(Self {
                mxcsr: ptr::read_unaligned(saved.add(MXCSR_OFFSET).cast()),
                x87_control: ptr::read_unaligned(saved.add(X87_CONTROL_OFFSET).cast()),
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

/// Where the area of FXSAVE, or XSAVE, of these registers is.
///
/// The field has a name in glibc's structure only (`fpregs`). It is what lies behind the general
/// registers in the kernel's (`fpstate` of `struct sigcontext`), and so in every C library's.
fn floating_point_state(registers: &mcontext_t) -> *const u8 {
    // SAFETY: within the structure, as asserted below.
    unsafe {
        (&raw const *registers)
            .byte_add(STATE_POINTER_OFFSET)
            .cast::<*const u8>()
            .read()
    }
}

/// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, the flags, the segments, and four words
/// of the exception (`arch/x86/include/uapi/asm/sigcontext.h`).
const STATE_POINTER_OFFSET: usize = 23 * size_of::<usize>();
const _: () = assert!(size_of::<mcontext_t>() >= STATE_POINTER_OFFSET + size_of::<usize>());
#[cfg(target_env = "gnu")]
const _: () = assert!(core::mem::offset_of!(mcontext_t, fpregs) == STATE_POINTER_OFFSET);

/// Where FXSAVE and XSAVE put the settings (Intel SDM volume 1, table 10-2).
const X87_CONTROL_OFFSET: usize = 0;
const MXCSR_OFFSET: usize = 24;

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

/// Byte offset of the protection keys' register in an area of XSAVE; 0 if frames of this
/// machine have none, [`UNKNOWN`] until one was looked at.
///
/// The processor says where it is, which in a virtual machine takes microseconds: so only
/// those are asked that have one, and they once.
static PKRU_OFFSET: AtomicU32 = AtomicU32::new(UNKNOWN);
const UNKNOWN: u32 = u32::MAX;

/// `FP_XSTATE_MAGIC1`, in the bytes that FXSAVE leaves to software: an area of XSAVE
/// follows (`arch/x86/include/uapi/asm/sigcontext.h`).
const MAGIC: u32 = 0x4650_5853;
const MAGIC_OFFSET: usize = 464;
/// Which components have a place in the area, behind the magic number and the whole
/// size; then the size of the area.
const LAYOUT_OFFSET: usize = MAGIC_OFFSET + 8;
const SIZE_OFFSET: usize = MAGIC_OFFSET + 16;
/// Which components the area has, in its header (Intel SDM volume 1, 13.4.2).
const XSTATE_BV_OFFSET: usize = 512;
/// Number of the protection keys' component (Intel SDM volume 1, 13.1).
const PKRU: u32 = 9;
const PKRU_BIT: u64 = 1 << PKRU;
/// CPUID 7, ECX: the operating system uses protection keys (Intel SDM volume 2, CPUID).
const OSPKE: u32 = 1 << 4;

/// Whether this thread has the access rights that the kernel saved for the interrupted code.
/// Also if it saved none: then a return puts none back, either.
///
/// # Safety
///
/// * `state` is the floating-point state of a signal frame of the kernel's.
/// * `known` is [`PKRU_OFFSET`], or one that began as it does.
#[inline]
unsafe fn has_saved_pkru(state: *const u8, known: &AtomicU32) -> bool {
    let mut offset = known.load(Ordering::Relaxed);
    if offset == 0 {
        return true;
    }
    // SAFETY: the first 512 bytes are always there, and what lies within the size that
    // the kernel tells behind them. The register is in use, as the processor has said.
    unsafe {
        let word = |at: usize| ptr::read_unaligned(state.add(at).cast::<u32>());
        let components = |at: usize| ptr::read_unaligned(state.add(at).cast::<u64>());
        let has_place = word(MAGIC_OFFSET) == MAGIC && components(LAYOUT_OFFSET) & PKRU_BIT != 0;
        if offset == UNKNOWN {
            // With a place for them, the keys may still be switched off (`nopku`).
            if !has_place || __cpuid_count(7, 0).ecx & OSPKE == 0 {
                known.store(0, Ordering::Relaxed);
                return true;
            }
            // EBX: where the component lies in the standard format, which is the one of
            // signal frames (Intel SDM volume 1, 13.4.3).
            offset = __cpuid_count(0xd, PKRU).ebx;
            if offset == 0 {
                return false;
            }
            known.store(offset, Ordering::Relaxed);
        }
        let offset = offset as usize;
        if !has_place || (word(SIZE_OFFSET) as usize) < offset + size_of::<u32>() {
            return false;
        }
        // A component that is left out is in its first state, which is 0.
        let saved = if components(XSTATE_BV_OFFSET) & PKRU_BIT == 0 {
            0
        } else {
            word(offset)
        };
        saved == pkru()
    }
}

/// This thread's access rights.
///
/// # Safety
///
/// * The operating system uses the register.
unsafe fn pkru() -> u32 {
    let pkru: u32;
    // SAFETY: reads a register that is in use, by this function's duty.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A state with this magic number and layout, of this size.
    fn state(magic: u32, layout: u64, size: u32) -> [u8; 1024] {
        let mut state = [0; 1024];
        state[MAGIC_OFFSET..][..4].copy_from_slice(&magic.to_le_bytes());
        state[LAYOUT_OFFSET..][..8].copy_from_slice(&layout.to_le_bytes());
        state[SIZE_OFFSET..][..4].copy_from_slice(&size.to_le_bytes());
        state
    }

    /// What is found, and what is known of the offset then.
    fn find(state: &[u8; 1024], known: u32) -> (bool, u32) {
        let known = AtomicU32::new(known);
        // SAFETY: as long as all that it says to hold.
        let found = unsafe { has_saved_pkru(state.as_ptr(), &known) };
        (found, known.into_inner())
    }

    #[test]
    fn a_frame_without_a_place_for_the_rights_has_none_to_put_back() {
        let all_others = !PKRU_BIT;
        assert_eq!(find(&state(MAGIC, all_others, 1024), UNKNOWN), (true, 0));
        assert_eq!(find(&state(0, PKRU_BIT, 1024), UNKNOWN), (true, 0));
    }

    #[test]
    fn a_frame_whose_rights_would_lie_behind_its_end_is_left_to_the_kernel() {
        let frame = state(MAGIC, PKRU_BIT, 1024);
        for offset in [1021, 1024, 1 << 31] {
            assert_eq!(find(&frame, offset), (false, offset));
        }
        // Where others have a place.
        assert_eq!(find(&state(MAGIC, 0, 1024), 600), (false, 600));
    }
}
