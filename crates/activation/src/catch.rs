//! Entering a guest, and being told how it was left.

use core::mem::{MaybeUninit, needs_drop};
use core::ptr::NonNull;

use trapline_arch::{call_with_setjmp, stack_pointer};

use crate::activation::{Activation, this_cpu};
use crate::slot::Taken;
use crate::{Left, Store, Trap, VMContext, panic};

/// Runs `f`, which enters a guest of `store`; a trap in the guest comes back as
/// `Err`, a panic of a host function called by the guest goes on unwinding from
/// here with its payload.
///
/// The guest is left for a context that is saved here, so any compiled code
/// will do. Where the entry trampolines have landing pads of their own,
/// [`catch_traps_with_landing_pad`] saves the save.
///
/// `f` gets [`Store::default_caller`]. On each of the ways out (value, trap,
/// host panic, panic of `f` itself) the chain of activations and the store's
/// words are what they were before.
///
/// # What may lie between here and the guest
///
/// When the guest is left, the frames of `f` are dropped as they are: **no
/// destructor in them runs.** `f` itself must not need one, which is checked
/// when it is compiled: capture references. What `f` keeps in its own frames
/// while the guest runs must not need one either; nobody can check that. `f`
/// enters the guest once, as the last thing it does.
///
/// Arguments borrowed, as they should be:
///
/// ```
/// # use core::{cell::UnsafeCell, ptr::NonNull};
/// # use trapline_activation::{
/// #     ExitFp, Store, VMContext, VMStoreContext, VMStoreContextLayout, WasmFault, catch_traps,
/// # };
/// # struct MyStore(UnsafeCell<[usize; 3]>);
/// # // SAFETY: the layout is that of the array; there are no memories.
/// # unsafe impl Store for MyStore {
/// #     const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
/// #         exit_fp: ExitFp::Guest(0),
/// #         exit_pc: 8,
/// #         entry_fp: 16,
/// #         landing_pad: None,
/// #     };
/// #     fn default_caller(&self) -> NonNull<VMContext> { NonNull::dangling() }
/// #     fn vm_store_context(&self) -> NonNull<VMStoreContext> { NonNull::from(&self.0).cast() }
/// #     fn wasm_fault(&self, _: trapline_arch::VirtualAddress) -> Option<WasmFault> { None }
/// # }
/// # let store = MyStore(UnsafeCell::new([0; 3]));
/// let arguments = vec![1_u64, 2];
/// let len = catch_traps(&store, |_caller| arguments.len());
/// assert_eq!(len.unwrap(), 2);
/// ```
///
/// Arguments owned by the closure, which nobody would free after a trap:
///
/// ```compile_fail,E0080
/// # use core::{cell::UnsafeCell, ptr::NonNull};
/// # use trapline_activation::{
/// #     ExitFp, Store, VMContext, VMStoreContext, VMStoreContextLayout, WasmFault, catch_traps,
/// # };
/// # struct MyStore(UnsafeCell<[usize; 3]>);
/// # // SAFETY: the layout is that of the array; there are no memories.
/// # unsafe impl Store for MyStore {
/// #     const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
/// #         exit_fp: ExitFp::Guest(0),
/// #         exit_pc: 8,
/// #         entry_fp: 16,
/// #         landing_pad: None,
/// #     };
/// #     fn default_caller(&self) -> NonNull<VMContext> { NonNull::dangling() }
/// #     fn vm_store_context(&self) -> NonNull<VMStoreContext> { NonNull::from(&self.0).cast() }
/// #     fn wasm_fault(&self, _: trapline_arch::VirtualAddress) -> Option<WasmFault> { None }
/// # }
/// # let store = MyStore(UnsafeCell::new([0; 3]));
/// let arguments = vec![1_u64, 2];
/// let len = catch_traps(&store, move |_caller| arguments.len());
/// assert_eq!(len.unwrap(), 2);
/// ```
///
/// # Errors
///
/// The trap that the guest was left for.
///
/// # Panics
///
/// Goes on with the panic of a host function that was called by the guest.
/// Panics if the guest was left and no reason was recorded.
#[inline]
pub fn catch_traps<S, R, F>(store: &S, f: F) -> Result<R, Trap>
where
    S: Store,
    F: FnOnce(NonNull<VMContext>) -> R,
{
    catch_traps_into(store, f, |left| left.into_trap())
}

/// [`catch_traps`] for embedders that have an error of their own: `into_error` makes it of what the
/// guest was [`Left`] for. A trap is lent right where it was recorded: `into_error` takes out what it needs, say
/// with [`Trap::take_reason`] and [`Option::take`]; the rest is dropped. An error of the embedder's that a
/// host function has passed on ([`PassedOn`](crate::PassedOn)) comes back as it was.
///
/// It runs when the guest has been left and everything is as it was before entry.
///
/// # Errors
///
/// What `into_error` makes of the trap that the guest was left for.
///
/// # Panics
///
/// As [`catch_traps`].
#[inline]
pub fn catch_traps_into<S, R, E, F>(
    store: &S,
    f: F,
    into_error: impl FnOnce(Left<'_>) -> E,
) -> Result<R, E>
where
    S: Store,
    F: FnOnce(NonNull<VMContext>) -> R,
{
    const {
        assert!(
            !needs_drop::<F>(),
            "the closure given to catch_traps owns something with a destructor, which a trap would skip: capture a reference to it instead"
        );
    }
    let caller = store.default_caller();
    let head = this_cpu();
    let activation = Activation::new(store, head, stack_pointer());
    let mut result = MaybeUninit::uninit();
    let returned = {
        // SAFETY: made right above; the guest is left when `call_with_setjmp`
        // returns.
        let (_entered, ready) = unsafe { activation.enter(store) };
        let result = &mut result;
        ready
            && call_with_setjmp(|buf| {
                activation.set_jmp_buf(buf);
                result.write(f(caller));
                RETURNED
            }) == RETURNED
    };
    // What the saved context returned decides, not what the closure left in
    // `result`: after a jump that may be anything.
    // SAFETY: the closure has returned, having written its result.
    let result = returned.then(|| unsafe { result.assume_init() });
    if activation.is_unwinding() {
        return Err(left(&activation, into_error));
    }
    Ok(result.unwrap_or_else(|| nothing_recorded()))
}

/// What the saved context gives when it is not jumped to: `longjmp` never
/// brings 0.
const RETURNED: i32 = 0;

/// The same as [`catch_traps`] for guests whose entry trampoline recorded a
/// landing pad of its own: a trap makes the trampoline return to `f` and report
/// failure, upon which `f` returns `None`.
///
/// No frame of `f` is skipped, and no context need be saved. The store's
/// [`LAYOUT`](Store::LAYOUT) must have
/// [`landing_pad`](crate::VMStoreContextLayout::landing_pad), which is checked
/// when this is compiled. `f` enters the guest once, through such a trampoline, as the last thing it does.
///
/// # Errors
///
/// The trap that the guest was left for.
///
/// # Panics
///
/// Goes on with the panic of a host function that was called by the guest.
/// Panics if `f` returned `None` and no reason was recorded.
#[inline]
pub fn catch_traps_with_landing_pad<S, R, F>(store: &S, f: F) -> Result<R, Trap>
where
    S: Store,
    F: FnOnce(NonNull<VMContext>) -> Option<R>,
{
    catch_traps_with_landing_pad_into(store, f, |left| left.into_trap())
}

/// [`catch_traps_with_landing_pad`] with an error of one's own: `into_error` is as for
/// [`catch_traps_into`].
///
/// # Errors
///
/// What `into_error` makes of the trap that the guest was left for.
///
/// # Panics
///
/// As [`catch_traps_with_landing_pad`].
//
// Always in line: what `f` captures would go through memory, and of the few instructions that an
// entry takes a good part would be the registers that a call of its own saves.
#[inline(always)]
pub fn catch_traps_with_landing_pad_into<S, R, E, F>(
    store: &S,
    f: F,
    into_error: impl FnOnce(Left<'_>) -> E,
) -> Result<R, E>
where
    S: Store,
    F: FnOnce(NonNull<VMContext>) -> Option<R>,
{
    const {
        assert!(
            S::LAYOUT.landing_pad.is_some(),
            "the layout of this store has no landing pad words"
        );
    }
    let caller = store.default_caller();
    let head = this_cpu();
    let activation = Activation::new(store, head, stack_pointer());
    let result = {
        // SAFETY: made right above; the guest is left when `f` returns.
        let (_entered, ready) = unsafe { activation.enter(store) };
        if ready { f(caller) } else { None }
    };
    if activation.is_unwinding() {
        return Err(left(&activation, into_error));
    }
    Ok(result.unwrap_or_else(|| nothing_recorded()))
}

/// The error for the trap that was recorded; or goes on with the panic that was.
#[cold]
#[inline(never)]
fn left<E>(activation: &Activation, into_error: impl FnOnce(Left<'_>) -> E) -> E {
    match activation.unwind().take() {
        Taken::Nothing => nothing_recorded(),
        Taken::Trap(mut trap) => {
            #[cfg(feature = "tracing")]
            tracing::debug!(
                target: "trapline",
                reason = %trap.reason,
                frames = trap.backtrace.as_ref().map(trapline_backtrace::RawBacktrace::len),
                "trap caught"
            );
            into_error(Left::Trap(&mut trap))
        }
        Taken::Error(error) => into_error(Left::PassedOn(error)),
        Taken::Panic(payload) => panic::resume(payload),
    }
}

#[cold]
fn nothing_recorded<R>() -> R {
    panic!("the guest was left, but nobody recorded why")
}
