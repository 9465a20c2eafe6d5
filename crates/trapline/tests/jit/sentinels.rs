//! Every row of the table of host results, with generated code that tests for
//! the sentinel.
//!
//! What generated code compares with is written out here once more, from the
//! table and not from the library's constants: a compiler doesn't ask them
//! either.

use std::convert::Infallible;
use std::error::Error;
use std::num::NonZeroU32;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::ptr::{self, NonNull};

use trapline::{Trap, TrapKind, TrapReason, catch_unwind_and_record_trap};

use crate::support::store::JitContext;
use crate::support::subprocess::outputs_of;
use crate::support::{Entry, Guest, HostFunction, JitStore, LinearMemory, Sentinel, frames};

/// What a host function is told to do.
const SUCCEED: u32 = 0;
const FAIL: u32 = 1;
const PANIC: u32 = 2;

/// The payload of the panic.
#[derive(PartialEq, Debug)]
struct Payload(u64);

/// The types of error that are tried.
trait Failure: Into<TrapReason> {
    /// The kind of the trap that comes of it.
    const KIND: Option<TrapKind>;
    fn new() -> Self;
}

impl Failure for anyhow::Error {
    const KIND: Option<TrapKind> = None;
    fn new() -> Self {
        anyhow::anyhow!("told to fail")
    }
}

impl Failure for TrapKind {
    const KIND: Option<TrapKind> = Some(TrapKind::CastFailure);
    fn new() -> Self {
        Self::CastFailure
    }
}

impl Failure for TrapReason {
    const KIND: Option<TrapKind> = Some(TrapKind::OutOfFuel);
    fn new() -> Self {
        Self::Wasm(TrapKind::OutOfFuel)
    }
}

fn obey<E: Failure>(order: u32, value: u64) -> Result<(), E> {
    match order {
        FAIL => Err(E::new()),
        PANIC => panic_any(Payload(value)),
        _ => Ok(()),
    }
}

/// Defines a host function with the parameters `(order: i32, value: i64)`:
/// `fn name() -> the Rust type of the row as its ABI type`, and the value that it
/// returns when it succeeds.
macro_rules! host_functions {
    ($( fn $name:ident($value:ident) -> Result<$t:ty, $e:ty> as $abi:ty { $success:expr } )*) => { $(
        unsafe extern "C" fn $name(_: *const JitContext, order: u32, $value: u64) -> $abi {
            catch_unwind_and_record_trap(|| -> Result<$t, $e> {
                obey::<$e>(order, $value)?;
                Ok($success)
            })
        }
    )* };
}

host_functions! {
    fn unit(_value) -> Result<(), anyhow::Error> as bool { () }
    fn non_zero(value) -> Result<NonZeroU32, TrapKind> as u32 {
        NonZeroU32::new(value as u32).expect("not zero")
    }
    fn word(value) -> Result<u32, TrapReason> as u64 { value as u32 }
    fn boolean(value) -> Result<bool, TrapKind> as u32 { value != 0 }
    fn pointer(value) -> Result<*mut u8, anyhow::Error> as *mut u8 {
        ptr::without_provenance_mut(value as usize)
    }
}

unsafe extern "C" fn never(_: *const JitContext, order: u32, value: u64) {
    catch_unwind_and_record_trap(|| -> Result<Infallible, anyhow::Error> {
        obey::<anyhow::Error>(order, value)?;
        panic!("this function has no way to succeed");
    })
}

/// One row of the table.
struct Row {
    address: *const u8,
    /// The ABI type in CLIF, empty for none.
    abi: &'static str,
    sentinel: Sentinel,
    /// What the function is told to return, and the bits that arrive in the
    /// guest, extended by zeros.
    successes: &'static [(u64, u64)],
    /// The kind of trap that its error becomes.
    failure: Option<TrapKind>,
}

fn fallible_rows() -> [Row; 6] {
    const ALL_ONES: Sentinel = Sentinel::Value(-1);
    [
        Row {
            address: unit as *const u8,
            abi: "i8",
            sentinel: Sentinel::Value(0),
            successes: &[(0, 1)],
            failure: <anyhow::Error as Failure>::KIND,
        },
        Row {
            address: non_zero as *const u8,
            abi: "i32",
            sentinel: Sentinel::Value(0),
            successes: &[(1, 1), (0xffff_ffff, 0xffff_ffff)],
            failure: <TrapKind as Failure>::KIND,
        },
        Row {
            address: word as *const u8,
            abi: "i64",
            sentinel: ALL_ONES,
            successes: &[(0, 0), (0xffff_ffff, 0xffff_ffff)],
            failure: <TrapReason as Failure>::KIND,
        },
        Row {
            address: boolean as *const u8,
            abi: "i32",
            sentinel: ALL_ONES,
            successes: &[(0, 0), (1, 1)],
            failure: <TrapKind as Failure>::KIND,
        },
        Row {
            address: pointer as *const u8,
            abi: "i64",
            sentinel: ALL_ONES,
            successes: &[(0, 0), (u64::MAX - 1, u64::MAX - 1)],
            failure: <anyhow::Error as Failure>::KIND,
        },
        Row {
            address: never as *const u8,
            abi: "",
            sentinel: Sentinel::Always,
            successes: &[],
            failure: <anyhow::Error as Failure>::KIND,
        },
    ]
}

/// What the guest's memory holds before; no row returns it.
const UNTOUCHED: u64 = 0x5555_5555_5555_5555;

/// A guest that calls the function of the row, writes what it gets to its
/// memory, and returns it.
fn guest_of(row: &Row) -> Guest {
    let (returns, call, extend) = match row.abi {
        "" => ("", "", "v5 = iconst.i64 0"),
        "i8" => ("-> i8", "v4 = ", "v5 = uextend.i64 v4"),
        "i32" => ("-> i32", "v4 = ", "v5 = uextend.i64 v4"),
        "f32" => (
            "-> f32",
            "v4 = ",
            "v6 = bitcast.i32 v4
             v5 = uextend.i64 v6",
        ),
        "f64" => ("-> f64", "v4 = ", "v5 = bitcast.i64 v4"),
        "i64" => ("-> i64", "v5 = ", ""),
        other => panic!("no row has the type {other}"),
    };
    let clif = format!(
        "function %calls(i64, i32, i64) -> i64 tail {{
             fn0 = %row(i64, i32, i64) {returns} tail
         block0(v0: i64, v1: i32, v2: i64):
         @10 {call} call fn0(v0, v1, v2)
             {extend}
             v7 = load.i64 notrap aligned v0
         @14 store notrap aligned v5, v7
         @18 return v5
         }}"
    );
    let host = HostFunction {
        name: "row",
        address: row.address,
        params: &["i32", "i64"],
        result: row.abi,
        sentinel: row.sentinel,
    };
    Guest::with_host_functions(&clif, &[host])
}

/// Tells the function of the row what to do; what the guest returned, and what
/// it wrote.
fn call(row: &Row, entry: Entry, order: u32, value: u64) -> (Result<u64, Trap>, u64) {
    let guest = guest_of(row);
    let memory = LinearMemory::new(4096);
    let word = memory.base().cast::<u64>();
    // SAFETY: the memory is at least that large, and this thread's.
    unsafe { word.write(UNTOUCHED) };
    let store = JitStore::new().with_memory(memory);
    let result = store.call(entry, &guest, "calls", &[u64::from(order), value]);
    // SAFETY: as above; the store is alive.
    let written = unsafe { word.read() };
    if let Err(trap) = &result {
        assert_eq!(frames(trap), ["calls@10"]);
    }
    (result, written)
}

#[test]
fn values_next_to_the_sentinel_are_values() {
    for row in &fallible_rows() {
        for entry in Entry::BOTH {
            for &(value, expected) in row.successes {
                let (result, written) = call(row, entry, SUCCEED, value);
                assert_eq!(result.expect("a value"), expected);
                assert_eq!(written, expected);
            }
        }
    }
}

#[test]
fn an_error_makes_generated_code_leave_the_guest() {
    for row in &fallible_rows() {
        for entry in Entry::BOTH {
            let (result, written) = call(row, entry, FAIL, 0);
            let trap = result.expect_err("told to fail");
            assert_eq!(trap.kind(), row.failure);
            if row.failure.is_none() {
                let source = trap.source().expect("the host's error");
                assert_eq!(source.to_string(), "told to fail");
            }
            assert_eq!(written, UNTOUCHED, "the guest went on");
        }
    }
}

#[test]
fn a_panic_makes_generated_code_leave_the_guest() {
    for row in &fallible_rows() {
        for entry in Entry::BOTH {
            let panic = catch_unwind(AssertUnwindSafe(|| call(row, entry, PANIC, 12)));
            let payload = panic.expect_err("told to panic");
            assert_eq!(payload.downcast_ref(), Some(&Payload(12)));
        }
    }
}

/// The one value of a fallible row that looks like its sentinel.
#[test]
fn a_pointer_with_all_bits_set_is_a_failure_that_says_so() {
    let row = &fallible_rows()[4];
    for entry in Entry::BOTH {
        let (result, written) = call(row, entry, SUCCEED, u64::MAX);
        let trap = result.expect_err("a failure");
        let source = trap.source().expect("an error").to_string();
        assert!(source.contains("all bits set"), "{source}");
        assert_eq!(written, UNTOUCHED, "the guest went on");
    }
}

/// Defines host functions that cannot fail, with the same parameters.
macro_rules! infallible_host_functions {
    ($( fn $name:ident($value:ident) -> $t:ty as $abi:ty { $result:expr } )*) => { $(
        unsafe extern "C" fn $name(_: *const JitContext, _order: u32, $value: u64) -> $abi {
            catch_unwind_and_record_trap(|| -> $t { $result })
        }
    )* };
}

infallible_host_functions! {
    fn plain_unit(_value) -> () as () { () }
    fn plain_bool(value) -> bool as bool { value != 0 }
    fn plain_u32(value) -> u32 as u32 { value as u32 }
    fn plain_u64(value) -> u64 as u64 { value }
    fn plain_usize(value) -> usize as usize { value as usize }
    fn plain_f32(value) -> f32 as f32 { f32::from_bits(value as u32) }
    fn plain_f64(value) -> f64 as f64 { f64::from_bits(value) }
    fn plain_pointer(value) -> *mut u8 as *mut u8 {
        ptr::without_provenance_mut(value as usize)
    }
    fn plain_non_null(value) -> NonNull<u8> as *mut u8 {
        NonNull::new(ptr::without_provenance_mut(value as usize)).expect("not null")
    }
    fn plain_panics(value) -> u32 as u32 { panic_any(value) }
}

fn infallible_row(address: *const u8, abi: &'static str) -> Row {
    Row {
        address,
        abi,
        sentinel: Sentinel::None,
        successes: &[],
        failure: None,
    }
}

/// Without a sentinel every value is a value, those that stand for failure in
/// other rows too.
#[test]
fn every_value_of_a_type_without_a_sentinel_arrives() {
    const WORD: &[u64] = &[0, 1, 0xffff_ffff];
    const DOUBLE_WORD: &[u64] = &[0, 1, u64::MAX - 1, u64::MAX];
    // A quiet NaN with all bits set, a negative zero, and 1.5.
    const SINGLE: &[u64] = &[0, 0xffff_ffff, 0x8000_0000, 0x3fc0_0000];
    const DOUBLE: &[u64] = &[0, u64::MAX, 1 << 63, 0x3ff8_0000_0000_0000];
    let rows: [(*const u8, &str, &[u64]); 9] = [
        (plain_unit as *const u8, "", &[0]),
        (plain_bool as *const u8, "i8", &[0, 1]),
        (plain_u32 as *const u8, "i32", WORD),
        (plain_u64 as *const u8, "i64", DOUBLE_WORD),
        (plain_usize as *const u8, "i64", DOUBLE_WORD),
        (plain_f32 as *const u8, "f32", SINGLE),
        (plain_f64 as *const u8, "f64", DOUBLE),
        (plain_pointer as *const u8, "i64", DOUBLE_WORD),
        (plain_non_null as *const u8, "i64", &DOUBLE_WORD[1..]),
    ];
    for (address, abi, values) in rows {
        let row = infallible_row(address, abi);
        for entry in Entry::BOTH {
            for &value in values {
                let (result, written) = call(&row, entry, SUCCEED, value);
                assert_eq!(result.expect("a value"), value, "{abi}");
                assert_eq!(written, value, "{abi}");
            }
        }
    }
}

/// A type without a sentinel cannot tell generated code of a panic; it must not
/// unwind into generated code either.
#[test]
fn a_panic_without_a_sentinel_ends_the_process() {
    let name = "sentinels::a_panic_without_a_sentinel_ends_the_process";
    let outputs = outputs_of(name, |entry| {
        let row = infallible_row(plain_panics as *const u8, "i32");
        let _ = call(&row, entry, SUCCEED, 3);
    });
    for output in outputs {
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("cannot unwind"), "{stderr}");
    }
}
