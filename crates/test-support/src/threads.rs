//! What the kernel says of threads.

use std::fs;
use std::thread;
use std::time::Duration;

/// Names the thread that calls this, for [`sleeps`].
#[must_use]
pub fn thread_id() -> libc::pid_t {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }
}

/// Whether that thread of this process comes to sleep, and stays asleep for a number of looks. A thread that waits by
/// spinning never does, whether it gives up its time slices or not.
///
/// For threads that wait for something which the caller keeps from them. Only the answer "no" takes long.
///
/// # Panics
///
/// If the thread is gone.
#[must_use]
pub fn sleeps(thread: libc::pid_t) -> bool {
    const LOOKS: u32 = 20_000;
    const ENOUGH: u32 = 20;
    let mut asleep = 0;
    for _ in 0..LOOKS {
        let path = format!("/proc/self/task/{thread}/stat");
        let stat = fs::read_to_string(path).expect("a thread of this process");
        // "id (name) state …", where the name may have anything in it.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        asleep = if state == Some('S') { asleep + 1 } else { 0 };
        if asleep == ENOUGH {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}
