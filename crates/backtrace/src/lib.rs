//! The frame-pointer walk over the stack of compiled code.
//!
//! Compiled code keeps frame records: two words, the caller's frame pointer and
//! the return address, linked from frame to frame (on s390x, which has no frame
//! pointer, the back chain). A stack on which host and
//! guest call each other is a row of *runs*: contiguous guest frames, from the
//! point where the guest was left (a host call, or a trap) out to the entry
//! trampoline that was called to get in. Between the runs lie host frames,
//! which nobody walks.
//!
//! ```text
//!  higher addresses
//!  │ host                           │
//!  ├────────────────────────────────┤ ◄─ entry_fp   (entry trampoline's frame)
//!  │ guest frame, outermost         │  ┐
//!  │ guest frame                    │  │ a Run { pc, fp, entry_fp, … }
//!  │ guest frame, innermost         │  ┘ ◄─ fp; pc is where it was left
//!  ├────────────────────────────────┤
//!  │ host                           │
//!  ├────────────────────────────────┤ ◄─ entry_fp
//!  │ guest frame                    │    the next run: walked first
//!  ▼                                ▼
//!  lower addresses
//! ```
//!
//! * [`Cursor`] goes over one run, frame by frame, innermost first.
//! * [`walk`] goes over many runs and stops where the visitor says so or where
//!   the limit is reached: nothing beyond that is read.
//! * [`RawBacktrace`] (feature `alloc`) is a captured walk: nothing is allocated for a
//!   few frames, one allocation is made for more.
//!
//! # What is trusted
//!
//! As little as possible. Frame pointers must rise, be aligned, canonical and
//! inside the stack range of their run; on the first that is not, the walk
//! ends and [`WalkEnd::Broken`] says why. The walk never panics, never reads
//! outside of the range and never loops for ever. It reads the stack through
//! [`ReadStack`], so that it runs on made-up stacks as well:
//!
//! ```
//! use core::ops::ControlFlow;
//! use trapline_arch::{
//!     NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_PC_FROM_FP_OFFSET, VirtualAddress,
//! };
//! use trapline_backtrace::{ReadStack, Run, WalkEnd, walk_with};
//!
//! /// A stack image that starts at address 0x1000.
//! struct Image([usize; 64]);
//!
//! impl Image {
//!     fn put_frame_record(&mut self, fp: usize, older_fp: usize, older_pc: usize) {
//!         self.0[(fp + NEXT_OLDER_FP_FROM_FP_OFFSET - 0x1000) / 8] = older_fp;
//!         self.0[(fp + NEXT_OLDER_PC_FROM_FP_OFFSET - 0x1000) / 8] = older_pc;
//!     }
//! }
//!
//! // SAFETY: reads nothing but its own memory.
//! unsafe impl ReadStack for Image {
//!     unsafe fn read(&self, address: VirtualAddress) -> usize {
//!         self.0[(address.get() - 0x1000) / 8]
//!     }
//! }
//!
//! // Two guest frames at 0x1000 and 0x1080, entered from a frame at 0x1100.
//! let mut image = Image([0; 64]);
//! image.put_frame_record(0x1000, 0x1080, 0xaaaa);
//! image.put_frame_record(0x1080, 0x1100, 0xbbbb);
//! let run = Run {
//!     pc: VirtualAddress::new(0x9999),
//!     fp: VirtualAddress::new(0x1000),
//!     entry_fp: VirtualAddress::new(0x1100),
//!     stack: VirtualAddress::new(0x1000)..VirtualAddress::new(0x1200),
//! };
//! let mut pcs = Vec::new();
//! // SAFETY: the image covers the range of the run.
//! let end = unsafe {
//!     walk_with(&image, [run], usize::MAX, |frame| {
//!         pcs.push(frame.pc.get());
//!         ControlFlow::Continue(())
//!     })
//! };
//! assert_eq!(end, WalkEnd::Complete);
//! assert_eq!(pcs, [0x9999, 0xaaaa]);
//! ```
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;

mod cursor;
#[cfg(feature = "alloc")]
mod raw;
mod walk;

pub use cursor::{BrokenFrame, Cursor, LiveStack, ReadStack, Run};
#[cfg(feature = "alloc")]
pub use raw::{Frames, INLINE_FRAMES, RawBacktrace};
pub use walk::{WalkEnd, walk, walk_with};

use trapline_arch::VirtualAddress;

/// One frame of compiled code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Frame {
    /// In the innermost frame of a trap the instruction that trapped; in every
    /// other frame the address at which it goes on when its callee returns.
    pub pc: VirtualAddress,
    /// Address of its frame record.
    pub fp: VirtualAddress,
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
