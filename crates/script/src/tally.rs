//! Counts of what a script's directives came to.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::AddAssign;

use serde::{Deserialize, Serialize};
use trapline_embed::Printable;

/// Defines [`Kind`] and its names in one table.
macro_rules! kinds {
    ($( $(#[$doc:meta])* $name:ident = $text:literal; )*) => {
        /// The kinds of directives.
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize,
        )]
        pub enum Kind {
            $( $(#[$doc])* $name, )*
        }

        impl Kind {
            /// Every kind, in the order in which they are listed in reports.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// The directive's keyword.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => $text, )*
                }
            }
        }
    };
}

kinds! {
    /// A module that is instantiated.
    Module = "module";
    /// A module that is only compiled.
    ModuleDefinition = "module definition";
    /// An instance of a module that was defined before.
    ModuleInstance = "module instance";
    /// An instance made known to later imports.
    Register = "register";
    /// A call whose results nobody looks at.
    Invoke = "invoke";
    /// A call or global with an expected value.
    AssertReturn = "assert_return";
    /// A call or instantiation that traps.
    AssertTrap = "assert_trap";
    /// A call that exhausts the stack.
    AssertExhaustion = "assert_exhaustion";
    /// A module that is not valid.
    AssertInvalid = "assert_invalid";
    /// A module that can't be read.
    AssertMalformed = "assert_malformed";
    /// A custom section that is not valid.
    AssertInvalidCustom = "assert_invalid_custom";
    /// A custom section that can't be read.
    AssertMalformedCustom = "assert_malformed_custom";
    /// A module whose imports don't fit.
    AssertUnlinkable = "assert_unlinkable";
    /// A call that ends in an exception.
    AssertException = "assert_exception";
    /// A call that suspends without a handler.
    AssertSuspension = "assert_suspension";
    /// Directives for a thread of their own.
    Thread = "thread";
    /// The end of a thread.
    Wait = "wait";
}

impl Kind {
    /// Whether a directive of this kind takes a module through compilation and
    /// loading, or runs code; the others only look at how a module is refused.
    #[must_use]
    pub const fn executes(self) -> bool {
        !matches!(
            self,
            Self::AssertInvalid
                | Self::AssertMalformed
                | Self::AssertInvalidCustom
                | Self::AssertMalformedCustom
        )
    }
}

/// How many directives did as they should, how many did not, and how many were
/// left out.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Did as they should.
    pub passed: usize,
    /// Did something else.
    pub failed: usize,
    /// Left out by whoever made the script, or because nothing here implements
    /// them.
    pub skipped: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// A directive that did not do as it should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The script's name, as given to the runner.
    pub script: String,
    /// The directive's line, from 1.
    pub line: usize,
    /// What kind of directive it is; `None` if the script as a whole failed.
    pub kind: Option<Kind>,
    /// What was expected, and what happened.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.script, self.line)?;
        if let Some(kind) = self.kind {
            write!(f, "{}: ", kind.name())?;
        }
        Printable(&self.message).fmt(f)
    }
}

/// What one or more scripts came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Outcome {
    tallies: [Tally; Kind::ALL.len()],
    broken_scripts: usize,
    /// Every failure, in the order of the scripts.
    pub failures: Vec<Failure>,
}

impl Outcome {
    /// What a script comes to that could not be run to its end.
    #[must_use]
    pub fn of_broken_script(script: &str, line: usize, message: String) -> Self {
        let mut outcome = Self::default();
        outcome.fail(Failure {
            script: script.into(),
            line,
            kind: None,
            message,
        });
        outcome
    }

    /// The counts of one kind of directive.
    #[must_use]
    pub const fn tally(&self, kind: Kind) -> Tally {
        self.tallies[kind as usize]
    }

    /// The counts of all directives together. A script that could not be run
    /// to its end counts as one more failure.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut total = Tally {
            failed: self.broken_scripts,
            ..Tally::default()
        };
        for tally in self.tallies {
            total += tally;
        }
        total
    }

    /// The number of directives passed that [execute](Kind::executes) something.
    #[must_use]
    pub fn executed(&self) -> usize {
        Kind::ALL
            .iter()
            .filter(|kind| kind.executes())
            .map(|kind| self.tally(*kind).passed)
            .sum()
    }

    /// Adds another outcome to this one.
    pub fn merge(&mut self, other: Self) {
        for (own, other) in self.tallies.iter_mut().zip(other.tallies) {
            *own += other;
        }
        self.broken_scripts += other.broken_scripts;
        self.failures.extend(other.failures);
    }

    pub(crate) fn pass(&mut self, kind: Kind) {
        self.tallies[kind as usize].passed += 1;
    }

    pub(crate) fn skip(&mut self, kind: Kind) {
        self.tallies[kind as usize].skipped += 1;
    }

    /// Adds a failure.
    pub fn fail(&mut self, failure: Failure) {
        match failure.kind {
            Some(kind) => self.tallies[kind as usize].failed += 1,
            None => self.broken_scripts += 1,
        }
        self.failures.push(failure);
    }
}

/// The counts, one kind of directive a line, and the sum of all on the last.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Kind::ALL {
            let tally = self.tally(*kind);
            if tally != Tally::default() {
                writeln!(f, "{:24} {tally}", kind.name())?;
            }
        }
        writeln!(f, "{}", self.total())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn kinds_are_numbered_in_the_order_of_their_list() {
        for (i, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, i);
        }
    }

    #[test]
    fn the_last_line_is_the_sum() {
        let mut outcome = Outcome::default();
        outcome.pass(Kind::Module);
        outcome.skip(Kind::AssertTrap);
        outcome.fail(Failure {
            script: "a.wast".into(),
            line: 7,
            kind: Some(Kind::AssertReturn),
            message: "expected 1, got 2".into(),
        });
        assert_eq!(
            outcome.to_string().lines().last(),
            Some("1 passed, 1 failed, 1 skipped")
        );
        assert_eq!(
            outcome.failures[0].to_string(),
            "a.wast:7: assert_return: expected 1, got 2"
        );
    }

    #[test]
    fn a_script_that_breaks_counts_as_a_failure() {
        let mut outcome = Outcome::default();
        outcome.fail(Failure {
            script: "a.wast".into(),
            line: 1,
            kind: None,
            message: "expected `(`".into(),
        });
        let mut sum = Outcome::default();
        sum.merge(outcome);
        assert_eq!(sum.total().to_string(), "0 passed, 1 failed, 0 skipped");
    }
}
