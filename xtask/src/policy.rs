//! What the workspace has decided about each of its crates, in one place. A
//! crate without a row here fails the lints, and so does a row without a crate.

/// How far down a crate stands, from the machine up. Used in messages, and for
/// the rules that hold for a whole layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Layer {
    /// What tests of any crate may use. Below all, since it knows nothing of the product.
    TestSupport,
    Machine,
    Mechanisms,
    Records,
    GuestBoundary,
    /// Where faults come from on a kind of machine. Beside the layers, on top
    /// of their public API; the facade passes it on behind a feature.
    Platform,
    Facade,
    /// What one compiler's code needs. Beside the layers as well.
    Adapter,
    /// Programs, embedders and test crates: nothing of the product is built on them.
    Top,
}

impl Layer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Layer::TestSupport => "test support",
            Layer::Machine => "machine",
            Layer::Mechanisms => "mechanisms",
            Layer::Records => "records",
            Layer::GuestBoundary => "guest boundary",
            Layer::Platform => "platform",
            Layer::Facade => "facade",
            Layer::Adapter => "adapter",
            Layer::Top => "top",
        }
    }

    /// Layers that may know neither a compiler nor WebAssembly's formats, so
    /// that code from any generator fits.
    pub(crate) fn knows_no_compiler(self) -> bool {
        self <= Layer::Facade
    }
}

/// One crate's row.
#[derive(Debug)]
pub(crate) struct CratePolicy {
    pub(crate) name: &'static str,
    pub(crate) layer: Layer,
    /// The crates of the workspace that it may be built on.
    pub(crate) may_use: &'static [&'static str],
    pub(crate) published: bool,
    /// Builds without `std` when its features are off.
    pub(crate) no_std: bool,
    /// Its tests build Cranelift, so they are linted with the whole workspace only.
    pub(crate) builds_compiler: bool,
    /// Its tests run on the other instruction sets as well.
    pub(crate) tested_everywhere: bool,
    /// docs.rs builds it for bare metal as well, with all its features.
    pub(crate) documented_for_bare_metal: bool,
    /// Files, or folders with a `mod.rs`, that are all code which signal and
    /// exception handlers run: see the step `handlers`.
    pub(crate) handler_modules: &'static [&'static str],
    /// Files that have such code among other code.
    pub(crate) handler_parts: &'static [&'static str],
}

/// The row that the others differ from.
const DEFAULT: CratePolicy = CratePolicy {
    name: "",
    layer: Layer::Top,
    may_use: &[],
    published: true,
    no_std: true,
    builds_compiler: false,
    tested_everywhere: false,
    documented_for_bare_metal: false,
    handler_modules: &[],
    handler_parts: &[],
};

/// Dependencies that layers up to the facade may not have, by the start of their names.
pub(crate) const COMPILERS: &[&str] = &[
    "wasmtime",
    "cranelift",
    "wasmparser",
    "wasm-",
    "wast",
    "wat",
];

/// Parts of steps that `cargo xtask ci` may leave out, by the names of step and part: where
/// the machine can't reach what they need. All others have to run.
pub(crate) const MAY_BE_LEFT_OUT: &[(&str, &str)] = &[
    // Fetched from a git host, which a machine that has all packages may not reach. The
    // workflow runs it, every week also without a push.
    ("deny", "advisories"),
    // The target is rustup's, and no packages have it. The workflow installs it.
    ("musl", "all of it"),
    // What only nightly toolchains have. The workflow installs one.
    ("asan", "all of it"),
    ("tsan", "all of it"),
    ("miri", "all of it"),
];

/// Tests that a step with a tool leaves out, by the names of step and test, and why: where they
/// would tell of the tool, and not of us.
pub(crate) const LEFT_OUT: &[(&str, &str, &str)] = &[
    (
        "asan",
        "a_million_jumps_leave_no_stack_behind",
        "with each jump it unmarks all of the thread's stack: a minute",
    ),
    (
        "asan",
        "contexts_of_threads_do_not_meet",
        "eighty thousand jumps: the same",
    ),
    (
        "tsan",
        "locks_are_free_and_what_they_guard_is_whole_in_a_child_forked_while_others_have_them",
        "it ends forked children that start threads",
    ),
    (
        "tsan",
        "the_first_second_and_ten_thousandth_trap_are_alike",
        "jumps leave entries on its stack of functions, until that is full",
    ),
    (
        "tsan",
        "a_trap_takes_no_lock",
        "thousands of jumps: the same",
    ),
    (
        "tsan",
        "a_guest_suspended_on_one_thread_traps_on_another",
        "its fiber goes from thread to thread, which it would have to be told",
    ),
    (
        "tsan",
        "a_fiber_that_moved_enters_again_on_the_thread_that_it_is_on",
        "the same",
    ),
    (
        "tsan",
        "a_host_error_and_a_panic_leave_a_guest_that_moved",
        "the same",
    ),
    (
        "tsan",
        "a_recorded_reason_moves_with_its_activation",
        "the same",
    ),
    (
        "miri",
        "hooks_are_called_in_children_and_only_there",
        "there are no forks in it",
    ),
    (
        "miri",
        "locks_are_free_and_what_they_guard_is_whole_in_a_child_forked_while_others_have_them",
        "the same",
    ),
    (
        "miri",
        "threads_that_wait_sleep",
        "the kernel does not know its threads",
    ),
    (
        "miri",
        "a_hundred_thousand_frames_are_captured_completely",
        "it interprets: minutes",
    ),
    (
        "miri",
        "a_limited_capture_keeps_the_innermost_frames",
        "of a hundred thousand frames: the same",
    ),
    (
        "miri",
        "no_garbage_makes_the_walk_panic_read_outside_or_go_on_for_ever",
        "all that the property test tries: the same",
    ),
    (
        "miri",
        "a_cursor_gives_the_same_frames_as_a_walk",
        "the same",
    ),
    (
        "miri",
        "a_kept_guard_delays_the_end_of_no_other_code",
        "hundreds of registrations: the same",
    ),
    (
        "miri",
        "an_address_can_be_reused_at_once_by_other_ranges",
        "the same",
    ),
    (
        "miri",
        "more_guards_than_there_are_slots_all_keep_their_code",
        "a thousand, each of which looks for a slot: the same",
    ),
    (
        "miri",
        "tens_of_thousands_of_ranges_are_each_found_and_each_removed",
        "the same",
    ),
    (
        "miri",
        "a_frame_belongs_to_the_newest_activation_above_it_on_its_own_stack",
        "many thousands of cases: the same",
    ),
];

/// The arguments for the test harness that leave out what [`LEFT_OUT`] says for `step`.
pub(crate) fn skipped_under(step: &str) -> impl Iterator<Item = &'static str> {
    LEFT_OUT
        .iter()
        .filter(move |(name, _, _)| *name == step)
        .flat_map(|(_, test, _)| ["--skip", test])
}

/// Circles of files that there are, by crate and files below its `src`: no new ones, and those
/// that are dissolved are taken out of here. See the step `circles`.
pub(crate) const CIRCLES: &[(&str, &[&str])] = &[];

/// A feature of a lower crate that one higher up leaves to its users to turn on.
#[derive(Debug)]
pub(crate) struct LeftToUsers {
    /// The higher crate.
    pub(crate) by: &'static str,
    pub(crate) krate: &'static str,
    pub(crate) features: &'static [&'static str],
    /// Why whoever wants the feature has the lower crate, or one that passes it on, among his dependencies anyway.
    pub(crate) reason: &'static str,
}

/// See the step `forwarding`. One that is no more left out has to go.
pub(crate) const LEFT_TO_USERS: &[LeftToUsers] = &[
    LeftToUsers {
        by: "trapline-embed",
        krate: "trapline-cpu-local",
        features: &["custom-base", "single-cpu", "tpidr-el2"],
        reason: "a kernel sets up its CPUs with the facade's functions, and the facade passes them on",
    },
    LeftToUsers {
        by: "trapline-embed",
        krate: "trapline-wasmtime",
        features: &["compile"],
        reason: "who compiles calls that crate's module `compile`",
    },
];

/// The feature that the no-std probe needs: it is a process, which may not write
/// the register by which a kernel finds a CPU's own data.
pub(crate) const PROBE_FEATURES: &str = "trapline-cpu-local/custom-base";

/// Everything up to the facade.
const CORE: &[&str] = &[
    "trapline-lock",
    "trapline-arch",
    "trapline-cpu-local",
    "trapline-code-registry",
    "trapline-backtrace",
    "trapline-activation",
    "trapline-host-result",
    "trapline",
];

/// Everything but the programs and test crates themselves. (Of the tests' support, programs
/// that measure use the made-up code.)
const BELOW_PROGRAMS: &[&str] = &[
    "trapline-test-support",
    "trapline-lock",
    "trapline-arch",
    "trapline-cpu-local",
    "trapline-code-registry",
    "trapline-backtrace",
    "trapline-activation",
    "trapline-host-result",
    "trapline-signal",
    "trapline",
    "trapline-wasmtime",
    "trapline-embed",
    "trapline-script",
];

pub(crate) const CRATES: &[CratePolicy] = &[
    CratePolicy {
        name: "trapline-test-support",
        layer: Layer::TestSupport,
        published: false,
        no_std: false,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-lock",
        layer: Layer::Machine,
        tested_everywhere: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-arch",
        layer: Layer::Machine,
        tested_everywhere: true,
        documented_for_bare_metal: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-cpu-local",
        layer: Layer::Mechanisms,
        may_use: &["trapline-arch"],
        handler_modules: &["src/bare_metal/per_cpu/base"],
        tested_everywhere: true,
        documented_for_bare_metal: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-code-registry",
        layer: Layer::Mechanisms,
        may_use: &["trapline-arch", "trapline-lock"],
        handler_modules: &["src/published.rs"],
        handler_parts: &["src/announce.rs", "src/lookup.rs", "src/node.rs"],
        tested_everywhere: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-backtrace",
        layer: Layer::Mechanisms,
        may_use: &["trapline-arch"],
        tested_everywhere: true,
        documented_for_bare_metal: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-activation",
        layer: Layer::Records,
        may_use: &[
            "trapline-arch",
            "trapline-cpu-local",
            "trapline-code-registry",
            "trapline-backtrace",
        ],
        handler_modules: &["src/handler.rs"],
        tested_everywhere: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-host-result",
        layer: Layer::GuestBoundary,
        may_use: &[
            "trapline-arch",
            "trapline-cpu-local",
            "trapline-code-registry",
            "trapline-backtrace",
            "trapline-activation",
        ],
        tested_everywhere: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-signal",
        layer: Layer::Platform,
        may_use: &[
            "trapline-lock",
            "trapline-arch",
            "trapline-cpu-local",
            "trapline-code-registry",
            "trapline-backtrace",
            "trapline-activation",
        ],
        no_std: false,
        handler_modules: &["src/handler", "src/handler/direct", "src/regs"],
        tested_everywhere: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline",
        layer: Layer::Facade,
        may_use: &[
            "trapline-arch",
            "trapline-cpu-local",
            "trapline-code-registry",
            "trapline-backtrace",
            "trapline-activation",
            "trapline-host-result",
            "trapline-signal",
        ],
        builds_compiler: true,
        tested_everywhere: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-wasmtime",
        layer: Layer::Adapter,
        may_use: CORE,
        builds_compiler: true,
        handler_modules: &["src/bytes.rs"],
        handler_parts: &[
            "src/block_table.rs",
            "src/module_code.rs",
            "src/trap_table.rs",
        ],
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-embed",
        layer: Layer::Top,
        may_use: &[
            "trapline",
            "trapline-activation",
            "trapline-arch",
            "trapline-backtrace",
            "trapline-code-registry",
            "trapline-cpu-local",
            "trapline-host-result",
            "trapline-lock",
            "trapline-signal",
            "trapline-wasmtime",
        ],
        builds_compiler: true,
        handler_modules: &["src/store/fault.rs"],
        handler_parts: &["src/append_list.rs", "src/code.rs"],
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-script",
        layer: Layer::Top,
        may_use: &[
            "trapline-activation",
            "trapline-code-registry",
            "trapline-embed",
            "trapline-wasmtime",
        ],
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-bundle",
        layer: Layer::Top,
        may_use: &["trapline-cli", "trapline-script", "trapline-wasmtime"],
        published: false,
        no_std: false,
        builds_compiler: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-cli",
        layer: Layer::Top,
        may_use: BELOW_PROGRAMS,
        no_std: false,
        builds_compiler: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-differential",
        layer: Layer::Top,
        may_use: BELOW_PROGRAMS,
        published: false,
        no_std: false,
        builds_compiler: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-bench",
        layer: Layer::Top,
        may_use: BELOW_PROGRAMS,
        published: false,
        no_std: false,
        builds_compiler: true,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-counts",
        layer: Layer::Top,
        may_use: BELOW_PROGRAMS,
        published: false,
        no_std: false,
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-test-image",
        layer: Layer::Top,
        may_use: BELOW_PROGRAMS,
        published: false,
        no_std: false,
        handler_modules: &["src/kernel/traps.rs"],
        ..DEFAULT
    },
    CratePolicy {
        name: "trapline-minimal-image",
        layer: Layer::Top,
        may_use: CORE,
        published: false,
        no_std: false,
        ..DEFAULT
    },
];

/// The row of the crate `name`.
pub(crate) fn of(name: &str) -> Option<&'static CratePolicy> {
    CRATES.iter().find(|policy| policy.name == name)
}
