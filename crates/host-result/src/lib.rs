//! The ABI between host functions and compiled code: what a host function
//! returns in Rust, what compiled code gets, and by which value it knows that
//! the host failed.
//!
//! ```text
//!  compiled code ── call ──► extern "C" fn shim(…) -> R::Abi
//!                                 catch_unwind_and_record_trap(|| host(…))
//!                                        │
//!                   Ok(value)            │        Err(error), panic
//!                      ▼                 │              ▼
//!                 value as R::Abi        │        recorded in the innermost activation;
//!                      │                 │        R::SENTINEL
//!  compiled code ◄─────┴─────────────────┴──────────────┘
//!    compares with the sentinel; if equal, calls the builtin that raises
//! ```
//!
//! | Rust type | ABI type | sentinel | catches panics |
//! | --- | --- | --- | --- |
//! | `()`, `bool`, `u32`, `u64`, `usize`, `f32`, `f64`, `*mut u8` | itself | none | no: these neither trap nor run user code |
//! | `NonNull<u8>` | `*mut u8` | none | no |
//! | `Result<(), E>` | `bool` | `false` | yes |
//! | `Result<NonZeroU32, E>` | `u32` | `0` | yes |
//! | `Result<u32, E>` | `u64` | `u64::MAX` | yes |
//! | `Result<bool, E>` | `u32` | `u32::MAX` | yes |
//! | `Result<*mut u8, E>` | `*mut u8` | all ones | yes |
//! | `Result<Infallible, E>` | `()` | always a failure | yes |
//!
//! `E` is anything that becomes an [`UnwindReason`]: what becomes a [`TrapReason`](trapline_activation::TrapReason) (`anyhow::Error`,
//! `TrapKind`), and errors of an embedder's own that say themselves how they are recorded, say as they are
//! ([`PassedOn`](trapline_activation::PassedOn)).
//!
//! # Example
//!
//! ```
//! use trapline_activation::TrapReason;
//! use trapline_host_result::catch_unwind_and_record_trap;
//!
//! /// What compiled code calls: `false` means "I failed, raise".
//! extern "C" fn log_byte(byte: u32) -> bool {
//!     catch_unwind_and_record_trap(|| -> Result<(), TrapReason> {
//!         let byte = u8::try_from(byte).map_err(anyhow::Error::from)?;
//!         print!("{}", char::from(byte));
//!         Ok(())
//!     })
//! }
//!
//! assert!(log_byte(65));
//! ```
#![no_std]

use core::convert::Infallible;
use core::num::NonZeroU32;
use core::ptr::{self, NonNull};

use trapline_activation::{UnwindReason, panic, record_unwind};

/// What a host function may return, and what compiled code gets of it.
pub trait HostResult {
    /// The type in the signature that compiled code calls.
    type Abi: Copy;

    /// Runs `f` and converts what it returns. Where the type has a failure
    /// sentinel, a panic in `f` is caught and comes back beside the sentinel as
    /// the reason to leave the guest; so does an error.
    ///
    /// A type without a sentinel has no way to tell compiled code of a failure:
    /// a panic in `f` goes on from here, and since it must not reach compiled
    /// code's frames, the `extern "C"` function that called this aborts the
    /// process.
    fn maybe_catch_unwind(f: impl FnOnce() -> Self) -> (Self::Abi, Option<UnwindReason>);

    /// The same, with the reason recorded in the innermost activation
    /// ([`record_unwind`]).
    ///
    /// # Panics
    ///
    /// If there is something to record, but no activation, or something recorded
    /// already.
    #[inline]
    fn run_and_record(f: impl FnOnce() -> Self) -> Self::Abi
    where
        Self: Sized,
    {
        let (abi, unwind) = Self::maybe_catch_unwind(f);
        if let Some(reason) = unwind {
            record(reason);
        }
        abi
    }
}

/// Host results with a value that tells compiled code of a failure.
///
/// # Safety
///
/// Compiled code goes on with what it gets unless it is the sentinel, so:
///
/// * [`into_abi`](Self::into_abi) never gives [`SENTINEL`](Self::SENTINEL).
/// * `SENTINEL` is the value that the compiler's code compares with for host
///   functions of this type.
pub unsafe trait HostResultHasUnwindSentinel {
    /// The type in the signature that compiled code calls.
    type Abi: Copy;

    /// The value by which compiled code knows that the host failed.
    const SENTINEL: Self::Abi;

    /// The value for compiled code, or why there is none.
    ///
    /// # Errors
    ///
    /// The reason to leave the guest.
    fn into_abi(self) -> Result<Self::Abi, UnwindReason>;
}

/// Runs a host function that was called by compiled code, and gives what
/// compiled code is to get. An error or a panic is recorded in the innermost
/// activation, and what is returned then is the sentinel that compiled code
/// tests for.
///
/// # Panics
///
/// If there is something to record, but no activation, or something recorded
/// already.
#[inline(always)]
pub fn catch_unwind_and_record_trap<R: HostResult>(f: impl FnOnce() -> R) -> R::Abi {
    R::run_and_record(f)
}

#[cold]
fn record(reason: UnwindReason) {
    record_unwind(reason);
}

macro_rules! infallible_host_results {
    ($($t:ty)*) => { $(
        impl HostResult for $t {
            type Abi = $t;

            #[inline]
            fn maybe_catch_unwind(f: impl FnOnce() -> Self) -> (Self, Option<UnwindReason>) {
                (f(), None)
            }
        }
    )* };
}

infallible_host_results! { () bool u32 u64 usize f32 f64 *mut u8 }

impl HostResult for NonNull<u8> {
    type Abi = *mut u8;

    #[inline]
    fn maybe_catch_unwind(f: impl FnOnce() -> Self) -> (*mut u8, Option<UnwindReason>) {
        (f().as_ptr(), None)
    }
}

impl<T, E> HostResult for Result<T, E>
where
    Self: HostResultHasUnwindSentinel,
{
    type Abi = <Self as HostResultHasUnwindSentinel>::Abi;

    #[inline]
    fn maybe_catch_unwind(f: impl FnOnce() -> Self) -> (Self::Abi, Option<UnwindReason>) {
        match panic::catch(|| f().into_abi()) {
            Ok(Ok(abi)) => (abi, None),
            Ok(Err(reason)) => (Self::SENTINEL, Some(reason)),
            Err(payload) => (Self::SENTINEL, Some(UnwindReason::Panic(payload))),
        }
    }

    // An error is recorded where it is caught sight of, not carried out first. A panic of what
    // records it (an error's own `source`, a core dump, no activation) is one of the host's, and
    // goes on as such.
    //
    // In line, with what records: the type of the error tells which reason it can be.
    #[inline(always)]
    fn run_and_record(f: impl FnOnce() -> Self) -> Self::Abi {
        let caught = panic::catch(|| match f().into_abi() {
            Ok(abi) => abi,
            Err(reason) => {
                record_unwind(reason);
                Self::SENTINEL
            }
        });
        caught.unwrap_or_else(|payload| {
            record(UnwindReason::Panic(payload));
            Self::SENTINEL
        })
    }
}

// SAFETY: success is `true`.
unsafe impl<E: Into<UnwindReason>> HostResultHasUnwindSentinel for Result<(), E> {
    type Abi = bool;
    const SENTINEL: bool = false;

    #[inline]
    fn into_abi(self) -> Result<bool, UnwindReason> {
        self.map(|()| true).map_err(Into::into)
    }
}

// SAFETY: success is not zero, by the type.
unsafe impl<E: Into<UnwindReason>> HostResultHasUnwindSentinel for Result<NonZeroU32, E> {
    type Abi = u32;
    const SENTINEL: u32 = 0;

    #[inline]
    fn into_abi(self) -> Result<u32, UnwindReason> {
        self.map(NonZeroU32::get).map_err(Into::into)
    }
}

// SAFETY: a `u32` extended by zeros is less than 2^32.
unsafe impl<E: Into<UnwindReason>> HostResultHasUnwindSentinel for Result<u32, E> {
    type Abi = u64;
    const SENTINEL: u64 = u64::MAX;

    #[inline]
    fn into_abi(self) -> Result<u64, UnwindReason> {
        self.map(u64::from).map_err(Into::into)
    }
}

// SAFETY: success is 0 or 1.
unsafe impl<E: Into<UnwindReason>> HostResultHasUnwindSentinel for Result<bool, E> {
    type Abi = u32;
    const SENTINEL: u32 = u32::MAX;

    #[inline]
    fn into_abi(self) -> Result<u32, UnwindReason> {
        self.map(u32::from).map_err(Into::into)
    }
}

// SAFETY: a pointer with all bits set is turned into a failure below, so that
// compiled code never takes it for one by accident.
unsafe impl<E: Into<UnwindReason>> HostResultHasUnwindSentinel for Result<*mut u8, E> {
    type Abi = *mut u8;
    const SENTINEL: *mut u8 = ptr::without_provenance_mut(usize::MAX);

    #[inline]
    fn into_abi(self) -> Result<*mut u8, UnwindReason> {
        match self {
            Ok(pointer) if pointer == Self::SENTINEL => Err(sentinel_as_value()),
            Ok(pointer) => Ok(pointer),
            Err(error) => Err(error.into()),
        }
    }
}

#[cold]
fn sentinel_as_value() -> UnwindReason {
    anyhow::anyhow!(
        "a host function returned the pointer with all bits set, which stands for failure"
    )
    .into()
}

// SAFETY: there is no success.
unsafe impl<E: Into<UnwindReason>> HostResultHasUnwindSentinel for Result<Infallible, E> {
    type Abi = ();
    const SENTINEL: () = ();

    #[inline]
    fn into_abi(self) -> Result<(), UnwindReason> {
        match self {
            Ok(never) => match never {},
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
