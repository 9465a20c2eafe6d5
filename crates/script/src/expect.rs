//! Expected results, and whether they are what a call returned.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use trapline_embed::Val;

use crate::values::Shown;

/// A result that a script expects.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Expect {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// A 32-bit floating-point number.
    F32(Pattern<u32>),
    /// A 64-bit floating-point number.
    F64(Pattern<u64>),
    /// These bits, lane 0 in the least significant ones.
    V128(u128),
    /// Four floating-point numbers, from lane 0.
    F32x4([Pattern<u32>; 4]),
    /// Two floating-point numbers, from lane 0.
    F64x2([Pattern<u64>; 2]),
    /// A null reference of any type.
    Null,
    /// A null function.
    NullFunc,
    /// A null host reference.
    NullExtern,
    /// A function.
    Func,
    /// A host reference, with a number if one is given.
    Extern(Option<u32>),
    /// One of these.
    Either(Vec<Expect>),
    /// Something that no value here can be.
    Unsupported,
}

/// An expected floating-point number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Pattern<B> {
    /// A NaN with only the highest bit of its payload set, of any sign.
    CanonicalNan,
    /// A NaN with at least the highest bit of its payload set, of any sign.
    ArithmeticNan,
    /// These bits.
    Value(B),
}

impl Pattern<u32> {
    fn matches(self, actual: u32) -> bool {
        const CANONICAL: u32 = 0x7fc0_0000;
        match self {
            Self::CanonicalNan => actual & 0x7fff_ffff == CANONICAL,
            Self::ArithmeticNan => actual & CANONICAL == CANONICAL,
            Self::Value(bits) => bits == actual,
        }
    }
}

impl Pattern<u64> {
    fn matches(self, actual: u64) -> bool {
        const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
        match self {
            Self::CanonicalNan => actual & 0x7fff_ffff_ffff_ffff == CANONICAL,
            Self::ArithmeticNan => actual & CANONICAL == CANONICAL,
            Self::Value(bits) => bits == actual,
        }
    }
}

impl Expect {
    /// Whether a value is what is expected.
    #[must_use]
    pub fn matches(&self, actual: &Val) -> bool {
        match (self, actual) {
            (Self::Either(choices), actual) => choices.iter().any(|choice| choice.matches(actual)),
            (Self::I32(expected), Val::I32(actual)) => expected == actual,
            (Self::I64(expected), Val::I64(actual)) => expected == actual,
            (Self::F32(expected), Val::F32(actual)) => expected.matches(*actual),
            (Self::F64(expected), Val::F64(actual)) => expected.matches(*actual),
            (Self::V128(expected), Val::V128(actual)) => expected == actual,
            (Self::F32x4(expected), Val::V128(actual)) => (0..)
                .zip(expected)
                .all(|(lane, expected)| expected.matches((actual >> (32 * lane)) as u32)),
            (Self::F64x2(expected), Val::V128(actual)) => (0..)
                .zip(expected)
                .all(|(lane, expected)| expected.matches((actual >> (64 * lane)) as u64)),
            (Self::Null, Val::FuncRef(None) | Val::ExternRef(None))
            | (Self::NullFunc, Val::FuncRef(None))
            | (Self::NullExtern, Val::ExternRef(None))
            | (Self::Func, Val::FuncRef(Some(_)))
            | (Self::Extern(None), Val::ExternRef(Some(_))) => true,
            (Self::Extern(Some(number)), Val::ExternRef(Some(actual))) => actual.get() == *number,
            _ => false,
        }
    }
}

/// Whether the results of a call are those that a script expects.
#[must_use]
pub fn results_match(expected: &[Expect], actual: &[Val]) -> bool {
    expected.len() == actual.len()
        && expected
            .iter()
            .zip(actual)
            .all(|(expected, actual)| expected.matches(actual))
}

/// Results in a failure's message.
pub(crate) struct ShownResults<'a>(pub(crate) &'a [Val]);

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
