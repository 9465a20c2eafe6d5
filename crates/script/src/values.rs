//! Guest values as text: arguments from the command line, results to it.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use trapline_embed::{ExternRef, RefType, Val, ValType};

/// Reads one argument as a value of type `ty`.
///
/// Integers are decimal or, after `0x`, hexadecimal, in the signed or the
/// unsigned range; floating-point numbers are what Rust reads (`1.5`, `1e10`,
/// `inf`, `-nan`), a NaN with its payload (`nan:0x400000`) or, after `0x`, the
/// bits; vectors are 128 bits after `0x`; references are `null` or, for
/// `externref`, the number of a host reference (`5` or `externref:5`). Between
/// digits of all of them may be a `_`. What [`Shown`] prints is read as the same
/// value, but for a function.
///
/// # Errors
///
/// Says which type was expected when the text does not fit.
pub fn parse(text: &str, ty: &ValType) -> Result<Val, ArgumentError> {
    let value = match ty {
        ValType::I32 => parse_integer(text, 32).map(|bits| Val::I32(bits as u32 as i32)),
        ValType::I64 => parse_integer(text, 64).map(|bits| Val::I64(bits as u64 as i64)),
        ValType::F32 => match hexadecimal(text).or_else(|| nan(text, F32)) {
            Some(bits) => bits.and_then(|b| u32::try_from(b).ok()).map(Val::F32),
            None => decimal::<f32>(text).map(|x| Val::F32(x.to_bits())),
        },
        ValType::F64 => match hexadecimal(text).or_else(|| nan(text, F64)) {
            Some(bits) => bits.and_then(|b| u64::try_from(b).ok()).map(Val::F64),
            None => decimal::<f64>(text).map(|x| Val::F64(x.to_bits())),
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
    Some(hexadecimal_digits(digits))
}

fn hexadecimal_digits(digits: &str) -> Option<u128> {
    // Rust would read a sign there.
    let digits = without_separators(digits, 16).filter(|digits| !digits.starts_with('+'))?;
    u128::from_str_radix(&digits, 16).ok()
}

/// A number in Rust's own notation, but for separators.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    without_separators(text, 10)?.parse().ok()
}

/// The text without its `_`, each of which must be between two digits, as in the
/// text format.
fn without_separators(text: &str, radix: u32) -> Option<String> {
    let is_digit = |character: Option<char>| character.is_some_and(|c| c.is_digit(radix));
    let mut pieces = text.split('_').peekable();
    let mut digits = String::with_capacity(text.len());
    while let Some(piece) = pieces.next() {
        digits.push_str(piece);
        if let Some(next) = pieces.peek()
            && !(is_digit(piece.chars().next_back()) && is_digit(next.chars().next()))
        {
            return None;
        }
    }
    Some(digits)
}

/// Where the parts of a floating-point number are: the bits of its payload, the
/// exponent of a NaN, and the sign.
struct Float {
    payload: u128,
    exponent: u128,
    sign: u128,
}

const F32: Float = Float {
    payload: 0x7f_ffff,
    exponent: 0x7f80_0000,
    sign: 1 << 31,
};

const F64: Float = Float {
    payload: 0xf_ffff_ffff_ffff,
    exponent: 0x7ff0_0000_0000_0000,
    sign: 1 << 63,
};

/// The bits of a NaN with this payload; `None` if the text is none, `Some(None)`
/// if it has no payload that there is.
fn nan(text: &str, float: Float) -> Option<Option<u128>> {
    let (rest, sign) = match text.strip_prefix('-') {
        Some(rest) => (rest, float.sign),
        None => (text, 0),
    };
    let payload = rest.strip_prefix("nan:0x")?;
    // Without any payload it would be an infinity.
    let payload = hexadecimal_digits(payload).filter(|bits| (1..=float.payload).contains(bits));
    Some(payload.map(|payload| sign | float.exponent | payload))
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
        // Rust would read another sign there.
        None if negative && magnitude.starts_with('+') => return None,
        None => decimal(magnitude)?,
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
        (_, false) => {
            let number = text.strip_prefix("externref:").unwrap_or(text);
            Some(Val::from(ExternRef::new(decimal(number)?)?))
        }
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
                x if x.is_nan() => write_nan(f, u128::from(*bits), F32),
                x => write!(f, "{x:?}"),
            },
            Val::F64(bits) => match f64::from_bits(*bits) {
                x if x.is_nan() => write_nan(f, u128::from(*bits), F64),
                x => write!(f, "{x:?}"),
            },
            Val::V128(bits) => write!(f, "{bits:#034x}"),
            Val::FuncRef(None) | Val::ExternRef(None) => f.write_str("null"),
            Val::FuncRef(Some(_)) => f.write_str("funcref"),
            Val::ExternRef(Some(reference)) => write!(f, "externref:{}", reference.get()),
        }
    }
}

fn write_nan(f: &mut fmt::Formatter<'_>, bits: u128, float: Float) -> fmt::Result {
    let sign = if bits & float.sign == 0 { "" } else { "-" };
    write!(f, "{sign}nan:{:#x}", bits & float.payload)
}
