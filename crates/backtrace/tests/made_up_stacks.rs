//! The walk over stacks that are made up: well-formed, and anything but.

use std::cell::{Cell, RefCell};
use std::ops::{ControlFlow, Range};

use proptest::collection::vec;
use proptest::prelude::*;
use trapline_arch::{
    FP_ALIGN, NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_PC_FROM_FP_OFFSET, VirtualAddress,
    is_canonical,
};
use trapline_backtrace::{BrokenFrame, Cursor, Frame, ReadStack, Run, WalkEnd, walk_with};

const WORD: usize = size_of::<usize>();
/// Words of a frame record, from the caller's frame pointer to the return
/// address.
const RECORD_WORDS: usize = NEXT_OLDER_PC_FROM_FP_OFFSET / WORD + 1;
const RECORD: usize = RECORD_WORDS * WORD;
const _: () = assert!(NEXT_OLDER_FP_FROM_FP_OFFSET == 0 && RECORD.is_multiple_of(FP_ALIGN));
/// Where made-up stacks start.
const BASE: usize = 0x10_0000;

fn at(address: usize) -> VirtualAddress {
    VirtualAddress::new(address)
}

/// A frame record.
fn record(older_fp: usize, older_pc: usize) -> [usize; RECORD_WORDS] {
    let mut record = [usize::MAX; RECORD_WORDS];
    record[0] = older_fp;
    record[RECORD_WORDS - 1] = older_pc;
    record
}

/// A stack image that notes every read, and those that it must not get.
struct Image {
    words: Vec<usize>,
    allowed: Range<usize>,
    reads: RefCell<Vec<usize>>,
    forbidden: Cell<Option<usize>>,
}

impl Image {
    fn new(words: Vec<usize>) -> Self {
        let end = BASE + words.len() * WORD;
        Self {
            words,
            allowed: BASE..end,
            reads: RefCell::default(),
            forbidden: Cell::new(None),
        }
    }

    fn stack(&self) -> Range<VirtualAddress> {
        at(self.allowed.start)..at(self.allowed.end)
    }

    /// The distinct addresses that were read.
    fn read_addresses(&self) -> Vec<usize> {
        let mut reads = self.reads.borrow().clone();
        reads.sort_unstable();
        reads.dedup();
        reads
    }

    fn walk(&self, runs: Vec<Run>, limit: usize) -> (Vec<Frame>, WalkEnd) {
        let mut frames = Vec::new();
        // SAFETY: the image answers any read, and notes the forbidden ones.
        let end = unsafe {
            walk_with(self, runs, limit, |frame| {
                frames.push(frame);
                ControlFlow::Continue(())
            })
        };
        assert_eq!(
            self.forbidden.get(),
            None,
            "read outside of the stack range"
        );
        (frames, end)
    }
}

// SAFETY: reads nothing but its own memory; gives 0 for everything else.
unsafe impl ReadStack for Image {
    unsafe fn read(&self, address: VirtualAddress) -> usize {
        let address = address.get();
        self.reads.borrow_mut().push(address);
        let inside = self.allowed.contains(&address)
            && self.allowed.contains(&(address + WORD - 1))
            && address.is_multiple_of(WORD);
        if !inside {
            self.forbidden.set(Some(address));
        }
        self.words
            .get(address.wrapping_sub(BASE) / WORD)
            .copied()
            .unwrap_or(0)
    }
}

/// A stack with well-formed runs, and what a walk over them must find.
#[derive(Debug)]
struct WellFormed {
    words: Vec<usize>,
    /// Innermost first.
    runs: Vec<Run>,
    frames: Vec<Frame>,
}

/// For each run, innermost first, the sizes of its frames in words without their
/// records (multiples of two) and the size of the host frames above it.
fn well_formed(shape: &[(Vec<usize>, usize)]) -> WellFormed {
    let mut words = Vec::new();
    let mut runs = Vec::new();
    let mut frames = Vec::new();
    let mut pc = 0x4000;
    let mut next_pc = || {
        pc += 4;
        pc
    };
    for (sizes, host) in shape {
        let mut frame = Frame {
            pc: at(next_pc()),
            fp: at(BASE + words.len() * WORD),
        };
        let (start_pc, start_fp) = (frame.pc, frame.fp);
        for size in sizes {
            frames.push(frame);
            let older_fp = frame.fp.get() + RECORD + size * WORD;
            let older_pc = next_pc();
            words.extend(record(older_fp, older_pc));
            words.extend((0..*size).map(|_| usize::MAX));
            frame = Frame {
                pc: at(older_pc),
                fp: at(older_fp),
            };
        }
        runs.push(Run {
            pc: start_pc,
            fp: start_fp,
            entry_fp: frame.fp,
            stack: at(BASE)..at(0),
        });
        // The entry trampoline's record and the host's frames: not to be read.
        words.extend([0xbad0, 0xbad1]);
        words.extend((0..*host).map(|_| 0xbad2));
    }
    let end = at(BASE + words.len() * WORD);
    for run in &mut runs {
        run.stack.end = end;
    }
    WellFormed {
        words,
        runs,
        frames,
    }
}

fn shapes() -> impl Strategy<Value = Vec<(Vec<usize>, usize)>> {
    let sizes = vec((0..5_usize).prop_map(|pairs| pairs * 2), 0..20);
    let host = (0..4_usize).prop_map(|pairs| pairs * 2);
    vec((sizes, host), 0..6)
}

proptest! {
    #[test]
    fn well_formed_runs_are_reported_completely_innermost_first_each_frame_once(shape in shapes()) {
        let stack = well_formed(&shape);
        let image = Image::new(stack.words);
        let (frames, end) = image.walk(stack.runs, usize::MAX);
        prop_assert_eq!(&frames, &stack.frames);
        prop_assert_eq!(end, WalkEnd::Complete);
        // Each record once, and nothing else.
        prop_assert_eq!(image.reads.borrow().len(), 2 * frames.len());
        let records: Vec<usize> = frames
            .iter()
            .flat_map(|frame| [frame.fp.get(), frame.fp.get() + NEXT_OLDER_PC_FROM_FP_OFFSET])
            .collect();
        prop_assert_eq!(image.read_addresses(), records);
    }

    #[test]
    fn the_limit_applies_while_walking(shape in shapes(), limit in 0..60_usize) {
        let stack = well_formed(&shape);
        let image = Image::new(stack.words);
        let (frames, end) = image.walk(stack.runs, limit);
        let expected = &stack.frames[..limit.min(stack.frames.len())];
        prop_assert_eq!(&frames[..], expected);
        prop_assert_eq!(end == WalkEnd::LimitReached, limit < stack.frames.len());
        prop_assert_eq!(end == WalkEnd::Complete, limit >= stack.frames.len());
        // Nothing of a frame beyond the limit is read.
        prop_assert_eq!(image.reads.borrow().len(), 2 * frames.len());
    }

    #[test]
    fn a_visitor_that_breaks_off_is_asked_no_more(shape in shapes(), after in 1..40_usize) {
        let stack = well_formed(&shape);
        let image = Image::new(stack.words);
        let mut visited = 0;
        // SAFETY: the image answers any read.
        let end = unsafe {
            walk_with(&image, stack.runs, usize::MAX, |_| {
                visited += 1;
                if visited == after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        };
        let there = stack.frames.len();
        prop_assert_eq!(visited, after.min(there));
        prop_assert_eq!(end == WalkEnd::Stopped, after <= there);
    }
}

/// Words that lead a careless walker astray.
fn garbage_word(words: usize) -> impl Strategy<Value = usize> {
    let size = words * WORD;
    prop_oneof![
        // Aligned, inside.
        8 => (0..words / 2).prop_map(|i| BASE + i * 16),
        // Inside, any alignment.
        2 => (0..size).prop_map(|i| BASE + i),
        // Around the ends.
        2 => (0..64_usize).prop_map(move |i| BASE + size - 32 + i),
        2 => (0..64_usize).prop_map(move |i| BASE - 32 + i),
        // Null, non-canonical, the end of the address space.
        1 => Just(0),
        1 => Just(usize::MAX),
        1 => Just(usize::MAX - 15),
        1 => Just(1 << 62),
        1 => any::<usize>(),
    ]
}

#[derive(Debug)]
struct Garbage {
    words: Vec<usize>,
    run: Run,
}

fn garbage() -> impl Strategy<Value = Garbage> {
    (2..40_usize).prop_flat_map(|pairs| {
        let words = pairs * 2;
        let word = || garbage_word(words);
        (
            vec(word(), words),
            word(),
            word(),
            word(),
            0..words,
            0..words,
        )
            .prop_map(move |(memory, pc, fp, entry_fp, from, to)| Garbage {
                words: memory,
                run: Run {
                    pc: at(pc),
                    fp: at(fp),
                    entry_fp: at(entry_fp),
                    // Any part of it, whole words or not, empty as well.
                    stack: at(BASE + from * WORD)..at(BASE + to * WORD + to % 3),
                },
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn no_garbage_makes_the_walk_panic_read_outside_or_go_on_for_ever(garbage in garbage()) {
        let Garbage { words, run } = garbage;
        let mut image = Image::new(words);
        image.allowed = run.stack.start.get()..run.stack.end.get();
        let most = image.words.len();
        let entry_fp = run.entry_fp;
        let start = Frame { pc: run.pc, fp: run.fp };

        // The image notes reads outside of the range; `walk` asserts.
        let (frames, end) = image.walk(vec![run.clone()], usize::MAX);

        prop_assert!(frames.len() <= most);
        prop_assert!(frames.windows(2).all(|pair| pair[0].fp < pair[1].fp), "fps rise");
        prop_assert!(frames.iter().all(|frame| frame.fp < entry_fp && frame.fp.is_aligned_to(FP_ALIGN)));
        prop_assert!(frames.first().is_none_or(|frame| *frame == start));
        prop_assert!(image.read_addresses().iter().all(|address| address + WORD <= entry_fp.get()));
        prop_assert_eq!(image.reads.borrow().len(), 2 * frames.len());
        // It says why it ended: at the entry frame, or at a frame pointer that
        // really is in the chain and really is bad.
        let last = frames.last().map_or(run.fp, |frame| {
            at(image.words[(frame.fp.get() - BASE) / WORD])
        });
        match end {
            WalkEnd::Complete => prop_assert_eq!(last, entry_fp),
            WalkEnd::Broken { fp, why } => {
                prop_assert_eq!(fp, last);
                let really = match why {
                    BrokenFrame::NotRising => frames.last().is_some_and(|frame| fp <= frame.fp),
                    BrokenFrame::Misaligned => !fp.is_aligned_to(FP_ALIGN),
                    BrokenFrame::BeyondEntry => fp.checked_add(RECORD).is_none_or(|end| end > entry_fp),
                    BrokenFrame::OutsideStack => {
                        fp < run.stack.start
                            || fp.checked_add(RECORD).is_none_or(|end| end > run.stack.end)
                    }
                    // The range is nowhere near such addresses.
                    BrokenFrame::NotCanonical => false,
                    _ => false,
                };
                prop_assert!(really, "{:?}", why);
            }
            WalkEnd::Stopped | WalkEnd::LimitReached => prop_assert!(false, "{:?}", end),
        }
    }

    #[test]
    fn a_cursor_gives_the_same_frames_as_a_walk(garbage in garbage()) {
        let Garbage { words, run } = garbage;
        let image = Image::new(words);
        let (frames, end) = image.walk(vec![run.clone()], usize::MAX);
        // SAFETY: the image answers any read.
        let mut cursor = unsafe { Cursor::with_memory(&image, run) };
        for frame in frames {
            prop_assert_eq!(cursor.peek_frame(), Some(frame));
            prop_assert_eq!(cursor.peek_frame(), Some(frame));
            prop_assert_eq!(cursor.next_frame(), Some(frame));
        }
        // At the end for good.
        for _ in 0..3 {
            prop_assert_eq!(cursor.peek_frame(), None);
            prop_assert_eq!(cursor.next_frame(), None);
            prop_assert_eq!(cursor.next(), None);
        }
        match end {
            WalkEnd::Broken { fp, why } => prop_assert_eq!(cursor.broken(), Some((fp, why))),
            _ => prop_assert_eq!(cursor.broken(), None),
        }
    }
}

/// Regression: in an earlier system the trap's own frame came first from the
/// trap's registers and then once more from the walk.
#[test]
fn the_innermost_frame_is_not_reported_twice() {
    let stack = well_formed(&[(vec![0, 2, 0], 0)]);
    let image = Image::new(stack.words);
    let (frames, _) = image.walk(stack.runs, usize::MAX);
    assert_eq!(frames.len(), 3);
    assert_eq!(
        frames.iter().filter(|frame| frame.fp == at(BASE)).count(),
        1
    );
    assert_eq!(frames, stack.frames);
}

#[test]
fn a_run_of_no_frames_is_passed_over_and_nothing_of_it_is_read() {
    // Its frame pointers may be anything, then.
    let nowhere = Run {
        pc: at(7),
        fp: at(0x33),
        entry_fp: at(0x33),
        stack: at(0)..at(0),
    };
    let stack = well_formed(&[(vec![0], 0), (vec![], 4), (vec![0, 0], 0)]);
    let image = Image::new(stack.words);
    let mut runs = stack.runs;
    runs.insert(0, nowhere.clone());
    runs.push(nowhere);
    let (frames, end) = image.walk(runs, usize::MAX);
    assert_eq!(frames, stack.frames);
    assert_eq!(end, WalkEnd::Complete);
}

#[test]
fn no_runs_are_a_complete_walk_of_no_frames() {
    let image = Image::new(vec![]);
    assert_eq!(image.walk(vec![], usize::MAX), (vec![], WalkEnd::Complete));
    assert_eq!(image.walk(vec![], 0), (vec![], WalkEnd::Complete));
}

/// Two frames at `BASE` and one record above, entered from three records above,
/// with the second one's link replaced.
fn with_second_link(link: usize) -> (Vec<Frame>, WalkEnd, Image) {
    let mut words = vec![0; 5 * RECORD_WORDS];
    words[..RECORD_WORDS].copy_from_slice(&record(BASE + RECORD, 0xa));
    words[RECORD_WORDS..2 * RECORD_WORDS].copy_from_slice(&record(link, 0xb));
    let image = Image::new(words);
    let run = Run {
        pc: at(0x9),
        fp: at(BASE),
        entry_fp: at(BASE + 3 * RECORD),
        stack: image.stack(),
    };
    let (frames, end) = image.walk(vec![run], usize::MAX);
    (frames, end, image)
}

#[test]
fn a_broken_link_ends_the_walk_after_the_frame_that_has_it_and_says_why() {
    for (link, why) in [
        (BASE + RECORD, BrokenFrame::NotRising),
        (BASE, BrokenFrame::NotRising),
        (BASE - 16, BrokenFrame::NotRising),
        (0, BrokenFrame::NotRising),
        (BASE + RECORD + FP_ALIGN / 2, BrokenFrame::Misaligned),
        (BASE + 2 * RECORD + 1, BrokenFrame::Misaligned),
        (BASE + 4 * RECORD, BrokenFrame::BeyondEntry),
        (1 << 62, BrokenFrame::BeyondEntry),
        (usize::MAX - 15, BrokenFrame::OutsideStack),
    ] {
        let (frames, end, _) = with_second_link(link);
        assert_eq!(frames.len(), 2, "{link:#x}");
        assert_eq!(end, WalkEnd::Broken { fp: at(link), why }, "{link:#x}");
    }
    let (frames, end, _) = with_second_link(BASE + 3 * RECORD);
    assert_eq!((frames.len(), end), (2, WalkEnd::Complete));
}

#[test]
fn a_frame_record_that_is_not_wholly_inside_of_the_stack_is_not_read() {
    let image = Image::new(vec![0; 4 * RECORD_WORDS]);
    for (start, end) in [
        (BASE + RECORD, BASE + 4 * RECORD),
        (BASE, BASE + RECORD - 1),
        (BASE, BASE + WORD),
        (BASE, BASE),
    ] {
        let run = Run {
            pc: at(1),
            fp: at(BASE),
            entry_fp: at(BASE + 4 * RECORD),
            stack: at(start)..at(end),
        };
        let (frames, end) = image.walk(vec![run], usize::MAX);
        assert_eq!(frames, []);
        assert_eq!(
            end,
            WalkEnd::Broken {
                fp: at(BASE),
                why: BrokenFrame::OutsideStack
            }
        );
    }
    assert_eq!(image.read_addresses(), []);
}

#[test]
fn a_frame_pointer_that_no_paging_hardware_takes_is_not_followed() {
    let image = Image::new(vec![]);
    let fp = at(1 << 60);
    if is_canonical(fp) {
        println!("nothing to see: the paging hardware of this machine takes every address");
        return;
    }
    let run = Run {
        pc: at(1),
        fp,
        entry_fp: at(usize::MAX),
        stack: at(0)..at(usize::MAX),
    };
    let (frames, end) = image.walk(vec![run], usize::MAX);
    assert_eq!(frames, []);
    let why = BrokenFrame::NotCanonical;
    assert_eq!(end, WalkEnd::Broken { fp, why });
    assert_eq!(image.read_addresses(), []);
}

/// An image that lies at the other end of the address space, where kernels have theirs.
struct Upper(Image);

/// What is added to the addresses of an [`Image`].
const UPPER: usize = 0usize.wrapping_sub(1 << 30);

// SAFETY: as the image.
unsafe impl ReadStack for Upper {
    unsafe fn read(&self, address: VirtualAddress) -> usize {
        // SAFETY: the caller's duty, for the address less what was added.
        unsafe { self.0.read(at(address.get().wrapping_sub(UPPER))) }
    }
}

/// The frames of a run of two, and why it broke off, with the run spoilt.
fn in_upper_half(spoil: impl FnOnce(&mut Run)) -> (Vec<Frame>, WalkEnd) {
    let mut words = vec![0; 3 * RECORD_WORDS];
    words[..RECORD_WORDS].copy_from_slice(&record(UPPER + BASE + RECORD, 1));
    words[RECORD_WORDS..2 * RECORD_WORDS].copy_from_slice(&record(UPPER + BASE + 2 * RECORD, 2));
    let image = Upper(Image::new(words));
    let mut run = Run {
        pc: at(7),
        fp: at(UPPER + BASE),
        entry_fp: at(UPPER + BASE + 2 * RECORD),
        stack: at(0)..at(UPPER + BASE + 3 * RECORD),
    };
    spoil(&mut run);
    let mut frames = Vec::new();
    // SAFETY: the image answers any read.
    let end = unsafe {
        walk_with(&image, [run], usize::MAX, |frame| {
            frames.push(frame);
            ControlFlow::Continue(())
        })
    };
    assert_eq!(image.0.forbidden.get(), None);
    (frames, end)
}

#[test]
fn stacks_in_the_upper_half_of_the_address_space_are_walked() {
    let (frames, end) = in_upper_half(|_| {});
    let pcs: Vec<usize> = frames.iter().map(|frame| frame.pc.get()).collect();
    assert_eq!(pcs, [7, 1]);
    assert_eq!(end, WalkEnd::Complete);
}

#[test]
fn a_run_across_addresses_that_are_not_canonical_has_no_frames() {
    let start = at(BASE);
    if is_canonical(at(1 << 62)) {
        println!("nothing to see: the paging hardware of this machine takes every address");
        return;
    }
    // Each end is canonical.
    let (frames, end) = in_upper_half(|run| run.fp = start);
    assert_eq!(frames, []);
    let why = BrokenFrame::NotCanonical;
    assert_eq!(end, WalkEnd::Broken { fp: start, why });
}

#[test]
fn a_run_to_the_end_of_the_address_space_does_not_wrap() {
    let top = usize::MAX & !(FP_ALIGN - 1);
    for (entry_fp, stack_end) in [(usize::MAX, usize::MAX), (top, usize::MAX), (usize::MAX, 0)] {
        let (frames, end) = in_upper_half(|run| {
            run.fp = at(top);
            run.entry_fp = at(entry_fp);
            run.stack = at(0)..at(stack_end);
        });
        assert_eq!(frames, []);
        let complete = top == entry_fp;
        assert_eq!(end == WalkEnd::Complete, complete);
        assert_eq!(
            matches!(end, WalkEnd::Broken { fp, .. } if fp == at(top)),
            !complete
        );
    }
}

#[test]
fn a_chain_in_circles_ends() {
    let mut words = vec![0; 4 * RECORD_WORDS];
    words[..RECORD_WORDS].copy_from_slice(&record(BASE + 2 * RECORD, 1));
    words[2 * RECORD_WORDS..3 * RECORD_WORDS].copy_from_slice(&record(BASE, 2));
    let image = Image::new(words);
    let run = Run {
        pc: at(1),
        fp: at(BASE),
        entry_fp: at(BASE + 4 * RECORD),
        stack: image.stack(),
    };
    let (frames, end) = image.walk(vec![run], usize::MAX);
    assert_eq!(frames.len(), 2);
    let (fp, why) = (at(BASE), BrokenFrame::NotRising);
    assert_eq!(end, WalkEnd::Broken { fp, why });
}

#[test]
fn a_broken_run_ends_the_walk_and_older_runs_are_not_asked_for() {
    let image = Image::new(vec![0; 8]);
    let broken = Run {
        pc: at(1),
        fp: at(BASE + 1),
        entry_fp: at(BASE + 4 * RECORD),
        stack: image.stack(),
    };
    let asked = Cell::new(0);
    let runs = std::iter::repeat_with(|| {
        asked.set(asked.get() + 1);
        broken.clone()
    });
    // SAFETY: the image answers any read.
    let end = unsafe { walk_with(&image, runs, usize::MAX, |_| ControlFlow::Continue(())) };
    assert!(matches!(end, WalkEnd::Broken { .. }));
    assert_eq!(asked.get(), 1);
}

#[test]
fn a_run_beyond_the_limit_is_not_asked_for() {
    let stack = well_formed(&[(vec![0, 0, 0], 0), (vec![0], 0)]);
    let image = Image::new(stack.words);
    let asked = Cell::new(0);
    let runs = stack
        .runs
        .into_iter()
        .inspect(|_| asked.set(asked.get() + 1));
    // SAFETY: the image answers any read.
    let end = unsafe { walk_with(&image, runs, 2, |_| ControlFlow::Continue(())) };
    assert_eq!(end, WalkEnd::LimitReached);
    assert_eq!(asked.get(), 1);
}

#[test]
fn reasons_read_as_sentences() {
    for (why, text) in [
        (
            BrokenFrame::NotRising,
            "frame pointer is not above its callee's",
        ),
        (BrokenFrame::Misaligned, "frame pointer is misaligned"),
        (
            BrokenFrame::NotCanonical,
            "frame pointer is not in a range of canonical addresses",
        ),
        (
            BrokenFrame::OutsideStack,
            "frame record is outside of the stack",
        ),
        (
            BrokenFrame::BeyondEntry,
            "frame pointer is beyond the entry frame",
        ),
    ] {
        assert_eq!(why.to_string(), text);
        let _: &dyn std::error::Error = &why;
    }
}
