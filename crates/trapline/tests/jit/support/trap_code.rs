//! Cranelift's trap codes, as this client numbers them.

use cranelift_codegen::ir::TrapCode;
use trapline::TrapKind;

/// What guests write as `user1`: the guest gave up.
const UNREACHABLE: TrapCode = TrapCode::unwrap_user(1);
/// What guests write as `user2`: a field of a null function reference was read.
const NULL_FUNCTION: TrapCode = TrapCode::unwrap_user(2);
/// What guests write as `user3`: a table index was too large.
const TABLE: TrapCode = TrapCode::unwrap_user(3);
/// What guests write as `user9`, and exit stubs after the builtin that does not
/// return: never reached.
const INTERNAL: TrapCode = TrapCode::unwrap_user(9);

/// The kind of trap that a guest means with this code.
pub(crate) fn trap_kind(code: TrapCode) -> TrapKind {
    match code {
        TrapCode::STACK_OVERFLOW => TrapKind::StackOverflow,
        TrapCode::INTEGER_OVERFLOW => TrapKind::IntegerOverflow,
        TrapCode::HEAP_OUT_OF_BOUNDS => TrapKind::MemoryOutOfBounds,
        TrapCode::INTEGER_DIVISION_BY_ZERO => TrapKind::IntegerDivisionByZero,
        TrapCode::BAD_CONVERSION_TO_INTEGER => TrapKind::BadConversionToInteger,
        UNREACHABLE => TrapKind::UnreachableCodeReached,
        NULL_FUNCTION => TrapKind::IndirectCallToNull,
        TABLE => TrapKind::TableOutOfBounds,
        INTERNAL => TrapKind::InternalAssert,
        other => panic!("no guest here has the trap code {other}"),
    }
}
