//! The walk beside a bare loop over the chain of frame pointers.
//!
//! `cargo bench -p trapline-backtrace`
//!
//! Frames have the irregular sizes of compiled functions. The loop that is the floor
//! trusts everything: it follows the chain to the entry frame, and looks at both words
//! of each record. Divide by the number of frames, or read the rate.

use core::hint::black_box;
use core::ops::ControlFlow;

use divan::Bencher;
use divan::counter::ItemsCount;
use trapline_arch::{
    FP_ALIGN, NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_PC_FROM_FP_OFFSET, VirtualAddress,
    get_next_older_pc_from_fp,
};
use trapline_backtrace::{Frame, RawBacktrace, Run, walk};

/// Numbers of frames.
const DEPTHS: [usize; 4] = [1, 10, 1_000, 8_000];

const WORD: usize = size_of::<usize>();

/// Words from the start of a frame record to its end, rounded up to whole alignments.
const RECORD_WORDS: usize = (NEXT_OLDER_PC_FROM_FP_OFFSET + WORD).next_multiple_of(FP_ALIGN) / WORD;

fn main() {
    divan::main();
}

/// Guest frames on a stack of their own.
struct Stack {
    words: Vec<u128>,
    run: Run,
}

impl Stack {
    fn new(depth: usize) -> Self {
        // Distances between frames, in words: 32, 48, 64 or 96 bytes and the record's
        // own size where that is larger.
        let sizes = [4, 6, 4, 8, 6, 4, 12, 6].map(|size: usize| size.max(RECORD_WORDS));
        let starts: Vec<usize> = (0..=depth)
            .scan(0, |next, frame| {
                let start = *next;
                *next += sizes[frame % sizes.len()];
                Some(start)
            })
            .collect();
        let mut words = vec![0_u128; (starts[depth] + RECORD_WORDS).div_ceil(2)];
        let base = words.as_mut_ptr().cast::<usize>();
        let fp = |frame: usize| base.wrapping_add(starts[frame]);
        for frame in 0..depth {
            // SAFETY: the record lies in the words.
            unsafe {
                fp(frame)
                    .byte_add(NEXT_OLDER_FP_FROM_FP_OFFSET)
                    .write(fp(frame + 1).expose_provenance());
                fp(frame)
                    .byte_add(NEXT_OLDER_PC_FROM_FP_OFFSET)
                    .write(0x10_0000 + frame * 4);
            }
        }
        let run = Run {
            pc: VirtualAddress::new(0xf_fff0),
            fp: VirtualAddress::from_ptr(fp(0)),
            entry_fp: VirtualAddress::from_ptr(fp(depth)),
            stack: VirtualAddress::from_ptr(fp(0))
                ..VirtualAddress::from_ptr(fp(depth))
                    .checked_add(RECORD_WORDS * WORD)
                    .expect("no wrap"),
        };
        Self { words, run }
    }

    fn bench<T>(depth: usize, bencher: Bencher<'_, '_>, mut run: impl FnMut(Run) -> T) {
        let stack = Self::new(depth);
        bencher
            .counter(ItemsCount::new(depth))
            .bench_local(|| run(black_box(stack.run.clone())));
        drop(stack.words);
    }
}

/// What a walk that checks nothing and keeps nothing costs.
#[divan::bench(args = DEPTHS)]
fn floor(bencher: Bencher<'_, '_>, depth: usize) {
    Stack::bench(depth, bencher, |run| {
        let (mut frame, mut sum) = (
            Frame {
                pc: run.pc,
                fp: run.fp,
            },
            0_usize,
        );
        while frame.fp != run.entry_fp {
            sum = sum.wrapping_add(frame.pc.get());
            // SAFETY: the record is one of the stack's.
            frame = unsafe {
                Frame {
                    pc: get_next_older_pc_from_fp(frame.fp),
                    fp: VirtualAddress::new(
                        frame
                            .fp
                            .as_ptr::<u8>()
                            .add(NEXT_OLDER_FP_FROM_FP_OFFSET)
                            .cast::<usize>()
                            .read(),
                    ),
                }
            };
        }
        sum
    });
}

/// The walk, with a visitor that keeps nothing.
#[divan::bench(args = DEPTHS)]
fn visit(bencher: Bencher<'_, '_>, depth: usize) {
    Stack::bench(depth, bencher, |run| {
        let mut sum = 0_usize;
        // SAFETY: the stack is alive, and nobody writes to it.
        let end = unsafe {
            walk([run], usize::MAX, |frame| {
                sum = sum.wrapping_add(frame.pc.get());
                ControlFlow::Continue(())
            })
        };
        (sum, end)
    });
}

/// A captured backtrace, made and dropped.
#[divan::bench(args = DEPTHS)]
fn capture(bencher: Bencher<'_, '_>, depth: usize) {
    Stack::bench(depth, bencher, |run| {
        // SAFETY: the stack is alive, and nobody writes to it.
        let backtrace = unsafe { RawBacktrace::capture([run], usize::MAX) };
        black_box(backtrace.len())
    });
}

/// The innermost ten frames, however many there are.
#[divan::bench(args = DEPTHS)]
fn capture_ten(bencher: Bencher<'_, '_>, depth: usize) {
    Stack::bench(depth, bencher, |run| {
        // SAFETY: the stack is alive, and nobody writes to it.
        let backtrace = unsafe { RawBacktrace::capture([run], 10) };
        black_box(backtrace.len())
    });
}
