//! CPU-locals, with a variable in the place of the base register: two "CPUs",
//! between which the program goes to and fro.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};

use trapline::cpu_local::{
    AREA_ALIGN, area_layout, cpu_local, custom_base, init_cpu, is_cpu_ready,
};

static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());

fn base() -> *mut u8 {
    BASE.load(Relaxed)
}

custom_base!(unsafe base);

/// How often the initialiser of `LATE` has run, on all CPUs.
static RUNS: AtomicU32 = AtomicU32::new(0);

#[repr(align(128))]
struct Aligned(Cell<u8>);

cpu_local! {
    static ZERO: Cell<u32> = const { Cell::new(0) };
    static COUNT: Cell<u32> = const { Cell::new(7) };
    static NOTHING: () = const { () };
    static NO_CELL: u64 = const { 0x1122_3344_5566_7788 };
    static TEXT: Cell<&'static str> = const { Cell::new("template") };
    static FAR: Aligned = const { Aligned(Cell::new(1)) };
    static LIST: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static LATE: RefCell<Vec<u32>> = RefCell::new(alloc::vec![RUNS.fetch_add(1, Relaxed)]);
}

unsafe extern "C" {
    static __trapline_cpu_local_start: u8;
    static __trapline_cpu_local_end: u8;
}

/// The template's bytes, as they are now.
fn template() -> Vec<u8> {
    let start = &raw const __trapline_cpu_local_start;
    let size = (&raw const __trapline_cpu_local_end).addr() - start.addr();
    // SAFETY: by the linker script; nobody writes there.
    unsafe { slice::from_raw_parts(start, size) }.to_vec()
}

/// Makes this program a CPU with a new area.
fn new_cpu() -> *mut u8 {
    let layout = area_layout();
    // SAFETY: an area has at least a header.
    let area = unsafe { alloc::alloc::alloc(layout) };
    // What was there before doesn't matter.
    // SAFETY: as large as was asked for.
    unsafe { area.write_bytes(0xa5, layout.size()) };
    // SAFETY: the area is used for nothing else, and is never freed. No CPU-local
    // is in use.
    unsafe { init_cpu(area) };
    BASE.store(area, Relaxed);
    area
}

/// Addresses of all copies that this CPU has.
fn addresses() -> [usize; 6] {
    [
        ZERO.with(|copy| core::ptr::from_ref(copy).addr()),
        COUNT.with(|copy| core::ptr::from_ref(copy).addr()),
        NO_CELL.with(|copy| core::ptr::from_ref(copy).addr()),
        TEXT.with(|copy| core::ptr::from_ref(copy).addr()),
        FAR.with(|copy| core::ptr::from_ref(copy).addr()),
        LATE.with(|copy| core::ptr::from_ref(copy).addr()),
    ]
}

fn as_declared() -> bool {
    NOTHING.with(|()| ());
    ZERO.get() == 0
        && COUNT.get() == 7
        && NO_CELL.with(|n| *n) == 0x1122_3344_5566_7788
        && TEXT.get() == "template"
        && FAR.with(|far| far.0.get()) == 1
        && LIST.with(|list| list.borrow().is_empty())
}

/// Whether each CPU has copies of its own, as they were declared.
pub(crate) fn probe() -> bool {
    let before = template();
    let layout = area_layout();
    let mut holds = !is_cpu_ready();
    holds &= layout.align() == AREA_ALIGN && layout.size() % AREA_ALIGN == 0;
    holds &= (before.len()..before.len() + AREA_ALIGN).contains(&layout.size());

    let first = new_cpu();
    holds &= is_cpu_ready() && as_declared() && RUNS.load(Relaxed) == 0;
    holds &= addresses()
        .into_iter()
        .all(|copy| (first.addr()..first.addr() + layout.size()).contains(&copy));
    holds &= FAR.with(|far| core::ptr::from_ref(far).addr() % 128 == 0);
    let on_first = addresses();
    ZERO.set(1);
    COUNT.set(8);
    TEXT.set("first");
    FAR.with(|far| far.0.set(2));
    LIST.with(|list| list.borrow_mut().push(1));
    LATE.with(|late| late.borrow_mut().push(10));
    holds &= RUNS.load(Relaxed) == 1;

    let second = new_cpu();
    holds &= as_declared() && RUNS.load(Relaxed) == 1;
    holds &= LATE.with(|late| *late.borrow() == [1]) && RUNS.load(Relaxed) == 2;
    // One displacement for all of them.
    let apart = second.addr().wrapping_sub(first.addr());
    holds &= addresses() == on_first.map(|copy| copy.wrapping_add(apart));
    COUNT.set(COUNT.get() + 100);

    BASE.store(first, Relaxed);
    holds &= addresses() == on_first;
    holds &= ZERO.get() == 1 && COUNT.get() == 8 && TEXT.get() == "first";
    holds &= FAR.with(|far| far.0.get()) == 2;
    holds &= LIST.with(|list| *list.borrow() == [1]);
    holds &= LATE.with(|late| *late.borrow() == [0, 10]) && RUNS.load(Relaxed) == 2;

    BASE.store(second, Relaxed);
    holds &= COUNT.get() == 107 && ZERO.get() == 0;
    // A CPU that starts anew gets the first values again.
    // SAFETY: nobody holds a reference to a copy.
    unsafe { init_cpu(second) };
    holds &= as_declared();

    holds && template() == before
}
