//! `RawBacktrace`, captured from memory laid out like a stack.
#![cfg(feature = "alloc")]

use proptest::prelude::*;
use trapline_arch::{NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_PC_FROM_FP_OFFSET, VirtualAddress};
use trapline_backtrace::{BrokenFrame, Frame, INLINE_FRAMES, RawBacktrace, Run, WalkEnd};

/// Frame records, one after the other; the last one is the entry frame's.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Record([usize; NEXT_OLDER_PC_FROM_FP_OFFSET / WORD + 1]);

const WORD: usize = size_of::<usize>();

impl Record {
    fn older_fp(&mut self) -> &mut usize {
        &mut self.0[NEXT_OLDER_FP_FROM_FP_OFFSET / WORD]
    }

    fn older_pc(&mut self) -> &mut usize {
        &mut self.0[NEXT_OLDER_PC_FROM_FP_OFFSET / WORD]
    }
}

/// As many guest frames as asked for, linked, in memory of their own.
struct Chain(Box<[Record]>);

impl Chain {
    fn new(frames: usize) -> Self {
        let empty = Record([0; _]);
        let mut records = vec![empty; frames + 1].into_boxed_slice();
        let base = VirtualAddress::from_ptr(records.as_ptr()).get();
        for (i, record) in records[..frames].iter_mut().enumerate() {
            *record.older_fp() = base + (i + 1) * size_of::<Record>();
            *record.older_pc() = pc_of(i + 1);
        }
        Self(records)
    }

    fn fp_of(&self, i: usize) -> VirtualAddress {
        VirtualAddress::from_ptr(&raw const self.0[i])
    }

    fn run(&self) -> Run {
        let last = self.0.len() - 1;
        Run {
            pc: VirtualAddress::new(pc_of(0)),
            fp: self.fp_of(0),
            entry_fp: self.fp_of(last),
            stack: self.fp_of(0)..self.fp_of(last),
        }
    }

    fn capture(&self, limit: usize) -> RawBacktrace {
        // SAFETY: the chain is alive, and nobody writes to it.
        unsafe { RawBacktrace::capture([self.run()], limit) }
    }
}

fn pc_of(frame: usize) -> usize {
    0x1000 + frame * 4
}

#[test]
fn a_hundred_thousand_frames_are_captured_completely() {
    let chain = Chain::new(100_000);
    let backtrace = chain.capture(usize::MAX);
    assert_eq!(backtrace.len(), 100_000);
    assert_eq!(backtrace.end(), WalkEnd::Complete);
    for (i, frame) in backtrace.frames().enumerate() {
        assert_eq!(frame.pc.get(), pc_of(i));
        assert_eq!(frame.fp, chain.fp_of(i));
    }
}

#[test]
fn a_limited_capture_keeps_the_innermost_frames() {
    let chain = Chain::new(100_000);
    let backtrace = chain.capture(10);
    let pcs: Vec<usize> = backtrace.frames().map(|frame| frame.pc.get()).collect();
    assert_eq!(pcs, (0..10).map(pc_of).collect::<Vec<_>>());
    assert_eq!(backtrace.end(), WalkEnd::LimitReached);
}

#[test]
fn runs_are_put_together_innermost_first() {
    let (inner, outer) = (Chain::new(3), Chain::new(2));
    // SAFETY: the chains are alive, and nobody writes to them.
    let backtrace = unsafe { RawBacktrace::capture([inner.run(), outer.run()], usize::MAX) };
    let fps: Vec<VirtualAddress> = backtrace.frames().map(|frame| frame.fp).collect();
    let expected = [
        inner.fp_of(0),
        inner.fp_of(1),
        inner.fp_of(2),
        outer.fp_of(0),
        outer.fp_of(1),
    ];
    assert_eq!(fps, expected);
}

#[test]
fn a_backtrace_that_broke_off_keeps_what_was_found_and_says_so() {
    let mut chain = Chain::new(5);
    *chain.0[2].older_fp() += 4;
    let backtrace = chain.capture(usize::MAX);
    assert_eq!(backtrace.len(), 3);
    let WalkEnd::Broken { fp, why } = backtrace.end() else {
        panic!("{:?}", backtrace.end());
    };
    assert_eq!(fp.get(), *chain.0[2].older_fp());
    assert_eq!(why, BrokenFrame::Misaligned);
}

#[test]
fn clones_of_more_frames_than_are_inline_share_them() {
    let backtrace = Chain::new(INLINE_FRAMES + 1).capture(usize::MAX);
    let clone = backtrace.clone();
    assert_eq!(backtrace.as_slice().as_ptr(), clone.as_slice().as_ptr());
    assert_eq!(backtrace, clone);
    drop(backtrace);
    assert_eq!(clone.len(), INLINE_FRAMES + 1);
}

#[test]
fn inline_frames_are_in_the_value_and_so_are_a_clones() {
    let backtrace = Chain::new(INLINE_FRAMES).capture(usize::MAX);
    let clone = backtrace.clone();
    for backtrace in [&backtrace, &clone] {
        let value = core::ptr::from_ref(backtrace).addr();
        let frames = backtrace.as_slice().as_ptr().addr();
        assert!((value..value + size_of::<RawBacktrace>()).contains(&frames));
    }
    assert_eq!(backtrace, clone);
}

#[test]
fn an_empty_backtrace_has_no_frames_and_is_complete() {
    for empty in [
        RawBacktrace::empty(),
        RawBacktrace::default(),
        Chain::new(0).capture(9),
    ] {
        assert!(empty.is_empty());
        assert_eq!((empty.len(), empty.end()), (0, WalkEnd::Complete));
        assert_eq!(empty.frames().next(), None);
    }
    let none_wanted = Chain::new(1).capture(0);
    assert!(none_wanted.is_empty());
    assert_eq!(none_wanted.end(), WalkEnd::LimitReached);
}

#[test]
fn backtraces_may_go_to_other_threads() {
    fn check<T: Send + Sync + 'static>(_: &T) {}
    check(&RawBacktrace::empty());
}

proptest! {
    #[test]
    fn the_iterator_is_exact_and_goes_from_both_ends(count in 0..50_usize, fronts: Vec<bool>) {
        let backtrace = Chain::new(count).capture(usize::MAX);
        let mut expected: std::collections::VecDeque<Frame> =
            backtrace.as_slice().iter().copied().collect();
        let mut frames = backtrace.frames();
        for front in fronts {
            prop_assert_eq!(frames.len(), expected.len());
            prop_assert_eq!(frames.size_hint(), (expected.len(), Some(expected.len())));
            let (got, wanted) = if front {
                (frames.next(), expected.pop_front())
            } else {
                (frames.next_back(), expected.pop_back())
            };
            prop_assert_eq!(got, wanted);
        }
        prop_assert_eq!((&backtrace).into_iter().rev().count(), count);
    }
}
