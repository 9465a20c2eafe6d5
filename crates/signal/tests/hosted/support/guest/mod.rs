//! A guest without a compiler: machine code written by hand, registered with the
//! code registry, and a store for it.
//!
//! The code is in one file for each instruction set, with the same symbols in
//! the same order. Its frames are as compilers make them. `guest_enter` is the
//! entry trampoline: its arguments are the store's words, the guest function and
//! one argument for it; it writes its own frame pointer to the third word. The
//! other functions are described at [`Function`]; for each instruction that may trap there
//! is a symbol, which is what compilers put into trap tables for it: its
//! address, or that of its last byte where the processor reports such a trap
//! when the instruction is done.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::{Arc, OnceLock};

use trapline_activation::{
    CoreDump, ExitFp, FaultVerdict, GuestFault, Store, Trap, TrapReason, VMContext, VMStoreContext,
    VMStoreContextLayout, WasmFault, catch_traps,
};
use trapline_arch::VirtualAddress;
use trapline_backtrace::RawBacktrace;
use trapline_code_registry::{CodeAddress, CodeObject, Registration, TrapKind, register_code};
use trapline_test_support::fault;

use super::os;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "s390x")]
mod s390x;
#[cfg(target_arch = "x86_64")]
mod x86_64;

unsafe extern "C" {
    safe static guest_text: u8;
    safe static guest_text_end: u8;
    safe static guest_unreachable: u8;
    safe static guest_unreachable_trap: u8;
    safe static guest_load: u8;
    safe static guest_load_trap: u8;
    safe static guest_load_unlisted: u8;
    safe static guest_divide: u8;
    safe static guest_divide_trap: u8;
    safe static guest_check: u8;
    safe static guest_check_trap: u8;
    #[cfg(target_arch = "x86_64")]
    safe static guest_halt: u8;
    #[cfg(target_arch = "x86_64")]
    safe static guest_halt_trap: u8;
    #[cfg(target_arch = "x86_64")]
    safe static guest_halt_unlisted: u8;
    safe static guest_spin: u8;
    safe static guest_spin_trap: u8;
    safe static guest_call_host: u8;
    fn guest_enter(words: *mut usize, function: *const u8, argument: usize) -> usize;
}

/// A function of the guest.
#[derive(Clone, Copy)]
pub(crate) enum Function {
    /// Executes an instruction that does not exist.
    Unreachable,
    /// Loads from the address that is its argument.
    Load,
    /// The same, where the compiler expected no trap.
    LoadUnlisted,
    /// Divides the smallest 32-bit integer by its argument, which traps for 0 and
    /// -1: by the division itself where that faults, else by a check before it.
    Divide,
    /// Traps if its argument is 0, by what compilers use for that.
    Check,
    /// Traps by `hlt`: an instruction of user code that is a `SIGSEGV`, and no access to memory.
    #[cfg(target_arch = "x86_64")]
    Halt,
    /// The same, where the compiler expected no trap.
    #[cfg(target_arch = "x86_64")]
    HaltUnlisted,
    /// Waits until the word at its argument is not 0. The instruction that it is
    /// at most of the time is listed as one that may trap.
    Spin,
    /// Calls the host function that is its argument. It does not write the exit
    /// words: no backtrace is taken in there.
    CallHost,
}

impl Function {
    fn code(self) -> &'static u8 {
        match self {
            Self::Unreachable => &guest_unreachable,
            Self::Load => &guest_load,
            Self::LoadUnlisted => &guest_load_unlisted,
            Self::Divide => &guest_divide,
            Self::Check => &guest_check,
            #[cfg(target_arch = "x86_64")]
            Self::Halt => &guest_halt,
            #[cfg(target_arch = "x86_64")]
            Self::HaltUnlisted => &guest_halt_unlisted,
            Self::Spin => &guest_spin,
            Self::CallHost => &guest_call_host,
        }
    }

    /// Calls it as any function, with 0 as its argument; it ends the process.
    fn call_directly(self) {
        // SAFETY: code that takes one argument as C functions do.
        let code =
            unsafe { std::mem::transmute::<*const u8, extern "C" fn(usize) -> usize>(self.code()) };
        code(0);
    }

    /// Where the trap table lists the function's instruction that may trap.
    pub(crate) fn trap_site(self) -> VirtualAddress {
        VirtualAddress::from_ptr(match self {
            Self::Unreachable => &guest_unreachable_trap,
            Self::Load => &guest_load_trap,
            Self::Divide => &guest_divide_trap,
            Self::Check => &guest_check_trap,
            #[cfg(target_arch = "x86_64")]
            Self::Halt => &guest_halt_trap,
            #[cfg(target_arch = "x86_64")]
            Self::HaltUnlisted => panic!("no trap site"),
            Self::Spin => &guest_spin_trap,
            Self::LoadUnlisted | Self::CallHost => panic!("no trap site"),
        })
    }
}

struct GuestCode;

// SAFETY: the range is that of the guests in assembly, which are linked into this program. Their trap
// sites are instructions in frames that own nothing. The answers are computed from addresses.
unsafe impl CodeObject for GuestCode {
    fn text(&self) -> Range<VirtualAddress> {
        VirtualAddress::from_ptr(&guest_text)..VirtualAddress::from_ptr(&guest_text_end)
    }

    fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind> {
        let pc = self.text().start.checked_add(text_offset)?;
        [
            (
                &raw const guest_unreachable_trap,
                TrapKind::UnreachableCodeReached,
            ),
            (&raw const guest_load_trap, TrapKind::MemoryOutOfBounds),
            (
                &raw const guest_divide_trap,
                TrapKind::IntegerDivisionByZero,
            ),
            (&raw const guest_check_trap, TrapKind::NullReference),
            #[cfg(target_arch = "x86_64")]
            (&raw const guest_halt_trap, TrapKind::MemoryOutOfBounds),
            (&raw const guest_spin_trap, TrapKind::MemoryOutOfBounds),
        ]
        .into_iter()
        .find_map(|(site, kind)| (VirtualAddress::from_ptr(site) == pc).then_some(kind))
    }

    fn lookup_address(&self, _text_offset: usize) -> Option<CodeAddress> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What a store answers when it is asked about a fault, in the handler.
#[derive(Clone, Copy)]
pub(crate) enum Hook {
    /// It is a trap.
    Trap,
    /// Makes the whole memory accessible, and leaves a mess in `errno`.
    Repair,
    /// Says the first time that the cause is gone, which it is not, and then that it is
    /// a trap.
    AskTwice,
    /// Notes whether this is a signal stack.
    NoteStack,
    /// Faults itself, in the host's code, with this signal.
    Fault(i32),
    /// It is a trap; and in normal context, while the guest is being left, code of it is run again
    /// that traps.
    TrapAgain,
}

/// A store with one memory that can be accessed, and a guard region behind it.
pub(crate) struct GuestStore {
    words: UnsafeCell<[usize; 3]>,
    pub(crate) memory: Range<usize>,
    pub(crate) hook: Hook,
    pub(crate) was_on_signal_stack: Cell<bool>,
    pub(crate) times_asked: Cell<u32>,
    /// The floating-point settings in normal context again, before the guest is left.
    pub(crate) settings_at_trap: Cell<Option<os::FloatSettings>>,
}

/// Size of the memory of a [`GuestStore`]; the guard region is as large. A multiple
/// of every page size that Linux has.
pub(crate) const MEMORY_SIZE: usize = 1 << 16;

impl GuestStore {
    pub(crate) fn new() -> Self {
        static REGISTRATION: OnceLock<Registration> = OnceLock::new();
        REGISTRATION.get_or_init(|| register_code(Arc::new(GuestCode)).unwrap());
        Self::of_unregistered_code()
    }

    /// A store of a guest whose code nobody has registered, but for who has made a store by
    /// [`new`](Self::new).
    pub(crate) fn of_unregistered_code() -> Self {
        let memory = os::map(2 * MEMORY_SIZE, libc::PROT_NONE);
        os::unprotect(memory.start..memory.start + MEMORY_SIZE);
        Self {
            words: UnsafeCell::new([0; 3]),
            memory,
            hook: Hook::Trap,
            was_on_signal_stack: Cell::new(false),
            times_asked: Cell::new(0),
            settings_at_trap: Cell::new(None),
        }
    }

    pub(crate) fn with_hook(hook: Hook) -> Self {
        Self {
            hook,
            ..Self::new()
        }
    }

    /// An address in the guard region of the memory.
    pub(crate) fn in_guard(&self) -> usize {
        self.memory.start + MEMORY_SIZE + 0x40
    }

    /// Calls `function` as the host calls a guest.
    pub(crate) fn call(&self, function: Function, argument: usize) -> Result<usize, Trap> {
        let words = self.words.get().cast::<usize>();
        catch_traps(self, |_caller| {
            // SAFETY: the trampoline writes the third word, and calls the
            // function with one argument.
            unsafe { guest_enter(words, ptr::from_ref(function.code()), argument) }
        })
    }

    /// Calls `function` by its entry trampoline, but outside of any `catch_traps`.
    pub(crate) fn call_outside(&self, function: Function, argument: usize) {
        let words = self.words.get().cast::<usize>();
        // SAFETY: as in `call`; the trap ends the process.
        unsafe { guest_enter(words, ptr::from_ref(function.code()), argument) };
    }

    /// Calls `function` inside of a `catch_traps` of `other`.
    pub(crate) fn call_as_a_guest_of(&self, other: &Self, function: Function, argument: usize) {
        let _ = catch_traps(other, |_caller| self.call_outside(function, argument));
    }

    /// Calls `function` past its entry trampoline, with this in the word that that would have written.
    pub(crate) fn call_past_trampoline(&self, function: Function, entry_fp: usize) {
        let _ = catch_traps(self, |_caller| {
            // SAFETY: an array of words, which nobody else uses now.
            unsafe { (*self.words.get())[2] = entry_fp };
            function.call_directly();
        });
    }

    /// Has the guest call a host function.
    pub(crate) fn call_host(&self, function: extern "C" fn()) -> Result<usize, Trap> {
        self.call(Function::CallHost, function as *const () as usize)
    }
}

// SAFETY: the layout is that of the words, which only the entry trampoline
// writes; guest code runs on the stack it was called on and keeps frame
// records; the handler-reachable methods compare numbers and make system calls;
// the memory's addresses are its own.
unsafe impl Store for GuestStore {
    const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
        exit_fp: ExitFp::Guest(0),
        exit_pc: 8,
        entry_fp: 16,
        landing_pad: None,
    };

    fn default_caller(&self) -> NonNull<VMContext> {
        NonNull::dangling()
    }

    fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        NonNull::from(&self.words).cast()
    }

    fn wasm_fault(&self, addr: VirtualAddress) -> Option<WasmFault> {
        let address = addr.get();
        self.memory.contains(&address).then(|| WasmFault {
            memory_size: MEMORY_SIZE as u64,
            wasm_address: (address - self.memory.start) as u64,
        })
    }

    fn coredump(&self, _: &TrapReason, _: Option<&RawBacktrace>) -> Option<CoreDump> {
        self.settings_at_trap.set(Some(os::float_settings()));
        if let Hook::TrapAgain = self.hook {
            Function::Unreachable.call_directly();
        }
        None
    }

    fn on_guest_fault(&self, guest_fault: &GuestFault) -> FaultVerdict {
        match self.hook {
            Hook::Trap | Hook::TrapAgain => FaultVerdict::NotHandled,
            Hook::Repair => {
                assert!(
                    self.memory
                        .contains(&guest_fault.faulting_addr.unwrap().get())
                );
                os::unprotect(self.memory.clone());
                os::set_errno(libc::EXDEV);
                FaultVerdict::Handled
            }
            Hook::AskTwice => {
                let asked = self.times_asked.get();
                self.times_asked.set(asked + 1);
                if asked == 0 {
                    FaultVerdict::Handled
                } else {
                    FaultVerdict::NotHandled
                }
            }
            Hook::NoteStack => {
                self.was_on_signal_stack.set(os::is_on_signal_stack());
                FaultVerdict::NotHandled
            }
            Hook::Fault(signal) => {
                fault::raise(signal);
                FaultVerdict::NotHandled
            }
        }
    }
}
