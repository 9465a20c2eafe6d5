//! What compiled code and its host share: the instance context and the words
//! that trampolines write.

use core::fmt;
use core::marker::{PhantomData, PhantomPinned};
use core::ops::Range;
use core::ptr::NonNull;

use trapline_arch::{LandingPoint, NEXT_OLDER_FP_FROM_FP_OFFSET, VirtualAddress, is_fp_aligned};
use trapline_backtrace::Frame;

/// The context of an instance, as compiled code gets it; opaque here.
#[repr(C)]
pub struct VMContext {
    _opaque: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}

/// The words of a store that compiled code reads and writes; opaque but for
/// the ones that a [`VMStoreContextLayout`] describes.
#[repr(C)]
pub struct VMStoreContext {
    _opaque: [u8; 0],
    _marker: PhantomData<(*mut u8, PhantomPinned)>,
}

impl fmt::Debug for VMContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VMContext").finish_non_exhaustive()
    }
}

impl fmt::Debug for VMStoreContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VMStoreContext").finish_non_exhaustive()
    }
}

/// The word that tells where the guest was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitFp {
    /// Byte offset of a word in which exit trampolines write their *own* frame
    /// pointer; the guest's is the older one in the frame record there.
    /// (Wasmtime 36 and newer: `last_wasm_exit_trampoline_fp`.)
    Trampoline(usize),
    /// Byte offset of a word in which exit trampolines write the frame pointer
    /// of the guest frame that called them. (Older Wasmtime:
    /// `last_wasm_exit_fp`.)
    Guest(usize),
}

impl ExitFp {
    const fn offset(self) -> usize {
        match self {
            Self::Trampoline(offset) | Self::Guest(offset) => offset,
        }
    }
}

/// Byte offsets of the two further words that entry trampolines write if they
/// have a landing pad for traps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LandingPadWords {
    /// `last_wasm_entry_sp`: the entry trampoline's stack pointer.
    pub entry_sp: usize,
    /// `last_wasm_entry_trap_handler`: address of its landing pad.
    pub entry_trap_handler: usize,
}

/// Where in a [`VMStoreContext`] the words of the trampolines lie: byte offsets
/// from its start, multiples of the word size, each of another word.
///
/// A [`LAYOUT`](crate::Store::LAYOUT) that is otherwise is refused when an entry into a guest of that store is
/// compiled (see [`validate`](Self::validate)):
///
/// ```compile_fail,E0080
/// # use trapline_activation::{ExitFp, VMStoreContextLayout};
/// const OVERLAPPING: VMStoreContextLayout = VMStoreContextLayout {
///     exit_fp: ExitFp::Guest(0),
///     exit_pc: 8,
///     entry_fp: 8,
///     landing_pad: None,
/// };
/// const _: () = OVERLAPPING.validate();
/// ```
///
/// ```compile_fail,E0080
/// # use trapline_activation::{ExitFp, VMStoreContextLayout};
/// const MISALIGNED: VMStoreContextLayout = VMStoreContextLayout {
///     exit_fp: ExitFp::Guest(0),
///     exit_pc: 8,
///     entry_fp: 20,
///     landing_pad: None,
/// };
/// const _: () = MISALIGNED.validate();
/// ```
///
/// The words of a landing pad are looked at as well:
///
/// ```compile_fail,E0080
/// # use core::{cell::UnsafeCell, ptr::NonNull};
/// # use trapline_activation::{
/// #     ExitFp, LandingPadWords, Store, VMContext, VMStoreContext, VMStoreContextLayout, WasmFault, catch_traps,
/// # };
/// # struct MyStore(UnsafeCell<[usize; 5]>);
/// # // SAFETY: the layout is that of the array, but for a mistake; there are no memories.
/// # unsafe impl Store for MyStore {
/// const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
///     exit_fp: ExitFp::Trampoline(0),
///     exit_pc: 8,
///     entry_fp: 16,
///     landing_pad: Some(LandingPadWords { entry_sp: 24, entry_trap_handler: 0 }),
/// };
/// #     fn default_caller(&self) -> NonNull<VMContext> { NonNull::dangling() }
/// #     fn vm_store_context(&self) -> NonNull<VMStoreContext> { NonNull::from(&self.0).cast() }
/// #     fn wasm_fault(&self, _: trapline_arch::VirtualAddress) -> Option<WasmFault> { None }
/// # }
/// # let store = MyStore(UnsafeCell::new([0; 5]));
/// let _ = catch_traps(&store, |_caller| ());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VMStoreContextLayout {
    /// `last_wasm_exit_fp`: written by exit trampolines.
    pub exit_fp: ExitFp,
    /// `last_wasm_exit_pc`: written by exit trampolines, the return address
    /// into the guest.
    pub exit_pc: usize,
    /// `last_wasm_entry_fp`: written by entry trampolines, their own frame
    /// pointer.
    pub entry_fp: usize,
    /// Where the compiler records its own landing pad; `None` for code whose
    /// entry trampolines have none.
    pub landing_pad: Option<LandingPadWords>,
}

impl VMStoreContextLayout {
    /// Finds out whether each offset is that of a word of its own.
    ///
    /// # Panics
    ///
    /// If one is no multiple of the word size, or two are the same: an error when this is compiled, in a
    /// constant.
    pub const fn validate(&self) {
        let (entry_sp, entry_trap_handler) = match self.landing_pad {
            Some(pad) => (Some(pad.entry_sp), Some(pad.entry_trap_handler)),
            None => (None, None),
        };
        let offsets = [
            Some(self.exit_fp.offset()),
            Some(self.exit_pc),
            Some(self.entry_fp),
            entry_sp,
            entry_trap_handler,
        ];
        let mut nth = 0;
        while nth < offsets.len() {
            if let Some(offset) = offsets[nth] {
                assert!(
                    offset.is_multiple_of(size_of::<usize>()),
                    "an offset in a VMStoreContextLayout is not a multiple of the word size"
                );
                let mut other = 0;
                while other < nth {
                    assert!(
                        !matches!(offsets[other], Some(other) if other == offset),
                        "two words of a VMStoreContextLayout are at the same offset"
                    );
                    other += 1;
                }
            }
            nth += 1;
        }
    }
}

/// The words of the trampolines, as read from a [`VMStoreContext`].
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct StoreWords {
    exit_fp: usize,
    exit_pc: usize,
    pub(crate) entry_fp: usize,
    entry_sp: usize,
    entry_trap_handler: usize,
}

impl StoreWords {
    /// Reads the words.
    ///
    /// # Safety
    ///
    /// * `layout` describes the context, which is alive; no other thread writes
    ///   to its words.
    #[inline]
    pub(crate) unsafe fn read(
        context: NonNull<VMStoreContext>,
        layout: &VMStoreContextLayout,
    ) -> Self {
        let word = |offset| {
            // SAFETY: the layout's offsets are those of words of the context.
            unsafe { context.cast::<u8>().add(offset).cast::<usize>().read() }
        };
        let (entry_sp, entry_trap_handler) = match layout.landing_pad {
            Some(pad) => (word(pad.entry_sp), word(pad.entry_trap_handler)),
            None => (0, 0),
        };
        Self {
            exit_fp: word(layout.exit_fp.offset()),
            exit_pc: word(layout.exit_pc),
            entry_fp: word(layout.entry_fp),
            entry_sp,
            entry_trap_handler,
        }
    }

    /// The words that an entry trampoline with a landing pad writes, alone: where to land.
    ///
    /// # Safety
    ///
    /// * As for [`read`](Self::read).
    #[inline]
    pub(crate) unsafe fn read_landing(
        context: NonNull<VMStoreContext>,
        layout: &VMStoreContextLayout,
    ) -> LandingPoint {
        let word = |offset| {
            // SAFETY: the layout's offsets are those of words of the context.
            unsafe { context.cast::<u8>().add(offset).cast::<usize>().read() }
        };
        let (pc, sp) = match layout.landing_pad {
            Some(pad) => (word(pad.entry_trap_handler), word(pad.entry_sp)),
            None => (0, 0),
        };
        LandingPoint {
            pc,
            sp,
            fp: word(layout.entry_fp),
        }
    }

    /// Whether all of them are zero: the store has no entry whose frames anybody
    /// could ask for.
    #[inline]
    pub(crate) const fn are_zero(&self) -> bool {
        // One branch, for the most frequent of all entries.
        self.exit_fp | self.exit_pc | self.entry_fp | self.entry_sp | self.entry_trap_handler == 0
    }

    /// Writes the words.
    ///
    /// # Safety
    ///
    /// * As for [`read`](Self::read); and nothing that is still on the stack
    ///   needs what is overwritten.
    #[inline]
    pub(crate) unsafe fn write(
        self,
        context: NonNull<VMStoreContext>,
        layout: &VMStoreContextLayout,
    ) {
        let set = |offset, word: usize| {
            // SAFETY: the layout's offsets are those of words of the context.
            unsafe { context.cast::<u8>().add(offset).cast::<usize>().write(word) };
        };
        set(layout.exit_fp.offset(), self.exit_fp);
        set(layout.exit_pc, self.exit_pc);
        set(layout.entry_fp, self.entry_fp);
        if let Some(pad) = layout.landing_pad {
            set(pad.entry_sp, self.entry_sp);
            set(pad.entry_trap_handler, self.entry_trap_handler);
        }
    }

    /// Zeroes the exit pair, the entry frame pointer, and the landing pad's
    /// address where there is one: compiled code writes them and never clears
    /// them, so that what is there before an entry belongs to frames that may be
    /// gone.
    ///
    /// # Safety
    ///
    /// * As for [`write`](Self::write).
    #[inline]
    pub(crate) unsafe fn clear(context: NonNull<VMStoreContext>, layout: &VMStoreContextLayout) {
        let clear = |offset| {
            // SAFETY: the layout's offsets are those of words of the context.
            unsafe { context.cast::<u8>().add(offset).cast::<usize>().write(0) };
        };
        clear(layout.exit_fp.offset());
        clear(layout.exit_pc);
        clear(layout.entry_fp);
        if let Some(pad) = layout.landing_pad {
            clear(pad.entry_trap_handler);
        }
    }

    /// The exit words: the return address into the guest, and the frame pointer of the exit
    /// trampoline or of the guest. `None` if the guest was not left (or never entered).
    #[inline]
    pub(crate) const fn exit(&self) -> Option<Frame> {
        if self.exit_pc == 0 || self.exit_fp == 0 {
            return None;
        }
        Some(Frame {
            pc: VirtualAddress::new(self.exit_pc),
            fp: VirtualAddress::new(self.exit_fp),
        })
    }

    /// Where the guest's innermost frame is that was left by `exit`.
    ///
    /// An exit trampoline's frame pointer that is not in `frames` can't be
    /// right and is not read through: it is returned in place of the guest's,
    /// for the walk to refuse.
    ///
    /// # Safety
    ///
    /// * `exit` is what [`exit`](Self::exit) gave of words that this layout is of; it is of frames
    ///   that are alive, if it is in `frames`.
    #[inline]
    pub(crate) unsafe fn guest_frame(
        exit: Frame,
        layout: &VMStoreContextLayout,
        frames: &Range<VirtualAddress>,
    ) -> Frame {
        let fp = match layout.exit_fp {
            ExitFp::Trampoline(_) if is_fp_aligned(exit.fp) && frames.contains(&exit.fp) => {
                let older = exit.fp.get().wrapping_add(NEXT_OLDER_FP_FROM_FP_OFFSET);
                // SAFETY: the exit trampoline's frame is alive, by this
                // method's duty, and its frame record is at its frame pointer.
                VirtualAddress::new(unsafe { VirtualAddress::new(older).as_ptr::<usize>().read() })
            }
            ExitFp::Trampoline(_) | ExitFp::Guest(_) => exit.fp,
        };
        Frame { pc: exit.pc, fp }
    }
}
