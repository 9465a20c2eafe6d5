//! The registry beside what a runtime would otherwise use.
//!
//! ```sh
//! cargo bench -p trapline-code-registry             # everything
//! cargo bench -p trapline-code-registry -- lookup   # what has this in its title
//! ```
//!
//! # Who takes part
//!
//! - `registry`: this crate.
//! - `locked map`: `RwLock<BTreeMap>`, the usual thing.
//! - `locked, cloned`: the same; a lookup clones the `Arc`, as it must to use the code object
//!   after it has let go of the lock. The registry's guard may be kept without that.
//! - `skip list`: `crossbeam_skiplist::SkipMap`, a concurrent ordered map.
//! - `sorted vector`: a sorted `Vec` behind an `ArcSwap`; a write copies all of it.
//!
//! # What is fair about it
//!
//! All of them do the same: a lookup finds the range that contains the address, gives the offset
//! in its text, and has a live code object in hand at that moment. `locked map` holds its lock
//! for that time, and clones nothing: nobody else works less. A registration makes the code
//! object, puts it into an `Arc`, refuses an overlap, and returns what removes it when dropped.
//! None of the others may be used in a signal handler.
//!
//! Ranges lie at irregular distances and are looked up in random order, a million addresses
//! before one comes again, so that large tables are met as a trap meets them: with cold caches.
//! Samples of all who take part are taken in turns, so that they meet the same noise; the
//! medians are shown, and in parentheses their ratios to `locked map`.

use core::hint::black_box;
use core::ops::{Bound, Range};
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, PoisonError, RwLock};
use std::thread;
use std::time::Instant;

use arc_swap::ArcSwap;
use crossbeam_skiplist::SkipMap;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeObject, CodeRegistry, Registration};
use trapline_test_support::code::{Random, addresses, gaps, range};
use trapline_test_support::code_object;

/// Numbers of registered ranges.
const SIZES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];

/// Numbers of threads that look up at the same time.
const THREADS: [usize; 5] = [1, 2, 4, 8, 16];

/// Lookups in one sample, to keep the clock out of the result.
const LOOKUPS: usize = 2_000;

/// Registrations in one sample, for the same reason.
const WRITES: usize = 100;

code_object! {
    /// Code that exists by its range only.
    Code
}

/// Who takes part.
trait Table: Sync + Sized + 'static {
    const NAME: &'static str;
    /// Removes its range when dropped.
    type Registration: Send;
    fn make() -> &'static Self;
    fn register(&'static self, text: Range<usize>) -> Self::Registration;
    /// The offset in the text of the code that contains `pc`, after a look at its object.
    fn lookup(&'static self, pc: usize) -> Option<usize>;
}

impl Table for CodeRegistry {
    const NAME: &'static str = "registry";
    type Registration = Registration;

    fn make() -> &'static Self {
        Box::leak(Box::new(Self::new()))
    }

    fn register(&'static self, text: Range<usize>) -> Registration {
        Self::register(self, Arc::new(Code(text))).expect("disjoint ranges")
    }

    fn lookup(&'static self, pc: usize) -> Option<usize> {
        let (code, offset) = Self::lookup(self, VirtualAddress::new(pc))?;
        black_box(&*code);
        Some(offset)
    }
}

/// End and code of a range, by its start.
type Ranges = BTreeMap<usize, (usize, Arc<dyn CodeObject>)>;

/// The usual thing: a map under a lock.
#[derive(Default)]
struct LockedMap(RwLock<Ranges>);

impl LockedMap {
    fn find<R>(&self, pc: usize, found: impl FnOnce(&Arc<dyn CodeObject>) -> R) -> Option<usize> {
        let map = self.0.read().expect("no panic under the lock");
        let (start, (end, code)) = map.range(..=pc).next_back()?;
        if pc >= *end {
            return None;
        }
        let offset = pc - start;
        black_box(found(code));
        Some(offset)
    }

    fn insert(&self, text: Range<usize>) {
        let code: Arc<dyn CodeObject> = Arc::new(Code(text.clone()));
        let mut map = self.0.write().expect("no panic under the lock");
        if let Some((_, (end, _))) = map.range(..text.end).next_back() {
            assert!(*end <= text.start, "disjoint ranges");
        }
        map.insert(text.start, (text.end, code));
    }

    fn remove(&self, start: usize) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let removed = map.remove(&start);
        drop(map);
        drop(removed);
    }
}

struct LockedMapRegistration(&'static LockedMap, usize);

impl Drop for LockedMapRegistration {
    fn drop(&mut self) {
        self.0.remove(self.1);
    }
}

impl Table for LockedMap {
    const NAME: &'static str = "locked map";
    type Registration = LockedMapRegistration;

    fn make() -> &'static Self {
        Box::leak(Box::default())
    }

    fn register(&'static self, text: Range<usize>) -> LockedMapRegistration {
        let start = text.start;
        self.insert(text);
        LockedMapRegistration(self, start)
    }

    fn lookup(&'static self, pc: usize) -> Option<usize> {
        self.find(pc, |code| {
            black_box(&**code);
        })
    }
}

/// The same; a lookup gets code that it may keep.
#[derive(Default)]
struct LockedMapCloned(LockedMap);

struct LockedMapClonedRegistration(&'static LockedMapCloned, usize);

impl Drop for LockedMapClonedRegistration {
    fn drop(&mut self) {
        self.0.0.remove(self.1);
    }
}

impl Table for LockedMapCloned {
    const NAME: &'static str = "locked, cloned";
    type Registration = LockedMapClonedRegistration;

    fn make() -> &'static Self {
        Box::leak(Box::default())
    }

    fn register(&'static self, text: Range<usize>) -> LockedMapClonedRegistration {
        let start = text.start;
        self.0.insert(text);
        LockedMapClonedRegistration(self, start)
    }

    fn lookup(&'static self, pc: usize) -> Option<usize> {
        self.0.find(pc, Arc::clone)
    }
}

/// A concurrent ordered map. Overlaps that two writers make at the same time it would not
/// notice; the bench has one.
#[derive(Default)]
struct SkipList(SkipMap<usize, (usize, Arc<dyn CodeObject>)>);

struct SkipListRegistration(&'static SkipList, usize);

impl Drop for SkipListRegistration {
    fn drop(&mut self) {
        self.0.0.remove(&self.1);
    }
}

impl Table for SkipList {
    const NAME: &'static str = "skip list";
    type Registration = SkipListRegistration;

    fn make() -> &'static Self {
        Box::leak(Box::default())
    }

    fn register(&'static self, text: Range<usize>) -> SkipListRegistration {
        let start = text.start;
        let code: Arc<dyn CodeObject> = Arc::new(Code(text.clone()));
        if let Some(entry) = self.0.upper_bound(Bound::Excluded(&text.end)) {
            assert!(entry.value().0 <= text.start, "disjoint ranges");
        }
        self.0.insert(start, (text.end, code));
        SkipListRegistration(self, start)
    }

    fn lookup(&'static self, pc: usize) -> Option<usize> {
        let entry = self.0.upper_bound(Bound::Included(&pc))?;
        let (end, code) = entry.value();
        if pc >= *end {
            return None;
        }
        black_box(&**code);
        Some(pc - entry.key())
    }
}

/// Start, end and code of a range.
type Owned = (usize, usize, Arc<dyn CodeObject>);

/// The whole table is one value, which writers replace.
#[derive(Default)]
struct SortedVector(ArcSwap<Vec<Owned>>);

struct SortedVectorRegistration(&'static SortedVector, usize);

impl Drop for SortedVectorRegistration {
    fn drop(&mut self) {
        let mut ranges = (**self.0.0.load()).clone();
        let index = ranges.partition_point(|(start, ..)| *start < self.1);
        let removed = ranges.remove(index);
        self.0.0.store(Arc::new(ranges));
        drop(removed);
    }
}

impl SortedVector {
    /// So many ranges at once: one by one takes hours for a million.
    fn fill(&self, texts: impl Iterator<Item = Range<usize>>) {
        let ranges = texts.map(|text| {
            let (start, end) = (text.start, text.end);
            (start, end, Arc::new(Code(text)) as Arc<dyn CodeObject>)
        });
        self.0.store(Arc::new(ranges.collect()));
    }
}

impl Table for SortedVector {
    const NAME: &'static str = "sorted vector";
    type Registration = SortedVectorRegistration;

    fn make() -> &'static Self {
        Box::leak(Box::default())
    }

    fn register(&'static self, text: Range<usize>) -> SortedVectorRegistration {
        let (start, end) = (text.start, text.end);
        let code: Arc<dyn CodeObject> = Arc::new(Code(text));
        let old = self.0.load();
        let index = old.partition_point(|(start, ..)| *start < end);
        if let Some((_, end, _)) = index.checked_sub(1).map(|last| &old[last]) {
            assert!(*end <= start, "disjoint ranges");
        }
        let mut ranges = Vec::with_capacity(old.len() + 1);
        ranges.extend_from_slice(&old[..index]);
        ranges.push((start, end, code));
        ranges.extend_from_slice(&old[index..]);
        self.0.store(Arc::new(ranges));
        SortedVectorRegistration(self, start)
    }

    fn lookup(&'static self, pc: usize) -> Option<usize> {
        let ranges = self.0.load();
        let index = ranges.partition_point(|(start, ..)| *start <= pc);
        let (start, end, code) = &ranges[index.checked_sub(1)?];
        if pc >= *end {
            return None;
        }
        black_box(&**code);
        Some(pc - start)
    }
}

/// A table with ranges in it.
struct Filled<T: Table> {
    table: &'static T,
    _registrations: Vec<T::Registration>,
}

impl<T: Table> Filled<T> {
    fn new(size: usize) -> Self {
        let table = T::make();
        let registrations = Random::new(1)
            .shuffled(size)
            .into_iter()
            .map(|nth| table.register(range(nth)))
            .collect();
        Self {
            table,
            _registrations: registrations,
        }
    }
}

/// What all tables are asked to do, without their types.
trait Contestant: Sync {
    fn name(&self) -> &'static str;
    /// Nanoseconds for each lookup.
    fn look_up_all(&self, pcs: &[usize]) -> f64;
    /// Nanoseconds for each registration; they are removed outside of the measurement.
    fn register_all(&self, texts: Vec<Range<usize>>) -> f64;
    /// Nanoseconds for each registration and its removal.
    fn register_and_remove_all(&self, texts: Vec<Range<usize>>) -> f64;
}

/// Nanoseconds for each of the `count` things that `f` does, and what it returns.
fn time<R>(count: usize, f: impl FnOnce() -> R) -> (f64, R) {
    let start = Instant::now();
    let result = f();
    (start.elapsed().as_nanos() as f64 / count as f64, result)
}

impl<T: Table> Contestant for Filled<T>
where
    T::Registration: Sync,
{
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn look_up_all(&self, pcs: &[usize]) -> f64 {
        let look_up = || {
            for pc in pcs {
                assert!(black_box(self.table.lookup(*pc)).is_some());
            }
        };
        time(pcs.len(), look_up).0
    }

    fn register_all(&self, texts: Vec<Range<usize>>) -> f64 {
        let count = texts.len();
        let mut registrations = Vec::with_capacity(count);
        let register = || {
            for text in texts {
                registrations.push(self.table.register(text));
            }
        };
        time(count, register).0
    }

    fn register_and_remove_all(&self, texts: Vec<Range<usize>>) -> f64 {
        let count = texts.len();
        let write = || {
            for text in texts {
                drop(black_box(self.table.register(text)));
            }
        };
        time(count, write).0
    }
}

/// All who take part, with `size` ranges in them.
fn contestants(size: usize) -> Vec<Box<dyn Contestant>> {
    let sorted = SortedVector::make();
    sorted.fill((0..size).map(range));
    vec![
        Box::new(Filled::<LockedMap>::new(size)),
        Box::new(Filled::<CodeRegistry>::new(size)),
        Box::new(Filled::<LockedMapCloned>::new(size)),
        Box::new(Filled::<SkipList>::new(size)),
        Box::new(Filled {
            table: sorted,
            _registrations: Vec::new(),
        }),
    ]
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The medians of `rounds` samples of each contestant, taken in turns.
fn medians(
    contestants: &[Box<dyn Contestant>],
    rounds: usize,
    mut sample: impl FnMut(&dyn Contestant, usize) -> f64,
) -> Vec<f64> {
    let mut samples = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..rounds {
        for (contestant, samples) in contestants.iter().zip(&mut samples) {
            samples.push(sample(&**contestant, round));
        }
    }
    samples.into_iter().map(median).collect()
}

/// One line of results: the first is what the others are compared with.
fn show(what: impl core::fmt::Display, values: &[f64], digits: usize) {
    print!("{what:>10}");
    for value in values {
        print!("  {value:>9.digits$} ({:>5.2})", value / values[0]);
    }
    println!();
}

fn heading(title: &str, contestants: &[Box<dyn Contestant>]) {
    println!("\n{title}");
    print!("{:>10}", "");
    for contestant in contestants {
        print!("  {:>17}", contestant.name());
    }
    println!();
}

/// What was asked for.
struct Plan {
    /// Sections whose titles contain this.
    filter: String,
    /// Samples of each; 1 where the bench is only to be seen to work.
    rounds: usize,
    sizes: &'static [usize],
}

impl Plan {
    fn from_args() -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        // Cargo says so when it benches, and does not when it tests.
        let bench = args.iter().any(|arg| arg == "--bench");
        Self {
            filter: args
                .into_iter()
                .find(|arg| !arg.starts_with('-'))
                .unwrap_or_default(),
            rounds: if bench { 200 } else { 1 },
            sizes: if bench { &SIZES } else { &SIZES[..2] },
        }
    }

    fn wants(&self, title: &str) -> bool {
        title.contains(&self.filter)
    }
}

const LOOKUP: &str = "lookup, one thread, ns";
const LOOKUP_ON_TWO: &str = "lookup, two threads at a time, ns for each";
const LOOKUPS_PER_SECOND: &str = "lookups per second by threads, millions, all threads together";
const REGISTER: &str = "register, ns";
const REGISTER_AND_REMOVE: &str = "register and remove, ns";

fn main() {
    let plan = Plan::from_args();
    for size in plan.sizes {
        let all = contestants(*size);
        heading(&format!("{size} ranges"), &all);
        if plan.wants(LOOKUP) {
            println!("{LOOKUP}");
            let addresses = addresses(&mut Random::new(2), *size, 1_000_000);
            let chunks: Vec<_> = addresses.chunks(LOOKUPS).collect();
            let medians = medians(&all, plan.rounds, |contestant, round| {
                contestant.look_up_all(chunks[round % chunks.len()])
            });
            show("", &medians, 1);
        }
        if plan.wants(LOOKUP_ON_TWO) {
            println!("{LOOKUP_ON_TWO}");
            let medians = medians(&all, plan.rounds / 10 + 1, |contestant, _| {
                1e3 * 2.0 / lookups_per_microsecond(contestant, *size, 2, 20_000)
            });
            show("", &medians, 1);
        }
        if *size == 1_000 && plan.wants(LOOKUPS_PER_SECOND) {
            println!("{LOOKUPS_PER_SECOND}");
            for threads in THREADS {
                let medians = medians(&all, plan.rounds / 5 + 1, |contestant, _| {
                    lookups_per_microsecond(contestant, *size, threads, 400_000 / threads)
                });
                show(threads, &medians, 1);
            }
        }
        // A copy of a large vector for each write takes too long.
        let writers = &all[..if *size > 1_000 {
            all.len() - 1
        } else {
            all.len()
        }];
        if plan.wants(REGISTER) {
            println!("{REGISTER}");
            let mut random = Random::new(3);
            let medians = medians(writers, plan.rounds, |contestant, _| {
                contestant.register_all(gaps(&mut random, *size, WRITES))
            });
            show("", &medians, 0);
        }
        if plan.wants(REGISTER_AND_REMOVE) {
            println!("{REGISTER_AND_REMOVE}");
            let mut random = Random::new(3);
            let medians = medians(writers, plan.rounds, |contestant, _| {
                contestant.register_and_remove_all(gaps(&mut random, *size, WRITES))
            });
            show("", &medians, 0);
        }
    }
}

/// How many lookups so many threads make in a microsecond, together: each makes `count`, in the
/// time from the start of the first to the end of the last.
fn lookups_per_microsecond(
    contestant: &dyn Contestant,
    size: usize,
    threads: usize,
    count: usize,
) -> f64 {
    let barrier = Barrier::new(threads);
    let look_up = |seed: u64| {
        let pcs = addresses(&mut Random::new(seed), size, count);
        barrier.wait();
        let start = Instant::now();
        contestant.look_up_all(&pcs);
        (start, Instant::now())
    };
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn({
                    let look_up = &look_up;
                    move || look_up(thread as u64 + 1)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let start = spans.iter().map(|(start, _)| *start).min();
    let end = spans.iter().map(|(_, end)| *end).max();
    let elapsed = end.zip(start).map_or(0, |(e, s)| (e - s).as_nanos());
    (threads * count) as f64 * 1e3 / elapsed as f64
}
