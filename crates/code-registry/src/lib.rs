//! From a program counter to the code that owns it.
//!
//! A trap handler has a program counter and wants to know: is this code that
//! the runtime compiled, which piece of it, and is this instruction expected to
//! trap? [`register_code`] makes a piece of code known, as a [`CodeObject`];
//! [`lookup_code`] finds it, from any thread and any handler.
//!
//! ```
//! # use core::{any::Any, ops::Range};
//! use std::sync::Arc;
//! use trapline_arch::VirtualAddress;
//! use trapline_code_registry::{
//!     CodeAddress, CodeObject, TrapKind, lookup_code, register_code,
//! };
//!
//! /// Code with one instruction that may trap, at its fourth byte.
//! struct Code(Range<VirtualAddress>);
//!
//! // SAFETY: nothing is executed in the range of this example. It stays as it is, and its trap
//! // table reads nothing but its argument.
//! unsafe impl CodeObject for Code {
//!     fn text(&self) -> Range<VirtualAddress> {
//!         self.0.clone()
//!     }
//!     fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind> {
//!         (text_offset == 4).then_some(TrapKind::IntegerDivisionByZero)
//!     }
//! #   fn lookup_address(&self, _text_offset: usize) -> Option<CodeAddress> {
//! #       None
//! #   }
//! #   fn as_any(&self) -> &dyn Any {
//! #       self
//! #   }
//!     // …
//! }
//!
//! let start = VirtualAddress::new(0x1000);
//! let end = VirtualAddress::new(0x2000);
//! let registration = register_code(Arc::new(Code(start..end)))?;
//!
//! // In a handler, say:
//! let (code, text_offset) = lookup_code(VirtualAddress::new(0x1004)).expect("our code");
//! assert_eq!(text_offset, 4);
//! assert_eq!(
//!     code.lookup_trap_code(text_offset),
//!     Some(TrapKind::IntegerDivisionByZero)
//! );
//! drop(code);
//!
//! drop(registration);
//! assert!(lookup_code(VirtualAddress::new(0x1004)).is_none());
//! # Ok::<(), trapline_code_registry::RegisterError>(())
//! ```
//!
//! # How it works
//!
//! ```text
//!                root ───────────┐ one word; writers replace it
//!                                ▼
//!                        ┌─────────────────┐
//!  inner nodes, 512 B    │ 1000  7000  c000│  lowest start below each child
//!                        └──┬─────┬─────┬──┘
//!              ┌────────────┘     │     └───────────┐
//!              ▼                  ▼                 ▼
//!        ┌──────────┐       ┌──────────┐      ┌──────────┐
//!  leaves│1000‥2000 │       │7000‥7800 │      │c000‥c800 │  ranges, and an Arc
//!  512 B │4000‥4100 │       │7800‥9000 │      │d000‥f000 │  of each one's code
//!        └──────────┘       └──────────┘      └──────────┘
//!
//!  stripes of slots      ┌─ ─ ─┐ ┌─ ─ ─┐ ┌─ ─ ─┐     what each reader looks at;
//!  one line each         └─ ─ ─┘ └─ ─ ─┘ └─ ─ ─┘ …   writers read it, and free
//!                                                    nothing that is there
//! ```
//!
//! Ranges lie in a B+tree whose nodes never change. A writer copies the nodes
//! on one path, from root to leaf, with its range added or taken out, and
//! publishes the new root: O(log n) memory traffic, whatever the size. The
//! replaced nodes are used again once no reader can be in them.
//!
//! A reader announces itself, in a cache line that mostly no other thread uses,
//! loads the root and searches: at each level it asks for all lines of a node
//! at once, and counts comparisons, without branches, over two or three of them.
//! It retries nothing and waits for nobody. The
//! announcement stays with the [`CodeRef`] that it returns, and keeps the code
//! object alive. The module `announce` has the protocol with its proof.
//!
//! # Where what may be called
//!
//! | | in handlers | by whom, and at what cost |
//! | --- | --- | --- |
//! | [`lookup_code`], what a [`CodeRef`] leads to, its drop | yes | anybody; wait-free; no allocation, no free, no lock, no thread-local, no panic |
//! | [`CodeRef::to_arc`] | no | anybody; dropping the [`Arc`](alloc::sync::Arc) may free |
//! | [`register_code`], drop of a [`Registration`], [`CodeRegistry::reclaim`] | **no** | writers; one at a time, others sleep until it is their turn (without `std` they spin, for about a microsecond) |
//!
//! A handler may interrupt a writer on its own thread or CPU and look up all
//! the same: it sees the registry as it was before, or after. But it must not
//! write, as it might wait for the very writer it interrupted. In a kernel this
//! includes interrupts and, where tasks can be preempted for good by others on
//! the same CPU that register code, the scheduler: let writers run with
//! preemption off.
//!
//! # When code is let go
//!
//! Once the drop of a [`Registration`] returns, no new lookup finds the code.
//! The registry's own [`Arc`](alloc::sync::Arc) of it is dropped
//!
//! - before that drop returns, if at that moment no [`CodeRef`] of the code and
//!   no unfinished lookup is there; else
//! - by the next registration, removal or [`CodeRegistry::reclaim`] of the same
//!   registry, on whichever thread, that finds none of those.
//!
//! Never by a reader. A guard that is kept for long delays its own code object
//! only, and no writer. The destructor runs outside of the registry's lock: it
//! may register and remove.
//!
//! A guard must end: one whose frame is jumped over (a handler that leaves for
//! a landing point drops it first) keeps its code, and its slot, for ever.
//!
//! The registry itself keeps the memory of at most some hundred nodes for its
//! next writes, about 50 KiB.
//!
//! # After `fork`
//!
//! A forked child has the code that its parent had: lookups find it, on the child's own copy of everything.
//! With feature `std` the child may register and remove, too, whatever the parent's other threads were doing
//! at that moment: `fork` waits for writers (see [`trapline_lock`]), and lookups that were under way are
//! forgotten. What lives on in the child because its threads are not there to end it: what they have registered,
//! and each code object that one of them had a [`CodeRef`] of. (If there were more guards at that moment than
//! slots, 448, then nothing that the child removes is let go of.)
//!
//! Without `std`, and in children of calls that bypass the C library's `fork`, lookups are right all
//! the same, but writers may wait for ever.
//!
//! # Features
//!
//! None is on by default; the feature `std` of `trapline-activation`, and of all that is above it, turns `std` on.
//!
//! - `std`: writers that wait for one another sleep, and forked children may write.
//! - `tracing`: events at registration, refusal and removal, outside of the
//!   lock.
#![no_std]

extern crate alloc;

mod announce;
mod code_object;
mod edit;
mod error;
#[cfg(all(feature = "std", unix, not(loom)))]
mod fork;
mod heap;
mod hlt;
mod lookup;
mod node;
mod published;
mod reclaim;
mod registry;
mod sync;
mod trap_kind;

pub use code_object::{CodeAddress, CodeObject};
pub use error::RegisterError;
pub use hlt::{is_hlt, trap_by_hlt};
pub use lookup::CodeRef;
#[cfg(not(loom))]
pub use lookup::lookup_code;
#[cfg(not(loom))]
pub use registry::register_code;
pub use registry::{CodeRegistry, Registration};
pub use trap_kind::{TrapKind, UnknownTrapKind};
