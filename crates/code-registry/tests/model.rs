//! The registry against a BTreeMap that does the same.
#![cfg(not(loom))]

mod common;

use std::collections::BTreeMap;

use common::Code;
use proptest::prelude::*;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeRegistry, RegisterError, Registration};

#[derive(Debug, Clone)]
enum Step {
    Register { start: usize, len: usize },
    Remove { nth: prop::sample::Index },
    Lookup { pc: usize },
}

fn steps(addresses: usize, count: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..addresses, 0..6_usize).prop_map(|(start, len)| Step::Register { start, len }),
        2 => any::<prop::sample::Index>().prop_map(|nth| Step::Remove { nth }),
        3 => (0..addresses + 8).prop_map(|pc| Step::Lookup { pc }),
    ];
    prop::collection::vec(step, 0..count)
}

/// Does `steps` to a new registry and to a map, and compares after each.
fn agree(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let registry: &'static CodeRegistry = Box::leak(Box::default());
    let mut model: BTreeMap<usize, (usize, Registration)> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Register { start, len } => {
                let end = start + len;
                let in_the_way = model
                    .range(..end)
                    .next_back()
                    .filter(|(_, (other_end, _))| *other_end > start)
                    .map(|(other, (other_end, _))| *other..*other_end);
                match registry.register(Code::new(start..end)) {
                    Ok(registration) => {
                        prop_assert!(len > 0 && in_the_way.is_none());
                        model.insert(start, (end, registration));
                    }
                    Err(RegisterError::Empty { .. }) => prop_assert_eq!(len, 0),
                    Err(RegisterError::Overlap {
                        requested,
                        registered,
                    }) => {
                        prop_assert_eq!(requested.start.get()..requested.end.get(), start..end);
                        prop_assert_eq!(
                            Some(registered.start.get()..registered.end.get()),
                            in_the_way
                        );
                    }
                    Err(other) => prop_assert!(false, "{}", other),
                }
            }
            Step::Remove { nth } => {
                if !model.is_empty() {
                    let start = *model.keys().nth(nth.index(model.len())).unwrap();
                    model.remove(&start);
                    prop_assert!(registry.lookup(VirtualAddress::new(start)).is_none());
                }
            }
            Step::Lookup { pc } => check(registry, &model, pc)?,
        }
    }
    let last = model.last_key_value().map_or(0, |(_, (end, _))| *end);
    for pc in 0..last + 2 {
        check(registry, &model, pc)?;
    }
    drop(model);
    prop_assert_eq!(registry.reclaim(), 0);
    for pc in 0..last + 2 {
        prop_assert!(registry.lookup(VirtualAddress::new(pc)).is_none());
    }
    Ok(())
}

fn check(
    registry: &'static CodeRegistry,
    model: &BTreeMap<usize, (usize, Registration)>,
    pc: usize,
) -> Result<(), TestCaseError> {
    let expected = model
        .range(..=pc)
        .next_back()
        .filter(|(_, (end, _))| *end > pc)
        .map(|(start, _)| pc - start);
    let found = registry.lookup(VirtualAddress::new(pc));
    if let Some((code, _)) = &found {
        code.as_any()
            .downcast_ref::<Code>()
            .unwrap()
            .assert_alive_with(pc);
    }
    prop_assert_eq!(found.map(|(_, offset)| offset), expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn few_ranges_behave_as_in_a_map(steps in steps(64, 200)) {
        agree(steps)?;
    }

    #[test]
    fn many_ranges_behave_as_in_a_map(steps in steps(8_000, 4_000)) {
        agree(steps)?;
    }
}
