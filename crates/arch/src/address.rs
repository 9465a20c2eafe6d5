//! Addresses of this machine.

use core::fmt;

/// An address in the address space that this code runs in.
///
/// A number, not a pointer: it has no provenance, may be null, misaligned or
/// non-canonical, and nothing is read through it until somebody makes a
/// pointer of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtualAddress(usize);

const _: () = assert!(size_of::<VirtualAddress>() == size_of::<*const u8>());

impl VirtualAddress {
    /// Address 0.
    pub const NULL: Self = Self(0);

    /// The address with this number.
    #[inline]
    #[must_use]
    pub const fn new(address: usize) -> Self {
        Self(address)
    }

    /// The address that `pointer` points to; exposes its provenance.
    #[inline]
    #[must_use]
    pub fn from_ptr<T: ?Sized>(pointer: *const T) -> Self {
        Self(pointer.cast::<u8>().expose_provenance())
    }

    /// The address as a number.
    #[inline]
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }

    /// Whether this is address 0.
    #[inline]
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// A pointer to this address, with the provenance of something exposed
    /// earlier; whether it may be read through is the caller's matter.
    #[inline]
    #[must_use]
    pub fn as_ptr<T>(self) -> *const T {
        core::ptr::with_exposed_provenance(self.0)
    }

    /// The same as [`as_ptr`](Self::as_ptr), for writing.
    #[inline]
    #[must_use]
    pub fn as_mut_ptr<T>(self) -> *mut T {
        core::ptr::with_exposed_provenance_mut(self.0)
    }

    /// The address `bytes` further up, `None` beyond the end of the address
    /// space.
    #[inline]
    #[must_use]
    pub const fn checked_add(self, bytes: usize) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// The address `bytes` further down, `None` below address 0.
    #[inline]
    #[must_use]
    pub const fn checked_sub(self, bytes: usize) -> Option<Self> {
        match self.0.checked_sub(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }

    /// The distance in bytes from `base` up to this address, `None` if this
    /// address is below `base`.
    #[inline]
    #[must_use]
    pub const fn offset_from(self, base: Self) -> Option<usize> {
        self.0.checked_sub(base.0)
    }

    /// Whether the address is a multiple of `align` bytes; of 0 bytes, only address 0 is.
    #[inline]
    #[must_use]
    pub const fn is_aligned_to(self, align: usize) -> bool {
        self.0.is_multiple_of(align)
    }

    /// Whether the address is what its lower `bits` bits are if the highest of
    /// them is taken for a sign: all bits above are copies of it.
    #[inline]
    #[cfg_attr(
        target_arch = "s390x",
        expect(dead_code, reason = "all addresses are canonical there")
    )]
    pub(crate) const fn is_sign_extended_from(self, bits: u32) -> bool {
        let unused = usize::BITS - bits;
        let extended = ((self.0 as isize) << unused) >> unused;
        extended as usize == self.0
    }
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualAddress({:#x})", self.0)
    }
}

impl fmt::LowerHex for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::UpperHex for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::UpperHex::fmt(&self.0, f)
    }
}

impl fmt::Pointer for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(self, f)
    }
}

impl From<usize> for VirtualAddress {
    #[inline]
    fn from(address: usize) -> Self {
        Self(address)
    }
}

impl From<VirtualAddress> for usize {
    #[inline]
    fn from(address: VirtualAddress) -> Self {
        address.0
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    #[test]
    fn arithmetic_ends_at_the_ends_of_the_address_space() {
        let top = VirtualAddress::new(usize::MAX);
        assert_eq!(top.checked_add(1), None);
        assert_eq!(VirtualAddress::NULL.checked_sub(1), None);
        assert_eq!(top.checked_sub(usize::MAX), Some(VirtualAddress::NULL));
        assert_eq!(
            VirtualAddress::new(8).offset_from(VirtualAddress::new(3)),
            Some(5)
        );
        assert_eq!(
            VirtualAddress::new(3).offset_from(VirtualAddress::new(8)),
            None
        );
    }

    #[test]
    fn addresses_print_in_hexadecimal() {
        let address = VirtualAddress::new(0xbeef);
        assert_eq!(
            format!("{address} {address:x} {address:?}"),
            "0xbeef beef VirtualAddress(0xbeef)"
        );
    }
}
