//! Threads that wait for an address of a shared memory, and their waking.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use trapline_lock::Mutex;

use crate::platform::Platform;

/// How a wait ended; the numbers are those of `memory.atomic.wait32` and `wait64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitOutcome {
    /// Somebody notified the address.
    Woken = 0,
    /// The value there was another one to begin with.
    NotEqual = 1,
    /// Nobody notified it in time.
    TimedOut = 2,
}

/// One waiting thread: the word becomes 1 when it is woken.
type Waiter = Arc<AtomicU32>;

/// The threads that wait, by address, in the order in which they came.
#[derive(Default, Debug)]
pub(crate) struct ParkingLot(Mutex<BTreeMap<u64, VecDeque<Waiter>>>);

impl ParkingLot {
    /// Waits at `address` if `still_expected` says so, for at most `timeout`.
    ///
    /// The question is asked and the thread enqueued in one step, as seen by
    /// [`notify`](Self::notify).
    pub(crate) fn wait(
        &self,
        platform: &dyn Platform,
        address: u64,
        still_expected: impl FnOnce() -> bool,
        timeout: Option<Duration>,
    ) -> WaitOutcome {
        // A deadline that cannot be told is never reached.
        let deadline = timeout.and_then(|timeout| platform.now().checked_add(timeout));
        let waiter = {
            let mut lot = self.0.lock();
            if !still_expected() {
                return WaitOutcome::NotEqual;
            }
            let waiter = Waiter::default();
            lot.entry(address)
                .or_default()
                .push_back(Arc::clone(&waiter));
            waiter
        };
        loop {
            if waiter.load(Ordering::Acquire) != 0 {
                return WaitOutcome::Woken;
            }
            let remaining = deadline.map(|deadline| deadline.saturating_sub(platform.now()));
            if remaining == Some(Duration::ZERO) {
                return self.give_up(address, &waiter);
            }
            platform.park(&waiter, remaining);
        }
    }

    /// Takes a waiter out of the queue, unless somebody woke it in the meantime.
    fn give_up(&self, address: u64, waiter: &Waiter) -> WaitOutcome {
        let mut lot = self.0.lock();
        if waiter.load(Ordering::Acquire) != 0 {
            return WaitOutcome::Woken;
        }
        if let Some(queue) = lot.get_mut(&address) {
            queue.retain(|other| !Arc::ptr_eq(other, waiter));
            if queue.is_empty() {
                lot.remove(&address);
            }
        }
        WaitOutcome::TimedOut
    }

    /// Wakes those that have waited longest at `address`, at most `count`.
    /// Returns how many that were.
    pub(crate) fn notify(&self, platform: &dyn Platform, address: u64, count: u32) -> u32 {
        let mut lot = self.0.lock();
        let Some(queue) = lot.get_mut(&address) else {
            return 0;
        };
        let mut woken = 0;
        while woken < count
            && let Some(waiter) = queue.pop_front()
        {
            waiter.store(1, Ordering::Release);
            platform.unpark(&waiter);
            woken += 1;
        }
        if queue.is_empty() {
            lot.remove(&address);
        }
        woken
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::platform::Hosted;

    #[test]
    fn nobody_waits_for_a_value_that_is_not_there() {
        let lot = ParkingLot::default();
        assert_eq!(lot.wait(&Hosted, 8, || false, None), WaitOutcome::NotEqual);
        assert_eq!(lot.notify(&Hosted, 8, 1), 0);
    }

    #[test]
    fn a_timeout_leaves_nobody_in_the_queue() {
        let lot = ParkingLot::default();
        let outcome = lot.wait(&Hosted, 8, || true, Some(Duration::from_millis(2)));
        assert_eq!(outcome, WaitOutcome::TimedOut);
        assert_eq!(lot.notify(&Hosted, 8, 1), 0);
        assert!(lot.0.lock().is_empty());
    }

    #[test]
    fn as_many_are_woken_as_asked_for_and_only_at_the_address() {
        let lot = ParkingLot::default();
        std::thread::scope(|scope| {
            let wait = |address| {
                let lot = &lot;
                move || lot.wait(&Hosted, address, || true, None)
            };
            let waiters = [4, 4, 4, 8].map(|address| scope.spawn(wait(address)));
            let waiting = |address| lot.0.lock().get(&address).map_or(0, VecDeque::len);
            while waiting(4) < 3 || waiting(8) < 1 {
                std::thread::yield_now();
            }
            assert_eq!(lot.notify(&Hosted, 4, 2), 2);
            assert_eq!(waiting(4), 1);
            assert_eq!(lot.notify(&Hosted, 4, u32::MAX), 1);
            assert_eq!(lot.notify(&Hosted, 8, 1), 1);
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), WaitOutcome::Woken);
            }
        });
    }
}
