//! From a program counter to the code that owns it, with one thread and no concurrency: the
//! ranges never change, or nobody else looks at them.

use core::hint::black_box;
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use trapline_code_registry::CodeObject;
use trapline_test_support::code::{Random, range};

use crate::measure::{Bench, Measured};
use crate::registry::{code_at, time_lookups, time_lookups_on_threads, time_registrations};

/// The ranges' starts, sorted; and in the same order their ends and code.
struct SortedArray {
    starts: Vec<usize>,
    code: Vec<(usize, Arc<dyn CodeObject>)>,
}

impl SortedArray {
    fn new(ranges: usize) -> Self {
        // Where code lies has nothing to do with when it was made.
        let mut code: Vec<(usize, Arc<dyn CodeObject>)> = (Random::new(1).shuffled(ranges))
            .into_iter()
            .map(|nth| (nth, code_at(range(nth))))
            .collect();
        code.sort_by_key(|(nth, _)| *nth);
        for (nth, _) in &mut code {
            *nth = range(*nth).end;
        }
        Self {
            starts: (0..ranges).map(|nth| range(nth).start).collect(),
            code,
        }
    }

    /// The offset in the text, after a look at the code object.
    #[inline]
    fn lookup(&self, pc: usize) -> Option<usize> {
        let nth = self.starts.partition_point(|start| *start <= pc);
        let nth = nth.checked_sub(1)?;
        let (end, code) = &self.code[nth];
        if pc >= *end {
            return None;
        }
        black_box(&**code);
        Some(pc - self.starts[nth])
    }
}

/// A binary search among so many ranges.
pub(crate) fn search(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let array = SortedArray::new(ranges);
    time_lookups(bench, ranges, |pc| array.lookup(pc))
}

/// The same while the other thread searches, too.
pub(crate) fn search_on_threads(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let array = SortedArray::new(ranges);
    time_lookups_on_threads(bench, ranges, |pc| array.lookup(pc))
}

/// A code object is made, and put into a map.
pub(crate) fn insert(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let mut map = BTreeMap::new();
    let entry = |text: Range<usize>| (text.end, (text.start, code_at(text)));
    for nth in Random::new(1).shuffled(ranges) {
        let (end, code) = entry(range(nth));
        map.insert(end, code);
    }
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
