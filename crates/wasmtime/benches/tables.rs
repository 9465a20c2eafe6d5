//! Lookups in the side tables of artifacts, beside the compiler's own, in the same bytes.
//!
//! `cargo bench -p trapline-wasmtime`
//!
//! The sections are made up, in the proportions of compiled modules: most trap sites are less
//! than 64 bytes apart and have the commonest trap code, a quarter of the address map has
//! no position. They are looked up in at random places. First their sizes are printed.

use core::hint::black_box;
use core::ops::Range;
use std::sync::OnceLock;

use divan::Bencher;
use divan::counter::ItemsCount;
use trapline_wasmtime::wasmtime_environ::bytes::{write_sleb, write_uleb};
use trapline_wasmtime::wasmtime_environ::{lookup_file_pos, lookup_trap_code};
use trapline_wasmtime::{lookup_bytecode_offset, trap_kind_from_compiled};

/// Numbers of entries.
const SIZES: [usize; 3] = [10, 1_000, 100_000];

/// Lookups in one measured iteration, to keep the clock out of the result.
const LOOKUPS: usize = 1_000;

/// Entries of a block.
const BLOCK: usize = 128;

fn main() {
    for size in SIZES {
        let per_entry = |section: &Section| section.bytes.len() as f64 / size as f64;
        println!(
            "{size:>6} entries: {:.2} bytes for a trap site, {:.2} for an entry of the address map",
            per_entry(Traps::section(size)),
            per_entry(Addresses::section(size)),
        );
    }
    divan::main();
}

/// Numbers in no order (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as u32 % bound
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    fn within(&mut self, range: Range<u32>) -> u32 {
        range.start + self.below(range.end - range.start)
    }
}

struct Section {
    bytes: Vec<u8>,
    /// The text offsets of its entries.
    text_offsets: Vec<u32>,
}

impl Section {
    /// Entries at distances that `distance` gives, whose blocks `write` encodes.
    fn new(
        entries: usize,
        random: &mut Random,
        distance: fn(&mut Random) -> u32,
        mut write: impl FnMut(&mut Random, &mut Vec<u8>, &[u32]),
    ) -> Self {
        let mut at = 0;
        let text_offsets: Vec<u32> = (0..entries)
            .map(|_| {
                at += distance(random);
                at
            })
            .collect();
        let (mut index, mut bodies) = (Vec::new(), Vec::new());
        for block in text_offsets.chunks(BLOCK) {
            index.extend(block[0].to_le_bytes());
            index.extend((bodies.len() as u32).to_le_bytes());
            write(random, &mut bodies, block);
        }
        let counts = [entries as u32, entries.div_ceil(BLOCK) as u32];
        let counts = counts.into_iter().flat_map(u32::to_le_bytes);
        Self {
            bytes: counts.chain(index).chain(bodies).collect(),
            text_offsets,
        }
    }
}

/// A kind of section, made once for each size.
trait Table: 'static {
    fn slots() -> &'static [OnceLock<Section>; SIZES.len()];

    fn make(entries: usize, random: &mut Random) -> Section;

    fn section(size: usize) -> &'static Section {
        let slot = SIZES.iter().position(|known| *known == size);
        Self::slots()[slot.expect("a known size")]
            .get_or_init(|| Self::make(size, &mut Random(0x1234_5678_9abc_def1)))
    }
}

struct Traps;

impl Table for Traps {
    fn slots() -> &'static [OnceLock<Section>; SIZES.len()] {
        static SLOTS: [OnceLock<Section>; SIZES.len()] = [const { OnceLock::new() }; SIZES.len()];
        &SLOTS
    }

    fn make(entries: usize, random: &mut Random) -> Section {
        let distance = |random: &mut Random| match random.one_in(8) {
            true => random.within(3..300),
            false => random.within(3..40),
        };
        Section::new(entries, random, distance, |random, body, block| {
            // Memory accesses out of bounds; and calls, divisions, `unreachable`.
            const COMMON: u8 = 1;
            const OTHERS: [u8; 4] = [0, 5, 7, 9];
            body.push(COMMON);
            let mut before = block[0];
            for text_offset in block {
                let other = random.one_in(7);
                write_uleb(
                    body,
                    u64::from(text_offset - before) << 1 | u64::from(other),
                );
                if other {
                    body.push(OTHERS[random.below(4) as usize]);
                }
                before = *text_offset;
            }
        })
    }
}

struct Addresses;

impl Table for Addresses {
    fn slots() -> &'static [OnceLock<Section>; SIZES.len()] {
        static SLOTS: [OnceLock<Section>; SIZES.len()] = [const { OnceLock::new() }; SIZES.len()];
        &SLOTS
    }

    fn make(entries: usize, random: &mut Random) -> Section {
        let distance = |random: &mut Random| match random.one_in(10) {
            true => random.within(1..68),
            false => random.within(1..9),
        };
        let mut position = 1_000_i64;
        Section::new(entries, random, distance, |random, body, block| {
            let (mut before, mut last) = (block[0], None);
            for text_offset in block {
                let none = random.one_in(4);
                write_uleb(body, u64::from(text_offset - before) << 1 | u64::from(none));
                before = *text_offset;
                if none {
                    continue;
                }
                position += match random.below(20) {
                    0 => -i64::from(random.below(40)),
                    1 => random.below(120).into(),
                    _ => random.within(1..7).into(),
                };
                match last {
                    None => write_uleb(body, position.cast_unsigned()),
                    Some(last) => write_sleb(body, position - last),
                }
                last = Some(position);
            }
        })
    }
}

/// Looks up random entries, `beyond` of them bytes behind where they start.
fn look_up<T: Table, R>(
    bencher: Bencher<'_, '_>,
    size: usize,
    beyond: Range<u32>,
    look_up: impl Fn(&[u8], usize) -> R,
) {
    let section = T::section(size);
    let mut random = Random(0x0fed_cba9_8765_4321);
    let places: Vec<usize> = (0..64 * LOOKUPS)
        .map(|_| {
            let entry = section.text_offsets[random.below(size as u32) as usize];
            (entry + random.within(beyond.clone())) as usize
        })
        .collect();
    let mut chunks = places.chunks_exact(LOOKUPS).cycle();
    bencher
        .counter(ItemsCount::new(LOOKUPS))
        .with_inputs(|| chunks.next().expect("they go round"))
        .bench_local_values(|places| {
            for place in places {
                black_box(look_up(&section.bytes, *place));
            }
        });
}

/// Both must say the same of each entry and its neighbours.
fn compare<T: Table, R: PartialEq + core::fmt::Debug>(
    size: usize,
    ours: impl Fn(&[u8], usize) -> R,
    theirs: impl Fn(&[u8], usize) -> R,
) {
    let Section {
        bytes,
        text_offsets,
    } = T::section(size);
    for place in text_offsets.iter().flat_map(|at| at - 1..at + 2) {
        let place = place as usize;
        assert_eq!(ours(bytes, place), theirs(bytes, place), "at {place:#x}");
    }
}

#[divan::bench(args = SIZES)]
fn trap_code(bencher: Bencher<'_, '_>, size: usize) {
    let ours = trapline_wasmtime::lookup_trap_code;
    compare::<Traps, _>(size, ours, |section, place| {
        trap_kind_from_compiled(&lookup_trap_code(section, place)?)
    });
    look_up::<Traps, _>(bencher, size, 0..1, ours);
}

#[divan::bench(args = SIZES)]
fn trap_code_compilers_own(bencher: Bencher<'_, '_>, size: usize) {
    look_up::<Traps, _>(bencher, size, 0..1, lookup_trap_code);
}

#[divan::bench(args = SIZES)]
fn bytecode_offset(bencher: Bencher<'_, '_>, size: usize) {
    compare::<Addresses, _>(size, lookup_bytecode_offset, |section, place| {
        lookup_file_pos(section, place)?.file_offset()
    });
    look_up::<Addresses, _>(bencher, size, 0..2, lookup_bytecode_offset);
}

#[divan::bench(args = SIZES)]
fn bytecode_offset_compilers_own(bencher: Bencher<'_, '_>, size: usize) {
    look_up::<Addresses, _>(bencher, size, 0..2, |section, place| {
        lookup_file_pos(section, place)?.file_offset()
    });
}
