//! The high precision event timer, for its counter: the same for all CPUs, at a
//! frequency that it tells itself (IA-PC HPET Specification, 2.3).

use core::time::Duration;

/// QEMU, include/hw/timer/hpet.h, `HPET_BASE`.
pub(super) const BASE: usize = 0xfed0_0000;

/// The upper half of the capabilities: femtoseconds per count.
const PERIOD: usize = 0x004;
const CONFIGURATION: usize = 0x010;
const COUNTER: usize = 0x0f0;

const FEMTOSECONDS_PER_NANOSECOND: u128 = 1_000_000;

pub(super) fn enable() {
    const ENABLE: u64 = 1 << 0;
    // SAFETY: a register of the device, mapped as long as the image runs.
    unsafe { register::<u64>(CONFIGURATION).write_volatile(ENABLE) };
}

pub(super) fn now() -> Duration {
    // SAFETY: registers of the device, mapped as long as the image runs.
    let (count, period) = unsafe {
        (
            register::<u64>(COUNTER).read_volatile(),
            register::<u32>(PERIOD).read_volatile(),
        )
    };
    let nanoseconds = u128::from(count) * u128::from(period) / FEMTOSECONDS_PER_NANOSECOND;
    Duration::from_nanos(nanoseconds as u64)
}

fn register<T>(offset: usize) -> *mut T {
    core::ptr::with_exposed_provenance_mut(BASE + offset)
}
