//! Without `std` nothing catches a panic; values and errors are as with it.
#![cfg(not(feature = "std"))]

use trapline_activation::{TrapReason, UnwindReason};
use trapline_code_registry::TrapKind;
use trapline_host_result::{HostResult, catch_unwind_and_record_trap};

#[test]
fn values_and_errors_are_told_apart() {
    assert!(catch_unwind_and_record_trap(|| Ok::<(), TrapKind>(())));
    let (abi, reason) = Result::<(), TrapKind>::maybe_catch_unwind(|| Err(TrapKind::OutOfFuel));
    assert!(!abi);
    assert!(matches!(
        reason,
        Some(UnwindReason::Trap(TrapReason::Wasm(TrapKind::OutOfFuel)))
    ));
}
