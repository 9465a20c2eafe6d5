//! Features of CPUs that the compiler generates no code for.

/// Nothing is known.
pub(super) fn has_feature(_flag: &str) -> Option<bool> {
    None
}
