//! Bare metal: each CPU has a copy, in an area that its base register points to.

mod lazy;
mod statics;

pub use statics::{CpuLocal, macro_support};

cfg_if::cfg_if! {
    if #[cfg(all(feature = "single-cpu", not(feature = "custom-base")))] {
        mod single_cpu;
        pub use single_cpu::Slot;
        pub use single_cpu::{area_layout, init_cpu, is_cpu_ready};
    } else {
        mod per_cpu;
        pub use per_cpu::Slot;
        pub use per_cpu::{area_layout, init_cpu, is_cpu_ready};
    }
}
