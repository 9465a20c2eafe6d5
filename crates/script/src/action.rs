//! Scripts of the specification's test suite as lists of actions: what is left
//! of a script once its modules are compiled, and whatever needs a parser or a
//! validator has been decided.
//!
//! Actions are encoded one after another ([`encode`]) and decoded one by one
//! while they run ([`decode`]), so that no script is ever in memory as a whole
//! in more than its encoded form.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use trapline_embed::{ExternRef, Val};

use crate::error::BundleError;
use crate::expect::Expect;
use crate::tally::Kind;

/// One directive of a script.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Action<'a> {
    /// The line of the script that it begins on, from 1.
    pub line: u32,
    /// What kind of directive it is, for the counts.
    pub kind: Kind,
    /// What to do.
    #[serde(borrow)]
    pub step: Step<'a>,
}

/// What to do for a directive. Modules are numbers: see
/// [`Modules`](crate::Modules).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Step<'a> {
    /// Nothing: it was left out, or nothing here implements it.
    Skip,
    /// Nothing: it is known to do as it should.
    Pass,
    /// Nothing: it is known not to do as it should.
    Fail(#[serde(borrow)] Cow<'a, str>),
    /// Instantiate a module; the instance becomes the current one.
    Module {
        /// The script's own identifier for the instance.
        name: Option<&'a str>,
        /// The module.
        module: u32,
    },
    /// Load a module without instantiating it.
    Definition {
        /// The script's own identifier for the module.
        name: Option<&'a str>,
        /// The module.
        module: u32,
    },
    /// Instantiate a module that was only loaded; the instance becomes the
    /// current one.
    Instance {
        /// The script's own identifier for the instance.
        name: Option<&'a str>,
        /// That of the module; else the last one.
        definition: Option<&'a str>,
    },
    /// Make an instance known to later imports.
    Register {
        /// The module name that imports know it by.
        name: &'a str,
        /// The instance; else the current one.
        instance: Option<&'a str>,
    },
    /// Call a function, which has to return.
    Invoke(Call<'a>),
    /// Expect these results.
    AssertReturn {
        /// What to do.
        run: Run<'a>,
        /// What must come of it.
        results: Vec<Expect>,
    },
    /// Expect a trap, an exhausted stack included.
    AssertTrap {
        /// What to do.
        run: Run<'a>,
        /// The trap, in the words of the specification's own interpreter.
        message: &'a str,
    },
    /// Expect that the module cannot be linked.
    AssertUnlinkable {
        /// The module.
        module: u32,
        /// Words of the error.
        message: &'a str,
    },
    /// Start a thread with a store of its own.
    Thread {
        /// The script's own identifier for the thread.
        name: &'a str,
        /// The instance whose memories it shares.
        shared: Option<&'a str>,
        /// The thread's actions, encoded.
        #[serde(borrow)]
        actions: Cow<'a, [u8]>,
    },
    /// Wait for the end of a thread.
    Wait {
        /// The script's own identifier for the thread.
        thread: &'a str,
    },
}

/// What an assertion is about.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Run<'a> {
    /// A call.
    Call(#[serde(borrow)] Call<'a>),
    /// The value of a global.
    Global {
        /// The instance; else the current one.
        instance: Option<&'a str>,
        /// The name of the export.
        name: &'a str,
    },
    /// The instantiation of a module.
    Module(u32),
}

/// A call of an exported function.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Call<'a> {
    /// The instance; else the current one.
    pub instance: Option<&'a str>,
    /// The name of the export.
    pub name: &'a str,
    /// The arguments; `None` if one has a type that has no values here.
    pub arguments: Option<Vec<Value>>,
}

/// An argument of a call. Floating-point numbers are their bits; lane 0 of a
/// vector is in the least significant bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Value {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// A 32-bit floating-point number.
    F32(u32),
    /// A 64-bit floating-point number.
    F64(u64),
    /// A vector.
    V128(u128),
    /// The null function.
    NullFunc,
    /// The null host reference.
    NullExtern,
    /// A host reference.
    Extern(u32),
}

impl Value {
    /// The value; `None` for a host reference whose number is too large.
    #[must_use]
    pub fn to_val(self) -> Option<Val> {
        Some(match self {
            Self::I32(x) => Val::I32(x),
            Self::I64(x) => Val::I64(x),
            Self::F32(bits) => Val::F32(bits),
            Self::F64(bits) => Val::F64(bits),
            Self::V128(bits) => Val::V128(bits),
            Self::NullFunc => Val::FuncRef(None),
            Self::NullExtern => Val::ExternRef(None),
            Self::Extern(number) => Val::ExternRef(Some(ExternRef::new(number)?)),
        })
    }
}

/// Encodes actions.
///
/// # Panics
///
/// Never: all that is in an action can be encoded.
#[must_use]
pub fn encode(actions: &[Action<'_>]) -> Vec<u8> {
    actions.iter().fold(Vec::new(), |bytes, action| {
        postcard::to_extend(action, bytes).expect("memory takes all bytes, and lengths are known")
    })
}

/// Decodes actions, one by one; ends after the first error.
pub fn decode(mut bytes: &[u8]) -> impl Iterator<Item = Result<Action<'_>, BundleError>> {
    let length = bytes.len();
    core::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let at = length - bytes.len();
        Some(match postcard::take_from_bytes(bytes) {
            Ok((action, rest)) => {
                bytes = rest;
                Ok(action)
            }
            Err(error) => {
                bytes = &[];
                Err(BundleError::decoding("a script's actions", at, error))
            }
        })
    })
}
