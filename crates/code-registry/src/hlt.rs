//! A cheaper instruction to trap by.
//!
//! Compilers for x86_64 end a path that must not be gone on with by `ud2`, an instruction that
//! does not exist. Hypervisors intercept the exception that it causes (#UD), to emulate what
//! the processor lacks, so that in a virtual machine such a trap costs several times what a page
//! fault does. `hlt` may not be executed by user code, either, and what it causes then (#GP) is
//! nobody's but the kernel's. It is one byte long, and no other instruction begins with that byte: so
//! it can take the place of a `ud2`, and a handler knows it when it sees it.

/// What `ud2` consists of.
const UD2: [u8; 2] = [0x0f, 0x0b];

/// What `hlt` consists of.
const HLT: u8 = 0xf4;

/// Makes code trap by `hlt` where it traps by `ud2`, and says at how many places.
///
/// `text` is code for this machine that nobody runs yet, `sites` the byte offsets of the
/// instructions in it that its trap table lists. Where one of them is a `ud2`, its first byte
/// becomes that of `hlt`; nothing else is changed. On other machines than x86_64 that is
/// nothing at all.
///
/// This is for code that runs in user mode only: in a kernel, `hlt` waits for an interrupt and goes on. Then
/// such a trap is a general protection fault: `SIGSEGV` with `SI_KERNEL` on Linux, where others are
/// `SIGILL`. It has no data address; whoever handles it finds out by [`is_hlt`] that it
/// is not one of those whose address the processor does not tell. (trapline-signal does.)
///
/// Code that others have a part in (mapped from a file, or running already) must stay as it is.
///
/// # Example
///
/// ```
/// use trapline_code_registry::{is_hlt, trap_by_hlt};
///
/// // xor eax, eax; ud2; and a constant that looks like one.
/// let mut code = [0x31, 0xc0, 0x0f, 0x0b, 0x0f, 0x0b];
/// let replaced = trap_by_hlt(&mut code, [2]);
/// # #[cfg(target_arch = "x86_64")]
/// assert_eq!((replaced, code), (1, [0x31, 0xc0, 0xf4, 0x0b, 0x0f, 0x0b]));
/// assert_eq!(is_hlt(code[2]), cfg!(target_arch = "x86_64"));
/// ```
pub fn trap_by_hlt(text: &mut [u8], sites: impl IntoIterator<Item = usize>) -> usize {
    if !cfg!(target_arch = "x86_64") {
        return 0;
    }
    let mut replaced = 0;
    for site in sites {
        if let Some(instruction) = text.get_mut(site..)
            && instruction.starts_with(&UD2)
        {
            instruction[0] = HLT;
            replaced += 1;
        }
    }
    replaced
}

/// Whether an instruction of this machine that begins with this byte is `hlt`. For handlers:
/// an instruction that accesses no memory has no faulting address.
#[inline]
#[must_use]
pub const fn is_hlt(first_byte: u8) -> bool {
    cfg!(target_arch = "x86_64") && first_byte == HLT
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn each_listed_ud2_becomes_hlt_and_nothing_else_changes() {
        let code = [0x0f, 0x0b, 0x90, 0x0f, 0x0b, 0x8b, 0x00, 0x0f, 0x0b, 0x0f];
        let mut text = code;
        // A ud2, a load, the middle of a ud2, half of one at the end, and beyond.
        let sites = [0, 5, 8, 9, 10, usize::MAX];
        assert_eq!(trap_by_hlt(&mut text, sites), 1);
        assert_eq!(text[0], HLT);
        assert_eq!(text[1..], code[1..]);
        assert_eq!(trap_by_hlt(&mut text, sites), 0, "it is one already");
    }

    #[test]
    fn only_hlt_begins_as_hlt_does() {
        let beginning = (0..=u8::MAX).filter(|byte| is_hlt(*byte));
        assert!(beginning.eq([HLT]));
    }
}
