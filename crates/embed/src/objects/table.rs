//! The tables of a store.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use trapline_wasmtime::vm::{VMFuncRef, VMTableDefinition, VMTableImport, ValRaw};
use trapline_wasmtime::wasmtime_environ::DefinedTableIndex;

use crate::compiled::definition::{Definition, Owner};
use crate::types::{RefType, TableType};
use crate::usage::UsageError;

/// The elements of a table, as compiled code accesses them: pointers to
/// function references, or handles of external references; null is zero.
#[derive(Debug)]
pub(crate) struct Elements {
    ty: TableType,
    start: NonNull<u8>,
    len: usize,
    capacity: usize,
}

/// The size of an element in bytes.
const fn element_size(ty: RefType) -> usize {
    if ty.heap.is_func() {
        size_of::<*mut VMFuncRef>()
    } else {
        size_of::<u32>()
    }
}

impl Elements {
    /// The elements of a new table: null, whatever their type says. The module's
    /// startup function, or the host, fills in others before anybody looks.
    pub(crate) fn new(ty: TableType) -> Result<Self, UsageError> {
        let too_large = || UsageError::TableSize {
            elements: ty.limits.min,
        };
        if ty.limits.min > ty.max_elements() {
            return Err(UsageError::TableType { ty });
        }
        let len = usize::try_from(ty.limits.min).map_err(|_| too_large())?;
        let start = Self::allocate(ty, len).ok_or_else(too_large)?;
        Ok(Self {
            ty,
            start,
            len,
            capacity: len,
        })
    }

    fn layout(ty: TableType, capacity: usize) -> Option<Layout> {
        let bytes = capacity.checked_mul(element_size(ty.element))?;
        Layout::from_size_align(bytes, align_of::<*mut VMFuncRef>()).ok()
    }

    fn allocate(ty: TableType, capacity: usize) -> Option<NonNull<u8>> {
        let layout = Self::layout(ty, capacity)?;
        if layout.size() == 0 {
            return Some(NonNull::<*mut VMFuncRef>::dangling().cast());
        }
        // SAFETY: the size is not zero.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    /// What compiled code is told of the elements.
    pub(crate) fn describe(&self) -> VMTableDefinition {
        VMTableDefinition {
            base: self.start.into(),
            current_elements: self.len,
        }
    }

    /// Adds `delta` elements, which are null; returns the previous number, `None`
    /// if there cannot be that many.
    fn grow(&mut self, delta: u64) -> Option<u64> {
        let previous = self.len;
        let len = (previous as u64).checked_add(delta)?;
        if len > self.ty.max_elements() {
            return None;
        }
        let len = usize::try_from(len).ok()?;
        if len > self.capacity {
            // At least twice the room, so that many small steps cost as much
            // as one large one; just what is needed if that is too much.
            let twice = self.capacity.saturating_mul(2);
            self.move_to(len.max(twice)).or_else(|| self.move_to(len))?;
        }
        self.len = len;
        Some(previous as u64)
    }

    fn move_to(&mut self, capacity: usize) -> Option<()> {
        let mut moved = Self {
            start: Self::allocate(self.ty, capacity)?,
            capacity,
            ..*self
        };
        let bytes = self.len * element_size(self.ty.element);
        // SAFETY: both allocations have room for that many bytes, and are not
        // the same.
        unsafe { moved.start.copy_from_nonoverlapping(self.start, bytes) };
        core::mem::swap(self, &mut moved);
        Some(())
    }

    fn element(&self, index: u64) -> Option<NonNull<u8>> {
        let index = usize::try_from(index)
            .ok()
            .filter(|index| *index < self.len)?;
        // SAFETY: inside of the allocation, since there are that many elements.
        Some(unsafe { self.start.add(index * element_size(self.ty.element)) })
    }

    fn get(&self, index: u64) -> Option<ValRaw> {
        let element = self.element(index)?;
        // SAFETY: an element of the table, which is of this kind, aligned, and
        // initialised since the table was made.
        Some(unsafe {
            if self.ty.element.heap.is_func() {
                ValRaw::funcref(element.cast::<*mut VMFuncRef>().read())
            } else {
                ValRaw::externref(element.cast::<u32>().read())
            }
        })
    }

    fn set(&mut self, index: u64, value: ValRaw) -> Option<()> {
        let element = self.element(index)?;
        // SAFETY: as for `get`.
        unsafe {
            if self.ty.element.heap.is_func() {
                element.cast::<*mut VMFuncRef>().write(value.get_funcref());
            } else {
                element.cast::<u32>().write(value.get_externref());
            }
        }
        Some(())
    }
}

impl Drop for Elements {
    fn drop(&mut self) {
        match Self::layout(self.ty, self.capacity) {
            // SAFETY: allocated with this layout, and this is the last use.
            Some(layout) if layout.size() > 0 => unsafe { dealloc(self.start.as_ptr(), layout) },
            _ => {}
        }
    }
}

/// A table that a store knows.
#[derive(Debug)]
pub(crate) struct TableObject {
    ty: TableType,
    elements: UnsafeCell<Elements>,
    definition: Definition<VMTableDefinition>,
    owner: Owner,
}

impl TableObject {
    pub(crate) fn new(
        elements: Elements,
        definition: Definition<VMTableDefinition>,
        owner: Owner,
    ) -> Self {
        Self {
            ty: elements.ty,
            elements: elements.into(),
            definition,
            owner,
        }
    }

    pub(crate) fn ty(&self) -> TableType {
        self.ty
    }

    /// Runs `f` with the elements. `f` must not get here again.
    fn with<R>(&self, f: impl FnOnce(&mut Elements) -> R) -> R {
        // SAFETY: the only reference, by the rule above; no guest is running,
        // and guests access elements through raw pointers.
        f(unsafe { &mut *self.elements.get() })
    }

    pub(crate) fn len(&self) -> u64 {
        self.with(|elements| elements.len as u64)
    }

    /// The element with this index, if there is one.
    pub(crate) fn get(&self, index: u64) -> Option<ValRaw> {
        self.with(|elements| elements.get(index))
    }

    /// Changes the element with this index to one of the table's type, if there is one.
    pub(crate) fn set(&self, index: u64, value: ValRaw) -> Option<()> {
        self.with(|elements| elements.set(index, value))
    }

    /// What an instance that imports the table is told of it.
    pub(crate) fn import(&self) -> VMTableImport {
        VMTableImport {
            from: self.definition.as_non_null().into(),
            vmctx: self.owner.vmctx.into(),
            index: DefinedTableIndex::from_u32(self.owner.index),
        }
    }

    /// Adds `delta` elements, which are null until the caller fills them in;
    /// returns the previous number, `None` if there cannot be that many.
    pub(crate) fn grow(&self, delta: u64) -> Option<u64> {
        self.with(|elements| {
            let previous = elements.grow(delta)?;
            // SAFETY: the record is the table's own, and no guest is running
            // that could read it.
            unsafe { self.definition.as_non_null().write(elements.describe()) };
            Some(previous)
        })
    }

    /// Makes all elements from `from` on this one.
    pub(crate) fn fill(&self, from: u64, value: ValRaw) {
        self.with(|elements| {
            for index in from..elements.len as u64 {
                elements.set(index, value);
            }
        });
    }
}
