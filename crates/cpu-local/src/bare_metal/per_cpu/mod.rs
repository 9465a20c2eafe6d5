//! Copies in areas.
//!
//! ```text
//!   the image: section .trapline.cpu_local         the area of a CPU
//!
//!   start ──► header                               base ──► displacement = area - start
//!             statics of one object file                    their copies
//!             statics of the next …                         …
//!   end ────►                                               padding to AREA_ALIGN
//! ```
//!
//! A copy lies at the address of its static plus the displacement. The first
//! word of an area holds the displacement, so that an access needs nothing but
//! the base: a load and an addition.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr;

use crate::AREA_ALIGN;

mod base;

unsafe extern "C" {
    // By the linker script, cpu_local.ld. Without a size, since the compiler
    // may take things that have one for disjoint.
    #[link_name = "__trapline_cpu_local_start"]
    static START: [u8; 0];
    #[link_name = "__trapline_cpu_local_end"]
    static END: [u8; 0];
}

/// The first word of the template; of an area, its displacement.
#[repr(transparent)]
struct Header(UnsafeCell<usize>);

// SAFETY: nobody looks at the value in the template.
unsafe impl Sync for Header {}

/// Not zero, so that the section has contents in the file even where all
/// statics are zero: images that are loaded without their ELF headers clear
/// their own .bss, not this.
#[unsafe(link_section = ".trapline.cpu_local.header")]
static HEADER: Header = Header(UnsafeCell::new(usize::MAX));

/// Where a static lies in the template; its copies lie in the areas.
// UnsafeCell makes all of the statics writable data for the linker: sections
// with one name and different flags would not be put together everywhere.
#[doc(hidden)]
#[derive(Debug)]
#[repr(transparent)]
pub struct Slot<T>(UnsafeCell<T>);

// SAFETY: what is in the template is never used in place; each CPU gets a
// reference to its own copy.
unsafe impl<T> Sync for Slot<T> {}

impl<T> Slot<T> {
    #[doc(hidden)]
    pub const fn new(value: T) -> Self {
        const {
            assert!(
                align_of::<T>() <= AREA_ALIGN,
                "a CPU-local may not be aligned to more than 128 bytes: have a pointer to it instead"
            );
        }
        Self(UnsafeCell::new(value))
    }

    /// This CPU's copy.
    #[doc(hidden)]
    #[inline]
    pub fn this_cpu(&'static self) -> &'static T {
        let address = base::displace(ptr::from_ref(self).addr());
        // SAFETY: this CPU's area is set up, by the promise that a bare-metal
        // image makes (crate documentation), and holds for ever a copy of this
        // static, which has all alignment that T needs. `init_cpu` has exposed
        // the area. The copy is used by this CPU only and by shared references.
        unsafe { &*ptr::with_exposed_provenance::<T>(address) }
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cpu_local_slot {
    ($name:ident: $t:ty = $init:expr) => {
        // SAFETY: the section is for these, and nothing else is done with it
        // than copying.
        #[unsafe(link_section = ".trapline.cpu_local")]
        static $name: $crate::macro_support::Slot<$t> = $crate::macro_support::Slot::new($init);
    };
}

/// How large the area of a CPU is, in bytes (never 0), and how it is aligned
/// ([`AREA_ALIGN`]).
///
/// The size is a multiple of the alignment, so areas may stand side by side:
/// two CPUs never share a cache line. It is the same whenever it is asked for.
#[must_use]
pub fn area_layout() -> Layout {
    let size = (&raw const END).addr() - (&raw const START).addr();
    // SAFETY: the alignment is a power of two, and no section of an image is as
    // large as half of the address space.
    unsafe { Layout::from_size_align_unchecked(size, AREA_ALIGN) }.pad_to_align()
}

/// Makes `area` the place of this CPU's copies: writes each static's first
/// value there, and the area's address to this CPU's base register.
///
/// Called once on each CPU before anything on it uses a CPU-local. If it is
/// called again, all copies start anew; what was in the old ones is forgotten
/// without its destructors.
///
/// With feature `custom-base` no register is written: the embedder makes its
/// own function return `area` after this.
///
/// # Safety
///
/// * `area` may be written to with the size and alignment of [`area_layout`],
///   now and for as long as this CPU uses CPU-locals, and nothing else uses it:
///   no other CPU has it, and no code on this one but through CPU-locals.
/// * Nothing on this CPU uses a CPU-local meanwhile (an interrupt handler, say),
///   or holds a reference to an earlier copy; this CPU is in no guest.
/// * The base register of the instruction set is left to this crate, on each way
///   into the kernel: see "Bare metal" in the documentation of the crate.
/// * A position-independent image has been relocated.
///
/// # Panics
///
/// If the linker script has not placed the template as `cpu_local.ld` does, or
/// `area` is not aligned.
pub unsafe fn init_cpu(area: *mut u8) {
    let start = &raw const START;
    assert!(
        start.addr() == (&raw const HEADER).addr() && start.addr().is_multiple_of(AREA_ALIGN),
        "the linker script does not place .trapline.cpu_local as cpu_local.ld of trapline-cpu-local says"
    );
    assert!(
        area.addr().is_multiple_of(AREA_ALIGN),
        "the area of a CPU is not aligned as area_layout says"
    );
    let size = (&raw const END).addr() - start.addr();
    let displacement = area.addr().wrapping_sub(start.addr());
    // SAFETY: from start to end there is the template, by the linker script. The
    // area is as large, aligned for the header, and disjoint from it, by the
    // caller's first duty.
    unsafe {
        ptr::copy_nonoverlapping(start.cast::<u8>(), area, size);
        area.cast::<usize>().write(displacement);
    }
    // Accesses make their pointers from the base register.
    let base = area.expose_provenance();
    // SAFETY: the area is ready; the register is ours, by the caller's third duty.
    unsafe { base::set_base(base) };
}

/// Whether this CPU can use its copies yet; for code that may run before
/// [`init_cpu`], like a panic handler.
///
/// This looks at whether the base register (with feature `custom-base`: the
/// address that the embedder's function returns) is 0. It tells the truth if
/// the CPU's startup code has cleared that register, which few instruction sets
/// do at reset.
#[must_use]
pub fn is_cpu_ready() -> bool {
    base::base() != 0
}
