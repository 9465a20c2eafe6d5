//! What all stores and modules of one embedder share.

use alloc::sync::Arc;
use core::fmt;

use trapline_activation::Preparation;

use crate::linear_memory::MemorySettings;
use crate::platform::Platform;
use crate::type_registry::TypeRegistry;
use crate::types::{FuncType, TypeIndex};

/// What an [`Engine`] is made from.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Memory, hardware traps and waiting.
    pub platform: Arc<dyn Platform>,
    /// Settings for the memories that the host makes
    /// ([`Memory::new`](crate::Memory::new),
    /// [`SharedMemory::new`](crate::SharedMemory::new)). A module can import
    /// them if they offer at least what it was compiled for.
    pub host_memory: MemorySettings,
    /// Whether code traps by `hlt` where the compiler has it trap by `ud2`, on x86_64. In a
    /// virtual machine, such a trap costs as much as other faults then, and not several times
    /// that. Where the platform [cannot](Platform::can_trap_by_hlt) handle such traps, this has no effect.
    ///
    /// It is seen by whoever looks at the code: disassemblers and debuggers show `hlt`, and a
    /// byte of the `ud2` that was there; what is left there for is `SIGSEGV`, not `SIGILL`. The artifact stays as it is.
    pub trap_by_hlt: bool,
}

#[cfg(feature = "std")]
impl Default for EngineConfig {
    /// The operating system, the address space that the compiler assumes by
    /// default, and traps by `hlt`.
    fn default() -> Self {
        Self {
            platform: Arc::new(crate::platform::Hosted),
            host_memory: MemorySettings::DEFAULT,
            trap_by_hlt: true,
        }
    }
}

/// The types of all its modules, and the platform below them. Cheap to clone:
/// clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: EngineConfig,
    /// What the platform's [`prepare_thread`](Platform::prepare_thread) prepares for.
    preparation: Preparation,
    types: TypeRegistry,
}

impl Engine {
    /// An engine on the operating system, with the default settings.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(EngineConfig::default())
    }

    /// An engine.
    #[must_use]
    pub fn with_config(config: EngineConfig) -> Self {
        Self(Arc::new(Inner {
            config,
            preparation: Preparation::unique(),
            types: TypeRegistry::default(),
        }))
    }

    /// What the engine was made from.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.0.config
    }

    /// Whether this is the same engine, not one like it.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The function type with this index; `None` if the engine has not handed
    /// out such an index.
    #[must_use]
    pub fn func_type(&self, index: TypeIndex) -> Option<FuncType> {
        Some((*self.types().func(index)?).clone())
    }

    pub(crate) fn platform(&self) -> &Arc<dyn Platform> {
        &self.0.config.platform
    }

    /// Whether code is to be changed so that it traps by `hlt`.
    pub(crate) fn traps_by_hlt(&self) -> bool {
        self.0.config.trap_by_hlt && self.platform().can_trap_by_hlt()
    }

    pub(crate) fn preparation(&self) -> Preparation {
        self.0.preparation
    }

    pub(crate) fn types(&self) -> &TypeRegistry {
        &self.0.types
    }
}

#[cfg(feature = "std")]
impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}
