//! From a program counter to the code that owns it, beside a map under a reader-writer lock.
//!
//! Ranges lie at irregular distances and are looked up in random order, so that large
//! registries are met as a trap meets them: with cold caches. `benches/registry.rs` of
//! trapline-code-registry looks closer at our side alone.

use core::hint::black_box;
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeObject, CodeRegistry, Registration};
use trapline_test_support::code::{self, Random, range};
use trapline_test_support::code_object;

use crate::measure::{Bench, Measured};

/// How many lookups are done between two looks at the clock, and at most remembered: each at
/// another address.
const LOOKUPS: usize = 1 << 16;

/// How many ranges are registered between two looks at the clock.
const BATCH: usize = 100;

/// What is measured.
pub(crate) trait Table: Sync + Sized + 'static {
    type Registration: Send + Sync;

    fn new() -> Self;

    /// Makes a range known until the registration is dropped.
    fn register(&'static self, text: Range<usize>) -> Self::Registration;

    /// The offset in the text, after a look at the code object.
    fn lookup(&'static self, pc: usize) -> Option<usize>;
}

/// The time of one lookup among `ranges`.
pub(crate) fn lookup<T: Table>(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let table = Filled::<T>::new(ranges);
    time_lookups(bench, ranges, |pc| table.table.lookup(pc))
}

/// The time of one `lookup` among so many ranges, after a check that it finds them.
pub(crate) fn time_lookups(
    bench: &Bench,
    ranges: usize,
    lookup: impl Fn(usize) -> Option<usize>,
) -> Result<Measured> {
    check(&lookup, ranges)?;
    let addresses = code::addresses(&mut Random::new(0), ranges, LOOKUPS);
    let mut next = addresses.iter().cycle();
    Ok(bench
        .time(|| {
            // The iterator has no end.
            if let Some(pc) = next.next() {
                black_box(lookup(*pc));
            }
        })
        .into())
}

/// Numbers of threads: a row's figure is that of the second one.
pub(crate) const THREADS: [usize; 5] = [1, 2, 4, 8, 16];

/// The name of a point for so many threads.
pub(crate) fn threads_name(threads: usize) -> String {
    format!("threads-{threads}")
}

/// The time that a thread waits for a lookup among `ranges` while another one looks up, too.
/// The points are lookups a second of all threads together.
pub(crate) fn lookup_on_threads<T: Table>(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let table = Filled::<T>::new(ranges);
    time_lookups_on_threads(bench, ranges, |pc| table.table.lookup(pc))
}

/// The same for any `lookup`.
pub(crate) fn time_lookups_on_threads(
    bench: &Bench,
    ranges: usize,
    lookup: impl Fn(usize) -> Option<usize> + Sync,
) -> Result<Measured> {
    check(&lookup, ranges)?;
    let rates = THREADS.map(|threads| rate(bench, &lookup, ranges, threads));
    let measured = Measured::from(THREADS[1] as f64 * 1e9 / rates[1]);
    Ok(
        (THREADS.iter().zip(rates)).fold(measured, |measured, (threads, rate)| {
            measured.with(threads_name(*threads), rate)
        }),
    )
}

/// Lookups a second of so many threads together.
fn rate(
    bench: &Bench,
    lookup: &(impl Fn(usize) -> Option<usize> + Sync),
    ranges: usize,
    threads: usize,
) -> f64 {
    /// Lookups between two looks at whether the time is over.
    const STEP: usize = 256;
    let (start, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|seed| {
                let (start, stop) = (&start, &stop);
                scope.spawn(move || {
                    let mut random = Random::new(seed as u64 + 1);
                    let addresses = code::addresses(&mut random, ranges, LOOKUPS);
                    start.wait();
                    let begin = Instant::now();
                    let mut done = 0_u64;
                    for pcs in addresses.chunks(STEP).cycle() {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        for pc in pcs {
                            black_box(lookup(*pc));
                        }
                        done += pcs.len() as u64;
                    }
                    done as f64 / begin.elapsed().as_secs_f64()
                })
            })
            .collect();
        start.wait();
        thread::sleep(bench.span());
        stop.store(true, Ordering::Relaxed);
        (workers.into_iter())
            .map(|worker| worker.join().expect("lookups do not panic"))
            .sum()
    })
}

/// The time to register one range when `ranges` are there. Ranges lie at random places among
/// the others; they are taken out again outside of the measurement.
pub(crate) fn register<T: Table>(bench: &Bench, ranges: usize) -> Result<Measured> {
    let ranges = bench.ranges(ranges);
    let table = Filled::<T>::new(ranges);
    check(&|pc| table.table.lookup(pc), ranges)?;
    time_registrations(bench, ranges, |gaps| {
        let mut registrations = Vec::with_capacity(gaps.len());
        let start = Instant::now();
        for gap in gaps {
            registrations.push(table.table.register(gap));
        }
        let took = start.elapsed();
        drop(black_box(registrations));
        took
    })
}

/// The time of one of the registrations that `register` makes, takes the time of, and takes
/// out again: of ranges between so many that are there.
pub(crate) fn time_registrations(
    bench: &Bench,
    ranges: usize,
    mut register: impl FnMut(Vec<Range<usize>>) -> Duration,
) -> Result<Measured> {
    let mut random = Random::new(3);
    let mut batch = || register(code::gaps(&mut random, ranges, BATCH));
    let time = bench.time_batches(|batches| (0..batches).map(|_| batch()).sum());
    Ok((time / BATCH as f64).into())
}

/// A table with so many ranges, for ever.
struct Filled<T: Table> {
    table: &'static T,
    _registrations: Vec<T::Registration>,
}

impl<T: Table> Filled<T> {
    fn new(ranges: usize) -> Self {
        let table: &'static T = Box::leak(Box::new(T::new()));
        let order = Random::new(1).shuffled(ranges);
        Self {
            table,
            _registrations: (order.into_iter())
                .map(|nth| table.register(range(nth)))
                .collect(),
        }
    }
}

/// Whether lookups find what was registered, and nothing else.
fn check(lookup: &impl Fn(usize) -> Option<usize>, ranges: usize) -> Result<()> {
    for nth in [0, ranges / 2, ranges - 1] {
        let text = range(nth);
        ensure!(lookup(text.start) == Some(0), "the start of {nth}");
        let last = lookup(text.end - 1).context("the end of a range")?;
        ensure!(last == text.len() - 1, "the end of {nth}");
        ensure!(lookup(text.end).is_none(), "behind the end of {nth}");
    }
    Ok(())
}

code_object! {
    /// Code that is at an address, and nothing else.
    Code
}

/// The code at this range, as tables keep it.
pub(crate) fn code_at(text: Range<usize>) -> Arc<dyn CodeObject> {
    Arc::new(Code(text))
}

impl Table for CodeRegistry {
    type Registration = Registration;

    fn new() -> Self {
        Self::new()
    }

    fn register(&'static self, text: Range<usize>) -> Registration {
        Self::register(self, code_at(text)).expect("disjoint ranges")
    }

    #[inline]
    fn lookup(&'static self, pc: usize) -> Option<usize> {
        let (code, offset) = Self::lookup(self, VirtualAddress::new(pc))?;
        black_box(&*code);
        Some(offset)
    }
}

/// The usual thing, and the peer's: a map under a lock.
#[derive(Default)]
pub(crate) struct LockedMap(RwLock<Ranges>);

/// Starts and code, by the ends of the ranges.
type Ranges = BTreeMap<usize, (usize, Arc<dyn CodeObject>)>;

/// A range of the map.
pub(crate) struct LockedMapRegistration(&'static LockedMap, usize);

impl Drop for LockedMapRegistration {
    fn drop(&mut self) {
        let mut map = self.0.0.write().unwrap_or_else(PoisonError::into_inner);
        let removed = map.remove(&self.1);
        drop(map);
        drop(removed);
    }
}

impl Table for LockedMap {
    type Registration = LockedMapRegistration;

    fn new() -> Self {
        Self::default()
    }

    fn register(&'static self, text: Range<usize>) -> LockedMapRegistration {
        let code = code_at(text.clone());
        let mut map = self.0.write().expect("no panic under the lock");
        if let Some((_, (start, _))) = map.range(text.start + 1..).next() {
            assert!(*start >= text.end, "disjoint ranges");
        }
        map.insert(text.end, (text.start, code));
        LockedMapRegistration(self, text.end)
    }

    #[inline]
    fn lookup(&'static self, pc: usize) -> Option<usize> {
        let map = self.0.read().expect("no panic under the lock");
        let (_, (start, code)) = map.range(pc + 1..).next()?;
        let offset = pc.checked_sub(*start)?;
        // Not even cloned, as it would have to be to outlive the lock.
        black_box(&**code);
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_find_the_same() {
        fn look<T: Table>() -> Vec<Option<usize>> {
            let filled = Filled::<T>::new(300);
            let lookup = |pc| filled.table.lookup(pc);
            check(&lookup, 300).expect("finds what is there");
            let addresses = code::addresses(&mut Random::new(7), 400, 5_000);
            addresses.into_iter().map(lookup).collect()
        }
        let found = look::<CodeRegistry>();
        assert_eq!(found, look::<LockedMap>());
        assert!(found.contains(&None) && found.iter().any(Option::is_some));
    }
}
