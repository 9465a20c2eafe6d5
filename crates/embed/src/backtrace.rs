//! From program counters to functions and bytecode offsets.

use alloc::vec::Vec;
use core::fmt;

use trapline_activation::TrapReason;
use trapline_arch::VirtualAddress;
use trapline_backtrace::RawBacktrace;

use crate::module::Module;

/// The frames of a guest, innermost first, in terms of its modules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WasmBacktrace {
    frames: Vec<WasmFrame>,
}

impl WasmBacktrace {
    pub(crate) const EMPTY: &'static Self = &Self { frames: Vec::new() };

    /// The frames, innermost first.
    #[must_use]
    pub fn frames(&self) -> &[WasmFrame] {
        &self.frames
    }

    /// The frames of a trap.
    pub(crate) fn of_trap(reason: &TrapReason, raw: &RawBacktrace, modules: &[Module]) -> Self {
        let trapped_at = match reason {
            TrapReason::Jit { pc, .. } => Some(*pc),
            TrapReason::User(_) | TrapReason::Wasm(_) => None,
        };
        Self::resolve(raw, trapped_at, modules)
    }

    /// The frames of a captured backtrace. `trapped_at` is the instruction that
    /// trapped, if the innermost frame is that of a trap and not of a call.
    pub(crate) fn resolve(
        raw: &RawBacktrace,
        trapped_at: Option<VirtualAddress>,
        modules: &[Module],
    ) -> Self {
        let mut frames: Vec<WasmFrame> = Vec::with_capacity(raw.len());
        // The instruction of the last of them.
        let mut found_for = None;
        for (index, frame) in raw.frames().enumerate() {
            let trapped = index == 0 && trapped_at == Some(frame.pc);
            // A return address may be that of the next line, or of the next
            // function: the call is before it.
            let Some(instruction) = (if trapped {
                Some(frame.pc)
            } else {
                frame.pc.checked_sub(1)
            }) else {
                continue;
            };
            let found = match frames.last() {
                // A recursion.
                Some(callee) if found_for == Some(instruction) => Some(callee.clone()),
                // Most calls stay in their module.
                callee => callee
                    .map(|callee| &callee.module)
                    .into_iter()
                    .chain(modules)
                    .find_map(|module| WasmFrame::at(instruction, module)),
            };
            // What is no function of a module is part of the compiler's own
            // code around it, like the one that runs initialisers.
            if let Some(found) = found {
                found_for = Some(instruction);
                frames.push(WasmFrame {
                    pc: frame.pc,
                    ..found
                });
            }
        }
        Self { frames }
    }
}

impl fmt::Display for WasmBacktrace {
    /// One line for each frame: index, bytecode offset, `module!function`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, frame) in self.frames.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{index:>4}: {frame}")?;
        }
        Ok(())
    }
}

/// A frame of a guest. It keeps its module alive, and takes the names from there when
/// somebody asks for them.
#[derive(Clone, Debug)]
pub struct WasmFrame {
    module: Module,
    function_index: u32,
    bytecode_offset: Option<u32>,
    pc: VirtualAddress,
}

impl PartialEq for WasmFrame {
    /// Modules are the same if they are clones of each other, not if one is like the other.
    fn eq(&self, other: &Self) -> bool {
        self.module.same(&other.module)
            && self.function_index == other.function_index
            && self.bytecode_offset == other.bytecode_offset
            && self.pc == other.pc
    }
}

impl Eq for WasmFrame {}

impl WasmFrame {
    /// The frame of a call or trap at this instruction; `None` if that is in none of the
    /// module's functions.
    fn at(instruction: VirtualAddress, module: &Module) -> Option<Self> {
        let address = module.address_of(instruction)?;
        Some(Self {
            module: module.clone(),
            function_index: address.function,
            bytecode_offset: address.bytecode_offset,
            pc: instruction,
        })
    }

    /// The module.
    #[must_use]
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The name of the module, from its name section.
    #[must_use]
    pub fn module_name(&self) -> Option<&str> {
        self.module.name()
    }

    /// The index of the function, imports included, in its module.
    #[must_use]
    pub fn function_index(&self) -> u32 {
        self.function_index
    }

    /// The name of the function, from the module's name section.
    #[must_use]
    pub fn function_name(&self) -> Option<&str> {
        self.module.func_name(self.function_index)
    }

    /// Byte offset, from the start of the module, of the instruction that
    /// trapped, or of the call that the frame waits for; `None` for
    /// instructions that no bytecode stands behind.
    #[must_use]
    pub fn bytecode_offset(&self) -> Option<u32> {
        self.bytecode_offset
    }

    /// The instruction that trapped, or the address at which the frame goes on
    /// when the call returns.
    #[must_use]
    pub fn pc(&self) -> VirtualAddress {
        self.pc
    }
}

impl fmt::Display for WasmFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytecode_offset {
            Some(offset) => write!(f, "{offset:#8x}")?,
            None => write!(f, "{:>8}", "-")?,
        }
        write!(f, " - {}!", self.module_name().unwrap_or("<unknown>"))?;
        match self.function_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "<wasm function {}>", self.function_index),
        }
    }
}
