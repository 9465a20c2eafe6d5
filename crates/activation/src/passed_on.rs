//! Errors that were caught before, and are passed on as they are.
//!
//! A host function may fail with what a nested guest failed with. That has its backtrace already,
//! and the embedder has an error of its own for it, with more in it than a [`Trap`] has. It waits in
//! the slot of the activation like a trap that was captured there, and comes out as it went in.

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

use crate::{Trap, TrapReason};

/// An error that was caught before: nothing is captured for it again.
#[derive(Debug)]
pub enum PassedOn {
    /// A trap of which nothing but the reason is kept.
    Reason(TrapReason),
    /// An embedder's own error; a [`Trap`] is one, too.
    Error(Box<dyn CaughtError>),
}

/// An error that an embedder has made of a trap, or of something else that keeps a guest from going
/// on, to be passed on as [`PassedOn::Error`].
///
/// Who gets it back ([`Left`]) finds out by [`Any`] what it is, which costs no allocation if it is kept in a
/// box anyway.
pub trait CaughtError: Any + Send + fmt::Debug {
    /// The error as a trap, for those who do not know its type.
    fn into_trap(self: Box<Self>) -> Trap;
}

impl CaughtError for Trap {
    fn into_trap(self: Box<Self>) -> Trap {
        *self
    }
}

impl From<anyhow::Error> for PassedOn {
    fn from(error: anyhow::Error) -> Self {
        Self::Reason(TrapReason::User(error))
    }
}

impl From<Trap> for PassedOn {
    fn from(trap: Trap) -> Self {
        if trap.has_only_a_reason() {
            Self::Reason(trap.reason)
        } else {
            Self::Error(Box::new(trap))
        }
    }
}

/// What a guest was left for, for who makes an error of it: see
/// [`catch_traps_into`](crate::catch_traps_into).
#[derive(Debug)]
pub enum Left<'a> {
    /// A trap, which is lent: take out of it what is wanted. It is dropped afterwards.
    Trap(&'a mut Trap),
    /// An embedder's error that a host function has passed on.
    PassedOn(Box<dyn CaughtError>),
}

impl Left<'_> {
    /// The trap, by value.
    #[must_use]
    pub fn into_trap(self) -> Trap {
        match self {
            Self::Trap(trap) => trap.take(),
            Self::PassedOn(error) => error.into_trap(),
        }
    }
}
