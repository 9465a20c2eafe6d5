//! Stacks that end in a page where nothing is, and going on on one.

use trapline::{VirtualAddress, arch};

use super::memory::{self, OutOfFrames};
use crate::isa::PAGE;

/// A stack. Below it there is a page that is never mapped, so that using more than
/// there is causes an exception.
#[derive(Debug)]
pub(crate) struct Stack {
    start: usize,
    bytes: usize,
}

impl Stack {
    /// A stack of `bytes`, a multiple of the page size.
    ///
    /// # Errors
    ///
    /// If there is not that much memory left.
    pub(crate) fn new(bytes: usize) -> Result<Self, OutOfFrames> {
        let start = memory::reserve(PAGE + bytes).ok_or(OutOfFrames)?;
        let stack = Self { start, bytes };
        memory::commit(start + PAGE, bytes)?;
        Ok(stack)
    }

    /// The end of the stack, where it begins to be used.
    pub(crate) fn top(&self) -> usize {
        self.start + PAGE + self.bytes
    }

    /// An address in the page below the stack.
    pub(crate) fn guard(&self) -> usize {
        self.start
    }

    /// The registers to go on with so that `f(argument)` runs on the stack.
    pub(crate) fn entry(&self, f: extern "C" fn(usize) -> !, argument: usize) -> trapline::Resume {
        /// Room for a frame record in any ABI. It is zero, as new pages are: the
        /// end of the chain of frames.
        const FRAME_RECORD: usize = 64;
        let fp = VirtualAddress::new(self.top() - FRAME_RECORD);
        arch::detour(fp, f, argument)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: reserved by `new`; who runs on the stack, or has something there,
        // keeps it alive.
        unsafe { memory::release(self.start, PAGE + self.bytes) };
    }
}
