//! What is said about frame records and addresses, held against the machine.

use proptest::prelude::*;
use trapline_arch::{
    FP_ALIGN, NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_SP_FROM_FP_OFFSET, VirtualAddress,
    assert_fp_is_aligned, get_next_older_pc_from_fp, is_canonical, is_fp_aligned, return_address,
};

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "riscv64.rs")]
#[cfg_attr(target_arch = "s390x", path = "s390x.rs")]
mod isa;

use isa::{SIGNIFICANT_BITS, caller};

/// What a caller knows about itself, and the frame pointer of its callee.
#[derive(Default)]
#[repr(C)]
struct Known {
    return_address: usize,
    sp_before_the_call: usize,
    fp: usize,
    callee_fp: usize,
    checked: usize,
}

extern "C" fn check(known: &mut Known) {
    let fp = VirtualAddress::new(known.callee_fp);
    // SAFETY: the frame of the callee is alive.
    let pc = unsafe { get_next_older_pc_from_fp(fp) };
    assert_eq!(pc.get(), known.return_address);
    let older_fp = fp.checked_add(NEXT_OLDER_FP_FROM_FP_OFFSET).unwrap();
    // SAFETY: as above: the record's other word.
    assert_eq!(unsafe { older_fp.as_ptr::<usize>().read() }, known.fp);
    assert_eq!(
        fp.get() + NEXT_OLDER_SP_FROM_FP_OFFSET,
        known.sp_before_the_call
    );
    assert!(is_fp_aligned(fp));
    assert!(is_canonical(fp) && is_canonical(pc));
    known.checked += 1;
}

#[test]
fn a_frame_record_tells_return_address_and_frame_and_stack_pointer_of_the_caller() {
    let mut known = Known::default();
    // SAFETY: the assembly keeps to the ABI and writes the first four words.
    unsafe { caller(&mut known) };
    assert_eq!(known.checked, 1);
}

#[test]
fn live_data_and_code_are_at_canonical_addresses() {
    let on_stack = 0_u8;
    let on_heap = Box::new(0_u8);
    for address in [
        VirtualAddress::from_ptr(&raw const on_stack),
        VirtualAddress::from_ptr(&raw const *on_heap),
        VirtualAddress::new(live_data_and_code_are_at_canonical_addresses as *const () as usize),
    ] {
        assert!(is_canonical(address), "{address}");
    }
}

#[test]
fn the_canonical_halves_end_where_the_highest_bit_that_counts_changes() {
    let half = 1_usize << (SIGNIFICANT_BITS - 1);
    for (address, canonical) in [
        (0, true),
        (half - 1, true),
        (half, SIGNIFICANT_BITS == usize::BITS),
        (!half, SIGNIFICANT_BITS == usize::BITS),
        (half.wrapping_neg(), true),
        (usize::MAX, true),
    ] {
        assert_eq!(
            is_canonical(VirtualAddress::new(address)),
            canonical,
            "{address:#x}"
        );
    }
}

#[test]
#[should_panic(expected = "frame pointer 0x7fff0004 is not aligned to ")]
fn a_misaligned_frame_pointer_is_named_in_the_panic() {
    assert_fp_is_aligned(VirtualAddress::new(0x7fff_0004));
}

proptest! {
    #[test]
    fn an_address_is_canonical_if_its_upper_bits_are_all_the_same(address: usize) {
        for address in [address, address & (usize::MAX >> 8), address | !(usize::MAX >> 8)] {
            let upper = address as isize >> (SIGNIFICANT_BITS - 1);
            prop_assert_eq!(is_canonical(VirtualAddress::new(address)), upper == 0 || upper == -1);
        }
    }

    #[test]
    fn complementing_an_address_does_not_change_whether_it_is_canonical(address: usize) {
        prop_assert_eq!(
            is_canonical(VirtualAddress::new(address)),
            is_canonical(VirtualAddress::new(!address))
        );
    }

    #[test]
    fn alignment_is_asserted_where_it_is_tested(address: usize) {
        let fp = VirtualAddress::new(address & !15);
        prop_assert!(is_fp_aligned(fp));
        assert_fp_is_aligned(fp);
        for off in 1..FP_ALIGN {
            prop_assert!(!is_fp_aligned(VirtualAddress::new(fp.get() + off)));
        }
    }

    #[test]
    fn checked_arithmetic_agrees_with_integers(a: usize, b: usize) {
        let at = VirtualAddress::new;
        prop_assert_eq!(at(a).checked_add(b), a.checked_add(b).map(at));
        prop_assert_eq!(at(a).checked_sub(b), a.checked_sub(b).map(at));
        prop_assert_eq!(at(a).offset_from(at(b)), a.checked_sub(b));
        prop_assert_eq!(at(a) < at(b), a < b);
        prop_assert_eq!(usize::from(VirtualAddress::from(a)), a);
        prop_assert_eq!(format!("{:x}", at(a)), format!("{a:x}"));
        prop_assert_eq!(format!("{}", at(a)), format!("{a:#x}"));
    }

    #[test]
    fn a_return_address_without_a_signature_is_the_stored_word(word: usize) {
        // In address spaces of 48 bits, the usual ones: the bits above may hold
        // a signature.
        for word in [word & (usize::MAX >> 17), word | !(usize::MAX >> 17)] {
            prop_assert_eq!(return_address(word).get(), word);
        }
    }
}

#[test]
fn a_pointer_survives_the_way_through_an_address() {
    let mut value = 5_u32;
    let address = VirtualAddress::from_ptr(&raw mut value);
    // SAFETY: points to `value`, whose provenance was exposed.
    unsafe { *address.as_mut_ptr::<u32>() += 1 };
    // SAFETY: as above.
    assert_eq!(unsafe { *address.as_ptr::<u32>() }, 6);
    assert!(!address.is_null());
    assert!(VirtualAddress::NULL.is_null());
}
