//! The C library's way out of a call.

use anyhow::Result;

use super::isa;
use crate::measure::{Bench, Measured};
use crate::rows::Measure;

/// Room for a `jmp_buf` of any C library (glibc: 200 bytes on x86_64, 312 on aarch64).
#[repr(C, align(16))]
struct Buffer([u8; 1024]);

/// `setjmp`, then `longjmp` to it.
pub(crate) const fn set_and_jump() -> Option<Measure> {
    match isa::SET_AND_JUMP {
        Some(_) => Some(measure),
        None => None,
    }
}

fn measure(bench: &Bench) -> Result<Measured> {
    let mut buffer = Buffer([0; 1024]);
    let Some(set_and_jump) = isa::SET_AND_JUMP else {
        anyhow::bail!("not written for this machine");
    };
    // SAFETY: the buffer is large enough and stays where it is.
    let time = bench.time(|| unsafe { set_and_jump(buffer.0.as_mut_ptr()) });
    Ok(time.into())
}
