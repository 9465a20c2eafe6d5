//! Where the parts of the image lie: symbols of the linker script
//! `link/sections.ld`.

use core::ops::Range;

use crate::isa::Access;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

/// The parts, and what may be done with them.
pub(crate) fn sections() -> [(Range<usize>, Access); 3] {
    // Symbols have addresses and no values.
    let text_start = (&raw const __text_start).addr();
    let text_end = (&raw const __text_end).addr();
    let rodata_end = (&raw const __rodata_end).addr();
    [
        (text_start..text_end, Access::ReadExecute),
        (text_end..rodata_end, Access::Read),
        (rodata_end..end(), Access::ReadWrite),
    ]
}

/// The end of the image, `.bss` and the first stack included.
pub(crate) fn end() -> usize {
    (&raw const __image_end).addr()
}
