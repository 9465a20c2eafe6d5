//! What a backtrace costs a trap.
//!
//! `cargo bench -p trapline-activation`
//!
//! The "guest" is a chain of frame records on the stack, and raises its trap as a
//! builtin of a runtime would: what is measured is the entry, the capture, the way
//! out and whatever is done with the trap. Depth 0 is a trap of a store that wants no
//! backtrace.

use core::cell::{Cell, UnsafeCell};
use core::hint::black_box;
use core::ptr::NonNull;

use divan::Bencher;
use trapline_activation::{
    ExitFp, Store, Trap, TrapReason, VMContext, VMStoreContext, VMStoreContextLayout, WasmFault,
    catch_traps, raise_trap,
};
use trapline_arch::{NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_PC_FROM_FP_OFFSET, VirtualAddress};
use trapline_code_registry::TrapKind;

/// Numbers of frames.
const DEPTHS: [usize; 6] = [0, 1, 4, 8, 16, 64];
const DEEPEST: usize = 64;

const WORD: usize = size_of::<usize>();
const RECORD_WORDS: usize = NEXT_OLDER_PC_FROM_FP_OFFSET / WORD + 1;

fn main() {
    println!(
        "size of a trap: {} bytes, of its backtrace: {} bytes",
        size_of::<Trap>(),
        size_of::<Option<trapline_backtrace::RawBacktrace>>()
    );
    divan::main();
}

#[repr(C, align(16))]
struct Record([Cell<usize>; RECORD_WORDS]);

struct Guest {
    words: UnsafeCell<[usize; 3]>,
    wants: usize,
}

// SAFETY: the layout is that of the words; there are no memories.
unsafe impl Store for Guest {
    const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
        exit_fp: ExitFp::Guest(0),
        exit_pc: 8,
        entry_fp: 16,
        landing_pad: None,
    };

    fn default_caller(&self) -> NonNull<VMContext> {
        NonNull::dangling()
    }

    fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        NonNull::from(&self.words).cast()
    }

    fn wasm_fault(&self, _: VirtualAddress) -> Option<WasmFault> {
        None
    }

    fn backtrace_limit(&self) -> usize {
        self.wants
    }
}

/// A trap with this many frames in its backtrace.
#[inline(never)]
fn trap(guest: &Guest) -> Result<u64, Trap> {
    catch_traps(guest, |_| -> u64 {
        let records = [const { Record([const { Cell::new(0) }; RECORD_WORDS]) }; DEEPEST + 1];
        let fp = |record: &Record| VirtualAddress::from_ptr(record).get();
        let depth = guest.wants.max(1);
        for (frame, record) in records[..depth].iter().enumerate() {
            record.0[NEXT_OLDER_FP_FROM_FP_OFFSET / WORD].set(fp(&records[frame + 1]));
            record.0[NEXT_OLDER_PC_FROM_FP_OFFSET / WORD].set(0x1000 + frame);
        }
        // SAFETY: nobody else looks at the words while they are written.
        unsafe { *guest.words.get() = [fp(&records[0]), 0xfff, fp(&records[depth])] };
        black_box(&records);
        // SAFETY: stands for a builtin called by compiled code; no destructor lies between
        // here and `catch_traps`.
        unsafe { raise_trap(TrapReason::Wasm(TrapKind::OutOfFuel)) }
    })
}

fn guest(depth: usize) -> Guest {
    let guest = Guest {
        words: UnsafeCell::new([0; 3]),
        wants: depth,
    };
    let frames = trap(&guest)
        .map_err(|trap| trap.backtrace.map(|backtrace| backtrace.len()))
        .expect_err("the guest traps");
    assert_eq!(frames, (depth > 0).then_some(depth));
    guest
}

/// The trap is dropped where it is caught.
#[divan::bench(args = DEPTHS)]
fn caught(bencher: Bencher<'_, '_>, depth: usize) {
    let guest = guest(depth);
    bencher.bench_local(|| drop(black_box(trap(&guest))));
}

/// The trap goes through an embedder's layers, which put it into an error of theirs.
#[divan::bench(args = DEPTHS)]
fn in_an_error_of_the_embedder(bencher: Bencher<'_, '_>, depth: usize) {
    #[inline(never)]
    fn checked(guest: &Guest) -> Result<u64, Box<Trap>> {
        trap(guest).map(|value| value + 1).map_err(Box::new)
    }
    let guest = guest(depth);
    bencher.bench_local(|| drop(black_box(checked(&guest))));
}
