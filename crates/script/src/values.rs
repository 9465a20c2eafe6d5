//! Guest values as text: arguments from the command line, results to it.

use alloc::format;
use alloc::string::String;
use core::fmt;

use trapline_embed::{ExternRef, RefType, Val, ValType};

/// Reads one argument as a value of type `ty`.
///
/// Integers are decimal or, after `0x`, hexadecimal, in the signed or the
/// unsigned range; floating-point numbers are what Rust reads (`1.5`, `1e10`,
/// `inf`, `-nan`) or, after `0x`, the bits; vectors are 128 bits after `0x`;
/// references are `null` or, for `externref`, the number of a host reference.
///
/// # Errors
///
/// Says which type was expected when the text does not fit.
pub fn parse(text: &str, ty: &ValType) -> Result<Val, ArgumentError> {
    let value = match ty {
        ValType::I32 => parse_integer(text, 32).map(|bits| Val::I32(bits as u32 as i32)),
        ValType::I64 => parse_integer(text, 64).map(|bits| Val::I64(bits as u64 as i64)),
        ValType::F32 => match hexadecimal(text) {
            Some(bits) => bits.and_then(|b| u32::try_from(b).ok()).map(Val::F32),
            None => text.parse::<f32>().ok().map(|x| Val::F32(x.to_bits())),
        },
        ValType::F64 => match hexadecimal(text) {
            Some(bits) => bits.and_then(|b| u64::try_from(b).ok()).map(Val::F64),
            None => text.parse::<f64>().ok().map(|x| Val::F64(x.to_bits())),
        },
        ValType::V128 => hexadecimal(text).flatten().map(Val::V128),
        ValType::Ref(ty) => parse_reference(text, *ty),
    };
    value.ok_or_else(|| ArgumentError {
        text: text.into(),
        expected: format!("{ty}"),
    })
}

/// An argument that is no value of its parameter's type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArgumentError {
    text: String,
    expected: String,
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a value of type {}",
            self.text, self.expected
        )
    }
}

impl core::error::Error for ArgumentError {}

/// The bits after `0x`; `None` if there is no `0x`, `Some(None)` if what
/// follows is no hexadecimal number of at most 128 bits.
fn hexadecimal(text: &str) -> Option<Option<u128>> {
    let digits = text.strip_prefix("0x")?;
    Some(u128::from_str_radix(&digits.replace('_', ""), 16).ok())
}

/// An integer in the signed or unsigned range of `bits` bits, as its two's
/// complement.
fn parse_integer(text: &str, bits: u32) -> Option<u128> {
    let (magnitude, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let magnitude = match hexadecimal(magnitude) {
        Some(bits) => bits?,
        None => magnitude.parse().ok()?,
    };
    let limit = if negative {
        1 << (bits - 1)
    } else {
        (1 << bits) - 1
    };
    (magnitude <= limit).then(|| {
        if negative {
            magnitude.wrapping_neg()
        } else {
            magnitude
        }
    })
}

fn parse_reference(text: &str, ty: RefType) -> Option<Val> {
    match (text, ty.heap.is_func()) {
        ("null", _) if ty.nullable => Some(Val::zero(ty.into())),
        (_, false) => Some(Val::from(ExternRef::new(text.parse().ok()?)?)),
        _ => None,
    }
}

/// A value as the program prints it: integers signed and decimal,
/// floating-point numbers in the shortest form that reads back as the same
/// number (a NaN with its payload), vectors as 128 bits, references by what
/// they are.
#[derive(Clone, Debug)]
pub struct Shown<'a>(pub &'a Val);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Val::I32(x) => write!(f, "{x}"),
            Val::I64(x) => write!(f, "{x}"),
            Val::F32(bits) => match f32::from_bits(*bits) {
                x if x.is_nan() => write_nan(f, x.is_sign_negative(), u64::from(bits & 0x7f_ffff)),
                x => write!(f, "{x:?}"),
            },
            Val::F64(bits) => match f64::from_bits(*bits) {
                x if x.is_nan() => write_nan(f, x.is_sign_negative(), bits & 0xf_ffff_ffff_ffff),
                x => write!(f, "{x:?}"),
            },
            Val::V128(bits) => write!(f, "{bits:#034x}"),
            Val::FuncRef(None) | Val::ExternRef(None) => f.write_str("null"),
            Val::FuncRef(Some(_)) => f.write_str("funcref"),
            Val::ExternRef(Some(reference)) => write!(f, "externref:{}", reference.get()),
        }
    }
}

fn write_nan(f: &mut fmt::Formatter<'_>, negative: bool, payload: u64) -> fmt::Result {
    let sign = if negative { "-" } else { "" };
    write!(f, "{sign}nan:{payload:#x}")
}
