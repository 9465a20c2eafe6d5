//! Every row of the table: what compiled code gets for a value, an error and a
//! panic, and what is recorded in the activation.
#![cfg(feature = "std")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::ptr::{self, NonNull};

use trapline_activation::{
    ExitFp, PassedOn, Store, Trap, TrapReason, UnwindReason, VMContext, VMStoreContext,
    VMStoreContextLayout, WasmFault, catch_traps, for_each_activation, record_unwind,
};
use trapline_arch::VirtualAddress;
use trapline_code_registry::TrapKind;
use trapline_host_result::{HostResult, HostResultHasUnwindSentinel, catch_unwind_and_record_trap};

/// A store whose guests are not compiled: its words stay as they are.
struct NoGuests(UnsafeCell<[usize; 3]>);

// SAFETY: the layout is that of the array; there are no memories.
unsafe impl Store for NoGuests {
    const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
        exit_fp: ExitFp::Guest(0),
        exit_pc: size_of::<usize>(),
        entry_fp: 2 * size_of::<usize>(),
        landing_pad: None,
    };

    fn default_caller(&self) -> NonNull<VMContext> {
        NonNull::dangling()
    }

    fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        NonNull::from(&self.0).cast()
    }

    fn wasm_fault(&self, _: VirtualAddress) -> Option<WasmFault> {
        None
    }
}

/// Whether something is recorded in the innermost activation.
fn recorded() -> bool {
    for_each_activation(|activation| ControlFlow::Break(activation.is_unwinding()))
        .break_value()
        .unwrap()
}

/// Runs a host function inside of an activation: what compiled code gets, and
/// what comes out of `catch_traps`.
fn call<R: HostResult>(f: impl FnOnce() -> R) -> (R::Abi, Result<(), Trap>) {
    let store = NoGuests(UnsafeCell::new([0; 3]));
    let mut abi = None;
    let mut host = Some(f);
    let result = catch_traps(&store, |_| {
        // Where `host` is moved to here, nothing is left by a jump.
        let f = host.take().unwrap();
        abi = Some(catch_unwind_and_record_trap(f));
    });
    (abi.unwrap(), result)
}

/// The same for a host function that panics: what compiled code gets, and the
/// payload that comes out of `catch_traps`.
fn call_panicking<R: HostResult>(f: impl FnOnce() -> R) -> (R::Abi, Box<dyn Any + Send>) {
    let store = NoGuests(UnsafeCell::new([0; 3]));
    let mut abi = None;
    let mut host = Some(f);
    let payload = catch_unwind(AssertUnwindSafe(|| {
        catch_traps(&store, |_| {
            let f = host.take().unwrap();
            abi = Some(catch_unwind_and_record_trap(f));
            assert!(recorded());
        })
    }))
    .unwrap_err();
    assert!(!std::thread::panicking());
    (abi.unwrap(), payload)
}

/// A payload that is no message.
#[derive(PartialEq, Debug)]
struct Payload(u64);

/// Checks a row with a sentinel: `values` are what the host returns and what
/// compiled code gets for it.
fn row_with_sentinel<T, A>(values: &[(T, A)], sentinel: A)
where
    T: Copy,
    A: Copy + PartialEq + Debug,
    Result<T, TrapReason>: HostResult<Abi = A> + HostResultHasUnwindSentinel<Abi = A>,
    Result<T, anyhow::Error>: HostResult<Abi = A>,
    Result<T, TrapKind>: HostResult<Abi = A>,
    Result<T, PassedOn>: HostResult<Abi = A>,
{
    for (value, expected) in values {
        let (abi, result) = call(|| -> Result<T, TrapReason> {
            assert!(!recorded());
            Ok(*value)
        });
        assert_eq!(abi, *expected);
        assert_ne!(abi, sentinel);
        result.unwrap();
    }
    failures(sentinel);
}

/// Checks the failures of a row.
fn failures<T, A>(sentinel: A)
where
    A: Copy + PartialEq + Debug,
    Result<T, TrapReason>: HostResult<Abi = A> + HostResultHasUnwindSentinel<Abi = A>,
    Result<T, anyhow::Error>: HostResult<Abi = A>,
    Result<T, TrapKind>: HostResult<Abi = A>,
    Result<T, PassedOn>: HostResult<Abi = A>,
{
    let declared = <Result<T, TrapReason> as HostResultHasUnwindSentinel>::SENTINEL;
    assert_eq!(declared, sentinel);

    // An error of the host's own keeps its type.
    let (abi, result) = call(|| -> Result<T, anyhow::Error> {
        Err(anyhow::Error::new(std::fmt::Error).context("context"))
    });
    assert_eq!(abi, sentinel);
    let trap = result.unwrap_err();
    let TrapReason::User(error) = trap.reason else {
        panic!("{:?}", trap.reason);
    };
    assert!(error.is::<std::fmt::Error>());
    assert_eq!(error.to_string(), "context");

    // A trap of a nested guest, passed on as it is.
    let (abi, result) =
        call(|| -> Result<T, PassedOn> { Err(PassedOn::Reason(TrapKind::CastFailure.into())) });
    assert_eq!(abi, sentinel);
    let trap = result.unwrap_err();
    assert!(matches!(
        trap.reason,
        TrapReason::Wasm(TrapKind::CastFailure)
    ));
    assert!(trap.backtrace.is_none(), "captured again");

    // A kind of trap.
    let (abi, result) = call(|| -> Result<T, TrapKind> { Err(TrapKind::AllocationTooLarge) });
    assert_eq!(abi, sentinel);
    assert!(matches!(
        result.unwrap_err().reason,
        TrapReason::Wasm(TrapKind::AllocationTooLarge)
    ));

    // A reason.
    let (abi, result) =
        call(|| -> Result<T, TrapReason> { Err(TrapReason::Wasm(TrapKind::Interrupt)) });
    assert_eq!(abi, sentinel);
    assert_eq!(result.unwrap_err().kind(), Some(TrapKind::Interrupt));

    // Panics, with their payloads.
    let (abi, payload) = call_panicking(|| -> Result<T, TrapReason> { panic!("text") });
    assert_eq!(abi, sentinel);
    assert_eq!(payload.downcast_ref(), Some(&"text"));
    let (abi, payload) = call_panicking(|| -> Result<T, TrapReason> {
        panic!("number {}", std::hint::black_box(3))
    });
    assert_eq!(abi, sentinel);
    assert_eq!(payload.downcast_ref(), Some(&"number 3".to_string()));
    let (abi, payload) = call_panicking(|| -> Result<T, TrapReason> { panic_any(Payload(9)) });
    assert_eq!(abi, sentinel);
    assert_eq!(payload.downcast_ref(), Some(&Payload(9)));
}

/// Checks a row without a sentinel: the value comes through, and nothing is
/// recorded.
fn row_without_sentinel<T, A>(values: &[(T, A)])
where
    T: HostResult<Abi = A> + Copy,
    A: Copy + PartialEq + Debug,
{
    for (value, expected) in values {
        let (abi, result) = call(|| {
            assert!(!recorded());
            *value
        });
        assert_eq!(abi, *expected);
        result.unwrap();
    }
    // There is nobody to tell of a panic: it is not caught.
    let store = NoGuests(UnsafeCell::new([0; 3]));
    let payload = catch_unwind(AssertUnwindSafe(|| {
        catch_traps(&store, |_| {
            let caught = catch_unwind(|| {
                catch_unwind_and_record_trap(|| -> T { panic_any(Payload(1)) });
            });
            assert!(!recorded());
            std::panic::resume_unwind(caught.unwrap_err())
        })
        .map(|never: Infallible| match never {})
    }))
    .unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&Payload(1)));
}

#[test]
fn values_without_failure_are_passed_as_they_are_and_record_nothing() {
    row_without_sentinel(&[((), ())]);
    row_without_sentinel(&[(false, false), (true, true)]);
    row_without_sentinel(&[(0_u32, 0_u32), (u32::MAX, u32::MAX)]);
    row_without_sentinel(&[(0_u64, 0_u64), (u64::MAX, u64::MAX)]);
    row_without_sentinel(&[(0_usize, 0_usize), (usize::MAX, usize::MAX)]);
    row_without_sentinel(&[(1.5_f32, 1.5_f32), (f32::INFINITY, f32::INFINITY)]);
    row_without_sentinel(&[(-0.5_f64, -0.5_f64), (f64::MAX, f64::MAX)]);
    let all_ones: *mut u8 = ptr::without_provenance_mut(usize::MAX);
    row_without_sentinel(&[
        (ptr::null_mut::<u8>(), ptr::null_mut()),
        (all_ones, all_ones),
    ]);
}

#[test]
fn bits_of_floats_come_through_unchanged() {
    for bits in [0x7fa0_0001_u32, 0xffff_ffff, 0x8000_0000] {
        let (abi, _) = call(|| f32::from_bits(bits));
        assert_eq!(abi.to_bits(), bits);
    }
    for bits in [0x7ff4_0000_0000_0001_u64, u64::MAX, 1 << 63] {
        let (abi, _) = call(|| f64::from_bits(bits));
        assert_eq!(abi.to_bits(), bits);
    }
}

#[test]
fn a_pointer_that_is_not_null_is_a_pointer_without_sentinel() {
    let mut byte = 0_u8;
    let pointer = NonNull::from(&mut byte);
    row_without_sentinel(&[(pointer, pointer.as_ptr())]);
}

#[test]
fn success_without_value_is_true_and_failure_false() {
    row_with_sentinel(&[((), true)], false);
}

#[test]
fn a_number_that_is_not_zero_fails_with_zero() {
    let values = [1, 2, u32::MAX].map(|n| (NonZeroU32::new(n).unwrap(), n));
    row_with_sentinel(&values, 0);
}

#[test]
fn a_number_is_widened_and_fails_with_all_ones() {
    row_with_sentinel(
        &[
            (0_u32, 0_u64),
            (7, 7),
            (u32::MAX, 0xffff_ffff),
            (1 << 31, 1 << 31),
        ],
        u64::MAX,
    );
}

#[test]
fn a_truth_value_is_zero_or_one_and_fails_with_all_ones() {
    row_with_sentinel(&[(false, 0_u32), (true, 1)], u32::MAX);
}

#[test]
fn a_pointer_fails_with_all_ones() {
    let all_ones: *mut u8 = ptr::without_provenance_mut(usize::MAX);
    let other: *mut u8 = ptr::without_provenance_mut(usize::MAX - 1);
    row_with_sentinel(
        &[(ptr::null_mut(), ptr::null_mut()), (other, other)],
        all_ones,
    );
}

#[test]
fn a_pointer_that_looks_like_the_sentinel_is_a_failure_that_says_so() {
    let all_ones: *mut u8 = ptr::without_provenance_mut(usize::MAX);
    let (abi, result) = call(|| -> Result<*mut u8, TrapReason> { Ok(all_ones) });
    assert_eq!(abi, all_ones);
    let TrapReason::User(error) = result.unwrap_err().reason else {
        panic!("not the host's error");
    };
    assert!(error.to_string().contains("all bits set"), "{error}");
}

#[test]
fn what_never_returns_a_value_always_fails() {
    failures::<Infallible, ()>(());
}

#[test]
fn the_conversion_of_an_error_may_panic() {
    struct PanicsWhenConverted;
    impl From<PanicsWhenConverted> for TrapReason {
        fn from(_: PanicsWhenConverted) -> Self {
            panic!("while converting")
        }
    }
    let (abi, payload) =
        call_panicking(|| -> Result<u32, PanicsWhenConverted> { Err(PanicsWhenConverted) });
    assert_eq!(abi, u64::MAX);
    assert_eq!(payload.downcast_ref(), Some(&"while converting"));
}

/// The message that `f` panics with.
fn panic_message<R>(f: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        panic!("did not panic");
    };
    *payload.downcast::<String>().unwrap()
}

#[test]
fn a_failure_outside_of_any_activation_panics_and_says_so() {
    let message = panic_message(|| {
        catch_unwind_and_record_trap(|| -> Result<(), TrapKind> { Err(TrapKind::OutOfFuel) })
    });
    assert!(message.contains("outside of any catch_traps"), "{message}");
    assert!(message.contains("all fuel"), "says why: {message}");
    // A panic goes on, with its payload.
    let payload = catch_unwind(AssertUnwindSafe(|| {
        catch_unwind_and_record_trap(|| -> Result<(), TrapKind> { panic!("on purpose") })
    }))
    .unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
}

#[test]
fn a_success_outside_of_any_activation_is_none_the_worse() {
    assert!(catch_unwind_and_record_trap(|| Ok::<(), TrapKind>(())));
    assert_eq!(catch_unwind_and_record_trap(|| 5_u32), 5);
}

#[test]
fn a_second_failure_before_the_first_was_raised_panics_and_the_first_is_kept() {
    let store = NoGuests(UnsafeCell::new([0; 3]));
    let trap = catch_traps(&store, |_| {
        record_unwind(UnwindReason::Trap(TrapReason::Wasm(TrapKind::CastFailure)));
        let message = panic_message(|| {
            catch_unwind_and_record_trap(|| Err::<(), _>(TrapKind::OutOfFuel));
        });
        assert!(message.contains("recorded already"), "{message}");
    })
    .unwrap_err();
    assert_eq!(trap.kind(), Some(TrapKind::CastFailure));
}

#[test]
fn what_a_host_function_owns_is_dropped_once_on_each_way_out() {
    use std::rc::Rc;
    let owned = Rc::new(());
    let (_, result) = call({
        let owned = Rc::clone(&owned);
        move || -> Result<u32, TrapKind> { Ok(Rc::strong_count(&owned) as u32) }
    });
    result.unwrap();
    assert_eq!(Rc::strong_count(&owned), 1);
    let (_, result) = call({
        let owned = Rc::clone(&owned);
        move || -> Result<u32, anyhow::Error> {
            Err(anyhow::anyhow!("count is {}", Rc::strong_count(&owned)))
        }
    });
    result.unwrap_err();
    assert_eq!(Rc::strong_count(&owned), 1);
    call_panicking({
        let owned = Rc::clone(&owned);
        move || -> Result<u32, TrapKind> { panic!("count is {}", Rc::strong_count(&owned)) }
    });
    assert_eq!(Rc::strong_count(&owned), 1);
}

/// An `extern "C"` function as compiled code calls it.
#[test]
fn shims_have_the_signature_that_compiled_code_calls() {
    extern "C" fn grow(by: u32) -> u64 {
        catch_unwind_and_record_trap(|| -> Result<u32, TrapKind> {
            by.checked_add(1).ok_or(TrapKind::IntegerOverflow)
        })
    }
    extern "C" fn always(_: u32) {
        catch_unwind_and_record_trap(|| -> Result<Infallible, TrapKind> {
            Err(TrapKind::UnreachableCodeReached)
        });
    }
    let store = NoGuests(UnsafeCell::new([0; 3]));
    catch_traps(&store, |_| {
        assert_eq!(grow(u32::MAX - 1), u64::from(u32::MAX))
    })
    .unwrap();
    let trap = catch_traps(&store, |_| assert_eq!(grow(u32::MAX), u64::MAX)).unwrap_err();
    assert_eq!(trap.kind(), Some(TrapKind::IntegerOverflow));
    let trap = catch_traps(&store, |_| always(0)).unwrap_err();
    assert_eq!(trap.kind(), Some(TrapKind::UnreachableCodeReached));
}
