//! What a kernel has for trapline's sake. (xtask counts all functions in here
//! with trapline, since generic code and what is inlined end up in them.)

use alloc::alloc::{alloc, handle_alloc_error};
use alloc::sync::Arc;
use core::any::Any;
use core::cell::{Cell, UnsafeCell};
use core::ops::{ControlFlow, Range};
use core::ptr::NonNull;

use trapline::cpu_local::{area_layout, cpu_local, init_cpu as use_area};
use trapline::{
    CodeAddress, CodeObject, ExitFp, Outcome, Store, Trap, TrapKind, TrapReason, VMContext,
    VMStoreContext, VMStoreContextLayout, VirtualAddress, WasmFault, catch_traps,
    catch_unwind_and_record_trap, handle_wasm_exception, raise_preexisting_trap, raise_trap,
    register_code,
};

use crate::guest::{self, Words};
use crate::isa::{Cause, TrapFrame};
use crate::kernel::{log, stop};

cpu_local! {
    /// Exceptions of this CPU that were traps of guests.
    static TRAPS: Cell<usize> = const { Cell::new(0) };
}

/// Gives this CPU its copies of CPU-locals. Called once, with a heap.
pub(crate) fn init_cpu() {
    let layout = area_layout();
    // SAFETY: the area has at least a header, so it is not empty.
    let area = unsafe { alloc(layout) };
    if area.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: as large and aligned as it has to be, and never used for anything else.
    // Nothing has used CPU-locals on this CPU; the base register is nobody else's.
    unsafe { use_area(area) };
}

/// Called by the exception entry. When it returns, the registers in `frame` are
/// restored and the exception is over.
pub(crate) extern "C" fn handle(frame: &mut TrapFrame) {
    let faulting_addr = match frame.cause() {
        Cause::PageFault(address) => Some(address),
        // In no memory of any guest, and not in the page at address 0.
        Cause::NonCanonicalAddress => Some(VirtualAddress::new(usize::MAX)),
        Cause::IllegalInstruction | Cause::Division => None,
        cause => stop(format_args!("{cause:?} at {:#x}", frame.pc())),
    };
    // SAFETY: called in an exception, with the values of what it interrupted, and
    // what it says is done below.
    match unsafe { handle_wasm_exception(frame.pc(), frame.fp(), faulting_addr) } {
        ControlFlow::Break(Outcome::Resume(registers)) => {
            TRAPS.set(TRAPS.get() + 1);
            frame.resume(&registers);
        }
        ControlFlow::Break(Outcome::Retry) => {}
        ControlFlow::Break(Outcome::SandboxEscape(escape)) => stop(format_args!("{escape}")),
        ControlFlow::Continue(()) => stop(format_args!("{:?} at {:#x}", frame.cause(), frame.pc())),
    }
}

/// The text of the guests, and its trap table.
struct Code {
    text: Range<VirtualAddress>,
    /// Offset of the instruction that may trap.
    trap: usize,
}

// SAFETY: the range is that of the guest, which is linked into this image and nobody else's. Its trap site is
// an instruction in a frame that owns nothing. Handlers find what they ask for where it lies.
unsafe impl CodeObject for Code {
    fn text(&self) -> Range<VirtualAddress> {
        self.text.clone()
    }

    fn lookup_trap_code(&self, text_offset: usize) -> Option<TrapKind> {
        (text_offset == self.trap).then_some(TrapKind::UnreachableCodeReached)
    }

    fn lookup_address(&self, _: usize) -> Option<CodeAddress> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A store without memories.
struct Guest {
    words: UnsafeCell<Words>,
}

// SAFETY: the layout is that of `Words`, which only the guest's code writes. The
// code keeps frame records, and is entered by `call` only, on its stack, of which
// there is enough. There are no memories.
unsafe impl Store for Guest {
    const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
        exit_fp: ExitFp::Guest(core::mem::offset_of!(Words, exit_fp)),
        exit_pc: core::mem::offset_of!(Words, exit_pc),
        entry_fp: core::mem::offset_of!(Words, entry_fp),
        landing_pad: None,
    };

    fn default_caller(&self) -> NonNull<VMContext> {
        NonNull::dangling()
    }

    fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        NonNull::from(&self.words).cast()
    }

    fn wasm_fault(&self, _: VirtualAddress) -> Option<WasmFault> {
        None
    }
}

impl Guest {
    /// Enters the guest's function with `argument`.
    fn call(&self, argument: u32) -> Result<u32, Trap> {
        catch_traps(self, |_caller| {
            // SAFETY: the words are those of the store that is entered.
            unsafe { guest::enter(self.words.get(), argument) }
        })
    }
}

/// Called by the guest; `u64::MAX` means that it failed.
pub(crate) extern "C" fn host_function(argument: u32) -> u64 {
    catch_unwind_and_record_trap(|| match argument {
        guest::HOST_FAILS => Err(TrapReason::User(anyhow::anyhow!("the host says no"))),
        argument => Ok(argument + 1),
    })
}

/// Called by the guest when a host function has failed.
pub(crate) extern "C" fn raise() -> ! {
    // SAFETY: called by the guest, after a host function has failed. There are
    // no destructors.
    unsafe { raise_preexisting_trap() }
}

/// Called by the guest: what a runtime has as a builtin.
pub(crate) extern "C" fn check_fuel(argument: u32) {
    if argument == guest::OUT_OF_FUEL {
        // SAFETY: called by the guest, with no destructors in between.
        unsafe { raise_trap(TrapReason::Wasm(TrapKind::OutOfFuel)) }
    }
}

/// Runs guests that trap in each way, and one that does not.
pub(crate) fn run() {
    let code = Code {
        text: guest::text(),
        trap: guest::trap().get() - guest::text().start.get(),
    };
    let registration = match register_code(Arc::new(code)) {
        Ok(registration) => registration,
        Err(error) => stop(format_args!("{error}")),
    };
    let guest = Guest {
        words: UnsafeCell::new(Words::default()),
    };
    for argument in [
        guest::RETURNS,
        guest::TRAPS,
        guest::HOST_FAILS,
        guest::OUT_OF_FUEL,
    ] {
        match guest.call(argument) {
            Ok(value) => log(format_args!("{value}")),
            Err(trap) => {
                log(format_args!("{trap}"));
                let frames = trap.backtrace.iter().flat_map(|trace| trace.frames());
                frames.for_each(|frame| log(format_args!("  {:#x}", frame.pc)));
            }
        }
    }
    drop(registration);
    log(format_args!("{} traps of the hardware", TRAPS.get()));
}
