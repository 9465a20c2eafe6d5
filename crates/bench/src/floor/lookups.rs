//! From a program counter to the code that owns it, where no two threads meet: the ranges
//! never change, or nobody else looks at them.
//!
//! A binary search in a sorted array is a yardstick rather than a floor: in a large one, most
//! of its steps wait for memory, and search trees with wide nodes are faster. What nobody gets
//! around is the entry of the range that is looked for.

use core::hint::black_box;
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use trapline_code_registry::CodeObject;
use trapline_test_support::code::{DISTANCE, Random, range};

use crate::measure::{Bench, Measured};
use crate::registry::{code_at, time_lookups, time_lookups_on_threads, time_registrations};

/// A range, and its code.
struct Entry {
    text: Range<usize>,
    code: Arc<dyn CodeObject>,
}

impl Entry {
    /// The offset in the text, after a look at the code object.
    #[inline]
    fn offset(&self, pc: usize) -> Option<usize> {
        if !self.text.contains(&pc) {
            return None;
        }
        black_box(&*self.code);
        Some(pc - self.text.start)
    }
}

/// The starts of ranges, sorted; and in the same order the ranges.
struct SortedArray {
    starts: Vec<usize>,
    entries: Vec<Entry>,
}

impl SortedArray {
    fn new(ranges: usize) -> Self {
        // Where code objects lie has nothing to do with where their code does.
        let mut entries: Vec<Entry> = (Random::new(1).shuffled(ranges).into_iter().map(range))
            .map(|text| Entry {
                code: code_at(text.clone()),
                text,
            })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.text.start);
        Self {
            starts: entries.iter().map(|entry| entry.text.start).collect(),
            entries,
        }
    }

    /// By a binary search.
    #[inline]
    fn search(&self, pc: usize) -> Option<usize> {
        let behind = self.starts.partition_point(|start| *start <= pc);
        self.entries[behind.checked_sub(1)?].offset(pc)
    }

    /// By arithmetic, which made-up ranges allow for.
    #[inline]
    fn calculate(&self, pc: usize) -> Option<usize> {
        let nth = pc.checked_sub(range(0).start)? / DISTANCE;
        self.entries.get(nth)?.offset(pc)
    }
}

/// A binary search among so many ranges.
pub(crate) fn search(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let array = SortedArray::new(ranges);
    time_lookups(bench, ranges, |pc| array.search(pc))
}

/// One of so many entries, whose place is known.
pub(crate) fn known(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let array = SortedArray::new(ranges);
    time_lookups(bench, ranges, |pc| array.calculate(pc))
}

/// A binary search while the other thread searches, too.
pub(crate) fn search_on_threads(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let array = SortedArray::new(ranges);
    time_lookups_on_threads(bench, ranges, |pc| array.search(pc))
}

/// Entries whose place is known, on both threads.
pub(crate) fn known_on_threads(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let array = SortedArray::new(ranges);
    time_lookups_on_threads(bench, ranges, |pc| array.calculate(pc))
}

/// A code object is made, and inserted into a map of so many.
pub(crate) fn insert(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let mut map = BTreeMap::new();
    let entry = |text: Range<usize>| (text.end, (text.start, code_at(text)));
    map.extend((Random::new(1).shuffled(ranges).into_iter()).map(|nth| entry(range(nth))));
    time_registrations(bench, ranges, |gaps| {
        let ends: Vec<usize> = gaps.iter().map(|gap| gap.end).collect();
        let start = Instant::now();
        for gap in gaps {
            let (end, code) = entry(gap);
            map.insert(end, code);
        }
        let took = start.elapsed();
        for end in ends {
            map.remove(&end);
        }
        took
    })
}

/// A code object is made, and remembered.
pub(crate) fn make(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    time_registrations(bench, ranges, |gaps| {
        let mut made = Vec::with_capacity(gaps.len());
        let start = Instant::now();
        made.extend(gaps.into_iter().map(code_at));
        let took = start.elapsed();
        drop(black_box(made));
        took
    })
}

#[cfg(test)]
mod tests {
    use trapline_test_support::code::addresses;

    use super::*;

    #[test]
    fn search_and_arithmetic_find_what_is_there_and_nothing_else() {
        let array = SortedArray::new(300);
        let last = range(299);
        for pc in (addresses(&mut Random::new(3), 400, 5_000).into_iter())
            .chain((0..300).flat_map(|nth| [range(nth).start, range(nth).end - 1, range(nth).end]))
            .chain([0, range(0).start - 1, last.end + DISTANCE, usize::MAX])
        {
            let nth = (0..300).find(|nth| range(*nth).contains(&pc));
            let offset = nth.map(|nth| pc - range(nth).start);
            assert_eq!(array.search(pc), offset, "{pc:#x}");
            assert_eq!(array.calculate(pc), offset, "{pc:#x}");
        }
    }
}
