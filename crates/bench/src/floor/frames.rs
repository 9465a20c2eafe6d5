//! Frame records, one after the other.

use core::hint::black_box;

use anyhow::Result;

use crate::measure::{Bench, Measured};

/// How many frames are walked: as in the row.
const FRAMES: usize = 8_000;

/// A frame of four words, the record first: where the caller's is, where it goes on.
#[repr(C)]
#[derive(Clone, Copy)]
struct Frame {
    caller: *const Frame,
    pc: usize,
    _locals: [usize; 2],
}

/// For each frame, one load that the next one waits for, and one of the program counter.
pub(crate) fn walk(bench: &Bench) -> Result<Measured> {
    let empty = Frame {
        caller: core::ptr::null(),
        pc: 1,
        _locals: [0; 2],
    };
    let mut frames = vec![empty; FRAMES];
    for at in 1..FRAMES {
        frames[at - 1].caller = &raw const frames[at];
    }
    let innermost = frames.as_ptr();
    let time = bench.time(|| {
        let mut frame = black_box(innermost);
        let mut sum = 0_usize;
        while !frame.is_null() {
            // SAFETY: null, or one of the frames above.
            let Frame { caller, pc, .. } = unsafe { *frame };
            sum = sum.wrapping_add(pc);
            frame = caller;
        }
        black_box(sum);
    });
    Ok((time / FRAMES as f64).into())
}
