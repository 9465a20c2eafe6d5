//! Jobs: what CPUs do.
//!
//! A CPU without work takes jobs from one queue. A CPU that waits for a job to end
//! takes others meanwhile, so jobs may wait for each other as long as each that
//! somebody waits for can run to its end.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::any::Any;

use spin::Mutex;
use trapline::activation::panic;

use super::cpus;
use crate::isa;

type Job = Box<dyn FnOnce() + Send>;

/// Taken with interrupts disabled, too: nobody may wait for another CPU while
/// holding it.
static QUEUE: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());

/// What a job returned; or the payload of its panic.
pub(crate) type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// A job that was started.
pub(crate) struct Handle<T>(Arc<Mutex<Option<Outcome<T>>>>);

/// Has some CPU run `job`.
pub(crate) fn spawn<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Handle<T> {
    let outcome = Arc::new(Mutex::new(None));
    let promise = Arc::clone(&outcome);
    QUEUE.lock().push_back(Box::new(move || {
        let result = panic::catch(job);
        *promise.lock() = Some(result);
    }));
    for other in (0..cpus::COUNT).filter(|&cpu| cpu != cpus::index()) {
        isa::send_ipi(other);
    }
    Handle(outcome)
}

impl<T> Handle<T> {
    /// Waits until the job has ended, and runs others meanwhile.
    pub(crate) fn join(self) -> Outcome<T> {
        loop {
            if let Some(outcome) = self.0.lock().take() {
                return outcome;
            }
            match next() {
                Some(job) => job(),
                None => isa::pause(),
            }
        }
    }
}

fn next() -> Option<Job> {
    QUEUE.lock().pop_front()
}

/// What a CPU does that has nothing else to do.
pub(crate) fn run_for_ever() -> ! {
    loop {
        // Whoever adds a job after the look at the queue interrupts the wait.
        isa::disable_interrupts();
        match next() {
            Some(job) => {
                isa::enable_interrupts();
                job();
            }
            None => isa::wait_for_interrupt(),
        }
    }
}
