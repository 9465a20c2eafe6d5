//! A process that has as many mappings as it may: what stores give back then is not lost.
//!
//! In a process of its own: this test program, started again with [`SCENARIO`] in its
//! environment.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::ptr;

use trapline_embed::platform::Hosted;
use trapline_embed::{Engine, EngineConfig, Memory, MemorySettings, MemoryType, Store};

/// Says that this is the process of its own.
const SCENARIO: &str = "TRAPLINE_ADDRESS_SPACE";

/// Far more mappings than the kernel allows a process by default.
const MANY: usize = 1 << 18;

#[test]
fn what_the_kernel_does_not_take_back_is_counted_and_tried_again() {
    if std::env::var_os(SCENARIO).is_some() {
        return scenario();
    }
    let limit = fs::read_to_string("/proc/sys/vm/max_map_count").expect("the limit");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > MANY {
        eprintln!("not shown: this machine allows {limit} mappings a process");
        return;
    }
    let name = "what_the_kernel_does_not_take_back_is_counted_and_tried_again";
    let output = trapline_test_support::this_program()
        .args(["--exact", name, "--nocapture"])
        .env(SCENARIO, "1")
        .output()
        .expect("a process");
    assert!(output.status.success(), "{output:?}");
}

/// A store with one memory.
struct Alone {
    store: Store<()>,
    memory: Memory,
}

impl Alone {
    fn new(engine: &Engine, ty: MemoryType) -> Self {
        let mut store = Store::new(engine, ());
        let memory = Memory::new(&mut store, ty).expect("room");
        Self { store, memory }
    }

    fn address(&self) -> usize {
        self.memory.data(&self.store).as_ptr().addr()
    }
}

fn scenario() {
    const PAGE: usize = 1 << 16;
    // Nothing is accessible of the ones, all of the others: the kernel makes one mapping of
    // neighbours of either kind.
    let reserving = MemorySettings {
        reservation: 2 * PAGE as u64,
        guard: PAGE as u64,
        ..MemorySettings::COMPACT
    };
    let kinds = [
        (reserving, MemoryType::new(0, None), 3 * PAGE),
        (MemorySettings::COMPACT, MemoryType::new(1, Some(1)), PAGE),
    ];
    let mut filler = Vec::with_capacity(MANY);
    for (host_memory, ty, bytes) in kinds {
        let engine = Engine::with_config(EngineConfig {
            host_memory,
            ..EngineConfig::default()
        });
        let mut row: Vec<_> = (0..64).map(|_| Alone::new(&engine, ty)).collect();
        for one in &mut row {
            one.memory.data_mut(&mut one.store).fill(7);
        }
        row.sort_by_key(Alone::address);
        let middle = |row: &[Alone]| {
            let touch = |at: usize| row[at + 1].address() - row[at].address() == bytes;
            (2..row.len() - 2)
                .find(|at| (at - 2..at + 2).all(touch))
                .expect("five side by side")
        };
        let first = middle(&row);
        let address = row[first].address();
        let content = || {
            let mut byte = [1];
            let memory = File::open("/proc/self/mem").expect("the memory");
            memory.read_at(&mut byte, address as u64).map(|_| byte[0])
        };

        fill_up(&mut filler);
        assert_eq!(Hosted::unreleased_bytes(), 0);
        drop(row.remove(first));
        assert_eq!(Hosted::unreleased_bytes(), bytes);
        if ty.limits.min > 0 {
            assert_eq!(
                content().expect("still mapped"),
                0,
                "its memory is given back"
            );
        }
        // Its neighbour, in the middle like it.
        drop(row.remove(first));
        assert_eq!(Hosted::unreleased_bytes(), 2 * bytes);

        // The next one that goes takes them along.
        make_room(&mut filler);
        drop(row.pop());
        assert_eq!(Hosted::unreleased_bytes(), 0);
        content().expect_err("no longer mapped");

        // So does the next one that comes.
        fill_up(&mut filler);
        drop(row.remove(middle(&row)));
        assert_eq!(Hosted::unreleased_bytes(), bytes);
        make_room(&mut filler);
        row.push(Alone::new(&engine, ty));
        assert_eq!(Hosted::unreleased_bytes(), 0);

        // And who gives all back at the limit has given all back when there is room again.
        fill_up(&mut filler);
        drop(row);
        make_room(&mut filler);
        drop(Alone::new(&engine, ty));
        assert_eq!(Hosted::unreleased_bytes(), 0);
    }
}

/// Makes mappings until there may be no more; neighbours differ, so that none become one.
fn fill_up(filler: &mut Vec<usize>) {
    for protection in [libc::PROT_READ, libc::PROT_WRITE].into_iter().cycle() {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, which nobody uses.
        let page = unsafe { libc::mmap(ptr::null_mut(), 1, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::ENOMEM), "{error}");
            return;
        }
        filler.push(page.addr());
    }
}

/// Takes away some of what [`fill_up`] has made, more than anybody else here makes.
fn make_room(filler: &mut Vec<usize>) {
    for page in filler.drain(filler.len() - 1000..) {
        // SAFETY: mapped by `fill_up`, and used by nobody.
        let outcome = unsafe { libc::munmap(ptr::without_provenance_mut(page), 1) };
        assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
    }
}
