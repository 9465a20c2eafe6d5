//! An allocator that a handler must not reach.

use trapline_test_support::allocator::Watched;

use super::os;

#[global_allocator]
static ALLOCATOR: Watched = Watched(check);

/// Stops the process when the allocator is called on the thread's signal stack, that is by
/// a handler.
fn check() {
    if os::is_on_signal_stack() {
        os::write(2, "a handler allocates or frees\n");
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
}
