//! The types of WebAssembly's values and items.
//!
//! They compare structurally, and reference types to *defined* function types
//! by [`TypeIndex`], which the [`Engine`](crate::Engine) hands out so that equal
//! types have equal indices in all of its modules.

use alloc::boxed::Box;
use core::fmt;

/// A function type that some module of an [`Engine`](crate::Engine) defines.
///
/// Means something only together with the engine that it comes from; used with
/// another one, it names another type or none (which is an error, never a
/// wrong access).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)] // compiled code reads arrays of them
pub struct TypeIndex(pub(crate) u32);

/// What a reference refers to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum HeapType {
    /// Any function.
    Func,
    /// A function of this type, or of one of its subtypes.
    Concrete(TypeIndex),
    /// No function at all: the type of the null function reference.
    NoFunc,
    /// Anything of the host's.
    Extern,
    /// Nothing of the host's: the type of the null external reference.
    NoExtern,
}

impl HeapType {
    /// Whether this is a type of functions, not of external things.
    #[must_use]
    pub const fn is_func(self) -> bool {
        matches!(self, Self::Func | Self::Concrete(_) | Self::NoFunc)
    }

    /// The type that everything in this type's hierarchy belongs to.
    #[must_use]
    pub const fn top(self) -> Self {
        if self.is_func() {
            Self::Func
        } else {
            Self::Extern
        }
    }
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Func => f.write_str("func"),
            Self::Concrete(TypeIndex(index)) => write!(f, "$type{index}"),
            Self::NoFunc => f.write_str("nofunc"),
            Self::Extern => f.write_str("extern"),
            Self::NoExtern => f.write_str("noextern"),
        }
    }
}

/// The type of a reference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RefType {
    /// Whether null is among the values.
    pub nullable: bool,
    /// What the others refer to.
    pub heap: HeapType,
}

impl RefType {
    /// `funcref`: any function, or null.
    pub const FUNCREF: Self = Self {
        nullable: true,
        heap: HeapType::Func,
    };
    /// `externref`: anything of the host's, or null.
    pub const EXTERNREF: Self = Self {
        nullable: true,
        heap: HeapType::Extern,
    };
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FUNCREF => f.write_str("funcref"),
            Self::EXTERNREF => f.write_str("externref"),
            Self {
                nullable: true,
                heap,
            } => write!(f, "(ref null {heap})"),
            Self {
                nullable: false,
                heap,
            } => write!(f, "(ref {heap})"),
        }
    }
}

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ValType {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// A 32-bit floating-point number.
    F32,
    /// A 64-bit floating-point number.
    F64,
    /// A vector of 128 bits.
    V128,
    /// A reference.
    Ref(RefType),
}

impl ValType {
    /// `funcref`: any function, or null.
    pub const FUNCREF: Self = Self::Ref(RefType::FUNCREF);
    /// `externref`: anything of the host's, or null.
    pub const EXTERNREF: Self = Self::Ref(RefType::EXTERNREF);

    /// The type that compiled trampolines know this one as: references become
    /// nullable references to everything in their hierarchy.
    pub(crate) const fn erased(self) -> Self {
        match self {
            Self::Ref(ty) => Self::Ref(RefType {
                nullable: true,
                heap: ty.heap.top(),
            }),
            number => number,
        }
    }
}

impl From<RefType> for ValType {
    fn from(ty: RefType) -> Self {
        Self::Ref(ty)
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I32 => f.write_str("i32"),
            Self::I64 => f.write_str("i64"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::V128 => f.write_str("v128"),
            Self::Ref(ty) => ty.fmt(f),
        }
    }
}

/// The type of a function.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FuncType {
    params: Box<[ValType]>,
    results: Box<[ValType]>,
}

impl FuncType {
    /// The type of functions with these parameters and results.
    #[must_use]
    pub fn new(
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> Self {
        Self {
            params: params.into_iter().collect(),
            results: results.into_iter().collect(),
        }
    }

    /// The types of the parameters.
    #[must_use]
    pub fn params(&self) -> &[ValType] {
        &self.params
    }

    /// The types of the results.
    #[must_use]
    pub fn results(&self) -> &[ValType] {
        &self.results
    }

    /// The type of the trampolines that serve functions of this type.
    pub(crate) fn erased(&self) -> Self {
        let erase = |types: &[ValType]| types.iter().map(|ty| ty.erased()).collect();
        Self {
            params: erase(&self.params),
            results: erase(&self.results),
        }
    }

    /// The number of slots that a call needs: the larger of the two counts.
    pub(crate) fn slots(&self) -> usize {
        self.params.len().max(self.results.len())
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(func")?;
        for (keyword, types) in [("param", &self.params), ("result", &self.results)] {
            if !types.is_empty() {
                write!(f, " ({keyword}")?;
                for ty in types {
                    write!(f, " {ty}")?;
                }
                f.write_str(")")?;
            }
        }
        f.write_str(")")
    }
}

/// The type of the addresses of a memory or of the indices of a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum IndexType {
    /// 32 bits.
    #[default]
    I32,
    /// 64 bits.
    I64,
}

/// How large something is at least, and may become at most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Limits {
    /// The smallest size, and the initial one.
    pub min: u64,
    /// The largest size, if there is one.
    pub max: Option<u64>,
}

impl Limits {
    /// Whether something with limits `self` that is `size` large now may stand
    /// in where `expected` is asked for.
    pub(crate) fn fits(self, size: u64, expected: Self) -> bool {
        size >= expected.min
            && match (self.max, expected.max) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(own), Some(expected)) => own <= expected,
            }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.max {
            Some(max) => write!(f, "{} {max}", self.min),
            None => write!(f, "{}", self.min),
        }
    }
}

/// The type of a linear memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemoryType {
    /// The type of its addresses.
    pub index: IndexType,
    /// Its limits, in pages.
    pub limits: Limits,
    /// Whether several stores, on several threads, may use it at a time.
    pub shared: bool,
    /// The base-2 logarithm of the page size in bytes: 16, or 0 with custom
    /// page sizes.
    pub page_size_log2: u8,
}

impl MemoryType {
    /// An ordinary memory: 32-bit addresses, pages of 64 KiB, not shared.
    #[must_use]
    pub const fn new(min: u64, max: Option<u64>) -> Self {
        Self {
            index: IndexType::I32,
            limits: Limits { min, max },
            shared: false,
            page_size_log2: 16,
        }
    }

    /// The same memory, shared.
    #[must_use]
    pub const fn shared(self) -> Self {
        Self {
            shared: true,
            ..self
        }
    }

    /// The same memory with 64-bit addresses.
    #[must_use]
    pub const fn memory64(self) -> Self {
        Self {
            index: IndexType::I64,
            ..self
        }
    }

    /// The size of a page in bytes; `None` if it has more than 64 bits, as no memory's has.
    #[must_use]
    pub const fn page_size(self) -> Option<u64> {
        1_u64.checked_shl(self.page_size_log2 as u32)
    }

    /// The number of bytes of `pages`, `None` if they don't fit the address
    /// space of this machine.
    pub(crate) fn bytes(self, pages: u64) -> Option<usize> {
        usize::try_from(pages.checked_mul(self.page_size()?)?).ok()
    }

    /// The largest number of pages, by the limit and by the type of addresses.
    ///
    /// A 32-bit memory with pages of one byte stops two bytes short of 4 GiB, so
    /// that `memory.size` can say its size and `memory.grow` can fail: the
    /// compiler relies on it.
    pub(crate) fn max_pages(self) -> u64 {
        let bytes: u128 = match (self.index, self.page_size_log2) {
            (IndexType::I32, 0) => (1 << 32) - 2,
            (IndexType::I32, _) => 1 << 32,
            (IndexType::I64, _) => 1 << 64,
        };
        // Pages that are larger than all of them do not fit at all.
        let pages = bytes.checked_shr(self.page_size_log2.into()).unwrap_or(0);
        let addressable = u64::try_from(pages).unwrap_or(u64::MAX);
        self.limits
            .max
            .map_or(addressable, |max| max.min(addressable))
    }
}

impl fmt::Display for MemoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = if self.index == IndexType::I64 {
            "i64 "
        } else {
            ""
        };
        write!(f, "(memory {index}{}", self.limits)?;
        if self.shared {
            f.write_str(" shared")?;
        }
        if self.page_size_log2 != 16 {
            match self.page_size() {
                Some(bytes) => write!(f, " (pagesize {bytes})")?,
                None => write!(f, " (pagesize 2^{})", self.page_size_log2)?,
            }
        }
        f.write_str(")")
    }
}

/// The type of a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TableType {
    /// The type of its indices.
    pub index: IndexType,
    /// Its limits, in elements.
    pub limits: Limits,
    /// The type of its elements.
    pub element: RefType,
}

impl TableType {
    /// An ordinary table, with 32-bit indices.
    #[must_use]
    pub const fn new(element: RefType, min: u64, max: Option<u64>) -> Self {
        Self {
            index: IndexType::I32,
            limits: Limits { min, max },
            element,
        }
    }

    /// The largest number of elements, by the limit and by the type of indices.
    pub(crate) fn max_elements(self) -> u64 {
        let addressable = match self.index {
            IndexType::I32 => u64::from(u32::MAX),
            IndexType::I64 => u64::MAX,
        };
        self.limits
            .max
            .map_or(addressable, |max| max.min(addressable))
    }
}

impl fmt::Display for TableType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = if self.index == IndexType::I64 {
            "i64 "
        } else {
            ""
        };
        write!(f, "(table {index}{} {})", self.limits, self.element)
    }
}

/// The type of a global.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GlobalType {
    /// The type of its value.
    pub value: ValType,
    /// Whether the value may change.
    pub mutable: bool,
}

impl GlobalType {
    /// A global that never changes.
    #[must_use]
    pub const fn constant(value: ValType) -> Self {
        Self {
            value,
            mutable: false,
        }
    }

    /// A global that may change.
    #[must_use]
    pub const fn mutable(value: ValType) -> Self {
        Self {
            value,
            mutable: true,
        }
    }
}

impl fmt::Display for GlobalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mutable {
            write!(f, "(global (mut {}))", self.value)
        } else {
            write!(f, "(global {})", self.value)
        }
    }
}

/// The type of something that a module imports or exports.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A linear memory.
    Memory(MemoryType),
    /// A table.
    Table(TableType),
    /// A global.
    Global(GlobalType),
}

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Func(ty) => ty.fmt(f),
            Self::Memory(ty) => ty.fmt(f),
            Self::Table(ty) => ty.fmt(f),
            Self::Global(ty) => ty.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn types_print_in_the_text_format() {
        let func = FuncType::new([ValType::I32, ValType::FUNCREF], [ValType::V128]);
        assert_eq!(func.to_string(), "(func (param i32 funcref) (result v128))");
        let typed = RefType {
            nullable: false,
            heap: HeapType::Concrete(TypeIndex(3)),
        };
        assert_eq!(
            TableType::new(typed, 1, None).to_string(),
            "(table 1 (ref $type3))"
        );
        assert_eq!(
            MemoryType::new(1, Some(2)).shared().memory64().to_string(),
            "(memory i64 1 2 shared)"
        );
        assert_eq!(
            GlobalType::mutable(ValType::F64).to_string(),
            "(global (mut f64))"
        );
    }

    #[test]
    fn a_memory_never_outgrows_its_addresses() {
        assert_eq!(MemoryType::new(0, None).max_pages(), 65536);
        assert_eq!(MemoryType::new(0, Some(7)).max_pages(), 7);
        assert_eq!(MemoryType::new(0, None).memory64().max_pages(), 1 << 48);
        let bytes = MemoryType {
            page_size_log2: 0,
            ..MemoryType::new(0, None)
        };
        assert_eq!(bytes.max_pages(), 0xffff_fffe);
        assert_eq!(MemoryType::new(0, None).memory64().bytes(1 << 48), None);
    }

    #[test]
    fn pages_of_any_size_are_counted_and_printed() {
        let of = |page_size_log2| MemoryType {
            page_size_log2,
            ..MemoryType::new(1, None)
        };
        let sizes = [
            // log2, bytes, pages with addresses of 32 and of 64 bits, as text
            (0, Some(1), 0xffff_fffe, u64::MAX, "1"),
            (1, Some(2), 1 << 31, 1 << 63, "2"),
            (32, Some(1 << 32), 1, 1 << 32, "4294967296"),
            (33, Some(1 << 33), 0, 1 << 31, "8589934592"),
            (63, Some(1 << 63), 0, 2, "9223372036854775808"),
            (64, None, 0, 1, "2^64"),
            (65, None, 0, 0, "2^65"),
            (127, None, 0, 0, "2^127"),
            (128, None, 0, 0, "2^128"),
            (255, None, 0, 0, "2^255"),
        ];
        for (log2, bytes, pages32, pages64, text) in sizes {
            let ty = of(log2);
            assert_eq!(ty.page_size(), bytes, "{log2}");
            assert_eq!(ty.max_pages(), pages32, "{log2}");
            assert_eq!(ty.memory64().max_pages(), pages64, "{log2}");
            assert_eq!(ty.to_string(), format!("(memory 1 (pagesize {text}))"));
            assert_eq!(ty.bytes(u64::MAX).is_some(), log2 == 0, "{log2}");
        }
    }

    #[test]
    fn limits_fit_where_they_promise_no_less() {
        let asked = Limits {
            min: 2,
            max: Some(4),
        };
        assert!(
            Limits {
                min: 1,
                max: Some(4)
            }
            .fits(2, asked)
        );
        assert!(
            !Limits {
                min: 1,
                max: Some(4)
            }
            .fits(1, asked)
        );
        assert!(
            !Limits {
                min: 2,
                max: Some(5)
            }
            .fits(2, asked)
        );
        assert!(!Limits { min: 2, max: None }.fits(2, asked));
        assert!(Limits { min: 2, max: None }.fits(9, Limits { min: 2, max: None }));
    }
}
