//! Arguments and expected results in scripts.

use core::fmt;

use trapline_embed::{ExternRef, Val};
use wast::core::{
    AbstractHeapType, HeapType, NanPattern, V128Const, V128Pattern, WastArgCore, WastRetCore,
};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

use crate::values::Shown;

/// The value of an argument; `None` for types that have no values here.
pub(super) fn argument(arg: &WastArg<'_>) -> Option<Val> {
    let WastArg::Core(arg) = arg else { return None };
    Some(match arg {
        WastArgCore::I32(x) => Val::I32(*x),
        WastArgCore::I64(x) => Val::I64(*x),
        WastArgCore::F32(x) => Val::F32(x.bits),
        WastArgCore::F64(x) => Val::F64(x.bits),
        WastArgCore::V128(x) => Val::V128(v128_bits(x)),
        WastArgCore::RefNull(ty) => match hierarchy(ty)? {
            Hierarchy::Func => Val::FuncRef(None),
            Hierarchy::Extern => Val::ExternRef(None),
        },
        WastArgCore::RefExtern(number) => Val::ExternRef(Some(ExternRef::new(*number)?)),
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

/// Whether the results of a call are those that the script expects.
pub(super) fn results_match(expected: &[WastRet<'_>], actual: &[Val]) -> bool {
    expected.len() == actual.len()
        && expected
            .iter()
            .zip(actual)
            .all(|(expected, actual)| match expected {
                WastRet::Core(expected) => result_matches(expected, actual),
                _ => false,
            })
}

fn result_matches(expected: &WastRetCore<'_>, actual: &Val) -> bool {
    match (expected, actual) {
        (WastRetCore::Either(choices), actual) => {
            choices.iter().any(|choice| result_matches(choice, actual))
        }
        (WastRetCore::I32(expected), Val::I32(actual)) => expected == actual,
        (WastRetCore::I64(expected), Val::I64(actual)) => expected == actual,
        (WastRetCore::F32(expected), Val::F32(actual)) => f32_matches(expected, *actual),
        (WastRetCore::F64(expected), Val::F64(actual)) => f64_matches(expected, *actual),
        (WastRetCore::V128(expected), Val::V128(actual)) => v128_matches(expected, *actual),
        (WastRetCore::RefNull(None), Val::FuncRef(None) | Val::ExternRef(None)) => true,
        (WastRetCore::RefNull(Some(ty)), Val::FuncRef(None)) => {
            hierarchy(ty) == Some(Hierarchy::Func)
        }
        (WastRetCore::RefNull(Some(ty)), Val::ExternRef(None)) => {
            hierarchy(ty) == Some(Hierarchy::Extern)
        }
        (WastRetCore::RefFunc(_), Val::FuncRef(Some(_))) => true,
        (WastRetCore::RefExtern(None), Val::ExternRef(Some(_))) => true,
        (WastRetCore::RefExtern(Some(number)), Val::ExternRef(Some(actual))) => {
            actual.get() == *number
        }
        _ => false,
    }
}

/// A *canonical* NaN has only the highest bit of its payload set, an
/// *arithmetic* one at least that; the sign is free in both.
fn f32_matches(expected: &NanPattern<F32>, actual: u32) -> bool {
    const CANONICAL: u32 = 0x7fc0_0000;
    match expected {
        NanPattern::CanonicalNan => actual & 0x7fff_ffff == CANONICAL,
        NanPattern::ArithmeticNan => actual & CANONICAL == CANONICAL,
        NanPattern::Value(value) => value.bits == actual,
    }
}

fn f64_matches(expected: &NanPattern<F64>, actual: u64) -> bool {
    const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
    match expected {
        NanPattern::CanonicalNan => actual & 0x7fff_ffff_ffff_ffff == CANONICAL,
        NanPattern::ArithmeticNan => actual & CANONICAL == CANONICAL,
        NanPattern::Value(value) => value.bits == actual,
    }
}

fn v128_matches(expected: &V128Pattern, actual: u128) -> bool {
    /// The lane number `index` of `WIDTH` bytes; lane 0 is the lowest.
    fn lane<const WIDTH: usize>(bits: u128, index: usize) -> [u8; WIDTH] {
        let bytes = bits.to_le_bytes();
        core::array::from_fn(|i| bytes[index * WIDTH + i])
    }
    let mut lanes = 0..;
    let mut next = || lanes.next().unwrap_or_default();
    match expected {
        V128Pattern::I8x16(e) => e.iter().all(|e| e.to_le_bytes() == lane(actual, next())),
        V128Pattern::I16x8(e) => e.iter().all(|e| e.to_le_bytes() == lane(actual, next())),
        V128Pattern::I32x4(e) => e.iter().all(|e| e.to_le_bytes() == lane(actual, next())),
        V128Pattern::I64x2(e) => e.iter().all(|e| e.to_le_bytes() == lane(actual, next())),
        V128Pattern::F32x4(e) => e
            .iter()
            .all(|e| f32_matches(e, u32::from_le_bytes(lane(actual, next())))),
        V128Pattern::F64x2(e) => e
            .iter()
            .all(|e| f64_matches(e, u64::from_le_bytes(lane(actual, next())))),
    }
}

/// Results in a failure's message.
pub(super) struct ShownResults<'a>(pub(super) &'a [Val]);

impl fmt::Display for ShownResults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, value) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{}", Shown(value))?;
            // The bits tell apart what the number does not: signs of zeros,
            // kinds of NaN.
            match value {
                Val::F32(bits) => write!(f, " ({bits:#010x})")?,
                Val::F64(bits) => write!(f, " ({bits:#018x})")?,
                _ => {}
            }
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses the results of one `assert_return` and compares them.
    fn matches(expected: &str, actual: &[Val]) -> bool {
        let script = format!("(assert_return (invoke \"f\") {expected})");
        let buffer = wast::parser::ParseBuffer::new(&script).unwrap();
        let script: wast::Wast<'_> = wast::parser::parse(&buffer).unwrap();
        match &script.directives[..] {
            [wast::WastDirective::AssertReturn { results, .. }] => results_match(results, actual),
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
