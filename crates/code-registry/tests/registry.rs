//! What the registry promises, promise by promise.
#![cfg(not(loom))]

mod common;

use core::any::Any;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use common::Code;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{
    CodeAddress, CodeObject, CodeRef, CodeRegistry, RegisterError, Registration, TrapKind,
    lookup_code, register_code,
};

/// A new registry, which a static leads to, as to those of programs: sanitizers look for what nothing
/// leads to.
fn registry() -> &'static CodeRegistry {
    static ALL: Mutex<Vec<&'static CodeRegistry>> = Mutex::new(Vec::new());
    let registry = Box::leak(Box::default());
    ALL.lock().expect("no panic").push(registry);
    registry
}

fn addresses(range: Range<usize>) -> Range<VirtualAddress> {
    VirtualAddress::new(range.start)..VirtualAddress::new(range.end)
}

/// Looks `pc` up and checks what was found; the offset.
fn look(registry: &'static CodeRegistry, pc: usize) -> Option<usize> {
    let (code, offset) = registry.lookup(VirtualAddress::new(pc))?;
    code.as_any()
        .downcast_ref::<Code>()
        .expect("registered as such")
        .assert_alive_with(pc);
    Some(offset)
}

fn guard(registry: &'static CodeRegistry, pc: usize) -> CodeRef {
    registry.lookup(VirtualAddress::new(pc)).expect("found").0
}

#[test]
fn the_global_registry_works_without_initialisation() {
    let pc = VirtualAddress::new(0x7000_0010);
    assert!(lookup_code(pc).is_none());
    let registration = register_code(Code::new(0x7000_0000..0x7000_0100)).expect("free");
    let (code, offset) = lookup_code(pc).expect("registered");
    assert_eq!(offset, 0x10);
    assert_eq!(
        code.lookup_trap_code(offset),
        Some(TrapKind::UnreachableCodeReached)
    );
    drop(code);
    drop(registration);
    assert!(lookup_code(pc).is_none());
}

#[test]
fn a_range_is_found_from_its_first_to_its_last_byte_and_not_beyond() {
    let registry = registry();
    let _registration = registry.register(Code::new(0x1000..0x1100)).expect("free");
    assert_eq!(look(registry, 0x0), None);
    assert_eq!(look(registry, 0xfff), None);
    assert_eq!(look(registry, 0x1000), Some(0));
    assert_eq!(look(registry, 0x10ff), Some(0xff));
    assert_eq!(look(registry, 0x1100), None);
    assert_eq!(look(registry, usize::MAX), None);
}

#[test]
fn ranges_at_both_ends_of_the_address_space_are_found() {
    let registry = registry();
    let _lowest = registry.register(Code::new(0..1)).expect("free");
    let _highest = registry
        .register(Code::new(usize::MAX - 1..usize::MAX))
        .expect("free");
    assert_eq!(look(registry, 0), Some(0));
    assert_eq!(look(registry, 1), None);
    assert_eq!(look(registry, usize::MAX - 1), Some(0));
    assert_eq!(look(registry, usize::MAX), None, "ends are exclusive");
}

#[test]
fn every_overlap_is_refused_naming_both_ranges_and_changes_nothing() {
    let registry = registry();
    let _there = registry.register(Code::new(0x1000..0x2000)).expect("free");
    let _next = registry.register(Code::new(0x3000..0x4000)).expect("free");
    for (requested, registered) in [
        (0x1000..0x2000, 0x1000..0x2000),
        (0x1400..0x1800, 0x1000..0x2000),
        (0x0800..0x2800, 0x1000..0x2000),
        (0x0800..0x1001, 0x1000..0x2000),
        (0x1fff..0x2800, 0x1000..0x2000),
        (0x1000..0x1001, 0x1000..0x2000),
        (0x1fff..0x2000, 0x1000..0x2000),
        (0x2fff..0x3001, 0x3000..0x4000),
        (0x0000..usize::MAX, 0x3000..0x4000),
    ] {
        let drops = Arc::default();
        let error = registry
            .register(Code::counted(requested.clone(), &drops))
            .expect_err("overlaps");
        assert_eq!(
            error,
            RegisterError::Overlap {
                requested: addresses(requested.clone()),
                registered: addresses(registered),
            }
        );
        assert_eq!(drops.load(SeqCst), 1, "the refused code is let go");
    }
    for pc in (0..0x5000).step_by(0x100) {
        let there = (0x1000..0x2000).contains(&pc) || (0x3000..0x4000).contains(&pc);
        assert_eq!(look(registry, pc).is_some(), there, "{pc:#x}");
    }
}

#[test]
fn the_message_of_an_overlap_names_both_ranges() {
    let registry = registry();
    let _there = registry.register(Code::new(0x1000..0x2000)).expect("free");
    let error = registry
        .register(Code::new(0x1800..0x2800))
        .expect_err("overlaps");
    assert_eq!(
        error.to_string(),
        "code range 0x1800..0x2800 overlaps 0x1000..0x2000, which is registered already"
    );
}

#[test]
fn ranges_that_touch_do_not_overlap() {
    let registry = registry();
    let _middle = registry.register(Code::new(0x2000..0x3000)).expect("free");
    let _below = registry.register(Code::new(0x1000..0x2000)).expect("free");
    let _above = registry.register(Code::new(0x3000..0x4000)).expect("free");
    assert_eq!(look(registry, 0x1fff), Some(0xfff));
    assert_eq!(look(registry, 0x2000), Some(0));
    assert_eq!(look(registry, 0x2fff), Some(0xfff));
    assert_eq!(look(registry, 0x3000), Some(0));
}

#[test]
fn the_same_image_twice_is_an_error_and_the_first_one_stays() {
    let registry = registry();
    let image = Code::new(0x1000..0x2000);
    let first = registry.register(image.clone()).expect("free");
    let error = registry.register(image.clone()).expect_err("there already");
    assert_eq!(
        error,
        RegisterError::Overlap {
            requested: addresses(0x1000..0x2000),
            registered: addresses(0x1000..0x2000),
        }
    );
    assert_eq!(look(registry, 0x1000), Some(0));
    drop(first);
    let _again = registry.register(image).expect("free again");
    assert_eq!(look(registry, 0x1000), Some(0));
}

#[test]
fn ranges_without_an_address_are_refused() {
    let registry = registry();
    for range in [
        Range {
            start: 0x1000,
            end: 0x1000,
        },
        Range {
            start: 0x2000,
            end: 0x1000,
        },
        Range { start: 0, end: 0 },
        Range {
            start: usize::MAX,
            end: usize::MAX,
        },
    ] {
        assert_eq!(
            registry.register(Code::new(range.clone())).err(),
            Some(RegisterError::Empty {
                requested: addresses(range)
            })
        );
    }
    assert_eq!(
        registry
            .register(Code::new(Range { start: 32, end: 16 }))
            .expect_err("reversed")
            .to_string(),
        "code range 0x20..0x10 contains no address"
    );
}

#[test]
fn without_a_guard_the_code_is_dropped_before_the_drop_of_its_registration_returns() {
    let registry = registry();
    let drops = Arc::default();
    let registration = registry
        .register(Code::counted(0x1000..0x2000, &drops))
        .expect("free");
    assert_eq!(look(registry, 0x1800), Some(0x800));
    drop(registration);
    assert_eq!(drops.load(SeqCst), 1);
    assert_eq!(look(registry, 0x1800), None);
    assert_eq!(registry.reclaim(), 0);
}

#[test]
fn an_address_can_be_reused_at_once_by_other_ranges() {
    let registry = registry();
    for round in 0..100_usize {
        let start = 0x1000 + round % 7;
        let registration = registry
            .register(Code::new(start..start + 0x10))
            .expect("free again");
        assert_eq!(look(registry, start + 8), Some(8));
        drop(registration);
        assert_eq!(look(registry, start + 8), None);
    }
}

#[test]
fn a_guard_keeps_its_code_alive_and_its_end_runs_no_destructor() {
    let registry = registry();
    let drops = Arc::default();
    let registration = registry
        .register(Code::counted(0x1000..0x2000, &drops))
        .expect("free");
    let kept = guard(registry, 0x1000);
    drop(registration);
    assert_eq!(look(registry, 0x1000), None, "new lookups don't find it");
    assert_eq!(drops.load(SeqCst), 0);
    assert_eq!(registry.reclaim(), 1, "still kept");
    assert_eq!(kept.text(), addresses(0x1000..0x2000));
    drop(kept);
    assert_eq!(drops.load(SeqCst), 0, "only writers drop");
    assert_eq!(registry.reclaim(), 0);
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn code_that_a_guard_kept_is_dropped_by_the_next_writer() {
    let registry = registry();
    let drops = Arc::default();
    let kept_after_removal = |start: usize| {
        let registration = registry
            .register(Code::counted(start..start + 0x100, &drops))
            .expect("free");
        let kept = guard(registry, start);
        drop(registration);
        drop(kept);
    };
    kept_after_removal(0x1000);
    let other = registry.register(Code::new(0x5000..0x6000)).expect("free");
    assert_eq!(drops.load(SeqCst), 1, "by a registration");
    kept_after_removal(0x2000);
    assert_eq!(drops.load(SeqCst), 1);
    drop(other);
    assert_eq!(drops.load(SeqCst), 2, "by a removal");
}

#[test]
fn a_kept_guard_delays_the_end_of_no_other_code() {
    let registry = registry();
    let registration = registry.register(Code::new(0x1000..0x2000)).expect("free");
    let kept = guard(registry, 0x1000);
    drop(registration);
    let drops = Arc::default();
    for round in 1..=1_000 {
        let other = registry
            .register(Code::counted(0x1000..0x2000, &drops))
            .expect("free");
        drop(other);
        assert_eq!(drops.load(SeqCst), round);
    }
    drop(kept);
    assert_eq!(registry.reclaim(), 0);
}

#[test]
fn an_arc_made_of_a_guard_outlives_guard_and_registration() {
    let registry = registry();
    let drops = Arc::default();
    let registration = registry
        .register(Code::counted(0x1000..0x2000, &drops))
        .expect("free");
    let arc = guard(registry, 0x1000).to_arc();
    drop(registration);
    assert_eq!(registry.reclaim(), 0, "the registry has let it go");
    assert_eq!(drops.load(SeqCst), 0);
    assert_eq!(arc.text(), addresses(0x1000..0x2000));
    drop(arc);
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn a_guard_can_end_on_another_thread() {
    let registry = registry();
    let drops = Arc::default();
    let registration = registry
        .register(Code::counted(0x1000..0x2000, &drops))
        .expect("free");
    let kept = guard(registry, 0x1000);
    drop(registration);
    std::thread::spawn(move || drop(kept))
        .join()
        .expect("no panic");
    assert_eq!(registry.reclaim(), 0);
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn more_guards_than_there_are_slots_all_keep_their_code() {
    const GUARDS: usize = 1_000;
    let registry = registry();
    let drops = Arc::default();
    let registrations: Vec<Registration> = (0..GUARDS)
        .map(|i| {
            registry
                .register(Code::counted(i * 16..i * 16 + 16, &drops))
                .expect("free")
        })
        .collect();
    let guards: Vec<CodeRef> = (0..GUARDS).map(|i| guard(registry, i * 16 + 8)).collect();
    drop(registrations);
    assert_eq!(drops.load(SeqCst), 0);
    assert_eq!(registry.reclaim(), GUARDS);
    for (i, code) in guards.iter().enumerate() {
        code.as_any()
            .downcast_ref::<Code>()
            .expect("registered as such")
            .assert_alive_with(i * 16);
    }
    drop(guards);
    assert_eq!(registry.reclaim(), 0);
    assert_eq!(drops.load(SeqCst), GUARDS);
}

/// Code that owns the registrations of other code, and takes more of the
/// registry's time when it ends.
struct Nest {
    text: Range<VirtualAddress>,
    registry: &'static CodeRegistry,
    others: Mutex<Vec<Registration>>,
}

// SAFETY: made up: nothing is executed in its range, which stays as it is. What handlers call
// reads only what is there.
unsafe impl CodeObject for Nest {
    fn text(&self) -> Range<VirtualAddress> {
        self.text.clone()
    }

    fn lookup_trap_code(&self, _text_offset: usize) -> Option<TrapKind> {
        None
    }

    fn lookup_address(&self, _text_offset: usize) -> Option<CodeAddress> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let last_wish = self.registry.register(Code::new(0x9000..0xa000));
        assert!(last_wish.is_ok());
        assert_eq!(look(self.registry, 0x9000), Some(0));
    }
}

#[test]
fn the_destructor_of_code_may_register_and_remove() {
    let registry = registry();
    let drops = Arc::default();
    let others = (0..4)
        .map(|i| {
            registry
                .register(Code::counted(i * 0x100..i * 0x100 + 0x10, &drops))
                .expect("free")
        })
        .collect();
    let nest = Nest {
        text: addresses(0x8000..0x9000),
        registry,
        others: Mutex::new(others),
    };
    let registration = registry.register(Arc::new(nest)).expect("free");
    let nested = guard(registry, 0x8000);
    let nest = nested.as_any().downcast_ref::<Nest>().expect("a nest");
    assert_eq!(nest.others.lock().expect("not poisoned").len(), 4);
    drop(nested);
    drop(registration);
    assert_eq!(drops.load(SeqCst), 4);
    assert_eq!(look(registry, 0x9000), None);
    assert_eq!(registry.reclaim(), 0);
}

#[test]
fn a_registration_shows_what_it_registered() {
    let registry = registry();
    let image = Code::new(0x1000..0x2000);
    let registration = registry.register(image.clone()).expect("free");
    assert_eq!(registration.text(), addresses(0x1000..0x2000));
    assert!(core::ptr::addr_eq(
        Arc::as_ptr(registration.code()),
        Arc::as_ptr(&image)
    ));
    let found = guard(registry, 0x1000);
    assert!(core::ptr::addr_eq(&raw const *found, Arc::as_ptr(&image)));
    assert!(format!("{registration:?} {found:?}").contains("0x1000"));
}

#[test]
fn a_forgotten_registration_stays_for_ever() {
    let registry = registry();
    core::mem::forget(registry.register(Code::new(0x1000..0x2000)).expect("free"));
    assert_eq!(registry.reclaim(), 0);
    assert_eq!(look(registry, 0x1000), Some(0));
    assert!(registry.register(Code::new(0x1000..0x2000)).is_err());
}

#[test]
fn registries_know_nothing_of_each_other() {
    let (one, other) = (registry(), registry());
    let _registration = one.register(Code::new(0x1000..0x2000)).expect("free");
    assert_eq!(look(other, 0x1000), None);
    let _same = other.register(Code::new(0x1000..0x2000)).expect("free");
}

#[test]
fn tens_of_thousands_of_ranges_are_each_found_and_each_removed() {
    const RANGES: usize = 20_000;
    /// Has no common divisor with RANGES: reaches all of them.
    const STEP: usize = 7_919;
    let registry = registry();
    let drops: Arc<AtomicUsize> = Arc::default();
    let mut registrations: Vec<Option<Registration>> = (0..RANGES).map(|_| None).collect();
    for i in 0..RANGES {
        let nth = i * STEP % RANGES;
        let code = Code::counted(nth * 64..nth * 64 + 32, &drops);
        registrations[nth] = Some(registry.register(code).expect("free"));
    }
    for nth in 0..RANGES {
        assert_eq!(look(registry, nth * 64 + 31), Some(31));
        assert_eq!(look(registry, nth * 64 + 32), None);
    }
    for i in 0..RANGES {
        let nth = i * STEP * STEP % RANGES;
        assert_eq!(look(registry, nth * 64), Some(0));
        registrations[nth] = None;
        assert_eq!(look(registry, nth * 64), None);
        assert_eq!(drops.load(SeqCst), i + 1);
    }
    assert_eq!(registry.reclaim(), 0);
}

#[test]
fn the_public_types_go_between_threads() {
    fn goes<T: Send + Sync>() {}
    goes::<CodeRegistry>();
    goes::<CodeRef>();
    goes::<Registration>();
    goes::<RegisterError>();
}
