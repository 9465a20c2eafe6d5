//! The functions that compiled code calls in its embedder.
//!
//! They are reached through the compiler's exit trampolines, so the store's
//! words say where the guest is. What can fail returns a sentinel, which the
//! trampoline knows, and which makes it call `raise`.

use core::convert::Infallible;
use core::ptr::{self, NonNull};
use core::time::Duration;

use anyhow::anyhow;
use trapline_activation::{
    TrapReason, UnwindReason, VMContext, panic, raise_preexisting_trap, raise_trap,
};
use trapline_code_registry::TrapKind;
use trapline_host_result::{HostResult, catch_unwind_and_record_trap};
use trapline_wasmtime::trap_kind_from_code;
use trapline_wasmtime::vm::{Builtins, VMBuiltinFunctionsArray};
use trapline_wasmtime::wasmtime_environ::FuncIndex;

use crate::compiled::float::{double, single};
use crate::objects::instance::InstanceHeader;
use crate::objects::memory::MemoryObject;
use crate::objects::shared_memory::check_atomic;

/// The table of builtins, the same for all instances.
pub(crate) static BUILTINS: VMBuiltinFunctionsArray = Builtins {
    memory_grow,
    memory_copy,
    memory_fill,
    passive_elem_segment_len,
    passive_elem_segment_base,
    passive_elem_segment_drop,
    ref_func,
    table_grow,
    memory_atomic_notify,
    memory_atomic_wait32,
    memory_atomic_wait64,
    ceil_f32,
    ceil_f64,
    floor_f32,
    floor_f64,
    trunc_f32,
    trunc_f64,
    nearest_f32,
    nearest_f64,
    trap,
    raise,
}
.array(missing);

/// The instance whose code made a call.
///
/// # Safety
///
/// * `vmctx` is what compiled code passed to the builtin that asks.
unsafe fn instance<'a>(vmctx: NonNull<VMContext>) -> &'a InstanceHeader {
    // SAFETY: the code's own instance, or one that it imports from; both live
    // as long as the store, while its guest runs.
    unsafe { InstanceHeader::from_vmctx(vmctx) }
}

/// The previous size of a memory or table that was to grow; `None` if it did
/// not.
struct Grown(Option<u64>);

impl HostResult for Grown {
    type Abi = *mut u8;

    /// What compiled code gets is the size, -1 if there was no growth, -2 (which
    /// no memory or table has as its size) if the guest is to be left.
    fn maybe_catch_unwind(f: impl FnOnce() -> Self) -> (*mut u8, Option<UnwindReason>) {
        let (size, unwind) = match panic::catch(f) {
            Ok(Self(size)) => (size.and_then(|size| usize::try_from(size).ok()), None),
            Err(payload) => (Some(usize::MAX - 1), Some(UnwindReason::Panic(payload))),
        };
        (
            ptr::without_provenance_mut(size.unwrap_or(usize::MAX)),
            unwind,
        )
    }
}

unsafe extern "C" fn memory_grow(vmctx: NonNull<VMContext>, delta: u64, memory: u32) -> *mut u8 {
    catch_unwind_and_record_trap(|| -> Grown {
        // SAFETY: what compiled code passed.
        let instance = unsafe { instance(vmctx) };
        let memory = memory_of(instance, memory);
        Grown(instance.objects().grow_memory(memory, delta).ok())
    })
}

unsafe extern "C" fn table_grow(vmctx: NonNull<VMContext>, table: u32, delta: u64) -> *mut u8 {
    catch_unwind_and_record_trap(|| -> Grown {
        // SAFETY: what compiled code passed.
        let instance = unsafe { instance(vmctx) };
        let objects = instance.objects();
        let table = objects.tables().get(instance.defined_table(table));
        let table = table.expect("the code's own table");
        Grown(objects.grow_table(table, delta).ok())
    })
}

fn memory_of(instance: &InstanceHeader, memory: u32) -> &MemoryObject {
    let memory = instance
        .objects()
        .memories()
        .get(instance.defined_memory(memory));
    memory.expect("the code's own memory")
}

unsafe extern "C" fn memory_copy(_: NonNull<VMContext>, to: *mut u8, from: *mut u8, len: usize) {
    // SAFETY: compiled code has checked both ranges. (Others may access shared
    // memories at the same time, which is the guests' own affair: the bytes
    // are never looked at by Rust code here.)
    unsafe { to.copy_from(from, len) }
}

unsafe extern "C" fn memory_fill(_: NonNull<VMContext>, to: *mut u8, value: u32, len: usize) {
    // SAFETY: as for `memory_copy`. The instruction takes the low byte.
    unsafe { to.write_bytes(value as u8, len) }
}

unsafe extern "C" fn passive_elem_segment_len(vmctx: NonNull<VMContext>, segment: u32) -> usize {
    // SAFETY: what compiled code passed.
    unsafe { instance(vmctx) }.passive_len(segment)
}

unsafe extern "C" fn passive_elem_segment_base(vmctx: NonNull<VMContext>, segment: u32) -> *mut u8 {
    // SAFETY: what compiled code passed.
    unsafe { instance(vmctx) }.passive_base(segment).cast()
}

unsafe extern "C" fn passive_elem_segment_drop(vmctx: NonNull<VMContext>, segment: u32) -> bool {
    // SAFETY: what compiled code passed.
    unsafe { instance(vmctx) }.drop_passive(segment);
    true
}

unsafe extern "C" fn ref_func(vmctx: NonNull<VMContext>, function: u32) -> *mut u8 {
    // SAFETY: what compiled code passed.
    let instance = unsafe { instance(vmctx) };
    instance
        .func_ref(FuncIndex::from_u32(function))
        .as_ptr()
        .cast()
}

unsafe extern "C" fn memory_atomic_notify(
    vmctx: NonNull<VMContext>,
    memory: u32,
    address: u64,
    count: u32,
) -> u64 {
    catch_unwind_and_record_trap(|| -> Result<u32, TrapKind> {
        // SAFETY: what compiled code passed.
        let memory = memory_of(unsafe { instance(vmctx) }, memory);
        match memory.as_shared() {
            Some(memory) => memory.notify(address, count),
            // Nobody can wait there.
            None => check_atomic(address, 4, memory.len()).map(|_| 0),
        }
    })
}

unsafe extern "C" fn memory_atomic_wait32(
    vmctx: NonNull<VMContext>,
    memory: u32,
    address: u64,
    expected: u32,
    timeout: u64,
) -> u64 {
    catch_unwind_and_record_trap(|| -> Result<u32, TrapKind> {
        // SAFETY: what compiled code passed.
        let memory = memory_of(unsafe { instance(vmctx) }, memory);
        match memory.as_shared() {
            Some(memory) => Ok(memory.wait32(address, expected, duration(timeout))? as u32),
            None => not_shared(memory, address, 4),
        }
    })
}

unsafe extern "C" fn memory_atomic_wait64(
    vmctx: NonNull<VMContext>,
    memory: u32,
    address: u64,
    expected: u64,
    timeout: u64,
) -> u64 {
    catch_unwind_and_record_trap(|| -> Result<u32, TrapKind> {
        // SAFETY: what compiled code passed.
        let memory = memory_of(unsafe { instance(vmctx) }, memory);
        match memory.as_shared() {
            Some(memory) => Ok(memory.wait64(address, expected, duration(timeout))? as u32),
            None => not_shared(memory, address, 8),
        }
    })
}

/// A timeout in nanoseconds; forever if it is negative.
fn duration(timeout: u64) -> Option<Duration> {
    u64::try_from(timeout.cast_signed())
        .ok()
        .map(Duration::from_nanos)
}

fn not_shared(memory: &MemoryObject, address: u64, size: usize) -> Result<u32, TrapKind> {
    check_atomic(address, size, memory.len())?;
    Err(TrapKind::AtomicWaitNonSharedMemory)
}

cfg_if::cfg_if! {
    if #[cfg(all(target_arch = "x86_64", not(target_feature = "sse2")))] {
        // Compiled code passes floats in xmm0, as the System V ABI has it. Functions of a
        // target without SSE (a kernel's) take and return them in integer registers.
        macro_rules! rounding {
            ($name:ident, $float:ident, $bits:ident, $round:path, $from_xmm0:literal, $to_xmm0:literal) => {
                #[unsafe(naked)]
                unsafe extern "C" fn $name(_: NonNull<VMContext>, _: $float) -> $float {
                    extern "C" fn round(bits: $bits) -> $bits {
                        $round($float::from_bits(bits)).to_bits()
                    }
                    core::arch::naked_asm!(
                        // Aligns the stack for the call.
                        "push rbp",
                        "mov rbp, rsp",
                        $from_xmm0,
                        "call {round}",
                        $to_xmm0,
                        "pop rbp",
                        "ret",
                        round = sym round,
                    )
                }
            };
        }
    } else {
        macro_rules! rounding {
            ($name:ident, $float:ident, $bits:ident, $round:path, $from_xmm0:literal, $to_xmm0:literal) => {
                unsafe extern "C" fn $name(_: NonNull<VMContext>, x: $float) -> $float {
                    $round(x)
                }
            };
        }
    }
}

macro_rules! roundings {
    ($($single:ident, $double:ident: $round:ident;)*) => {$(
        rounding!($single, f32, u32, single::$round, "movd edi, xmm0", "movd xmm0, eax");
        rounding!($double, f64, u64, double::$round, "movq rdi, xmm0", "movq xmm0, rax");
    )*};
}

roundings! {
    ceil_f32, ceil_f64: ceil;
    floor_f32, floor_f64: floor;
    trunc_f32, trunc_f64: trunc;
    nearest_f32, nearest_f64: nearest;
}

unsafe extern "C" fn trap(_: NonNull<VMContext>, code: u8) {
    catch_unwind_and_record_trap(|| -> Result<Infallible, TrapReason> {
        Err(match trap_kind_from_code(code) {
            Some(kind) => TrapReason::Wasm(kind),
            None => TrapReason::User(anyhow!(
                "compiled code raised a trap with the unknown code {code}"
            )),
        })
    });
}

unsafe extern "C" fn raise(_: NonNull<VMContext>) {
    // SAFETY: called by compiled code, through an exit trampoline, after a
    // builtin or host function has recorded why; nothing here has a destructor.
    unsafe { raise_preexisting_trap() }
}

/// Takes the place of the builtins that no artifact calls which the loader lets
/// pass.
unsafe extern "C" fn missing() -> ! {
    let reason = TrapReason::User(anyhow!(
        "compiled code called a builtin function that this embedder does not have"
    ));
    // SAFETY: called by compiled code, through an exit trampoline; nothing here
    // has a destructor that is not given away.
    unsafe { raise_trap(reason) }
}
