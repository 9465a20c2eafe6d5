//! One entry into guest code, and the chain of them.

use core::cell::Cell;
use core::fmt;
use core::marker::{PhantomData, PhantomPinned};
use core::mem;
use core::ops::ControlFlow;
use core::ptr::{self, NonNull};
use core::sync::atomic::{Ordering, compiler_fence};

use trapline_arch::{JmpBuf, VirtualAddress, longjmp, stack_pointer};
use trapline_code_registry::TrapKind;
use trapline_cpu_local::cpu_local;

use crate::order::{self, OutOfOrder};
use crate::slot::UnwindSlot;
use crate::store::AnyStore;
use crate::vm::StoreWords;
use crate::{Preparation, Store, VMStoreContext, VMStoreContextLayout, WasmFault};

cpu_local! {
    /// The innermost activation of this CPU (hosted: of this thread), from
    /// which the others are linked.
    pub static ACTIVATION: ActivationHead = const { ActivationHead::none() };
}

/// The head of a CPU's chain of activations: see [`ACTIVATION`].
pub struct ActivationHead {
    innermost: Cell<*const Activation>,
    /// What the CPU was last prepared for; beside the head, so that an entry looks at one
    /// place.
    prepared: Cell<Option<Preparation>>,
}

impl ActivationHead {
    /// The innermost activation, null if this CPU is in no guest. It lives
    /// until the [`catch_traps`](crate::catch_traps) that made it returns.
    ///
    /// In code that may be moved to another CPU, ask from a function that is
    /// not inlined (see "Migration" in `trapline-cpu-local`).
    #[inline]
    #[must_use]
    pub fn innermost(&self) -> *const Activation {
        self.innermost.get()
    }
}

impl fmt::Debug for ActivationHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActivationHead")
            .field(&self.innermost())
            .finish()
    }
}

// What asks for the head below is never inlined. While a guest runs, its fiber may
// move to another CPU; code around it (a second `catch_traps` in the same function)
// must not use the address of the head that was computed before, which compilers take
// for a constant of the function.

/// The head of this CPU's chain.
#[inline(never)]
pub(crate) fn head() -> *const Activation {
    head_here()
}

/// The same in line: for functions that are never inlined themselves and ask once, before
/// anything else.
#[inline(always)]
pub(crate) fn head_here() -> *const Activation {
    ACTIVATION.with(ActivationHead::innermost)
}

/// The innermost activation of this CPU, for what its guest has called: `None` outside of any.
///
/// Stops, if it runs on the stack of another guest than the innermost one's: that is then about
/// to be left for what happened elsewhere. `what` is being done.
///
/// For functions that are never inlined and ask once, before anything else.
#[inline(always)]
pub(crate) fn called_from<'a>(what: OutOfOrder) -> Option<&'a Activation> {
    // SAFETY: the innermost activation lives further out than what its guest calls.
    let innermost = unsafe { head_here().as_ref() }?;
    if !innermost.is_entered_at(stack_pointer()) {
        order::stop(what);
    }
    Some(innermost)
}

/// The head of this CPU's chain, for the moment.
///
/// The only time that an entry asks for the CPU's own data: the way out finds the head
/// where the entry leaves its address.
#[inline(never)]
pub(crate) fn this_cpu() -> NonNull<ActivationHead> {
    let head = ACTIVATION.with(|head| NonNull::from(head));
    // A function without effects would be called once for two entries, also by a linker that
    // optimises.
    compiler_fence(Ordering::SeqCst);
    head
}

impl ActivationHead {
    /// A head of no CPU's chain, without an activation.
    pub(crate) const fn none() -> Self {
        Self {
            innermost: Cell::new(ptr::null()),
            prepared: Cell::new(None),
        }
    }

    /// Puts an activation, which is linked to what is there, on top of the chain. That is whole at
    /// any moment, for handlers that look at it.
    #[inline]
    fn push(&self, activation: &Activation) {
        // A handler on this CPU that finds the activation finds its link, too.
        compiler_fence(Ordering::Release);
        self.innermost.set(activation);
    }
}

/// Exchanges the head of this CPU's chain for what `with` makes of it; it is given
/// the innermost activation and the head's address.
#[inline(never)]
pub(crate) fn replace_head(
    with: impl FnOnce(*const Activation, *const ActivationHead) -> *const Activation,
) {
    ACTIVATION.with(|head| head.innermost.set(with(head.innermost.get(), head)));
}

/// A fault of the hardware, as the exception handler leaves it for the code
/// that runs after it in normal context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HardwareTrap {
    pub(crate) pc: VirtualAddress,
    pub(crate) fp: VirtualAddress,
    pub(crate) faulting_addr: Option<VirtualAddress>,
    pub(crate) trap: TrapKind,
    pub(crate) wasm_fault: Option<WasmFault>,
}

/// What was found out about an activation since its guest was entered. (In one place, so that an entry
/// writes one word for both.)
#[derive(Clone, Copy, Debug)]
enum Noted {
    Nothing,
    /// The chain rises from here on out: see [`Activation::owner_of`].
    Rises,
    /// The exception handler's note.
    HardwareTrap(HardwareTrap),
}

/// One entry into guest code.
///
/// It lives in the frame of the [`catch_traps`](crate::catch_traps) that made
/// it, above the frames that a jump discards, and is linked from the CPU's chain
/// while that runs:
///
/// ```text
///  ACTIVATION ─► innermost ─ previous ─► … ─ previous ─► outermost ─► null
/// ```
pub struct Activation {
    previous: Cell<*const Activation>,
    /// The head of the chain that the activation is linked in: that of the CPU whose
    /// stack it is on; [`order::in_no_chain`] while it is suspended with its fiber.
    head: Cell<*const ActivationHead>,
    /// The stack pointer of the `catch_traps`: all frames of the guest lie below. (The activation
    /// itself may be elsewhere: see [`stack_pointer`].)
    stack: VirtualAddress,
    store_context: NonNull<VMStoreContext>,
    /// The store that `catch_traps` borrows; its lifetime is erased.
    store: *const dyn AnyStore,
    /// The saved context, null if the guest is left for the landing pad that
    /// its entry trampoline recorded.
    jmp_buf: Cell<JmpBuf>,
    /// The store's words as they were before entry; `None` stands for zeros, as
    /// they are if the store has no older entry.
    saved: Cell<Option<StoreWords>>,
    noted: Cell<Noted>,
    unwind: UnwindSlot,
    _pinned: PhantomPinned,
}

impl Activation {
    /// An activation for an entry into a guest of `store` on this CPU, whose head this is; not in its
    /// chain yet. `stack` is the stack pointer of the function that it is in.
    #[inline]
    pub(crate) fn new<S: Store>(
        store: &S,
        head: NonNull<ActivationHead>,
        stack: VirtualAddress,
    ) -> Self {
        const { S::LAYOUT.validate() };
        // SAFETY: it lives as long as the CPU, or thread, that this runs on.
        let innermost = unsafe { head.as_ref() }.innermost();
        let store_context = store.vm_store_context();
        let store: *const (dyn AnyStore + '_) = store;
        // SAFETY: only the lifetime in the type changes. The pointer is used
        // while the activation is linked, within the borrow of the store.
        let store = unsafe {
            mem::transmute::<*const (dyn AnyStore + '_), *const (dyn AnyStore + 'static)>(store)
        };
        Self {
            previous: Cell::new(innermost),
            head: Cell::new(head.as_ptr()),
            stack,
            store_context,
            store,
            jmp_buf: Cell::new(ptr::null()),
            saved: Cell::new(None),
            noted: Cell::new(Noted::Nothing),
            unwind: UnwindSlot::new(),
            _pinned: PhantomPinned,
        }
    }

    /// Links the activation into this CPU's chain and clears what the store's
    /// words say of earlier guests; all of it is undone when the result is
    /// dropped. The guest may be entered unless the CPU could not be prepared for it: then that
    /// is recorded as what it was left for.
    ///
    /// # Safety
    ///
    /// * `S` is the type of the store that the activation was made for.
    /// * It was made on this CPU, whose chain is as it was then, and nobody has entered it
    ///   before.
    /// * What is entered inside is left before the result is dropped.
    #[inline]
    pub(crate) unsafe fn enter<S: Store>(&self, store: &S) -> (Entered<'_, S>, bool) {
        // The embedder's code, which may panic: before anything is changed. (It leaves the chain
        // as it is, like any code that returns.)
        let needs = store.preparation();
        // SAFETY: the layout is the store's, by the duties of `Store`.
        let words = unsafe { StoreWords::read(self.store_context, const { &S::LAYOUT }) };
        // Most entries are into a store that has no other on the stack: then all
        // words are zero, and there is nothing to keep or to clear.
        if !words.are_zero() {
            // SAFETY: as above.
            unsafe { self.set_aside::<S>() };
        }
        // SAFETY: it lives as long as the CPU, or thread, that the activation was made on, and
        // this still is.
        let head = unsafe { &*self.head.get() };
        let ready = if needs.is_none() || head.prepared.get() == needs {
            head.push(self);
            true
        } else {
            // SAFETY: the type is the store's, by this function's duty, and its words have
            // been set aside, unless they were zero.
            unsafe { self.prepare_and_push(store) }
        };
        let entered = Entered {
            activation: self,
            _store: PhantomData,
        };
        (entered, ready)
    }

    /// The first entry on a CPU. If that can't be prepared the activation is linked all the
    /// same, with the reason in it.
    ///
    /// # Safety
    ///
    /// * `S` is the type of the store that the activation was made for; what was in its words
    ///   before the entry is kept in the activation.
    #[cold]
    #[inline(never)]
    unsafe fn prepare_and_push<S: Store>(&self, store: &S) -> bool {
        // The embedder's code runs with everything as it was before the entry: it may panic,
        // enter other guests, and look at those that wait further out.
        // SAFETY: the caller's duty; the guest has not been entered yet.
        unsafe { self.put_back::<S>() };
        let prepared = store.prepare();
        // Anew, since that was the store's code.
        // SAFETY: it lives as long as the CPU, or thread, that this runs on.
        let head = unsafe { this_cpu().as_ref() };
        if prepared.is_ok() {
            head.prepared.set(store.preparation());
        }
        // SAFETY: the caller's duty.
        unsafe { self.set_aside::<S>() };
        self.link(head.innermost.get(), head);
        head.push(self);
        match prepared {
            Ok(()) => true,
            Err(error) => {
                self.unwind.pass_on(error);
                false
            }
        }
    }

    /// Keeps the words of an older entry, and clears them.
    ///
    /// # Safety
    ///
    /// * `S` is the type of the store.
    #[cold]
    unsafe fn set_aside<S: Store>(&self) {
        let layout = const { &S::LAYOUT };
        // SAFETY: the caller's duty; what was in the words is saved before it is cleared.
        unsafe {
            self.saved
                .set(Some(StoreWords::read(self.store_context, layout)));
            StoreWords::clear(self.store_context, layout);
        }
    }

    /// Puts the words back to what they were before entry.
    ///
    /// # Safety
    ///
    /// * `S` is the type of the store, whose guest that this activation entered has been
    ///   left.
    #[inline]
    unsafe fn put_back<S: Store>(&self) {
        // SAFETY: nobody holds a reference into a cell beyond a method.
        if unsafe { (*self.saved.as_ptr()).is_none() } {
            // SAFETY: the caller's duty.
            unsafe { StoreWords::default().write(self.store_context, const { &S::LAYOUT }) };
        } else {
            // SAFETY: the caller's duty.
            unsafe { self.put_back_saved::<S>() };
        }
    }

    /// # Safety
    ///
    /// * As for [`put_back`](Self::put_back).
    #[cold]
    unsafe fn put_back_saved<S: Store>(&self) {
        // SAFETY: the caller's duty.
        unsafe {
            self.saved_words()
                .write(self.store_context, const { &S::LAYOUT });
        }
    }

    /// The next older activation of this CPU.
    #[inline]
    #[must_use]
    pub fn previous(&self) -> Option<&Self> {
        // SAFETY: an older activation outlives a newer one, whose borrow this
        // is.
        unsafe { self.previous.get().as_ref() }
    }

    /// The context of the store whose guest was entered.
    #[inline]
    #[must_use]
    pub fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        self.store_context
    }

    /// Whether a reason to leave the guest has been recorded and nobody has
    /// been told of it yet.
    #[inline]
    #[must_use]
    pub fn is_unwinding(&self) -> bool {
        self.unwind.is_set()
    }

    /// Address of the activation: its name. It may not be on the guest's stack.
    #[inline]
    pub(crate) fn address(&self) -> VirtualAddress {
        VirtualAddress::from_ptr(ptr::from_ref(self))
    }

    /// Where the guest's stack begins: all of its frames lie below.
    #[inline]
    pub(crate) fn stack(&self) -> VirtualAddress {
        self.stack
    }

    /// Links the activation to the next older one, in the chain with this head.
    #[inline]
    pub(crate) fn link(&self, previous: *const Self, head: *const ActivationHead) {
        self.previous.set(previous);
        self.head.set(head);
        if let Noted::Rises = self.noted.get() {
            self.noted.set(Noted::Nothing);
        }
    }

    /// Whose guest the frame at `place` is of (or was called by), of this activation and the older
    /// ones: whose stack begins next above it. `None` if it lies above all of them.
    ///
    /// On each stack a newer activation lies below an older one, with the newer one's guest below
    /// that; and whatever lies between two places of a stack is on that stack. So if `place` is on the
    /// stack of an activation, only one of the same stack can come before that, whatever stacks the
    /// others are on, and this one is newer. Hence the answer is right wherever the stacks lie, if the
    /// activations are alive and `place` is on the stack of one of them.
    pub(crate) fn owner_of(&self, place: VirtualAddress) -> Option<&Self> {
        if place <= self.stack && self.rises() {
            return Some(self);
        }
        let mut owner: Option<&Self> = None;
        let mut next = Some(self);
        while let Some(activation) = next {
            if place <= activation.stack
                // The newer one of two in the same frame.
                && owner.is_none_or(|owner| activation.stack < owner.stack)
            {
                owner = Some(activation);
            }
            next = activation.previous();
        }
        owner
    }

    /// Whether the frame at `place` is of (or was called by) the guest of this activation, and
    /// not of an older one's.
    #[inline]
    pub(crate) fn is_entered_at(&self, place: VirtualAddress) -> bool {
        // One entry and no other: what there mostly is.
        if self.previous.get().is_null() {
            return place <= self.stack;
        }
        self.is_owner_of(place)
    }

    #[cold]
    #[inline(never)]
    fn is_owner_of(&self, place: VirtualAddress) -> bool {
        self.owner_of(place)
            .is_some_and(|owner| ptr::eq(owner, self))
    }

    /// Whether each of the older activations lies above the next newer one, as on a single stack.
    ///
    /// Once found out it is remembered, also for those further out: an error that passes many of them
    /// does not look at all of them each time.
    fn rises(&self) -> bool {
        let mut newer = self;
        while !newer.is_known_to_rise() {
            match newer.previous() {
                None => break,
                Some(older) if older.stack >= newer.stack => newer = older,
                Some(_) => return false,
            }
        }
        let mut next = Some(self);
        while let Some(activation) = next
            && !activation.is_known_to_rise()
        {
            if let Noted::Nothing = activation.noted.get() {
                activation.noted.set(Noted::Rises);
            }
            next = activation.previous();
        }
        true
    }

    /// Of an activation whose guest has trapped it is not known: that is left next.
    fn is_known_to_rise(&self) -> bool {
        matches!(self.noted.get(), Noted::Rises)
    }

    #[inline]
    pub(crate) fn previous_ptr(&self) -> *const Self {
        self.previous.get()
    }

    #[inline]
    pub(crate) fn saved_words(&self) -> StoreWords {
        self.saved.get().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn set_jmp_buf(&self, buf: JmpBuf) {
        self.jmp_buf.set(buf);
    }

    #[inline]
    pub(crate) fn store(&self) -> &dyn AnyStore {
        // SAFETY: `catch_traps` holds a borrow of the store for as long as the
        // activation can be reached.
        unsafe { &*self.store }
    }

    #[inline]
    pub(crate) fn layout(&self) -> &'static VMStoreContextLayout {
        self.store().layout()
    }

    /// The store's words as they are.
    ///
    /// # Safety
    ///
    /// * The activation is the innermost one of its store, on this CPU.
    #[inline]
    pub(crate) unsafe fn live_words(&self) -> StoreWords {
        // SAFETY: the layout is the store's; its guest runs on this CPU if
        // anywhere, so nobody writes to the words.
        unsafe { StoreWords::read(self.store_context, self.layout()) }
    }

    /// Exchanges the store's words with the saved ones, for when the chain
    /// that the activation is in leaves the CPU or comes back.
    ///
    /// # Safety
    ///
    /// * The activation is the innermost one of its store.
    pub(crate) unsafe fn swap_words(&self) {
        // SAFETY: the layout is the store's, which is not running.
        unsafe {
            let live = self.live_words();
            self.saved_words().write(self.store_context, self.layout());
            self.saved.set(Some(live));
        }
    }

    /// The exception handler's note; `false` if there is one already, or the
    /// guest is being left.
    #[inline]
    pub(crate) fn note_hardware_trap(&self, trap: HardwareTrap) -> bool {
        if matches!(self.noted.get(), Noted::HardwareTrap(_)) || self.is_unwinding() {
            return false;
        }
        self.noted.set(Noted::HardwareTrap(trap));
        true
    }

    /// The exception handler's note. It stays until the activation is gone:
    /// from then on the guest's innermost frame is the one that trapped, not the
    /// one that last called out.
    #[inline]
    pub(crate) fn hardware_trap(&self) -> Option<HardwareTrap> {
        match self.noted.get() {
            Noted::HardwareTrap(trap) => Some(trap),
            Noted::Nothing | Noted::Rises => None,
        }
    }

    /// Where the reason to leave the guest is recorded.
    #[inline]
    pub(crate) const fn unwind(&self) -> &UnwindSlot {
        &self.unwind
    }

    /// Leaves the guest for where this activation is landed at.
    ///
    /// # Safety
    ///
    /// * The activation is linked, its guest's frames are on this stack, and
    ///   nothing between here and there has a destructor that must run.
    ///
    /// # Panics
    ///
    /// If the guest has no landing pad on record.
    #[inline]
    pub(crate) unsafe fn land(&self) -> ! {
        let buf = self.jmp_buf.get();
        if !buf.is_null() {
            // SAFETY: the context was saved by the `catch_traps` that this
            // activation belongs to, which is running.
            unsafe { longjmp(buf, 1) }
        }
        // SAFETY: the context is the store's; the guest being left is its innermost.
        let landing = unsafe { self.store().landing_point(self.store_context) };
        assert!(
            landing.pc != 0,
            "catch_traps_with_landing_pad was used, but no entry trampoline with a landing pad was called"
        );
        // SAFETY: the trampoline that wrote the words is running, and its
        // landing pad expects just these registers.
        unsafe { landing.with_payload(0, 0).jump() }
    }
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation")
            .field("previous", &self.previous)
            .field("store_context", &self.store_context)
            .field("saved", &self.saved)
            .finish_non_exhaustive()
    }
}

/// A linked activation; unlinks it on every way out of `catch_traps`, also when
/// a panic unwinds. It lives in the frame of `catch_traps`, which no jump skips.
pub(crate) struct Entered<'a, S: Store> {
    activation: &'a Activation,
    /// Its layout of the words is known here when this is compiled.
    _store: PhantomData<fn(S)>,
}

impl<S: Store> Drop for Entered<'_, S> {
    #[inline]
    fn drop(&mut self) {
        let activation = self.activation;
        debug_assert_linked_here(activation);
        // SAFETY: `push` or, after a suspension, `resume` put it there: it is the head of
        // the chain of the CPU that this runs on, and lives as long as the CPU, or thread, does.
        // If the activation is in no chain, it lives for ever.
        let head = unsafe { &*activation.head.get() };
        if !ptr::eq(head.innermost.get(), activation) {
            order::stop(OutOfOrder::Left);
        }
        // SAFETY: the type is the store's; the guest has been left, and the
        // words are those of the time before it was entered.
        unsafe { activation.put_back::<S>() };
        head.innermost.set(activation.previous.get());
    }
}

/// Whoever moves to another CPU without its activations leaves them in the chain of the one that it
/// came from. It costs an entry too much to look for that, but where assertions are on.
#[inline]
fn debug_assert_linked_here(activation: &Activation) {
    if cfg!(debug_assertions) {
        let head = activation.head.get();
        if !ptr::eq(head, this_cpu().as_ptr()) && !ptr::eq(head, order::in_no_chain()) {
            order::stop(OutOfOrder::LeftElsewhere);
        }
    }
}

/// Calls `visit` with each activation of this CPU, innermost first, until it
/// breaks off.
pub fn for_each_activation<B>(
    mut visit: impl FnMut(&Activation) -> ControlFlow<B>,
) -> ControlFlow<B> {
    // SAFETY: an activation in the chain lives until its `catch_traps`
    // returns, which is further out than this call.
    let mut next = unsafe { head().as_ref() };
    while let Some(activation) = next {
        visit(activation)?;
        next = activation.previous();
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use trapline_test_support::code::Random;

    use super::*;
    use crate::{ExitFp, VMContext};

    /// A store that nobody enters.
    struct Nothing;

    // SAFETY: no guest of it ever runs.
    unsafe impl Store for Nothing {
        const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
            exit_fp: ExitFp::Guest(0),
            exit_pc: size_of::<usize>(),
            entry_fp: 2 * size_of::<usize>(),
            landing_pad: None,
        };

        fn default_caller(&self) -> NonNull<VMContext> {
            NonNull::dangling()
        }

        fn vm_store_context(&self) -> NonNull<VMStoreContext> {
            NonNull::dangling()
        }

        fn wasm_fault(&self, _: VirtualAddress) -> Option<WasmFault> {
            None
        }
    }

    /// A chain of activations at these places of stacks, outermost first.
    fn chain(places: &[usize]) -> Vec<Activation> {
        let chain: Vec<Activation> = places
            .iter()
            .map(|place| Activation::new(&Nothing, this_cpu(), VirtualAddress::new(*place)))
            .collect();
        for nth in 0..chain.len() {
            let previous = nth
                .checked_sub(1)
                .map_or(ptr::null(), |nth| &raw const chain[nth]);
            chain[nth].link(previous, order::in_no_chain());
        }
        chain
    }

    /// The places in the order in which they are entered: on three stacks of ten places, each from
    /// its upper end.
    fn places(random: &mut Random, stacks: usize) -> Vec<usize> {
        let mut next = [10, 20, 30];
        (0..random.below(9) + 1)
            .map(|_| {
                let stack = &mut next[random.below(stacks)];
                *stack -= 1;
                *stack
            })
            .collect()
    }

    #[test]
    fn a_frame_belongs_to_the_newest_activation_above_it_on_its_own_stack() {
        let mut random = Random::new(1);
        for case in 0..2_000 {
            let places = places(&mut random, 1 + case % 3);
            let chain = chain(&places);
            // Asked in any order, since what is found out is remembered.
            for _ in 0..20 {
                let from = random.below(chain.len());
                let known = &places[..=from];
                let place = random.below(30);
                let on_its_stack = |other: &usize| other / 10 == place / 10 && *other >= place;
                let Some(expected) = known.iter().rposition(on_its_stack) else {
                    // On a stack that nobody has entered a guest on, or above.
                    continue;
                };
                let owner = chain[from].owner_of(VirtualAddress::new(place));
                assert!(owner.is_some_and(|owner| ptr::eq(owner, &raw const chain[expected])));
                assert_eq!(
                    chain[from].is_entered_at(VirtualAddress::new(place)),
                    expected == from
                );
            }
        }
    }

    #[test]
    fn a_frame_above_all_activations_belongs_to_none() {
        let chain = chain(&[9, 19, 8]);
        assert!(chain[2].owner_of(VirtualAddress::new(20)).is_none());
        assert!(!chain[2].is_entered_at(VirtualAddress::new(20)));
        assert!(chain[0].owner_of(VirtualAddress::new(10)).is_none());
    }
}
