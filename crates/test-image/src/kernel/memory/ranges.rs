//! Addresses to hand out.

use alloc::collections::BTreeMap;
use core::ops::Range;

/// The ranges of addresses that are free: by their starts, with their ends. No
/// two of them touch.
#[derive(Debug)]
pub(crate) struct Ranges(BTreeMap<usize, usize>);

impl Ranges {
    pub(crate) fn new(all: Range<usize>) -> Self {
        Self(BTreeMap::from([(all.start, all.end)]))
    }

    /// The first free range that is long enough, so that what was given back is
    /// used again soon.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<usize> {
        let (&start, &end) = self.0.iter().find(|&(start, end)| end - start >= bytes)?;
        self.0.remove(&start);
        if start + bytes < end {
            self.0.insert(start + bytes, end);
        }
        Some(start)
    }

    pub(crate) fn give_back(&mut self, mut range: Range<usize>) {
        if let Some((&start, &end)) = self.0.range(..range.start).next_back()
            && end == range.start
        {
            self.0.remove(&start);
            range.start = start;
        }
        if let Some(end) = self.0.remove(&range.end) {
            range.end = end;
        }
        self.0.insert(range.start, range.end);
    }
}
