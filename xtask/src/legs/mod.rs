//! The tests on machines that are not the host, under emulators, and with another C library.

pub(crate) mod bare;
pub(crate) mod bundle;
pub(crate) mod hosted;
mod outcome;

use crate::arch::Arch;
use crate::step::{Group, Machine, Step};

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
