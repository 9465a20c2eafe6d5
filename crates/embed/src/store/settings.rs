//! What an embedder can choose for a store.

/// How many frames, from the innermost, a backtrace keeps unless the store says otherwise
/// ([`set_backtrace_limit`](crate::StoreContext::set_backtrace_limit)): what a screen or two has room
/// for. A guest that overflows a large stack has hundreds of thousands, at 16 bytes and a line each.
pub const DEFAULT_BACKTRACE_LIMIT: usize = 100;

/// Where a guest is left for when it traps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Landing {
    /// The landing pad of the compiled entry trampoline
    /// (`catch_traps_with_landing_pad`): the fastest.
    #[default]
    Pad,
    /// A context saved before each entry (`catch_traps`), which works with any
    /// compiled code.
    SavedContext,
}

/// When memories move that may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum MemoryRelocation {
    /// When they don't fit where they are.
    #[default]
    WhenNeeded,
    /// On each growth; the old address becomes inaccessible. For tests: code that
    /// keeps using an old address is found out.
    MoveOnGrow,
}
