//! x

cfg_if::cfg_if! {
    if #[cfg(all(
        target_os = "linux",
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64",
            target_arch = "s390x",
        ),
    ))] {
        mod alt_stack;
        mod handler;
        mod install;
        mod regs;
        mod signals;

        pub use alt_stack::{PrepareThreadError, prepare_thread};
        pub use install::{
            ActionOnTop, InstallError, OnTop, SignalHandlers, UninstallError, UninstallErrorKind,
            ensure_installed, install,
        };
    }
}
