//! Where guests and reports are printed.

use alloc::string::String;

/// The two streams that a guest and its report are printed to.
pub trait Console: 'static {
    /// Prints what the guest prints, and the results of its function.
    ///
    /// # Errors
    ///
    /// If nobody takes the text any more; the guest then fails with this error.
    fn stdout(&mut self, text: &str) -> anyhow::Result<()>;

    /// Prints reports: errors, traps, backtraces. What was printed to
    /// [`stdout`](Self::stdout) before comes first, where both end up in one
    /// place.
    fn stderr(&mut self, text: &str);
}

/// Both streams, kept as text.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Captured {
    /// What was printed to the first stream.
    pub stdout: String,
    /// What was printed to the second stream.
    pub stderr: String,
}

impl Console for Captured {
    fn stdout(&mut self, text: &str) -> anyhow::Result<()> {
        self.stdout.push_str(text);
        Ok(())
    }

    fn stderr(&mut self, text: &str) {
        self.stderr.push_str(text);
    }
}
