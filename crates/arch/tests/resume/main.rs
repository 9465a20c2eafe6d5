//! Going on with registers given as data, on stacks made up for the purpose.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "riscv64.rs")]
#[cfg_attr(target_arch = "s390x", path = "s390x.rs")]
mod isa;

use isa::{DETOUR_CALLEE_BELOW_FP, FP_IS_A_REGISTER, RETURN_ADDRESS_BYTES, detoured, target};
use trapline_arch::{
    FP_ALIGN, JmpBuf, LandingPoint, Resume, VirtualAddress, call_with_setjmp, detour, longjmp,
};

/// A stack to go on with, which nobody else uses.
struct Stack(Box<[Block]>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(16))]
struct Block([usize; 2]);

const UNTOUCHED: Block = Block([0x5555_5555_5555_5555; 2]);

impl Stack {
    /// 256 KiB.
    fn new() -> Self {
        Self(vec![UNTOUCHED; 16 * 1024].into_boxed_slice())
    }

    fn address_of(&mut self, index: usize) -> VirtualAddress {
        VirtualAddress::from_ptr(&raw mut self.0[index])
    }
}

/// What a function found in its registers when it was reached. Where no register
/// is the frame pointer, `fp` is what the back chain says.
#[derive(Debug)]
#[repr(C)]
struct Seen {
    sp: usize,
    fp: usize,
    payload: [usize; 2],
    way_back: JmpBuf,
}

impl Seen {
    fn nothing(way_back: JmpBuf) -> Self {
        Self {
            sp: 0,
            fp: 0,
            payload: [0; 2],
            way_back,
        }
    }
}

extern "C" fn go_back(seen: &Seen) -> ! {
    // SAFETY: the tests wait in the matching call_with_setjmp, on a stack that
    // nothing runs on; nothing here has a destructor.
    unsafe { longjmp(seen.way_back, 9) }
}

#[test]
fn a_jump_sets_program_counter_stack_pointer_frame_pointer_and_payload() {
    let mut stack = Stack::new();
    // Any values will do, as long as there is stack below.
    for (sp, fp) in [
        (
            stack.address_of(16_000).get(),
            stack.address_of(16_100).get(),
        ),
        (stack.address_of(9_000).get() + 8, 0x1234_5678_9abc_def1),
    ] {
        let mut seen = Seen::nothing(core::ptr::null());
        let value = call_with_setjmp(|buf| {
            seen.way_back = buf;
            let landing = LandingPoint {
                pc: target as *const () as usize,
                sp,
                fp,
            };
            let seen = VirtualAddress::from_ptr(&raw mut seen).get();
            let resume = landing.with_payload(0xfeed, seen);
            // SAFETY: `target` takes these registers, and there is stack below
            // `sp`; nothing here has a destructor.
            unsafe { resume.jump() }
        });
        assert_eq!(value, 9);
        assert_eq!(seen.sp, sp);
        if FP_IS_A_REGISTER {
            assert_eq!(seen.fp, fp);
        }
        assert_eq!(seen.payload[0], 0xfeed);
        assert_eq!(seen.payload[1], (&raw const seen).addr());
    }
}

#[test]
fn a_landing_point_with_payload_is_plain_data() {
    let landing = LandingPoint {
        pc: 1,
        sp: 2,
        fp: 3,
    };
    assert_eq!(
        landing.with_payload(4, 5),
        Resume {
            pc: 1,
            sp: 2,
            fp: 3,
            payload: [4, 5],
        }
    );
}

/// Takes a detour from code "interrupted" in a frame whose record is at block
/// `index` of a stack.
fn take_detour(stack: &mut Stack, index: usize) -> Seen {
    let fp = stack.address_of(index);
    let mut seen = Seen::nothing(core::ptr::null());
    let value = call_with_setjmp(|buf| {
        seen.way_back = buf;
        let seen = VirtualAddress::from_ptr(&raw mut seen).get();
        let resume = detour(fp, detoured, seen);
        // SAFETY: nothing runs on the made-up stack, which has room below the
        // frame record; nothing here has a destructor.
        unsafe { resume.jump() }
    });
    assert_eq!(value, 9);
    seen
}

#[test]
fn a_detour_calls_the_function_below_the_frame_record_on_an_aligned_stack() {
    let mut stack = Stack::new();
    let fp = stack.address_of(8_000).get();
    let seen = take_detour(&mut stack, 8_000);
    // Nothing but what the ABI puts there is between the frame record and the
    // callee.
    assert_eq!(seen.sp, fp - DETOUR_CALLEE_BELOW_FP);
    assert_eq!((seen.sp + RETURN_ADDRESS_BYTES) % FP_ALIGN, 0);
    // The argument arrived: it is where `seen` was written through.
    assert_ne!(seen.payload[0], 0);
}

#[test]
fn a_detour_keeps_the_frame_pointer_of_the_interrupted_code() {
    let mut stack = Stack::new();
    let fp = stack.address_of(8_000).get();
    assert_eq!(take_detour(&mut stack, 8_000).fp, fp);
}

#[test]
fn a_detour_leaves_the_frame_record_and_all_above_it_alone() {
    let mut stack = Stack::new();
    take_detour(&mut stack, 8_000);
    assert!(stack.0[8_000..].iter().all(|block| *block == UNTOUCHED));
    assert!(stack.0[..8_000].iter().any(|block| *block != UNTOUCHED));
}

#[test]
fn a_detour_from_a_misaligned_frame_pointer_still_runs_on_an_aligned_stack() {
    // A handler refuses such a frame; whoever does not gets a sound call.
    let mut stack = Stack::new();
    let fp = stack.address_of(8_000);
    for off in 1..16 {
        let fp = fp.checked_add(off).unwrap();
        let resume = detour(fp, detoured, 0);
        assert_eq!(resume.sp % FP_ALIGN, 0);
        assert!(resume.sp <= fp.get());
        assert_eq!(resume.fp, fp.get());
    }
}

#[test]
fn detours_can_be_taken_over_and_over_on_one_stack() {
    let mut stack = Stack::new();
    let first = take_detour(&mut stack, 8_000);
    for _ in 0..100_000 {
        let again = take_detour(&mut stack, 8_000);
        assert_eq!((again.sp, again.fp), (first.sp, first.fp));
    }
}
