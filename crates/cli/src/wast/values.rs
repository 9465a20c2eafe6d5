//! Arguments and expected results in scripts.

use trapline_script::{Expect, Pattern, Value};
use wast::core::{
    AbstractHeapType, HeapType, NanPattern, V128Const, V128Pattern, WastArgCore, WastRetCore,
};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// The value of an argument; `None` for types that have no values here.
pub(super) fn argument(arg: &WastArg<'_>) -> Option<Value> {
    let WastArg::Core(arg) = arg else { return None };
    Some(match arg {
        WastArgCore::I32(x) => Value::I32(*x),
        WastArgCore::I64(x) => Value::I64(*x),
        WastArgCore::F32(x) => Value::F32(x.bits),
        WastArgCore::F64(x) => Value::F64(x.bits),
        WastArgCore::V128(x) => Value::V128(v128_bits(x)),
        WastArgCore::RefNull(ty) => match hierarchy(ty)? {
            Hierarchy::Func => Value::NullFunc,
            Hierarchy::Extern => Value::NullExtern,
        },
        WastArgCore::RefExtern(number) => Value::Extern(*number),
        WastArgCore::RefHost(_) => return None,
    })
}

fn v128_bits(value: &V128Const) -> u128 {
    u128::from_le_bytes(value.to_le_bytes())
}

/// The two kinds of references that need no garbage-collected heap.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hierarchy {
    Func,
    Extern,
}

fn hierarchy(ty: &HeapType<'_>) -> Option<Hierarchy> {
    match ty {
        HeapType::Concrete(_) => Some(Hierarchy::Func),
        HeapType::Abstract { ty, .. } => match ty {
            AbstractHeapType::Func | AbstractHeapType::NoFunc => Some(Hierarchy::Func),
            AbstractHeapType::Extern | AbstractHeapType::NoExtern => Some(Hierarchy::Extern),
            _ => None,
        },
        _ => None,
    }
}

/// What an expected result is compared with.
pub(super) fn result(result: &WastRet<'_>) -> Expect {
    match result {
        WastRet::Core(result) => core_result(result),
        _ => Expect::Unsupported,
    }
}

fn core_result(result: &WastRetCore<'_>) -> Expect {
    match result {
        WastRetCore::Either(choices) => {
            let choices = choices.iter().flat_map(|choice| match core_result(choice) {
                // One of one of these is one of these.
                Expect::Either(nested) => nested,
                other => vec![other],
            });
            Expect::Either(choices.collect())
        }
        WastRetCore::I32(x) => Expect::I32(*x),
        WastRetCore::I64(x) => Expect::I64(*x),
        WastRetCore::F32(pattern) => Expect::F32(f32_pattern(pattern)),
        WastRetCore::F64(pattern) => Expect::F64(f64_pattern(pattern)),
        WastRetCore::V128(pattern) => v128(pattern),
        WastRetCore::RefNull(None) => Expect::Null,
        WastRetCore::RefNull(Some(ty)) => match hierarchy(ty) {
            Some(Hierarchy::Func) => Expect::NullFunc,
            Some(Hierarchy::Extern) => Expect::NullExtern,
            None => Expect::Unsupported,
        },
        WastRetCore::RefFunc(_) => Expect::Func,
        WastRetCore::RefExtern(number) => Expect::Extern(*number),
        _ => Expect::Unsupported,
    }
}

fn f32_pattern(pattern: &NanPattern<F32>) -> Pattern<u32> {
    match pattern {
        NanPattern::CanonicalNan => Pattern::CanonicalNan,
        NanPattern::ArithmeticNan => Pattern::ArithmeticNan,
        NanPattern::Value(value) => Pattern::Value(value.bits),
    }
}

fn f64_pattern(pattern: &NanPattern<F64>) -> Pattern<u64> {
    match pattern {
        NanPattern::CanonicalNan => Pattern::CanonicalNan,
        NanPattern::ArithmeticNan => Pattern::ArithmeticNan,
        NanPattern::Value(value) => Pattern::Value(value.bits),
    }
}

fn v128(pattern: &V128Pattern) -> Expect {
    match pattern {
        V128Pattern::I8x16(lanes) => Expect::V128(v128_bits(&V128Const::I8x16(*lanes))),
        V128Pattern::I16x8(lanes) => Expect::V128(v128_bits(&V128Const::I16x8(*lanes))),
        V128Pattern::I32x4(lanes) => Expect::V128(v128_bits(&V128Const::I32x4(*lanes))),
        V128Pattern::I64x2(lanes) => Expect::V128(v128_bits(&V128Const::I64x2(*lanes))),
        V128Pattern::F32x4(lanes) => Expect::F32x4(lanes.each_ref().map(f32_pattern)),
        V128Pattern::F64x2(lanes) => Expect::F64x2(lanes.each_ref().map(f64_pattern)),
    }
}

#[cfg(test)]
mod tests {
    use trapline_embed::{ExternRef, Val};
    use trapline_script::results_match;

    use super::*;

    /// Parses the results of one `assert_return` and compares them.
    fn matches(expected: &str, actual: &[Val]) -> bool {
        let script = format!("(assert_return (invoke \"f\") {expected})");
        let buffer = wast::parser::ParseBuffer::new(&script).unwrap();
        let script: wast::Wast<'_> = wast::parser::parse(&buffer).unwrap();
        match &script.directives[..] {
            [wast::WastDirective::AssertReturn { results, .. }] => {
                let expected: Vec<_> = results.iter().map(result).collect();
                results_match(&expected, actual)
            }
            _ => unreachable!("the script is one assert_return"),
        }
    }

    #[test]
    fn numbers_match_bit_by_bit() {
        assert!(matches("(i32.const -1)", &[Val::I32(-1)]));
        assert!(!matches("(i32.const -1)", &[Val::I64(-1)]));
        assert!(!matches("(f32.const 0)", &[Val::F32((-0f32).to_bits())]));
        assert!(matches(
            "(f64.const nan:0x4)",
            &[Val::F64(0x7ff0_0000_0000_0004)]
        ));
        assert!(!matches("(i32.const 1)", &[]));
        assert!(!matches("", &[Val::I32(1)]));
    }

    #[test]
    fn nan_patterns_tell_canonical_from_arithmetic() {
        let canonical = Val::F32(0xffc0_0000);
        let arithmetic = Val::F32(0x7fc0_0001);
        let signalling = Val::F32(0x7fa0_0000);
        let number = Val::F32(0x7f80_0000);
        assert!(matches("(f32.const nan:canonical)", &[canonical]));
        assert!(matches("(f32.const nan:arithmetic)", &[canonical]));
        assert!(!matches("(f32.const nan:canonical)", &[arithmetic]));
        assert!(matches("(f32.const nan:arithmetic)", &[arithmetic]));
        assert!(!matches("(f32.const nan:arithmetic)", &[signalling]));
        assert!(!matches("(f32.const nan:arithmetic)", &[number]));
        assert!(matches(
            "(f64.const nan:canonical)",
            &[Val::F64(0x7ff8_0000_0000_0000)]
        ));
        assert!(!matches(
            "(f64.const nan:canonical)",
            &[Val::F64(0x7ff8_0000_0000_0001)]
        ));
        assert!(!matches(
            "(f64.const nan:arithmetic)",
            &[Val::F64(0x7ff4_0000_0000_0000)]
        ));
    }

    #[test]
    fn vectors_match_lane_by_lane_from_the_lowest() {
        let value = Val::V128(0x0000_0004_0000_0003_0000_0002_0000_0001);
        assert!(matches("(v128.const i32x4 1 2 3 4)", &[value]));
        assert!(!matches("(v128.const i32x4 4 3 2 1)", &[value]));
        assert!(matches(
            "(v128.const i64x2 0x200000001 0x400000003)",
            &[value]
        ));
        let nan = Val::V128(0x7fc0_0000_3f80_0000_ffc0_0000_7fc0_1000);
        assert!(matches(
            "(v128.const f32x4 nan:arithmetic nan:canonical 1 nan:canonical)",
            &[nan]
        ));
        assert!(!matches(
            "(v128.const f32x4 nan:canonical nan:canonical 1 nan:canonical)",
            &[nan]
        ));
    }

    #[test]
    fn references_match_by_hierarchy() {
        assert!(matches("(ref.null)", &[Val::ExternRef(None)]));
        assert!(matches("(ref.null func)", &[Val::FuncRef(None)]));
        assert!(!matches("(ref.null func)", &[Val::ExternRef(None)]));
        assert!(!matches("(ref.func)", &[Val::FuncRef(None)]));
        let seven = Val::ExternRef(ExternRef::new(7));
        assert!(matches("(ref.extern 7)", &[seven]));
        assert!(matches("(ref.extern)", &[seven]));
        assert!(!matches("(ref.extern 8)", &[seven]));
    }

    #[test]
    fn either_is_satisfied_by_one_of_its_choices() {
        let expected = "(either (i32.const 1) (i32.const 3))";
        assert!(matches(expected, &[Val::I32(3)]));
        assert!(!matches(expected, &[Val::I32(2)]));
    }
}
