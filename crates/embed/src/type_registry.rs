//! One index for each defined function type, shared by an engine's modules.
//!
//! Two modules mean the same type if the recursion groups that define it are
//! equal, member by member: references inside of the group by position, all
//! others by the index of an equal type. Groups are interned as a whole. Types
//! stay until the engine goes; equal ones of any number of modules take up
//! space once.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use trapline_lock::Mutex;
use trapline_wasmtime::wasmtime_environ as environ;
use trapline_wasmtime::wasmtime_environ::{
    EngineOrModuleTypeIndex, ModuleInternedTypeIndex, ModuleTypes,
};

use crate::types::{
    FuncType, GlobalType, HeapType, IndexType, Limits, MemoryType, RefType, TableType, TypeIndex,
    ValType,
};
use crate::usage::UsageError;

/// Marks the index of a type by its position in the group that is being
/// interned, so that equal groups look equal wherever they end up.
const IN_GROUP: u32 = 1 << 31;

/// A type of a recursion group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct SubType {
    is_final: bool,
    supertype: Option<TypeIndex>,
    func: FuncType,
}

/// A type that has an index.
#[derive(Debug)]
struct Registered {
    func: Arc<FuncType>,
    /// The supertypes, nearest first.
    supertypes: Box<[TypeIndex]>,
    /// The type of the trampolines for functions of this type.
    erased: TypeIndex,
}

#[derive(Default, Debug)]
struct Inner {
    groups: BTreeMap<Vec<SubType>, TypeIndex>,
    types: Vec<Registered>,
}

/// The interned types of an engine.
#[derive(Default, Debug)]
pub(crate) struct TypeRegistry(Mutex<Inner>);

impl TypeRegistry {
    /// Interns the types of a module. The result is indexed by
    /// [`ModuleInternedTypeIndex`].
    pub(crate) fn register_module(
        &self,
        types: &ModuleTypes,
    ) -> Result<Box<[TypeIndex]>, UnsupportedType> {
        let mut inner = self.0.lock();
        let mut indices: Vec<TypeIndex> = Vec::with_capacity(types.len_types());
        for (_, range) in types.rec_groups() {
            let start = range.start.as_u32();
            debug_assert_eq!(
                indices.len(),
                start as usize,
                "groups are dense and in order"
            );
            let mut group = Vec::new();
            for member in start..range.end.as_u32() {
                let convert = Convert {
                    indices: &indices,
                    group_start: Some(start),
                };
                group.push(convert.sub_type(&types[ModuleInternedTypeIndex::from_u32(member)])?);
            }
            let first = inner.intern(group);
            indices.extend((start..range.end.as_u32()).map(|i| TypeIndex(first.0 + (i - start))));
        }
        Ok(indices.into())
    }

    /// Interns a type that the host made up.
    ///
    /// Fails if it names a concrete type that this engine does not know.
    pub(crate) fn register_func(&self, func: &FuncType) -> Result<TypeIndex, UsageError> {
        let mut inner = self.0.lock();
        for ty in func.params().iter().chain(func.results()) {
            inner.check_known(*ty)?;
        }
        Ok(inner.intern_func(func.clone()))
    }

    /// Fails if the type is a concrete one that this engine does not know, of which the null
    /// reference would otherwise be a value.
    pub(crate) fn check_known(&self, ty: ValType) -> Result<(), UsageError> {
        self.0.lock().check_known(ty)
    }

    /// The type with this index, `None` if this engine handed out no such index.
    pub(crate) fn func(&self, index: TypeIndex) -> Option<Arc<FuncType>> {
        Some(Arc::clone(&self.0.lock().types.get(index.0 as usize)?.func))
    }

    /// The type of the trampolines for functions of this type, `None` if this
    /// engine handed out no such index.
    pub(crate) fn erased(&self, index: TypeIndex) -> Option<TypeIndex> {
        Some(self.0.lock().types.get(index.0 as usize)?.erased)
    }

    /// Whether functions of type `sub` may stand in for those of type `sup`.
    pub(crate) fn is_subtype(&self, sub: TypeIndex, sup: TypeIndex) -> bool {
        sub == sup
            || self
                .0
                .lock()
                .types
                .get(sub.0 as usize)
                .is_some_and(|ty| ty.supertypes.contains(&sup))
    }

    /// Whether values of type `sub` may stand in for those of type `sup`.
    pub(crate) fn matches(&self, sub: ValType, sup: ValType) -> bool {
        match (sub, sup) {
            (ValType::Ref(sub), ValType::Ref(sup)) => {
                (sup.nullable || !sub.nullable) && self.heap_matches(sub.heap, sup.heap)
            }
            (sub, sup) => sub == sup,
        }
    }

    fn heap_matches(&self, sub: HeapType, sup: HeapType) -> bool {
        match (sub, sup) {
            (HeapType::Concrete(sub), HeapType::Concrete(sup)) => self.is_subtype(sub, sup),
            (sub, HeapType::Func) => sub.is_func(),
            (sub, HeapType::Extern) => !sub.is_func(),
            (HeapType::NoFunc, sup) => sup.is_func(),
            (HeapType::NoExtern, sup) => !sup.is_func(),
            _ => false,
        }
    }
}

impl Inner {
    fn check_known(&self, ty: ValType) -> Result<(), UsageError> {
        match ty {
            ValType::Ref(RefType {
                heap: HeapType::Concrete(index),
                ..
            }) if index.0 as usize >= self.types.len() => Err(UsageError::UnknownType { index }),
            _ => Ok(()),
        }
    }

    /// The index of the group's first type.
    fn intern(&mut self, group: Vec<SubType>) -> TypeIndex {
        if let Some(first) = self.groups.get(&group) {
            return *first;
        }
        let first = self.types.len();
        assert!(
            first + 2 * group.len() < IN_GROUP as usize,
            "types have 31-bit indices"
        );
        let first = TypeIndex(first as u32);
        for (position, member) in group.iter().enumerate() {
            let func = member.func.map(|index| absolute(index, first));
            let mut supertypes = Vec::new();
            if let Some(supertype) = member.supertype {
                let supertype = absolute(supertype, first);
                supertypes.push(supertype);
                // Supertypes stand before their subtypes, also within a group.
                supertypes.extend_from_slice(&self.types[supertype.0 as usize].supertypes);
            }
            self.types.push(Registered {
                func: Arc::new(func),
                supertypes: supertypes.into(),
                erased: TypeIndex(first.0 + position as u32),
            });
        }
        let len = group.len() as u32;
        self.groups.insert(group, first);
        for index in first.0..first.0 + len {
            let func = &self.types[index as usize].func;
            let erased = func.erased();
            if erased != **func {
                self.types[index as usize].erased = self.intern_func(erased);
            }
        }
        first
    }

    /// The index of a type that is a group of its own, final, and without a
    /// supertype: what a plain `(func …)` means.
    fn intern_func(&mut self, func: FuncType) -> TypeIndex {
        self.intern(alloc::vec![SubType {
            is_final: true,
            supertype: None,
            func
        }])
    }
}

/// The index of a type of a group whose first type has the index `first`.
fn absolute(index: TypeIndex, first: TypeIndex) -> TypeIndex {
    if index.0 & IN_GROUP == 0 {
        index
    } else {
        TypeIndex(first.0 + (index.0 & !IN_GROUP))
    }
}

impl FuncType {
    /// The same type with other indices for concrete types.
    fn map(&self, index: impl Fn(TypeIndex) -> TypeIndex) -> Self {
        let map = |ty: &ValType| match *ty {
            ValType::Ref(RefType {
                nullable,
                heap: HeapType::Concrete(concrete),
            }) => ValType::Ref(RefType {
                nullable,
                heap: HeapType::Concrete(index(concrete)),
            }),
            other => other,
        };
        Self::new(
            self.params().iter().map(map),
            self.results().iter().map(map),
        )
    }
}

/// A type that only means something with a garbage-collected heap, with
/// exceptions or with continuations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnsupportedType(&'static str);

impl UnsupportedType {
    /// For modules that declare exception tags.
    pub(crate) const TAG: Self = Self("exception");
}

impl fmt::Display for UnsupportedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the module uses {} types, which this embedder does not have",
            self.0
        )
    }
}

impl core::error::Error for UnsupportedType {}

/// From the compiler's description of types to ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convert<'a> {
    /// The types that have indices, by [`ModuleInternedTypeIndex`].
    indices: &'a [TypeIndex],
    /// The first type of the group that is being interned.
    group_start: Option<u32>,
}

impl<'a> Convert<'a> {
    /// For a module whose types are all interned.
    pub(crate) const fn new(indices: &'a [TypeIndex]) -> Self {
        Self {
            indices,
            group_start: None,
        }
    }

    /// The index of a type.
    pub(crate) fn index(self, index: EngineOrModuleTypeIndex) -> TypeIndex {
        let index = index.unwrap_module_type_index().as_u32();
        match self.group_start {
            Some(start) if index >= start => TypeIndex((index - start) | IN_GROUP),
            _ => self.indices[index as usize],
        }
    }

    fn sub_type(self, ty: &environ::WasmSubType) -> Result<SubType, UnsupportedType> {
        let func = ty
            .as_func()
            .ok_or(UnsupportedType("structure, array or exception"))?;
        Ok(SubType {
            is_final: ty.is_final,
            supertype: ty.supertype.map(|index| self.index(index)),
            func: self.func(func)?,
        })
    }

    fn func(self, ty: &environ::WasmFuncType) -> Result<FuncType, UnsupportedType> {
        let convert = |types: &[environ::WasmValType]| {
            types
                .iter()
                .map(|ty| self.value(*ty))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(FuncType::new(convert(ty.params())?, convert(ty.results())?))
    }

    fn value(self, ty: environ::WasmValType) -> Result<ValType, UnsupportedType> {
        Ok(match ty {
            environ::WasmValType::I32 => ValType::I32,
            environ::WasmValType::I64 => ValType::I64,
            environ::WasmValType::F32 => ValType::F32,
            environ::WasmValType::F64 => ValType::F64,
            environ::WasmValType::V128 => ValType::V128,
            environ::WasmValType::Ref(ty) => ValType::Ref(self.reference(ty)?),
        })
    }

    fn reference(self, ty: environ::WasmRefType) -> Result<RefType, UnsupportedType> {
        use environ::WasmHeapType as H;
        let heap = match ty.heap_type {
            H::Extern => HeapType::Extern,
            H::NoExtern => HeapType::NoExtern,
            H::Func => HeapType::Func,
            H::ConcreteFunc(index) => HeapType::Concrete(self.index(index)),
            H::NoFunc => HeapType::NoFunc,
            H::Exn | H::ConcreteExn(_) | H::NoExn => return Err(UnsupportedType("exception")),
            H::Cont | H::ConcreteCont(_) | H::NoCont => {
                return Err(UnsupportedType("continuation"));
            }
            H::Any
            | H::Eq
            | H::I31
            | H::Array
            | H::ConcreteArray(_)
            | H::Struct
            | H::ConcreteStruct(_)
            | H::None => return Err(UnsupportedType("garbage-collected")),
        };
        Ok(RefType {
            nullable: ty.nullable,
            heap,
        })
    }

    /// The type of a table.
    pub(crate) fn table(self, ty: &environ::Table) -> Result<TableType, UnsupportedType> {
        Ok(TableType {
            index: index_type(ty.idx_type),
            limits: limits(ty.limits),
            element: self.reference(ty.ref_type)?,
        })
    }

    /// The type of a global.
    pub(crate) fn global(self, ty: &environ::Global) -> Result<GlobalType, UnsupportedType> {
        Ok(GlobalType {
            value: self.value(ty.wasm_ty)?,
            mutable: ty.mutability,
        })
    }
}

/// The type of a memory.
pub(crate) fn memory_type(ty: &environ::Memory) -> MemoryType {
    MemoryType {
        index: index_type(ty.idx_type),
        limits: limits(ty.limits),
        shared: ty.shared,
        page_size_log2: ty.page_size_log2,
    }
}

fn index_type(ty: environ::IndexType) -> IndexType {
    match ty {
        environ::IndexType::I32 => IndexType::I32,
        environ::IndexType::I64 => IndexType::I64,
    }
}

fn limits(limits: environ::Limits) -> Limits {
    Limits {
        min: limits.min,
        max: limits.max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(heap: HeapType) -> ValType {
        ValType::Ref(RefType {
            nullable: true,
            heap,
        })
    }

    fn sub(supertype: Option<TypeIndex>, params: &[ValType]) -> SubType {
        SubType {
            is_final: false,
            supertype,
            func: FuncType::new(params.iter().copied(), []),
        }
    }

    #[test]
    fn equal_types_have_equal_indices() {
        let registry = TypeRegistry::default();
        let unary = FuncType::new([ValType::I32], []);
        let first = registry.register_func(&unary).unwrap();
        assert_eq!(registry.register_func(&unary).unwrap(), first);
        let other = registry
            .register_func(&FuncType::new([ValType::I64], []))
            .unwrap();
        assert_ne!(first, other);
        assert_eq!(registry.func(first).as_deref(), Some(&unary));
    }

    #[test]
    fn an_index_of_another_engine_is_refused() {
        let registry = TypeRegistry::default();
        let stranger = reference(HeapType::Concrete(TypeIndex(7)));
        assert!(matches!(
            registry.register_func(&FuncType::new([stranger], [])),
            Err(UsageError::UnknownType {
                index: TypeIndex(7)
            })
        ));
        assert_eq!(registry.func(TypeIndex(7)), None);
        assert!(!registry.is_subtype(TypeIndex(7), TypeIndex(8)));
    }

    #[test]
    fn equal_recursive_groups_are_one_and_different_ones_are_not() {
        let registry = TypeRegistry::default();
        let own = |i: u32| reference(HeapType::Concrete(TypeIndex(i | IN_GROUP)));
        let pair = || alloc::vec![sub(None, &[own(1)]), sub(None, &[own(0)])];
        let mut inner = registry.0.lock();
        let first = inner.intern(pair());
        assert_eq!(inner.intern(pair()), first);
        let single = inner.intern(alloc::vec![sub(None, &[own(0)])]);
        assert!(
            single.0 > first.0 + 1,
            "a group of one is not part of a group of two"
        );
        assert_eq!(
            inner.types[first.0 as usize].func.params(),
            [reference(HeapType::Concrete(TypeIndex(first.0 + 1)))]
        );
    }

    #[test]
    fn subtypes_match_their_supertypes_only() {
        let registry = TypeRegistry::default();
        let (base, derived, leaf) = {
            let mut inner = registry.0.lock();
            let base = inner.intern(alloc::vec![sub(None, &[])]);
            let derived = inner.intern(alloc::vec![sub(Some(base), &[])]);
            let leaf = inner.intern(alloc::vec![sub(Some(derived), &[])]);
            (base, derived, leaf)
        };
        assert!(registry.is_subtype(leaf, base) && registry.is_subtype(leaf, derived));
        assert!(!registry.is_subtype(base, leaf));
        let concrete = |index| reference(HeapType::Concrete(index));
        assert!(registry.matches(concrete(leaf), concrete(base)));
        assert!(registry.matches(concrete(leaf), ValType::FUNCREF));
        assert!(!registry.matches(ValType::FUNCREF, concrete(base)));
        assert!(registry.matches(reference(HeapType::NoFunc), concrete(leaf)));
        assert!(!registry.matches(reference(HeapType::NoExtern), ValType::FUNCREF));
        let non_null = ValType::Ref(RefType {
            nullable: false,
            heap: HeapType::Func,
        });
        assert!(registry.matches(non_null, ValType::FUNCREF));
        assert!(!registry.matches(ValType::FUNCREF, non_null));
    }

    #[test]
    fn trampolines_know_references_by_their_hierarchy() {
        let registry = TypeRegistry::default();
        let plain = registry.register_func(&FuncType::new([], [])).unwrap();
        let typed = FuncType::new([reference(HeapType::Concrete(plain))], [ValType::I32]);
        let typed = registry.register_func(&typed).unwrap();
        let erased = registry.register_func(&FuncType::new([ValType::FUNCREF], [ValType::I32]));
        assert_eq!(registry.erased(typed), erased.ok());
        assert_eq!(registry.erased(plain), Some(plain));
    }
}
