//! A store and "compiled code" for it: guests without a compiler.
#![expect(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses another part of this"
)]

pub mod fiber;

use core::any::Any;
use core::cell::{Cell, RefCell, UnsafeCell};
use core::error::Error;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::{ControlFlow, Range};
use core::ptr::NonNull;
use std::sync::{Arc, Mutex};

use trapline_activation::{
    ACTIVATION, Activation, CoreDump, ExitFp, FaultVerdict, GuestFault, LandingPadWords, Outcome,
    PassedOn, Preparation, Store, Trap, TrapReason, UnwindReason, VMContext, VMStoreContext,
    VMStoreContextLayout, WasmFault, capture_backtrace, catch_traps, catch_traps_with_landing_pad,
    handle_wasm_exception, raise_preexisting_trap, record_unwind,
};
use trapline_arch::VirtualAddress;
use trapline_backtrace::{RawBacktrace, WalkEnd};
use trapline_code_registry::{CodeAddress, CodeObject, Registration, TrapKind, register_code};

// The guest's machine code.

core::arch::global_asm!(
    include_str!("guest/symbols.s"),
    #[cfg(target_arch = "x86_64")]
    include_str!("guest/x86_64.s"),
    #[cfg(target_arch = "aarch64")]
    include_str!("guest/aarch64.s"),
    #[cfg(target_arch = "riscv64")]
    include_str!("guest/riscv64.s"),
    #[cfg(target_arch = "s390x")]
    include_str!("guest/s390x.s"),
    exit_fp = const offset_of!(Words, exit_fp),
    exit_pc = const offset_of!(Words, exit_pc),
    entry_fp = const offset_of!(Words, entry_fp),
    entry_sp = const offset_of!(Words, entry_sp),
    entry_trap_handler = const offset_of!(Words, entry_trap_handler),
    raise = sym raise,
    fault = sym fault,
    fiber_main = sym fiber::main,
);

unsafe extern "C" {
    fn fake_guest_start();
    fn fake_guest_end();
    fn fake_guest_enter(words: *mut Words, callee: usize, program: *const usize) -> u32;
    fn fake_guest_frame();
    fn fake_guest_frame_return();
    fn fake_guest_tail();
    fn fake_guest_nothing();
    fn fake_guest_host_then();
    fn fake_guest_host_then_return();
    fn fake_guest_host_then_return_2();
    fn fake_guest_exit();
    fn fake_guest_exit_guest_fp();
    fn fake_guest_trap();
    fn fake_guest_trap_site();
    fn fake_fiber_start();
}

fn addr(f: unsafe extern "C" fn()) -> usize {
    f as *const () as usize
}

/// Where a guest frame that called on stands.
pub fn frame_pc() -> usize {
    addr(fake_guest_frame_return)
}

/// Where a frame of `host_then` stands while the host runs, and afterwards.
pub fn host_then_pcs() -> [usize; 2] {
    [
        addr(fake_guest_host_then_return),
        addr(fake_guest_host_then_return_2),
    ]
}

/// The instruction that traps.
pub fn trap_pc() -> usize {
    addr(fake_guest_trap_site)
}

/// An instruction of the guest that does not trap.
pub fn no_trap_pc() -> usize {
    addr(fake_guest_frame)
}

extern "C" fn raise() -> ! {
    // SAFETY: called by guest code only; nothing here has a destructor.
    unsafe { raise_preexisting_trap() }
}

/// The guest's code as the registry knows it.
struct GuestCode {
    trap: TrapKind,
}

// SAFETY: the range is that of a guest in assembly, which is linked into this program. Its one trap
// site is an instruction in a frame that owns nothing. The answers are computed from addresses.
unsafe impl CodeObject for GuestCode {
    fn text(&self) -> Range<VirtualAddress> {
        VirtualAddress::new(addr(fake_guest_start))..VirtualAddress::new(addr(fake_guest_end))
    }

    fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind> {
        (text_offset == trap_pc() - addr(fake_guest_start)).then_some(self.trap)
    }

    fn lookup_address(&self, _: usize) -> Option<CodeAddress> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

static REGISTERED: Mutex<Option<Registration>> = Mutex::new(None);

/// Registers the guest's code; its trap site is for memory accesses.
pub fn register_guest() {
    let mut registered = REGISTERED.lock().unwrap();
    if registered.is_none() {
        let trap = TrapKind::MemoryOutOfBounds;
        *registered = Some(register_code(Arc::new(GuestCode { trap })).unwrap());
    }
}

/// Registers other code and takes it out again.
pub fn register_another() {
    struct Elsewhere;
    // SAFETY: nothing is executed in its range.
    unsafe impl CodeObject for Elsewhere {
        fn text(&self) -> Range<VirtualAddress> {
            VirtualAddress::new(0x1000)..VirtualAddress::new(0x2000)
        }

        fn lookup_trap_code(&self, _: usize) -> Option<TrapKind> {
            None
        }

        fn lookup_address(&self, _: usize) -> Option<CodeAddress> {
            None
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }
    drop(register_code(Arc::new(Elsewhere)).unwrap());
}

/// Takes the guest's code out of the registry.
pub fn unregister_guest() {
    REGISTERED.lock().unwrap().take();
}

// The store.

/// The words of the trampolines, in an order of their own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub struct Words {
    pub unrelated: usize,
    pub entry_trap_handler: usize,
    pub exit_pc: usize,
    pub entry_fp: usize,
    pub exit_fp: usize,
    pub entry_sp: usize,
}

/// What is in the words of a store before its first guest: not zero, so that
/// restoring is not mistaken for clearing.
pub const INITIAL: Words = Words {
    unrelated: 1,
    entry_trap_handler: 2,
    exit_pc: 3,
    entry_fp: 4,
    exit_fp: 5,
    entry_sp: 6,
};

/// What the store's hook does on a fault.
pub type Hook = fn(&GuestFault) -> FaultVerdict;

/// A store whose exit trampolines write their own frame pointer, and whose
/// entry trampolines have a landing pad: as Wasmtime-compiled code.
pub struct FakeStore {
    words: UnsafeCell<Words>,
    pub limit: Cell<usize>,
    /// How often the limit was asked for, which is how often a backtrace was
    /// captured for a trap.
    pub captures: Cell<usize>,
    /// The store's memory with its guard region.
    pub memory: Range<usize>,
    pub hook: Cell<Hook>,
    /// What this CPU has to be prepared for, whether it can be, and how often it was tried.
    pub preparation: Cell<Option<Preparation>>,
    pub can_be_prepared: Cell<bool>,
    pub preparations: Cell<usize>,
    /// Run while the CPU is prepared.
    pub while_prepared: Cell<Option<fn(&Self)>>,
    /// Whether a cause of a host error carries a trap of the embedder's.
    pub carries_trap: Cell<fn(&(dyn Error + 'static)) -> bool>,
    /// The core dump to give, and how often it was asked for.
    pub coredump: Cell<Option<&'static [u8]>>,
    pub coredumps: Cell<usize>,
    /// Run while a core dump is taken.
    pub while_dumped: Cell<Option<fn(&Self)>>,
    /// What the core dump's author sees when it captures a backtrace itself.
    pub seen_by_coredump: RefCell<Option<RawBacktrace>>,
}

/// The size of a fake store's memory; its guard region is of the same size.
pub const MEMORY_SIZE: usize = 0x1_0000;

impl FakeStore {
    pub fn new() -> Self {
        Self {
            words: UnsafeCell::new(INITIAL),
            limit: Cell::new(usize::MAX),
            captures: Cell::new(0),
            memory: 0x7000_0000..0x7000_0000 + 2 * MEMORY_SIZE,
            hook: Cell::new(|_| FaultVerdict::NotHandled),
            preparation: Cell::new(None),
            can_be_prepared: Cell::new(true),
            preparations: Cell::new(0),
            while_prepared: Cell::new(None),
            carries_trap: Cell::new(|_| false),
            coredump: Cell::new(None),
            coredumps: Cell::new(0),
            while_dumped: Cell::new(None),
            seen_by_coredump: RefCell::new(None),
        }
    }

    pub fn words(&self) -> Words {
        // SAFETY: one thread at a time uses a store, and nobody holds on to a
        // reference.
        unsafe { *self.words.get() }
    }

    pub fn set_words(&self, words: Words) {
        // SAFETY: as above.
        unsafe { *self.words.get() = words }
    }
}

// SAFETY: the layout is that of `Words`; the guests above keep frame records;
// nothing that a handler reaches allocates.
unsafe impl Store for FakeStore {
    const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
        exit_fp: ExitFp::Trampoline(offset_of!(Words, exit_fp)),
        exit_pc: offset_of!(Words, exit_pc),
        entry_fp: offset_of!(Words, entry_fp),
        landing_pad: Some(LandingPadWords {
            entry_sp: offset_of!(Words, entry_sp),
            entry_trap_handler: offset_of!(Words, entry_trap_handler),
        }),
    };

    fn default_caller(&self) -> NonNull<VMContext> {
        NonNull::from(&self.words).cast()
    }

    fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        NonNull::from(&self.words).cast()
    }

    fn wasm_fault(&self, addr: VirtualAddress) -> Option<WasmFault> {
        self.memory.contains(&addr.get()).then(|| WasmFault {
            memory_size: MEMORY_SIZE as u64,
            wasm_address: (addr.get() - self.memory.start) as u64,
        })
    }

    fn on_guest_fault(&self, fault: &GuestFault) -> FaultVerdict {
        (self.hook.get())(fault)
    }

    fn preparation(&self) -> Option<Preparation> {
        self.preparation.get()
    }

    fn prepare(&self) -> Result<(), PassedOn> {
        self.preparations.set(self.preparations.get() + 1);
        if let Some(f) = self.while_prepared.get() {
            f(self);
        }
        if self.can_be_prepared.get() {
            Ok(())
        } else {
            Err(anyhow::anyhow!("no handlers here").into())
        }
    }

    fn carries_trap(&self, cause: &(dyn Error + 'static)) -> bool {
        (self.carries_trap.get())(cause)
    }

    fn backtrace_limit(&self) -> usize {
        self.captures.set(self.captures.get() + 1);
        self.limit.get()
    }

    fn coredump(&self, _: &TrapReason, _: Option<&RawBacktrace>) -> Option<CoreDump> {
        self.coredumps.set(self.coredumps.get() + 1);
        *self.seen_by_coredump.borrow_mut() = Some(capture_backtrace(self));
        if let Some(f) = self.while_dumped.take() {
            f(self);
        }
        self.coredump.get().map(|bytes| CoreDump::new(bytes.into()))
    }
}

/// A store whose exit trampolines write the guest's frame pointer, and whose
/// entry trampolines have no landing pad.
pub struct OldStyleStore(pub FakeStore);

// SAFETY: as for `FakeStore`.
unsafe impl Store for OldStyleStore {
    const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
        exit_fp: ExitFp::Guest(offset_of!(Words, exit_fp)),
        exit_pc: offset_of!(Words, exit_pc),
        entry_fp: offset_of!(Words, entry_fp),
        landing_pad: None,
    };

    fn default_caller(&self) -> NonNull<VMContext> {
        self.0.default_caller()
    }

    fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        self.0.vm_store_context()
    }

    fn wasm_fault(&self, addr: VirtualAddress) -> Option<WasmFault> {
        self.0.wasm_fault(addr)
    }
}

// Programs.

/// What the host does when a guest calls it.
pub type HostResult = Result<(), TrapReason>;

/// A guest program. It may borrow what its host functions use.
pub struct Program<'a> {
    words: Vec<usize>,
    exit: usize,
    _borrows: PhantomData<&'a ()>,
}

impl<'a> Program<'a> {
    pub fn new() -> Self {
        Self {
            words: Vec::new(),
            exit: addr(fake_guest_exit),
            _borrows: PhantomData,
        }
    }

    /// For an [`OldStyleStore`].
    pub fn old_style() -> Self {
        Self {
            exit: addr(fake_guest_exit_guest_fp),
            ..Self::new()
        }
    }

    /// So many frames, one calling the other.
    pub fn frames(mut self, count: usize) -> Self {
        self.words
            .extend((0..count).map(|_| addr(fake_guest_frame)));
        self
    }

    /// A function that tail-calls on.
    pub fn tail(mut self) -> Self {
        self.words.push(addr(fake_guest_tail));
        self
    }

    /// One frame that calls the host and, if it succeeds, goes on.
    pub fn host_then<F: Fn() -> HostResult>(mut self, f: &'a F) -> Self {
        self.words.extend([
            addr(fake_guest_host_then),
            self.exit,
            host::<F> as *const () as usize,
            VirtualAddress::from_ptr(f).get(),
        ]);
        self
    }

    /// Calls the host; if it succeeds, the guest returns.
    pub fn host<F: Fn() -> HostResult>(mut self, f: &'a F) -> Self {
        self.words.extend([
            self.exit,
            host::<F> as *const () as usize,
            VirtualAddress::from_ptr(f).get(),
        ]);
        self
    }

    /// One frame that traps.
    pub fn trap(mut self, fault: &'a Fault) -> Self {
        self.words
            .extend([addr(fake_guest_trap), VirtualAddress::from_ptr(fault).get()]);
        self
    }

    /// Returns a value.
    pub fn nothing(mut self) -> Self {
        self.words.push(addr(fake_guest_nothing));
        self
    }

    /// Runs the program; `false` if the guest came back by its landing pad.
    ///
    /// # Safety
    ///
    /// * Called with the caller that `catch_traps` passes on.
    /// * The program is complete: it ends in `host`, `trap` or `nothing`.
    pub unsafe fn enter(&self, caller: NonNull<VMContext>) -> bool {
        let (callee, rest) = self.words.split_first().unwrap();
        // SAFETY: the words are those of the store, whose first activation this
        // is the guest of; the program is well-formed.
        unsafe { fake_guest_enter(caller.as_ptr().cast(), *callee, rest.as_ptr()) != 0 }
    }
}

extern "C" fn host<F: Fn() -> HostResult>(f: &F) -> bool {
    match trapline_activation::panic::catch(f) {
        Ok(Ok(())) => return true,
        Ok(Err(reason)) => record_unwind(UnwindReason::Trap(reason)),
        Err(payload) => record_unwind(UnwindReason::Panic(payload)),
    }
    false
}

/// Runs a program, landing at a saved context.
pub fn run<S: Store>(store: &S, program: &Program<'_>) -> Result<(), Trap> {
    catch_traps(store, |caller| {
        // SAFETY: programs of the tests are complete.
        let returned = unsafe { program.enter(caller) };
        assert!(returned, "no trap lands at the trampoline");
    })
}

/// Runs a program, landing at the entry trampoline.
pub fn run_with_pad(store: &FakeStore, program: &Program<'_>) -> Result<(), Trap> {
    catch_traps_with_landing_pad(store, |caller| {
        // SAFETY: programs of the tests are complete.
        unsafe { program.enter(caller) }.then_some(())
    })
}

/// A function that runs a program.
pub type Run = fn(&FakeStore, &Program<'_>) -> Result<(), Trap>;

/// Both of the above.
pub const WAYS_IN: [Run; 2] = [run::<FakeStore>, run_with_pad];

// Faults.

/// A fault at the trap site.
pub struct Fault {
    pub faulting_addr: Option<VirtualAddress>,
    /// What was decided; carried out if it is to resume.
    pub decision: Cell<Option<ControlFlow<Outcome>>>,
    /// Where the fault happened.
    pub at: Cell<Option<(VirtualAddress, VirtualAddress)>>,
    /// Run before the decision, at the fault.
    pub before: Cell<fn()>,
}

impl Fault {
    /// A memory fault at this address.
    pub fn at_address(address: usize) -> Self {
        Self {
            faulting_addr: Some(VirtualAddress::new(address)),
            ..Self::without_address()
        }
    }

    /// A fault of another sort.
    pub fn without_address() -> Self {
        Self {
            faulting_addr: None,
            decision: Cell::new(None),
            at: Cell::new(None),
            before: Cell::new(|| ()),
        }
    }
}

std::thread_local! {
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in `handle_wasm_exception`.
pub fn in_handler() -> bool {
    IN_HANDLER.get()
}

/// Calls `f` with [`in_handler`] saying that this is one.
pub fn as_handler<R>(f: impl FnOnce() -> R) -> R {
    IN_HANDLER.set(true);
    let result = f();
    IN_HANDLER.set(false);
    result
}

/// `handle_wasm_exception`, called as by a handler.
pub fn decide(
    pc: VirtualAddress,
    fp: VirtualAddress,
    faulting_addr: Option<VirtualAddress>,
) -> ControlFlow<Outcome> {
    // SAFETY: called where an exception handler would be, or with registers
    // that no guest could have; what it says is carried out or harmless.
    as_handler(|| unsafe { handle_wasm_exception(pc, fp, faulting_addr) })
}

/// What an exception handler does, called by the guest instead.
extern "C" fn fault(pc: usize, fp: usize, fault: &Fault) {
    fault.before.get()();
    let (pc, fp) = (VirtualAddress::new(pc), VirtualAddress::new(fp));
    fault.at.set(Some((pc, fp)));
    let decision = decide(pc, fp, fault.faulting_addr);
    fault.decision.set(Some(decision));
    if let ControlFlow::Break(Outcome::Resume(resume)) = decision {
        // SAFETY: the guest's stack goes on from the guest's frame; nothing
        // here has a destructor.
        unsafe { resume.jump() }
    }
}

// What to look at afterwards.

/// The head of this thread's chain.
pub fn head() -> *const Activation {
    ACTIVATION.with(trapline_activation::ActivationHead::innermost)
}

/// Asserts that `f` leaves the chain and the words of the stores as they are.
#[track_caller]
pub fn unchanged<R>(stores: &[&FakeStore], f: impl FnOnce() -> R) -> R {
    let before = (head(), stores.iter().map(|s| s.words()).collect::<Vec<_>>());
    let result = f();
    let after = (head(), stores.iter().map(|s| s.words()).collect::<Vec<_>>());
    assert_eq!(after, before);
    result
}

/// The program counters of a backtrace on one stack, innermost first, whose frame
/// pointers rise and which is complete.
#[track_caller]
pub fn pcs(backtrace: &RawBacktrace) -> Vec<usize> {
    let frames = backtrace.as_slice();
    assert!(frames.windows(2).all(|pair| pair[0].fp < pair[1].fp));
    pcs_on_stacks(backtrace)
}

/// The same on several stacks, any of which may be above the others.
#[track_caller]
pub fn pcs_on_stacks(backtrace: &RawBacktrace) -> Vec<usize> {
    assert_eq!(backtrace.end(), WalkEnd::Complete);
    backtrace.frames().map(|frame| frame.pc.get()).collect()
}

/// The same for a trap's.
#[track_caller]
pub fn trap_pcs(trap: &Trap) -> Vec<usize> {
    pcs(trap.backtrace.as_ref().unwrap())
}

/// `count` frames that each called on.
pub fn calls(count: usize) -> Vec<usize> {
    vec![frame_pc(); count]
}

/// A trap, and so many frames that led there.
pub fn trap_in(callers: usize) -> Vec<usize> {
    let mut pcs = vec![trap_pc()];
    pcs.extend(calls(callers));
    pcs
}
