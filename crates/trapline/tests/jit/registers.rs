//! What a function has to keep for its caller, over guests that use all of it
//! and leave in the middle. (x86_64; psABI 3.2.1.)

use std::arch::naked_asm;
use std::mem::offset_of;

use trapline::Trap;

use crate::support::store::{ARGUMENTS, EntryTrampoline, JitContext};
use crate::support::{Entry, Guest, JitStore};

/// The registers that a callee has to keep.
#[derive(Clone, PartialEq, Debug)]
#[repr(C)]
struct Kept {
    rbx: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    /// Control bits of the SSE unit. Its status bits are the callee's to change;
    /// they are left out of the comparison.
    mxcsr: u32,
    /// Control word of the x87 unit.
    x87: u32,
}

/// The exception flags: bits 0 to 5 of MXCSR (Intel SDM volume 1, 10.2.3).
const MXCSR_STATUS: u32 = 0x3f;

/// Calls `f(data)` with the registers in `kept`, and puts there what they are
/// when it returns. For its own caller all is as before.
#[unsafe(naked)]
unsafe extern "C" fn call_with_registers(
    kept: *mut Kept,
    f: unsafe extern "C" fn(*mut u8),
    data: *mut u8,
) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        // Six pushes keep the stack aligned, and so do 16 bytes for the control
        // words.
        "sub rsp, 16",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "mov rbx, [rdi + {rbx}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "ldmxcsr [rdi + {mxcsr}]",
        "fldcw [rdi + {x87}]",
        "mov rdi, rdx",
        "call rsi",
        "mov rdi, [rsp + 16]",
        "mov [rdi + {rbx}], rbx",
        "mov [rdi + {r12}], r12",
        "mov [rdi + {r13}], r13",
        "mov [rdi + {r14}], r14",
        "mov [rdi + {r15}], r15",
        "stmxcsr [rdi + {mxcsr}]",
        "mov dword ptr [rdi + {x87}], 0",
        "fnstcw [rdi + {x87}]",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "add rsp, 24",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        rbx = const offset_of!(Kept, rbx),
        r12 = const offset_of!(Kept, r12),
        r13 = const offset_of!(Kept, r13),
        r14 = const offset_of!(Kept, r14),
        r15 = const offset_of!(Kept, r15),
        mxcsr = const offset_of!(Kept, mxcsr),
        x87 = const offset_of!(Kept, x87),
    )
}

/// Registers with values that nobody else has, rounding down in the SSE unit
/// and up in the x87 unit, which has 53 bits of precision.
fn unusual() -> Kept {
    Kept {
        rbx: 0xb0b0_b0b0_0000_0001,
        r12: 0xb0b0_b0b0_0000_0012,
        r13: 0xb0b0_b0b0_0000_0013,
        r14: 0xb0b0_b0b0_0000_0014,
        r15: 0xb0b0_b0b0_0000_0015,
        mxcsr: 0x3f80,
        x87: 0x0a7f,
    }
}

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
    kept.mxcsr &= !MXCSR_STATUS;
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
        let (mxcsr, x87) = (0x1f80_u32, 0x037f_u16);
        // SAFETY: the usual control words, which mask all exceptions. The host
        // function fails, so that nobody sees that they have changed.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack, readonly));
            std::arch::asm!("fldcw [{}]", in(reg) &raw const x87, options(nostack, readonly));
        }
        Err(anyhow::anyhow!("no").into())
    });
    call_keeping_registers(&store, Entry::SavedContext, &guest, "ask", [0, 7])
        .expect_err("the host fails");
}
