//! Whether a trap is the one that a script expects.

use trapline_code_registry::TrapKind;

/// Whether a trap of this kind is what `expected` describes.
#[must_use]
pub fn trap_matches(expected: &str, kind: TrapKind) -> bool {
    kind.message().contains(expected)
        || match kind {
            // Scripts may name the element ("uninitialized element 7"); the
            // message, which is one for all elements, does not.
            TrapKind::IndirectCallToNull => expected
                .strip_prefix(kind.message())
                .is_some_and(|rest| rest.trim().parse::<u32>().is_ok()),
            // One kind for null references of all types.
            TrapKind::NullReference => {
                expected.starts_with("null ") && expected.ends_with(" reference")
            }
            TrapKind::AtomicWaitNonSharedMemory => expected == "expected shared memory",
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_matches_by_its_words_only() {
        assert!(trap_matches(
            "out of bounds memory access",
            TrapKind::MemoryOutOfBounds
        ));
        assert!(trap_matches("out of bounds", TrapKind::MemoryOutOfBounds));
        assert!(!trap_matches(
            "out of bounds memory access",
            TrapKind::TableOutOfBounds
        ));
        assert!(trap_matches(
            "undefined element",
            TrapKind::TableOutOfBounds
        ));
        assert!(trap_matches(
            "unreachable",
            TrapKind::UnreachableCodeReached
        ));
        assert!(!trap_matches("unreachable", TrapKind::IntegerOverflow));
    }

    #[test]
    fn the_number_of_an_uninitialized_element_may_be_given() {
        assert!(trap_matches(
            "uninitialized element",
            TrapKind::IndirectCallToNull
        ));
        assert!(trap_matches(
            "uninitialized element 7",
            TrapKind::IndirectCallToNull
        ));
        assert!(!trap_matches(
            "uninitialized element x",
            TrapKind::IndirectCallToNull
        ));
        assert!(!trap_matches(
            "uninitialized element 7",
            TrapKind::BadSignature
        ));
    }

    #[test]
    fn null_references_of_all_types_are_one_kind() {
        assert!(trap_matches(
            "null function reference",
            TrapKind::NullReference
        ));
        assert!(!trap_matches(
            "null function reference",
            TrapKind::IndirectCallToNull
        ));
    }
}
