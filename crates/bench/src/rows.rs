//! The rows of the comparison, all of them, in one place.

use anyhow::Result;
use trapline_code_registry::CodeRegistry;

use crate::floor::{self, Fault};
use crate::measure::{Bench, Measured};
use crate::registry::LockedMap;
use crate::sides::{Ours, Peer};
use crate::{backtraces, entry, nesting, registry, startup, traps};

/// What a process does for a row.
pub(crate) type Measure = fn(&Bench) -> Result<Measured>;

/// The parts of the page, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Topic {
    Entry,
    Traps,
    Backtraces,
    Nesting,
    Registry,
    Startup,
}

impl Topic {
    pub(crate) const ALL: [Self; 6] = [
        Self::Entry,
        Self::Traps,
        Self::Backtraces,
        Self::Nesting,
        Self::Registry,
        Self::Startup,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Entry => "Entering a guest",
            Self::Traps => "Traps",
            Self::Backtraces => "Backtraces",
            Self::Nesting => "Host and guest, nested",
            Self::Registry => "Whose code is it?",
            Self::Startup => "Size and start-up",
        }
    }

    /// Whom ours is compared with.
    pub(crate) fn peer(self) -> &'static str {
        match self {
            Self::Registry => "`RwLock<BTreeMap>`",
            _ => "Wasmtime",
        }
    }
}

/// What figures of a row are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    /// A quotient.
    Factor,
}

/// What ours has to reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Target {
    /// The row is there to be read.
    None,
    /// At most so many times what the peer needs.
    OfPeer(f64),
    /// Less than the peer needs.
    BelowPeer,
    /// At most so many times the floor.
    OfFloor(f64),
    /// At most this.
    AtMost(f64),
}

/// One line of the tables.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// By which it is selected.
    pub(crate) name: &'static str,
    pub(crate) topic: Topic,
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    pub(crate) target: Target,
    pub(crate) ours: Option<Measure>,
    pub(crate) peer: Option<Measure>,
    /// The last one counts.
    pub(crate) floors: Vec<Measure>,
    /// Its process may use all CPUs.
    pub(crate) many_cpus: bool,
    /// What a reader should know of it.
    pub(crate) note: &'static str,
    /// Why the target is missed where it is: what the time is made of. Shown then only, beside
    /// the figures; it has none of its own that a run could contradict.
    pub(crate) reason: &'static str,
}

impl Row {
    fn new(topic: Topic, name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            topic,
            what,
            unit: Unit::Nanoseconds,
            target: Target::None,
            ours: None,
            peer: None,
            floors: Vec::new(),
            many_cpus: false,
            note: "",
            reason: "",
        }
    }

    fn sides(mut self, ours: Measure, peer: Measure) -> Self {
        self.ours = Some(ours);
        self.peer = Some(peer);
        self
    }

    fn ours(mut self, ours: Measure) -> Self {
        self.ours = Some(ours);
        self
    }

    fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    fn floor(mut self, floor: Option<Measure>) -> Self {
        self.floors.extend(floor);
        self
    }

    fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    fn missed_because(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }
}

/// A function for both sides.
macro_rules! both {
    ($row:expr, $measure:path) => {{
        use $measure as measure;
        $row.sides(measure::<Ours>, measure::<Peer>)
    }};
}

/// All rows.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = entry();
    rows.extend(traps());
    rows.extend(backtraces());
    rows.extend(nesting());
    rows.extend(registry());
    rows.extend(startup());
    rows
}

fn entry() -> Vec<Row> {
    let row = |name, what| Row::new(Topic::Entry, name, what);
    vec![
        both!(
            row(
                "entry-empty",
                "host → guest → host, empty function, typed call"
            ),
            entry::empty
        )
        .target(Target::OfFloor(1.5))
        .floor(Some(floor::trampoline))
        .note(
            "the floor is the compiled entry trampoline and the function, called through a \
             pointer with slots that are filled in already",
        )
        .missed_because(
            "beside the compiled code, an entry checks whose function it is, fills in slots, \
             looks whether the thread has a signal stack, sets the limit of the guest's, notes how deep the \
             store is entered, and links an activation, by which handlers know the guest; on the \
             way out it undoes that. A bare call needs none of it, a guest that traps all of it. \
             Tried, and left out since nothing was gained: looking at two of the store's words in \
             place of five, for 113 instructions in place of 120 (6.39 ns, and 6.40 without), and \
             keeping over the call how deep the store is entered (6.59 ns)",
        ),
        both!(
            row("entry-values", "the same with two `i32` and a result"),
            entry::add
        )
        .floor(Some(floor::trampoline_with_values)),
        both!(
            row("entry-host-call", "the same with a host call inside"),
            entry::call_host
        )
        .target(Target::OfFloor(1.5))
        .floor(Some(floor::trampoline_with_host_call))
        .note(
            "the floor goes on through the compiled exit trampoline to a host function that \
             returns at once",
        )
        .missed_because(
            "nearly all of it is the entry above; the host function has its closure and its \
             store to find, and its panics to be caught. What was tried there changed nothing here \
             (6.70 ns, and 6.71 without)",
        ),
    ]
}

fn traps() -> Vec<Row> {
    let row = |name, what| Row::new(Topic::Traps, name, what);
    let floors = "the floors are a bare program: its handler rewrites the interrupted context \
                  and returns, or jumps straight out";
    let kernel = "all but a small part is the processor's and the kernel's, on both sides: the \
                  fault, the signal's frame, and the way out of the handler. Ours jumps out, as \
                  the second floor does, which does nothing else at all; ours enters the guest, \
                  looks for the code and the trap that the fault belongs to, records it, and makes \
                  an error of it. The jump is the best that was tried: a return through the \
                  kernel is the first floor and more. What takes a fault can't get below that floor; code with \
                  explicit checks takes none";
    vec![
        both!(
            row("trap-host-error", "raised by a host function, no backtrace"),
            traps::host_error
        )
        .target(Target::OfFloor(1.6))
        .floor(floor::set_and_jump())
        .floor(Some(floor::host_error))
        .note(
            "the error is a type without fields, as an `anyhow::Error` here and a \
             `wasmtime::Error` there; the floors are the C library's `setjmp` and `longjmp`, and \
             one bare program: through the compiled trampolines to a host function that makes an \
             `anyhow::Error` and returns, on by a jump to the entry trampoline's landing pad, \
             and the error dropped",
        )
        .missed_because(
            "the floor is compiled code, the landing, and the making and dropping of the error. \
             Ours, in addition, has the entry's bookkeeping, asks the error whether it carries a \
             guest's trap from further in, records it in the activation, and makes the caller's \
             error of it. Tried: a look at the error for each type that it may have, which takes 717 \
             instructions (one look for all: 707)",
        ),
        both!(
            row(
                "trap-host-error-backtrace",
                "the same with a backtrace of 1 frame"
            ),
            traps::host_error_with_backtrace
        )
        .target(Target::OfFloor(2.5))
        .floor(Some(floor::host_error_with_backtrace))
        .note(
            "both sides resolve the frame to names and offset: the peer before it returns the \
             error, ours because the row asks the error for it; the floor is the bare program of \
             the row above, whose host function walks to the frame and searches for its function \
             and its bytecode offset in two sorted arrays (names and a place to keep the frame \
             in cost it nothing)",
        )
        .missed_because(
            "the error of the row above is a good part of it; the rest is the backtrace: an \
             allocation where it is kept, a reference to the modules, the module that has the \
             frame's address, its function, its name, and, the largest part, a bytecode offset from the \
             artifact's own table, whose entries have to be decoded in turn: 650 instructions, eight bytes at \
             a time. Tried, and kept: looking for a function's name first where it mostly stands \
             (42 instructions of 2448)",
        ),
        both!(
            row(
                "trap-host-error-unread",
                "the same, the frame never looked at"
            ),
            traps::host_error_with_raw_backtrace
        )
        .note("ours resolves nothing then, the peer does as in the row above: not the same work"),
        both!(
            row(
                "trap-out-of-bounds",
                "out of bounds load (SIGSEGV), no backtrace"
            ),
            traps::out_of_bounds
        )
        .target(Target::OfFloor(1.1))
        .floor(floor::fault_and_return(Fault::Load))
        .floor(floor::fault_and_jump(Fault::Load))
        .note(floors)
        .missed_because(kernel),
        both!(
            row("trap-division", "`INT_MIN / -1` (SIGFPE), no backtrace"),
            traps::division
        )
        .target(Target::OfFloor(1.1))
        .floor(floor::fault_and_return(Fault::Division))
        .floor(floor::fault_and_jump(Fault::Division))
        .note(
            "compiled code leaves the overflow to the processor where that has a fault for it \
             (x86_64)",
        )
        .missed_because(kernel),
        both!(
            row(
                "trap-unreachable",
                "`unreachable` by an instruction, no backtrace"
            ),
            traps::unreachable
        )
        .target(Target::OfPeer(0.25))
        .floor(floor::fault_and_return(Fault::Refused))
        .floor(floor::fault_and_jump(Fault::Refused))
        .note(
            "on x86_64 the compiler has a `ud2` there (SIGILL), which the peer runs; ours has made it \
             a `hlt` (SIGSEGV) when it loaded the code, and so have the floors. Hypervisors \
             intercept the exception of the former. On other machines both run the same instruction",
        )
        .missed_because(kernel),
        both!(
            row(
                "trap-division-by-zero",
                "`1 / 0`, found by compiled code, then the same"
            ),
            traps::division_by_zero
        )
        .target(Target::OfPeer(0.25))
        .floor(floor::fault_and_return(Fault::Refused))
        .floor(floor::fault_and_jump(Fault::Refused))
        .missed_because(kernel),
        both!(
            row(
                "trap-explicit",
                "`unreachable` without hardware, no backtrace"
            ),
            traps::unreachable_without_hardware
        )
        .target(Target::OfFloor(2.0))
        .floor(Some(floor::explicit_trap))
        .note(
            "both sides run an artifact with explicit checks; the floor is the bare program of the \
             errors, which notes the trap's code and makes no error",
        )
        .missed_because(
            "the floor is compiled code and the landing. Ours, in addition, has the entry's \
             bookkeeping, records the trap in the activation, and makes an error of it. It does not \
             allocate; there are 404 instructions from call to error, and nothing among them that \
             could be left out was found",
        ),
    ]
}

fn backtraces() -> Vec<Row> {
    let row = |name, what| Row::new(Topic::Backtraces, name, what);
    vec![
        both!(
            row(
                "backtrace-frame",
                "a frame more, 8000 deep, as it is captured"
            ),
            backtraces::raw
        )
        .target(Target::OfPeer(0.2))
        .floor(Some(floor::walk))
        .note(
            "a host function captures at depth 8000 and at depth 1000; the difference, divided \
             by 7000. `WasmBacktrace::force_capture` resolves frames, but here 20 at either \
             depth (its default limit), so that the difference is that of its walk alone; ours \
             is `capture_backtrace`. The floor is a chain of frame records in order, two loads \
             for each",
        ),
        both!(
            row(
                "backtrace-frame-resolved",
                "the same, with names and offsets"
            ),
            backtraces::with_names
        )
        .note("`force_capture` with a limit beyond 8000, and `capture_backtrace` with `resolve`"),
        both!(
            row(
                "backtrace-ten",
                "with names and offsets, 10 deep, more than without"
            ),
            backtraces::ten_frames
        )
        .target(Target::OfPeer(0.3))
        .floor(Some(floor::ten_frames))
        .note(
            "an error of a host function 10 frames deep with a backtrace, resolved by both \
             sides, less the same with backtraces off; the floor is the same difference of the \
             bare program of the errors",
        ),
    ]
}

fn nesting() -> Vec<Row> {
    let row = |name, what| Row::new(Topic::Nesting, name, what);
    let linear = 1.25;
    vec![
        both!(
            row(
                "nested",
                "100 deep, error from the bottom, a level, no backtrace"
            ),
            nesting::without_backtrace
        )
        .target(Target::OfFloor(1.5))
        .floor(Some(floor::nested))
        .note(
            "100 entries into the guest, each from a host function that the previous one \
             called; the innermost host function fails, and each of the others returns the \
             error that it got. The whole, entries included, divided by 100. The floor does the \
             same with bare host functions, which keep the outer entry's landing pad and enter \
             the guest again: one error is made, and at each level the guest is entered, calls \
             out, and is left for its landing pad",
        )
        .missed_because(
            "a level has an entry with all its bookkeeping, a host call, a landing, and an error \
             that is passed on; compiled code and landings are the floor. Ours adds the store's \
             words, which are kept and put back around each level, and takes the error to pieces \
             and puts it together again, since it has to be recorded with the guest that is left. Tried: what \
             is named under the entry, which a level has as well, without a gain",
        ),
        both!(
            row("nested-backtrace", "the same with a backtrace"),
            nesting::with_backtrace
        )
        .target(Target::OfFloor(1.5))
        .floor(Some(floor::nested_with_backtrace))
        .note(
            "of the innermost 20 frames (the peer's default), resolved by both sides; the floor \
             walks to them over the frame records of as many levels, and searches for each in \
             two sorted arrays",
        )
        .missed_because(
            "most of it is the row above: the backtrace is captured and resolved once, at the \
             bottom, and shared among 100 levels",
        ),
        both!(
            row(
                "nested-all-frames",
                "the same with a backtrace of all 100 frames"
            ),
            nesting::with_all_frames
        )
        .note("resolved by both sides"),
        both!(
            row("nested-growth-100", "a level at 100 levels, over one at 10"),
            nesting::growth_to_100
        )
        .unit(Unit::Factor)
        .target(Target::AtMost(linear))
        .note("with a backtrace; 1 is linear"),
        both!(
            row(
                "nested-growth-400",
                "a level at 400 levels, over one at 100"
            ),
            nesting::growth_to_400
        )
        .unit(Unit::Factor)
        .target(Target::AtMost(linear)),
    ]
}

/// A function of the registry, for both sides, and its floor, with a number of ranges.
macro_rules! among {
    ($row:expr, $measure:ident, $ranges:expr, [$($floor:ident),*]) => {
        $row.sides(
            |bench| registry::$measure::<CodeRegistry>(bench, $ranges),
            |bench| registry::$measure::<LockedMap>(bench, $ranges),
        )
        $( .floor(Some(|bench| floor::$floor(bench, $ranges))) )*
    };
}

fn registry() -> Vec<Row> {
    let row = |name, what| Row::new(Topic::Registry, name, what);
    let ahead = Target::BelowPeer;
    let threads = |name, what| Row {
        many_cpus: true,
        ..row(name, what).target(ahead)
    };
    vec![
        among!(
            row("lookup-1", "lookup among 1 range"),
            lookup,
            1,
            [search, known]
        )
        .target(ahead)
        .note(
            "random addresses; each lookup looks at the code object that it finds. Of the two \
             floors, the first is a yardstick: a binary search in a sorted array of the same \
             ranges, which never changes. In large ones it waits for memory more often than a \
             search tree does. The second one counts: the entry of the range, at a place that is \
             known",
        ),
        among!(
            row("lookup-1000", "lookup among 1 000"),
            lookup,
            1_000,
            [search, known]
        )
        .target(ahead),
        among!(
            row("lookup-100000", "lookup among 100 000"),
            lookup,
            100_000,
            [search, known]
        )
        .target(ahead),
        among!(
            row("lookup-1000000", "lookup among 1 000 000"),
            lookup,
            1_000_000,
            [search, known]
        )
        .target(ahead),
        among!(
            threads("lookup-threads-1", "on each of 2 threads, among 1"),
            lookup_on_threads,
            1,
            [search_on_threads, known_on_threads]
        )
        .note(
            "what a thread waits for a lookup while the other one looks up, too; floors as above",
        ),
        among!(
            threads("lookup-threads-1000", "on each of 2 threads, among 1 000"),
            lookup_on_threads,
            1_000,
            [search_on_threads, known_on_threads]
        ),
        among!(
            threads(
                "lookup-threads-100000",
                "on each of 2 threads, among 100 000"
            ),
            lookup_on_threads,
            100_000,
            [search_on_threads, known_on_threads]
        ),
        among!(
            threads(
                "lookup-threads-1000000",
                "on each of 2 threads, among 1 000 000"
            ),
            lookup_on_threads,
            1_000_000,
            [search_on_threads, known_on_threads]
        ),
        among!(
            row("register-1", "registering one when 1 is there"),
            register,
            1,
            [insert, make]
        )
        .note(
            "100 at random places, timed together; they are taken out outside of the time. Of \
             the two floors, the first is a yardstick: an insertion into a `BTreeMap` that has \
             no lock and does not look for overlaps. The second one counts: the code object is \
             made, and no more",
        ),
        among!(
            row("register-1000", "when 1 000 are there"),
            register,
            1_000,
            [insert, make]
        ),
        among!(
            row("register-100000", "when 100 000 are there"),
            register,
            100_000,
            [insert, make]
        )
        .target(Target::OfPeer(2.0)),
        among!(
            row("register-1000000", "when 1 000 000 are there"),
            register,
            1_000_000,
            [insert, make]
        ),
    ]
}

fn startup() -> Vec<Row> {
    let row = |name, what| Row::new(Topic::Startup, name, what);
    vec![
        both!(
            row(
                "start-process",
                "from `main` to the first trap caught, in a new process"
            ),
            startup::first_trap_of_process
        )
        .note(
            "the engine, the artifact from a file, an instance, and an out of bounds load, its \
             frame resolved",
        ),
        both!(
            row("start-trap", "of that, the call that traps"),
            startup::first_trap_alone
        ),
        both!(
            row("start-thread", "first call on a new thread"),
            startup::first_call_on_thread
        )
        .note("of a guest that was called on other threads before; nothing traps"),
        both!(
            row(
                "stack-host-call",
                "stack between caller and host function called by the guest"
            ),
            startup::stack_to_host_function
        )
        .unit(Unit::Bytes),
        row(
            "stack-catch-traps",
            "of that, `catch_traps` (saved context)",
        )
        .ours(startup::stack_of_catch_traps)
        .unit(Unit::Bytes)
        .note("called alone, the closure calls nothing but a probe"),
        row("stack-landing-pad", "or `catch_traps_with_landing_pad`")
            .ours(startup::stack_with_landing_pad)
            .unit(Unit::Bytes),
        row("size-activation", "size of an `Activation`")
            .ours(startup::size_of_activation)
            .unit(Unit::Bytes),
        row("size-trap", "size of a `Trap`")
            .ours(startup::size_of_trap)
            .unit(Unit::Bytes),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let rows = all();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len());
    }

    #[test]
    fn every_row_with_a_target_has_a_floor_unless_it_is_a_ratio() {
        // Not all floors are written down for all machines.
        let all_floors = floor::fault_and_jump(Fault::Load).is_some();
        for row in all().iter().filter(|row| row.target != Target::None) {
            let needs_one = all_floors && row.unit != Unit::Factor;
            assert!(!needs_one || !row.floors.is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn only_rows_with_a_target_have_reasons_for_missing_it() {
        for row in all().iter().filter(|row| !row.reason.is_empty()) {
            assert_ne!(row.target, Target::None, "{}", row.name);
            assert!(!row.reason.ends_with('.'), "{}", row.name);
        }
    }

    #[test]
    fn every_row_measures_ours_and_has_the_peer_that_its_target_needs() {
        for row in all() {
            assert!(row.ours.is_some(), "{}", row.name);
            assert!(
                row.peer.is_some() || row.target == Target::None,
                "{}",
                row.name
            );
        }
    }
}
