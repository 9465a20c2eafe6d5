//! What a function has to keep for its caller, over guests that use all of it
//! and leave in the middle.
//!
//! One file per instruction set, each with the same items in the same order:
//!
//! | item | what |
//! | --- | --- |
//! | `Kept` | the registers that a callee has to keep |
//! | `Kept::forget_status` | zeroes the bits that a callee may change |
//! | `call_with_registers` | calls a function with given ones, and notes what they are then |
//! | `unusual` | values that nobody else has |
//! | `set_usual_control_words` | rounding to nearest, and no exceptions |

use trapline::Trap;

use crate::support::store::{ARGUMENTS, EntryTrampoline, JitContext};
use crate::support::{Entry, Guest, JitStore};

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod isa;
#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod isa;
#[cfg(target_arch = "riscv64")]
#[path = "riscv64.rs"]
mod isa;
#[cfg(target_arch = "s390x")]
#[path = "s390x.rs"]
mod isa;

use isa::{call_with_registers, set_usual_control_words, unusual};

/// One entry into a guest, and how it ended.
struct Attempt<'a> {
    store: &'a JitStore,
    entry: Entry,
    trampoline: EntryTrampoline,
    words: [u64; ARGUMENTS],
    result: Option<Result<(), Trap>>,
}

/// Makes the attempt that `data` points to. There is as little as can be between
/// this and the guest, since every Rust function on the way keeps registers, too.
unsafe extern "C" fn make(data: *mut u8) {
    // SAFETY: the caller's, who waits.
    let attempt = unsafe { &mut *data.cast::<Attempt<'_>>() };
    let words = &raw mut attempt.words;
    // SAFETY: the attempt was put together for this.
    let result = unsafe {
        attempt
            .store
            .enter(attempt.entry, attempt.trampoline, words)
    };
    attempt.result = Some(result);
}

/// Calls a function of the guest with [`unusual`] registers, and checks that they
/// are kept.
fn call_keeping_registers(
    store: &JitStore,
    entry: Entry,
    guest: &Guest,
    name: &str,
    arguments: [u64; 2],
) -> Result<(), Trap> {
    store.prepare();
    let mut words = [0; ARGUMENTS];
    words[..2].copy_from_slice(&arguments);
    let mut attempt = Attempt {
        store,
        entry,
        trampoline: guest.code().trampoline(name, entry),
        words,
        result: None,
    };
    let mut kept = unusual();
    // SAFETY: `make` is for what the pointer points to. The control words mask
    // all exceptions, so that Rust code runs under them.
    unsafe { call_with_registers(&raw mut kept, make, (&raw mut attempt).cast()) };
    kept.forget_status();
    assert_eq!(kept, unusual(), "{entry:?}, {name}{arguments:?}");
    attempt.result.expect("made")
}

/// A guest that has more values at hand than there are registers when it
/// divides by zero, or calls a host function that fails. They are loaded from
/// here and there in the context: what is computed, compilers compute where it
/// is used, which is later.
fn guest() -> Guest {
    const { assert!(size_of::<JitContext>() >= 30 + 8) };
    let define = |range: std::ops::Range<u32>| -> String {
        range
            .map(|i| format!("v{i} = load.i64 notrap v0+{i}\n"))
            .collect()
    };
    let sum = |range: std::ops::Range<u32>| -> String {
        range
            .map(|i| format!("v{} = iadd v{}, v{i}\n", i + 100, i + 99))
            .collect()
    };
    let (values, total) = (define(3..30), sum(3..30));
    Guest::new(&format!(
        "function %divide(i64, i64, i64) -> i64 tail {{
         block0(v0: i64, v1: i64, v2: i64):
             {values}
             v102 = udiv v1, v2
             {total}
             return v129
         }}
         function %ask(i64, i64, i64) -> i64 tail {{
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64, v2: i64):
             {values}
             v102 = call fn0(v0, v1)
             {total}
             return v129
         }}"
    ))
}

#[test]
fn registers_and_control_words_are_kept_over_every_way_out() {
    let guest = guest();
    let store = JitStore::new().with_host(|_, argument| match argument {
        0 => Err(anyhow::anyhow!("no").into()),
        _ => Ok(1),
    });
    for entry in Entry::BOTH {
        let call = |name, arguments| call_keeping_registers(&store, entry, &guest, name, arguments);
        for arguments in [[5, 1], [8, 2]] {
            call("divide", arguments).expect("a value");
            call("ask", arguments).expect("a value");
        }
        call("divide", [5, 0]).expect_err("no quotient");
        call("ask", [0, 7]).expect_err("the host fails");
    }
}

/// Code that is left in the middle may have control words of its own: a saved
/// context has those of the time before. (A landing pad has not: compiled entry
/// trampolines count on functions that hold to the ABI.)
#[test]
fn a_saved_context_brings_back_control_words_that_the_host_changed() {
    let guest = guest();
    let store = JitStore::new().with_host(|_, _| {
        // SAFETY: the host function fails, so that no caller sees that they have
        // changed.
        unsafe { set_usual_control_words() };
        Err(anyhow::anyhow!("no").into())
    });
    call_keeping_registers(&store, Entry::SavedContext, &guest, "ask", [0, 7])
        .expect_err("the host fails");
}
