//! From a program counter to the code that owns it, beside a map under a reader-writer lock.
//!
//! Ranges lie at irregular distances and are looked up in random order, so that large
//! registries are met as a trap meets them: with cold caches. `benches/registry.rs` of
//! trapline-code-registry looks closer at our side alone.

use core::any::Any;
use core::hint::black_box;
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeAddress, CodeObject, CodeRegistry, Registration, TrapKind};

use crate::measure::{Bench, Measured};

/// How many lookups are done between two looks at the clock, and at most remembered: each at
/// another address.
const LOOKUPS: usize = 1 << 16;

/// How many ranges are registered between two looks at the clock.
const BATCH: usize = 100;

/// Distance between the starts of two ranges; they are half as long.
const DISTANCE: usize = 4096;

/// Where the first range starts.
const BASE: usize = 0x7f00_0000_0000;

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
    let addresses = addresses(ranges, 0);
    check(table.table, ranges)?;
    let mut next = addresses.iter().cycle();
    Ok(bench
        .time(|| {
            // The iterator has no end.
            if let Some(pc) = next.next() {
                black_box(table.table.lookup(*pc));
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
    check(table.table, ranges)?;
    let rates = THREADS.map(|threads| rate(bench, table.table, ranges, threads));
    let measured = Measured::from(THREADS[1] as f64 * 1e9 / rates[1]);
    Ok(
        (THREADS.iter().zip(rates)).fold(measured, |measured, (threads, rate)| {
            measured.with(threads_name(*threads), rate)
        }),
    )
}

/// Lookups a second of so many threads together.
fn rate<T: Table>(bench: &Bench, table: &'static T, ranges: usize, threads: usize) -> f64 {
    /// Lookups between two looks at whether the time is over.
    const STEP: usize = 256;
    let (start, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|seed| {
                let (start, stop) = (&start, &stop);
                scope.spawn(move || {
                    let addresses = addresses(ranges, seed as u64 + 1);
                    start.wait();
                    let begin = Instant::now();
                    let mut done = 0_u64;
                    for pcs in addresses.chunks(STEP).cycle() {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        for pc in pcs {
                            black_box(table.lookup(*pc));
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
    check(table.table, ranges)?;
    let mut random = Random::new(3);
    let batch = || -> Duration {
        let gaps = gaps(&mut random, ranges);
        let mut registrations = Vec::with_capacity(gaps.len());
        let start = Instant::now();
        for gap in gaps {
            registrations.push(table.table.register(gap));
        }
        let took = start.elapsed();
        drop(black_box(registrations));
        took
    };
    let mut batch = batch;
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
        let mut order: Vec<usize> = (0..ranges).collect();
        let mut random = Random::new(1);
        for at in (1..ranges).rev() {
            order.swap(at, random.below(at + 1));
        }
        Self {
            table,
            _registrations: (order.into_iter())
                .map(|nth| table.register(range(nth)))
                .collect(),
        }
    }
}

/// Whether lookups find what was registered, and nothing else.
fn check<T: Table>(table: &'static T, ranges: usize) -> Result<()> {
    for nth in [0, ranges / 2, ranges - 1] {
        let text = range(nth);
        ensure!(table.lookup(text.start) == Some(0), "the start of {nth}");
        let last = table.lookup(text.end - 1).context("the end of a range")?;
        ensure!(last == text.len() - 1, "the end of {nth}");
        ensure!(table.lookup(text.end).is_none(), "behind the end of {nth}");
    }
    Ok(())
}

/// The `nth` range.
fn range(nth: usize) -> Range<usize> {
    let start = BASE + nth * DISTANCE + (nth * 7919 % 64) * 16;
    start..start + DISTANCE / 2
}

/// Addresses in registered code, in no order.
fn addresses(ranges: usize, seed: u64) -> Vec<usize> {
    let mut random = Random::new(seed);
    (0..LOOKUPS)
        .map(|_| range(random.below(ranges)).start + random.below(DISTANCE / 2))
        .collect()
}

/// Different ranges that lie between the registered ones or, where there are fewer of those,
/// behind them.
fn gaps(random: &mut Random, ranges: usize) -> Vec<Range<usize>> {
    let ranges = ranges.max(BATCH);
    let first = random.below(ranges);
    // Without a common divisor with the sizes: leads to different places.
    let step = 7919;
    (0..BATCH)
        .map(|nth| {
            let start = range((first + nth * step) % ranges).end;
            start..start + 16
        })
        .collect()
}

/// Numbers in no order (xorshift).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(0x1234_5678_9abc_def1 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

struct Code(Range<usize>);

impl CodeObject for Code {
    fn text(&self) -> Range<VirtualAddress> {
        VirtualAddress::new(self.0.start)..VirtualAddress::new(self.0.end)
    }

    fn lookup_trap_code(&self, _text_offset: usize) -> Option<TrapKind> {
        None
    }

    fn lookup_address(&self, _text_offset: usize) -> Option<CodeAddress> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Table for CodeRegistry {
    type Registration = Registration;

    fn new() -> Self {
        Self::new()
    }

    fn register(&'static self, text: Range<usize>) -> Registration {
        Self::register(self, Arc::new(Code(text))).expect("disjoint ranges")
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
        let code: Arc<dyn CodeObject> = Arc::new(Code(text.clone()));
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
            check(filled.table, 300).expect("finds what is there");
            addresses(400, 7)[..5_000]
                .iter()
                .map(|pc| filled.table.lookup(*pc))
                .collect()
        }
        let found = look::<CodeRegistry>();
        assert_eq!(found, look::<LockedMap>());
        assert!(found.contains(&None) && found.iter().any(Option::is_some));
    }

    #[test]
    fn gaps_are_disjoint_and_free() {
        for ranges in [1, 1_000, 100_000] {
            let mut gaps = gaps(&mut Random::new(5), ranges);
            gaps.sort_by_key(|gap| gap.start);
            assert_eq!(gaps.len(), BATCH);
            assert!(gaps.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}
