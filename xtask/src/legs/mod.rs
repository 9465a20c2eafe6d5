//! The tests on machines that are not the host, under emulators, with another C library, and with
//! sanitizers.

pub(crate) mod bare;
pub(crate) mod bundle;
pub(crate) mod hosted;
mod outcome;

use crate::arch::Arch;
use crate::step::{Group, Machine, Step};

use self::hosted::Sanitizer;

pub(crate) const AARCH64: Step = Step {
    name: "aarch64",
    about: "the layers' tests, guests and specification scripts on aarch64 Linux",
    group: Group::Test,
    needs: &[Machine::Hosted(Arch::Aarch64)],
    run: |context| hosted::run(context, Arch::Aarch64),
};

pub(crate) const RISCV64: Step = Step {
    name: "riscv64",
    about: "the same on riscv64 Linux",
    group: Group::Test,
    needs: &[Machine::Hosted(Arch::Riscv64)],
    run: |context| hosted::run(context, Arch::Riscv64),
};

pub(crate) const S390X: Step = Step {
    name: "s390x",
    about: "the same on s390x Linux",
    group: Group::Test,
    needs: &[Machine::Hosted(Arch::S390x)],
    run: |context| hosted::run(context, Arch::S390x),
};

pub(crate) const MUSL: Step = Step {
    name: "musl",
    about: "the same on this machine with the C library musl, linked statically",
    group: Group::Test,
    needs: &[Machine::Musl],
    run: hosted::run_musl,
};

pub(crate) const ASAN: Step = Step {
    name: "asan",
    about: "the same on this machine with address sanitizer, as it is by default",
    group: Group::Test,
    needs: &[Machine::Nightly],
    run: |context| {
        let sanitizer = Sanitizer {
            name: "address",
            library: "asan",
            builds_std: false,
            packages: None,
        };
        hosted::run_sanitized(context, &sanitizer)
    },
};

pub(crate) const TSAN: Step = Step {
    name: "tsan",
    about: "the tests of what threads share on this machine with thread sanitizer",
    group: Group::Test,
    needs: &[Machine::Nightly],
    run: |context| {
        let sanitizer = Sanitizer {
            name: "thread",
            library: "tsan",
            builds_std: true,
            // Not those of `trapline-arch`, which jump over frames some hundred thousand times: it keeps a stack
            // of the functions that were called, which all of them have to leave. And not those of
            // `trapline-signal`: it puts handlers of its own in place of others', and calls them later.
            packages: Some(&[
                "trapline-lock",
                "trapline-cpu-local",
                "trapline-code-registry",
                "trapline-activation",
                "trapline-host-result",
            ]),
        };
        hosted::run_sanitized(context, &sanitizer)
    },
};

pub(crate) const BARE_X86_64: Step = Step {
    name: "bare-x86_64",
    about: "scenarios, guests and specification scripts on two bare x86_64 CPUs",
    group: Group::Test,
    needs: &[Machine::Bare(Arch::X86_64)],
    run: |context| bare::run(context, Arch::X86_64),
};

pub(crate) const BARE_AARCH64: Step = Step {
    name: "bare-aarch64",
    about: "the same on two bare aarch64 CPUs",
    group: Group::Test,
    needs: &[Machine::Bare(Arch::Aarch64)],
    run: |context| bare::run(context, Arch::Aarch64),
};

pub(crate) const BARE_RISCV64: Step = Step {
    name: "bare-riscv64",
    about: "the same on two bare riscv64 CPUs",
    group: Group::Test,
    needs: &[Machine::Bare(Arch::Riscv64)],
    run: |context| bare::run(context, Arch::Riscv64),
};
