//! The registry beside a map under a reader-writer lock.
//!
//! `cargo bench -p trapline-code-registry`
//!
//! Ranges lie at irregular distances and are looked up in random order, so that
//! large registries are met as a trap meets them: with cold caches.

use core::any::Any;
use core::hint::black_box;
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use divan::Bencher;
use divan::counter::ItemsCount;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeAddress, CodeObject, CodeRegistry, Registration, TrapKind};

/// Numbers of registered ranges.
const SIZES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];

/// Lookups in one measured iteration, to keep the clock out of the result.
const LOOKUPS: usize = 1_000;

/// Distance between the starts of two ranges; they are about half as long.
const DISTANCE: usize = 4096;

/// Where the first range starts.
const BASE: usize = 0x7f00_0000_0000;

fn main() {
    divan::main();
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

/// Numbers in no order (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// The `nth` range.
fn range(nth: usize) -> Range<usize> {
    let start = BASE + nth * DISTANCE + (nth * 7919 % 64) * 16;
    start..start + DISTANCE / 2
}

/// All numbers below `count`, shuffled.
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = Random(0x1234_5678_9abc_def1);
    for i in (1..count).rev() {
        order.swap(i, random.below(i + 1));
    }
    order
}

/// Addresses in registered code, in no order.
fn addresses(size: usize, count: usize) -> Vec<usize> {
    let mut random = Random(0x0fed_cba9_8765_4321);
    (0..count)
        .map(|_| range(random.below(size)).start + random.below(DISTANCE / 2))
        .collect()
}

/// What is measured.
trait Table: Sync + Sized + 'static {
    type Registration: Send + Sync;
    fn make() -> &'static Self;
    fn register(&'static self, text: Range<usize>) -> Self::Registration;
    /// The offset in the text, after a look at the code object.
    fn lookup(&'static self, pc: usize) -> Option<usize>;
    fn slot(size_index: usize) -> &'static Filled<Self>;
}

/// A table for each size, filled when first used, kept for ever.
struct Filled<T: Table>(OnceLock<(&'static T, Mutex<Vec<T::Registration>>)>);

impl<T: Table> Filled<T> {
    const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn get(&'static self, size: usize) -> &'static T {
        let (table, _) = self.0.get_or_init(|| {
            let table = T::make();
            let registrations = shuffled(size)
                .into_iter()
                .map(|nth| table.register(range(nth)))
                .collect();
            (table, Mutex::new(registrations))
        });
        table
    }
}

fn table<T: Table>(size: usize) -> &'static T {
    let index = SIZES.iter().position(|s| *s == size).expect("known size");
    T::slot(index).get(size)
}

impl Table for CodeRegistry {
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

    fn slot(size_index: usize) -> &'static Filled<Self> {
        static FILLED: [Filled<CodeRegistry>; SIZES.len()] = [const { Filled::new() }; SIZES.len()];
        &FILLED[size_index]
    }
}

/// The usual thing: a map under a lock.
#[derive(Default)]
struct LockedMap(RwLock<Ranges>);

/// Starts and code, by the ends of the ranges.
type Ranges = BTreeMap<usize, (usize, Arc<dyn CodeObject>)>;

struct LockedMapRegistration(&'static LockedMap, usize);

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

    fn make() -> &'static Self {
        Box::leak(Box::default())
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

    fn lookup(&'static self, pc: usize) -> Option<usize> {
        let map = self.0.read().expect("no panic under the lock");
        let (_, (start, code)) = map.range(pc + 1..).next()?;
        let offset = pc.checked_sub(*start)?;
        // Not even cloned, as it would have to be to outlive the lock.
        black_box(&**code);
        Some(offset)
    }

    fn slot(size_index: usize) -> &'static Filled<Self> {
        static FILLED: [Filled<LockedMap>; SIZES.len()] = [const { Filled::new() }; SIZES.len()];
        &FILLED[size_index]
    }
}

/// One lookup after the other, on one thread.
#[divan::bench(types = [CodeRegistry, LockedMap], args = SIZES)]
fn lookup<T: Table>(bencher: Bencher, size: usize) {
    look_up_all::<T>(bencher, size);
}

/// The same on two threads at a time.
#[divan::bench(types = [CodeRegistry, LockedMap], args = SIZES, threads = 2)]
fn lookup_on_two_threads<T: Table>(bencher: Bencher, size: usize) {
    look_up_all::<T>(bencher, size);
}

/// The same on more threads than there are CPUs.
#[divan::bench(types = [CodeRegistry, LockedMap], args = [1_000], threads = 16)]
fn lookup_on_sixteen_threads<T: Table>(bencher: Bencher, size: usize) {
    look_up_all::<T>(bencher, size);
}

fn look_up_all<T: Table>(bencher: Bencher, size: usize) {
    let table = table::<T>(size);
    let addresses = addresses(size, 64 * LOOKUPS);
    let next = core::sync::atomic::AtomicUsize::new(0);
    bencher
        .counter(ItemsCount::new(LOOKUPS))
        .with_inputs(|| {
            let chunk = next.fetch_add(1, core::sync::atomic::Ordering::Relaxed) % 64;
            &addresses[chunk * LOOKUPS..][..LOOKUPS]
        })
        .bench_refs(|pcs| {
            for pc in *pcs {
                assert!(black_box(table.lookup(*pc)).is_some());
            }
        });
}

/// Registrations of a batch at random places among `size` others; they are
/// removed outside of the measurement.
#[divan::bench(types = [CodeRegistry, LockedMap], args = SIZES)]
fn register<T: Table>(bencher: Bencher, size: usize) {
    const BATCH: usize = 100;
    let table = table::<T>(size);
    let mut random = Random(0x1357_9bdf_0246_8ace);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| gaps(&mut random, size, BATCH))
        .bench_local_values(|gaps| {
            gaps.into_iter()
                .map(|gap| table.register(gap))
                .collect::<Vec<_>>()
        });
}

/// The same, and the removal with it.
#[divan::bench(types = [CodeRegistry, LockedMap], args = SIZES)]
fn register_and_remove<T: Table>(bencher: Bencher, size: usize) {
    const BATCH: usize = 100;
    let table = table::<T>(size);
    let mut random = Random(0x1357_9bdf_0246_8ace);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| gaps(&mut random, size, BATCH))
        .bench_local_values(|gaps| {
            for gap in gaps {
                drop(black_box(table.register(gap)));
            }
        });
}

/// `count` different ranges that lie between the registered ones or, where
/// there are fewer of those, behind them.
fn gaps(random: &mut Random, size: usize, count: usize) -> Vec<Range<usize>> {
    let size = size.max(count);
    let first = random.below(size);
    // Steps without a common divisor with the sizes lead to different places.
    let step = 7919;
    (0..count)
        .map(|i| {
            let start = range((first + i * step) % size).end;
            start..start + 16
        })
        .collect()
}
