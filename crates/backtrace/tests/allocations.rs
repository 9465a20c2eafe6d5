//! What a capture allocates, and that it is the same frames whatever that is.
#![cfg(feature = "alloc")]

use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use trapline_arch::{
    FP_ALIGN, NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_PC_FROM_FP_OFFSET, VirtualAddress,
};
use trapline_backtrace::{Frame, INLINE_FRAMES, RawBacktrace, Run, WalkEnd, walk};
use trapline_test_support::allocator::{Counting, Uses, counted};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WORD: usize = size_of::<usize>();
/// Words of a frame record, as a multiple of the alignment.
const RECORD_WORDS: usize = (NEXT_OLDER_PC_FROM_FP_OFFSET + WORD).next_multiple_of(FP_ALIGN) / WORD;

/// Runs of guest frames, innermost first, with host frames between them.
struct Stack {
    _words: Vec<u128>,
    runs: Vec<Run>,
}

impl Stack {
    /// For each run, innermost first, the sizes of its frames beyond their records, in pairs
    /// of words.
    fn new(shape: &[Vec<usize>]) -> Self {
        let frame_words = |pairs: usize| RECORD_WORDS.next_multiple_of(2) + 2 * pairs;
        let host_words = 16;
        let total: usize = shape
            .iter()
            .map(|run| run.iter().map(|pairs| frame_words(*pairs)).sum::<usize>() + host_words)
            .sum();
        let mut words = vec![0_u128; total / 2 + RECORD_WORDS];
        let base = words.as_mut_ptr().cast::<usize>();
        let end = VirtualAddress::from_ptr(base.wrapping_add(total));
        let (mut at, mut pc) = (0, 0x1000);
        let mut runs = Vec::new();
        for frames in shape {
            let fp = base.wrapping_add(at);
            let start_pc = VirtualAddress::new(pc);
            for pairs in frames {
                let record = base.wrapping_add(at);
                at += frame_words(*pairs);
                pc += 4;
                // SAFETY: the record lies in the words.
                unsafe {
                    record
                        .byte_add(NEXT_OLDER_FP_FROM_FP_OFFSET)
                        .write(base.wrapping_add(at).expose_provenance());
                    record.byte_add(NEXT_OLDER_PC_FROM_FP_OFFSET).write(pc);
                }
            }
            runs.push(Run {
                pc: start_pc,
                fp: VirtualAddress::from_ptr(fp),
                entry_fp: VirtualAddress::from_ptr(base.wrapping_add(at)),
                stack: VirtualAddress::from_ptr(base)..end,
            });
            at += host_words;
            pc += 4;
        }
        Self {
            _words: words,
            runs,
        }
    }

    fn runs(&self) -> impl Iterator<Item = Run> + Clone {
        self.runs.iter().cloned()
    }

    fn capture<const INLINE: usize>(&self, limit: usize) -> RawBacktrace<INLINE> {
        // SAFETY: the stack is alive, and nobody writes to it.
        unsafe { RawBacktrace::capture_inline(self.runs(), limit) }
    }

    /// What a capture has to find.
    fn walk(&self, limit: usize) -> (Vec<Frame>, WalkEnd) {
        let mut frames = Vec::new();
        // SAFETY: the stack is alive, and nobody writes to it.
        let end = unsafe {
            walk(self.runs(), limit, |frame| {
                frames.push(frame);
                ControlFlow::Continue(())
            })
        };
        (frames, end)
    }
}

/// One run of frames of one size.
fn even(frames: usize) -> Stack {
    Stack::new(&[vec![1; frames]])
}

#[test]
fn frames_up_to_the_inline_depth_are_captured_without_allocating() {
    for frames in 0..=INLINE_FRAMES {
        let stack = even(frames);
        let (backtrace, Uses { allocations, .. }) =
            counted(|| stack.capture::<INLINE_FRAMES>(usize::MAX));
        assert_eq!((backtrace.len(), allocations), (frames, 0));
    }
    let stack = even(40);
    let (backtrace, Uses { allocations, .. }) = counted(|| stack.capture::<40>(usize::MAX));
    assert_eq!((backtrace.len(), allocations), (40, 0));
    assert_eq!(backtrace.end(), WalkEnd::Complete);
    let stack = even(1_000);
    let (backtrace, Uses { allocations, .. }) = counted(|| stack.capture::<40>(40));
    assert_eq!((backtrace.len(), allocations), (40, 0));
    assert_eq!(backtrace.end(), WalkEnd::LimitReached);
}

#[test]
fn more_frames_are_one_allocation_of_their_size() {
    for frames in [INLINE_FRAMES + 1, 10, 64] {
        let stack = even(frames);
        let (
            backtrace,
            Uses {
                allocations, bytes, ..
            },
        ) = counted(|| stack.capture::<INLINE_FRAMES>(usize::MAX));
        assert_eq!((backtrace.len(), allocations), (frames, 1));
        // Two counts of references before the frames.
        assert_eq!(bytes, frames * size_of::<Frame>() + 2 * WORD);
    }
}

#[test]
fn a_deep_recursion_is_one_allocation_of_about_its_size() {
    for frames in [100, 1_000, 100_000] {
        let stack = even(frames);
        let (
            backtrace,
            Uses {
                allocations, bytes, ..
            },
        ) = counted(|| stack.capture::<INLINE_FRAMES>(usize::MAX));
        assert_eq!((backtrace.len(), allocations), (frames, 1));
        assert!(bytes < frames * size_of::<Frame>() * 9 / 8 + 100, "{bytes}");
    }
}

#[test]
fn frames_that_get_smaller_are_counted_and_allocated_for_once_more() {
    let sizes = (0..10_000).map(|frame| if frame < 100 { 40 } else { 0 });
    let stack = Stack::new(&[sizes.collect()]);
    let (
        backtrace,
        Uses {
            allocations, bytes, ..
        },
    ) = counted(|| stack.capture::<INLINE_FRAMES>(usize::MAX));
    assert_eq!((backtrace.len(), allocations), (10_000, 2));
    assert_eq!(bytes, 10_000 * size_of::<Frame>() + 2 * WORD);
}

#[test]
fn nothing_large_is_kept_for_frames_that_get_larger() {
    let sizes = (0..1_000).map(|frame| if frame < 100 { 0 } else { 1_000 });
    let stack = Stack::new(&[sizes.collect()]);
    let (backtrace, Uses { bytes, .. }) = counted(|| stack.capture::<INLINE_FRAMES>(usize::MAX));
    assert_eq!(backtrace.len(), 1_000);
    assert_eq!(bytes, 1_000 * size_of::<Frame>() + 2 * WORD);
}

#[test]
fn many_runs_are_two_allocations_at_most() {
    let stack = Stack::new(&vec![vec![1; 3]; 1_000]);
    let (
        backtrace,
        Uses {
            allocations, bytes, ..
        },
    ) = counted(|| stack.capture::<INLINE_FRAMES>(usize::MAX));
    assert_eq!(backtrace.len(), 3_000);
    assert!(allocations <= 2, "{allocations}");
    assert_eq!(bytes, 3_000 * size_of::<Frame>() + 2 * WORD);
}

#[test]
fn a_limit_limits_what_is_allocated() {
    let stack = even(100_000);
    for limit in [10, 70, 1_000] {
        let (
            backtrace,
            Uses {
                allocations, bytes, ..
            },
        ) = counted(|| stack.capture::<INLINE_FRAMES>(limit));
        assert_eq!((backtrace.len(), allocations), (limit, 1));
        assert_eq!(bytes, limit * size_of::<Frame>() + 2 * WORD);
        assert_eq!(backtrace.end(), WalkEnd::LimitReached);
    }
}

#[test]
fn a_clone_allocates_nothing() {
    let backtrace = even(1_000).capture::<INLINE_FRAMES>(usize::MAX);
    let (clone, Uses { allocations, .. }) = counted(|| backtrace.clone());
    assert_eq!((clone.len(), allocations), (1_000, 0));
}

fn shapes() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let few = vec(vec(0..6_usize, 0..12), 0..20);
    let many = vec(
        vec(prop_oneof![20 => 0..3_usize, 1 => 0..200_usize], 0..400),
        1..4,
    );
    prop_oneof![few, many]
}

proptest! {
    #[test]
    fn a_capture_keeps_what_a_walk_finds_whatever_the_inline_depth(
        shape in shapes(),
        limit in prop_oneof![0..300_usize, Just(usize::MAX)],
    ) {
        fn check<const INLINE: usize>(stack: &Stack, limit: usize) -> Result<(), TestCaseError> {
            let (frames, end) = stack.walk(limit);
            let (backtrace, Uses { allocations, bytes, .. }) = counted(|| stack.capture::<INLINE>(limit));
            prop_assert_eq!(backtrace.as_slice(), frames);
            prop_assert_eq!(backtrace.end(), end);
            // One for what was gathered, one for what was counted, one to give back.
            prop_assert!(allocations <= 3);
            prop_assert!(bytes <= 2 * (backtrace.len() + 1) * size_of::<Frame>() + 2 * WORD);
            Ok(())
        }
        let stack = Stack::new(&shape);
        check::<0>(&stack, limit)?;
        check::<1>(&stack, limit)?;
        check::<INLINE_FRAMES>(&stack, limit)?;
        check::<100>(&stack, limit)?;
    }
}
