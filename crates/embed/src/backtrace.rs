//! From program counters to functions and bytecode offsets.

use alloc::vec::Vec;
use core::fmt;
use core::mem::{ManuallyDrop, MaybeUninit};

use trapline_activation::TrapReason;
use trapline_arch::VirtualAddress;
use trapline_backtrace::{INLINE_FRAMES, RawBacktrace, WalkEnd};

use crate::module::{Module, ModuleList};
use crate::printable::Printable;
use crate::sync::OnceInPlace;

/// The frames of a guest, innermost first, in terms of its modules.
#[derive(Default)]
pub struct WasmBacktrace {
    frames: Frames,
    /// Whether there were older ones.
    is_limited: bool,
    /// What lent frames are in; `None` if there are none, or if somebody else keeps it.
    _modules: Option<ModuleList>,
}

impl WasmBacktrace {
    pub(crate) const EMPTY: &'static Self = &Self {
        frames: Frames::Many(Vec::new()),
        is_limited: false,
        _modules: None,
    };

    /// The frames, innermost first.
    #[must_use]
    pub fn frames(&self) -> &[WasmFrame] {
        self.frames.as_slice()
    }

    /// Whether the guest had older frames, which were left out as
    /// [`set_backtrace_limit`](crate::StoreContext::set_backtrace_limit) says.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// The frames of a captured backtrace. `trapped_at` is the instruction that
    /// trapped, if the innermost frame is that of a trap and not of a call.
    pub(crate) fn resolve(
        raw: &RawBacktrace,
        trapped_at: Option<VirtualAddress>,
        modules: ModuleList,
    ) -> Self {
        Self {
            // SAFETY: the list goes with them, and frames are only ever handed out by
            // reference.
            frames: unsafe { Frames::lent(raw, trapped_at, &modules) },
            is_limited: raw.end() == WalkEnd::LimitReached,
            _modules: Some(modules),
        }
    }
}

impl Clone for WasmBacktrace {
    /// The frames of the clone keep their modules themselves.
    fn clone(&self) -> Self {
        let mut frames = Frames::with_capacity(self.frames().len());
        let filled = frames
            .places()
            .iter_mut()
            .zip(self.frames())
            .map(|(place, frame)| place.write(frame.clone()))
            .count();
        // SAFETY: so many have just been written.
        unsafe { frames.set_len(filled) };
        Self {
            frames,
            is_limited: self.is_limited,
            _modules: None,
        }
    }
}

impl PartialEq for WasmBacktrace {
    fn eq(&self, other: &Self) -> bool {
        self.frames() == other.frames() && self.is_limited == other.is_limited
    }
}

impl Eq for WasmBacktrace {}

impl fmt::Debug for WasmBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmBacktrace")
            .field("frames", &self.frames())
            .field("is_limited", &self.is_limited)
            .finish()
    }
}

impl fmt::Display for WasmBacktrace {
    /// One line for each frame: index, bytecode offset, `module!function`, and one more if there
    /// were others. Names are [`Printable`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, frame) in self.frames().iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{index:>4}: {frame}")?;
        }
        if self.is_limited {
            let number = self.frames().len();
            let frames = if number == 1 { "frame" } else { "frames" };
            write!(f, "\n  (limited to the innermost {number} {frames})")?;
        }
        Ok(())
    }
}

/// The frames that an error has, resolved when somebody first asks for them, and the modules
/// that they are in.
pub(crate) struct LazyBacktrace {
    /// Never changed: what is in `resolved` counts on it. `None` if there are no frames.
    modules: Option<ModuleList>,
    resolved: OnceInPlace<WasmBacktrace>,
}

impl fmt::Debug for LazyBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyBacktrace").finish_non_exhaustive()
    }
}

impl LazyBacktrace {
    /// Frames that are in these modules.
    #[inline]
    pub(crate) const fn new(modules: Option<ModuleList>) -> Self {
        Self {
            modules,
            resolved: OnceInPlace::new(),
        }
    }

    /// The modules.
    pub(crate) const fn modules(&self) -> Option<&ModuleList> {
        self.modules.as_ref()
    }

    /// The frames: those of `raw`, captured for a trap with this reason, of the first one who
    /// asked. Empty without modules.
    pub(crate) fn get(&self, raw: Option<&RawBacktrace>, reason: &TrapReason) -> &WasmBacktrace {
        let (Some(raw), Some(modules)) = (raw, &self.modules) else {
            return WasmBacktrace::EMPTY;
        };
        self.resolved.get_or_init(|| {
            let trapped_at = match reason {
                TrapReason::Jit { pc, .. } => Some(*pc),
                TrapReason::User(_) | TrapReason::Wasm(_) => None,
            };
            WasmBacktrace {
                // SAFETY: `self` keeps the modules, and the frames are only ever handed out by
                // reference, for as long as `self` is borrowed.
                frames: unsafe { Frames::lent(raw, trapped_at, modules) },
                is_limited: raw.end() == WalkEnd::LimitReached,
                _modules: None,
            }
        })
    }
}

/// Frames; as few as a [`RawBacktrace`] has in itself are in the value itself.
enum Frames {
    /// The first `len` places have been filled.
    Few {
        len: usize,
        places: [MaybeUninit<WasmFrame>; INLINE_FRAMES],
    },
    Many(Vec<WasmFrame>),
}

impl Default for Frames {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl Frames {
    /// No frames, and room for that many.
    fn with_capacity(frames: usize) -> Self {
        if frames <= INLINE_FRAMES {
            Self::Few {
                len: 0,
                places: [const { MaybeUninit::uninit() }; INLINE_FRAMES],
            }
        } else {
            Self::Many(Vec::with_capacity(frames))
        }
    }

    fn as_slice(&self) -> &[WasmFrame] {
        match self {
            // SAFETY: the first `len` places have been filled.
            Self::Few { len, places } => unsafe { places[..*len].assume_init_ref() },
            Self::Many(frames) => frames,
        }
    }

    /// The room there is, for frames whose number is still 0.
    fn places(&mut self) -> &mut [MaybeUninit<WasmFrame>] {
        match self {
            Self::Few { places, .. } => places,
            Self::Many(frames) => frames.spare_capacity_mut(),
        }
    }

    /// Says how many there are.
    ///
    /// # Safety
    ///
    /// * So many of the [places](Self::places) have been filled, from the first one on.
    unsafe fn set_len(&mut self, filled: usize) {
        match self {
            Self::Few { len, .. } => *len = filled,
            // SAFETY: the caller's duty; there are no more places than capacity.
            Self::Many(frames) => unsafe { frames.set_len(filled) },
        }
    }

    /// The frames of a captured backtrace, lent by `modules`. `trapped_at` is as in
    /// [`WasmBacktrace::resolve`].
    ///
    /// # Safety
    ///
    /// * The modules live for as long as the frames are used, in other ways than being dropped.
    /// * No frame is moved out.
    unsafe fn lent(
        raw: &RawBacktrace,
        trapped_at: Option<VirtualAddress>,
        modules: &[Module],
    ) -> Self {
        let mut rest = raw.as_slice();
        let mut frames = Self::with_capacity(rest.len());
        let places = frames.places();
        let room = places.len();
        let mut free = places.iter_mut();
        let mut trapped = trapped_at.is_some() && trapped_at == rest.first().map(|frame| frame.pc);
        let mut callee = None;
        while let Some((frame, callers)) = rest.split_first() {
            // Callers that wait for the same call: a recursion.
            let again = if trapped {
                0
            } else {
                callers.iter().take_while(|c| c.pc == frame.pc).count()
            };
            rest = callers.get(again..).unwrap_or_default();
            // What is no function of a module is part of the compiler's own
            // code around it, like the one that runs initialisers.
            if let Some(instruction) = instruction(frame.pc, trapped)
                && let Some((module, function_index)) = find(instruction, callee, modules)
            {
                callee = Some(module);
                // A recursion may be a deep one: once for all of it, then.
                let origin = if again == 0 {
                    Origin::Unknown
                } else {
                    Origin::Known(module.bytecode_offset_of(instruction))
                };
                for place in free.by_ref().take(1 + again) {
                    place.write(WasmFrame {
                        // SAFETY: the module lives for long enough by the caller's word, and
                        // `owned` says that the count of its owners does not include this one.
                        module: ManuallyDrop::new(unsafe { core::ptr::read(module) }),
                        pc: frame.pc,
                        function_index,
                        origin,
                        trapped,
                        owned: false,
                    });
                }
            }
            trapped = false;
        }
        let filled = room - free.len();
        // SAFETY: the places were filled one after the other.
        unsafe { frames.set_len(filled) };
        frames
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if let Self::Few { len, places } = self {
            // SAFETY: the first `len` places have been filled, and this is the last use.
            unsafe { places[..*len].assume_init_drop() };
        }
    }
}

/// The instruction that a frame is at: a return address may be that of the next line, or of
/// the next function; the call is before it.
#[inline]
fn instruction(pc: VirtualAddress, trapped: bool) -> Option<VirtualAddress> {
    if trapped { Some(pc) } else { pc.checked_sub(1) }
}

/// The function at an instruction, and its module. `likely` is the callee's: most calls stay in
/// their module.
#[inline]
fn find<'a>(
    instruction: VirtualAddress,
    likely: Option<&'a Module>,
    modules: &'a [Module],
) -> Option<(&'a Module, u32)> {
    let within = |module: &'a Module| Some((module, module.text_offset(instruction)?));
    let (module, text_offset) = likely
        .and_then(within)
        .or_else(|| modules.iter().find_map(within))?;
    Some((module, module.function_at(text_offset)?))
}

/// The bytecode offset of a frame.
#[derive(Clone, Copy)]
enum Origin {
    /// To be looked up when somebody asks.
    Unknown,
    Known(Option<u32>),
}

/// A frame of a guest. It keeps its module alive, and takes names and bytecode offset from
/// there when somebody asks for them.
pub struct WasmFrame {
    /// Dropped with the frame if it is `owned`. Otherwise the frame is lent: it is in a backtrace
    /// that sees to it that the module lives, and is never moved out of there.
    module: ManuallyDrop<Module>,
    pc: VirtualAddress,
    function_index: u32,
    origin: Origin,
    /// Whether `pc` is the instruction that trapped, and no return address.
    trapped: bool,
    owned: bool,
}

const _: () = assert!(size_of::<WasmFrame>() <= 2 * size_of::<usize>() + 16);

impl Clone for WasmFrame {
    fn clone(&self) -> Self {
        Self {
            module: self.module.clone(),
            owned: true,
            ..*self
        }
    }
}

impl Drop for WasmFrame {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: owned, and this is the last use.
            unsafe { ManuallyDrop::drop(&mut self.module) };
        }
    }
}

impl PartialEq for WasmFrame {
    /// Modules are the same if they are clones of each other, not if one is like the other.
    fn eq(&self, other: &Self) -> bool {
        self.module.same(&other.module)
            && self.function_index == other.function_index
            && self.pc == other.pc
            && (self.trapped == other.trapped || self.bytecode_offset() == other.bytecode_offset())
    }
}

impl Eq for WasmFrame {}

impl fmt::Debug for WasmFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmFrame")
            .field("module", self.module())
            .field("function_index", &self.function_index)
            .field("bytecode_offset", &self.bytecode_offset())
            .field("pc", &self.pc)
            .finish()
    }
}

impl WasmFrame {
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
        match self.origin {
            Origin::Unknown => self
                .module
                .bytecode_offset_of(instruction(self.pc, self.trapped)?),
            Origin::Known(offset) => offset,
        }
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
        match self.bytecode_offset() {
            Some(offset) => write!(f, "{offset:#8x}")?,
            None => write!(f, "{:>8}", "-")?,
        }
        match self.module_name() {
            Some(name) => write!(f, " - {}!", Printable(name))?,
            None => f.write_str(" - <unknown>!")?,
        }
        match self.function_name() {
            Some(name) => Printable(name).fmt(f),
            None => write!(f, "<wasm function {}>", self.function_index),
        }
    }
}
