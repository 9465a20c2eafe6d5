//! Functions with frames as compiled code makes them, on aarch64.

use core::arch::{asm, naked_asm};

use trapline_arch::{VirtualAddress, is_canonical, return_address};

use crate::{Known, check};

/// Addresses are copies of their bit 55 from there on.
pub(crate) const SIGNIFICANT_BITS: u32 = 56;

/// Notes what it knows about itself, and calls [`callee`]. The link register is
/// signed where the processor does that.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn caller(known: *mut Known) {
    naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "mov x29, sp",
        "adr x9, 2f",
        "mov x10, sp",
        "stp x9, x10, [x0]",
        "str x29, [x0, #16]",
        "bl {callee}",
        "2:",
        "ldp x29, x30, [sp], #16",
        "ret",
        callee = sym callee,
    )
}

/// Makes a frame as compiled code does, and has it looked at.
#[unsafe(naked)]
unsafe extern "C" fn callee(known: *mut Known) {
    naked_asm!(
        // paciasp, and autiasp below.
        "hint 25",
        "stp x29, x30, [sp, #-16]!",
        "mov x29, sp",
        "str x29, [x0, #24]",
        "bl {check}",
        "ldp x29, x30, [sp], #16",
        "hint 29",
        "ret",
        check = sym check,
    )
}

/// Signs an address as `paciasp` does, with some stack pointer.
fn signed(address: usize) -> usize {
    let signed: usize;
    // SAFETY: `hint 8` is pacia1716: signs x17 with x16; nothing, on processors
    // without signatures.
    unsafe {
        asm!(
            "hint 8",
            inout("x17") address => signed,
            in("x16") 0x7fff_1230_usize,
            options(nomem, nostack, preserves_flags),
        );
    }
    signed
}

#[test]
fn a_signed_return_address_loses_its_signature() {
    let mut signatures = 0;
    for i in 0..100 {
        // In the lower and in the upper address range: of a process, of a kernel.
        for address in [0x5555_0000_1000 + i * 0x1_2344, !0x5555_0000_1003 + i * 4] {
            let word = signed(address);
            signatures += usize::from(word != address);
            assert_eq!(return_address(word).get(), address, "{word:#x}");
        }
    }
    if signatures == 0 {
        println!("this processor does not sign addresses: nothing to take away");
    }
}

#[test]
fn an_address_with_a_tag_is_not_canonical() {
    for tag in [1, 0x55, 0xb4, 0xff] {
        assert!(!is_canonical(VirtualAddress::new(tag << 56 | 0x7fff_1000)));
    }
}
