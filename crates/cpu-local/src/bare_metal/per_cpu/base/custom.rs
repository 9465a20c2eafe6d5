//! Feature `custom-base`: a function of the embedder knows the area.

use core::arch::asm;

unsafe extern "C" {
    #[link_name = "__trapline_cpu_local_base"]
    fn embedders_base() -> *mut u8;
}

/// The address of this CPU's copy.
#[inline]
pub(crate) fn displace(template: usize) -> usize {
    // SAFETY: the embedder's promise in `custom_base!`: the first word of this
    // CPU's area, which `init_cpu` has written.
    let displacement = unsafe { embedders_base().cast::<usize>().read() };
    let mut copy = template.wrapping_add(displacement);
    // SAFETY: does nothing; to the compiler the result is just any address.
    unsafe {
        asm!(
            "/* {address} */",
            address = inout(reg) copy,
            options(nomem, nostack, preserves_flags),
        );
    }
    copy
}

/// The address of this CPU's area.
pub(crate) fn base() -> usize {
    // SAFETY: the embedder's promise in `custom_base!`.
    unsafe { embedders_base() }.addr()
}

/// The embedder does this itself.
///
/// # Safety
///
/// * As for the other files.
pub(crate) unsafe fn set_base(_area: usize) {}

/// Says which function knows where this CPU's area is (feature `custom-base`);
/// used once in an image: `custom_base!(unsafe this_cpus_area);`.
///
/// The function is an `fn() -> *mut u8` (or `unsafe`): it returns the address
/// that [`init_cpu`](crate::init_cpu) was given on the CPU that it is called on, null
/// before. For kernels whose base register points to data of their own, which
/// has the address of the area in it.
///
/// ```
/// # use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
/// # static AREA: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// fn this_cpus_area() -> *mut u8 {
///     // … found by the kernel's own per-CPU data.
///     # AREA.load(Relaxed)
/// }
///
/// trapline_cpu_local::custom_base!(unsafe this_cpus_area);
/// ```
///
/// # Safety
///
/// `unsafe` is the promise that the function
///
/// * returns, from the time that CPU-locals are used on a CPU, the area that
///   `init_cpu` has filled there, and never that of another CPU;
/// * is always ready: exception handlers call it, so it takes no lock, allocates
///   nothing, does not panic, and uses no CPU-local.
#[macro_export]
macro_rules! custom_base {
    (unsafe $function:path) => {
        const _: () = {
            // SAFETY: the name is this crate's, for this purpose.
            #[unsafe(no_mangle)]
            extern "C" fn __trapline_cpu_local_base() -> *mut u8 {
                let function: unsafe fn() -> *mut u8 = $function;
                // SAFETY: the promise made where the macro is used.
                unsafe { function() }
            }
        };
    };
}
