//! Threads for scripts.

use alloc::boxed::Box;
use alloc::string::String;

use crate::tally::Outcome;

/// What a thread of a script does.
pub type Job = Box<dyn FnOnce() -> Outcome + Send>;

/// Runs jobs at the same time as whoever asks for it.
///
/// A kernel runs a job on another CPU, as soon as one has nothing else to do.
/// Jobs wait for one another through the guest's memory, so a thread that
/// [waits](RunningJob::wait) for a job has to run others that nobody has begun
/// yet: with two CPUs, of which one waits and one runs a job that waits for
/// the next job, all get on.
pub trait Threads: Send + Sync {
    /// Starts a job.
    ///
    /// # Errors
    ///
    /// If there is no room for another one.
    fn spawn(&self, job: Job) -> anyhow::Result<Box<dyn RunningJob>>;

    /// How many jobs can really run at the same time.
    fn parallelism(&self) -> usize {
        1
    }
}

/// A job that was started.
pub trait RunningJob {
    /// Blocks until the job has come to its end; returns what came of it.
    ///
    /// # Errors
    ///
    /// What it said if it panicked.
    fn wait(self: Box<Self>) -> Result<Outcome, String>;
}

#[cfg(feature = "std")]
mod os {
    use super::*;
    use crate::report::panic_message;

    /// Threads of the operating system.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct OsThreads;

    impl Threads for OsThreads {
        fn spawn(&self, job: Job) -> anyhow::Result<Box<dyn RunningJob>> {
            // What guests may use by default, and as much as a script runner
            // without optimisation may need.
            const STACK: usize = 8 << 20;
            let thread = std::thread::Builder::new().stack_size(STACK).spawn(job)?;
            Ok(Box::new(OsThread(thread)))
        }

        fn parallelism(&self) -> usize {
            std::thread::available_parallelism().map_or(1, usize::from)
        }
    }

    struct OsThread(std::thread::JoinHandle<Outcome>);

    impl RunningJob for OsThread {
        fn wait(self: Box<Self>) -> Result<Outcome, String> {
            self.0
                .join()
                .map_err(|payload| panic_message(&*payload).into())
        }
    }
}

#[cfg(feature = "std")]
pub use os::OsThreads;
