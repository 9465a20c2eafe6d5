//! Features of riscv64 CPUs. Code below machine mode cannot ask the CPU; the
//! operating system tells what it found in the device tree.

/// Whether the CPU has what a flag of the compiler stands for; `None` for
/// unknown flags, and for features that the CPU may or may not have.
pub(super) fn has_feature(flag: &str) -> Option<bool> {
    Some(match flag {
        "has_m" => cfg!(target_feature = "m") || has_extension('M')?,
        "has_a" => cfg!(target_feature = "a") || has_extension('A')?,
        "has_f" => cfg!(target_feature = "f") || has_extension('F')?,
        "has_d" => cfg!(target_feature = "d") || has_extension('D')?,
        // The compiler's `has_c` stands for these two.
        "has_zca" | "has_zcd" => cfg!(target_feature = "c") || has_extension('C')?,
        // Part of `f`, and of each CPU that runs an operating system; the
        // compiler of this crate has no names for them.
        "has_zicsr" => cfg!(target_feature = "f") || has_extension('F')?,
        "has_zifencei" => cfg!(target_feature = "a") || has_extension('A')?,
        "has_v" => cfg!(target_feature = "v") || has_extension('V')?,
        // Each V has vector registers of at least 128 bits (the vector
        // extension's specification, 18.3).
        "has_zvl32b" | "has_zvl64b" | "has_zvl128b" => {
            cfg!(target_feature = "v") || has_extension('V')?
        }
        // What has no single letter was there for the compiler of this crate, or
        // is not known.
        "has_zba" if cfg!(target_feature = "zba") => true,
        "has_zbb" if cfg!(target_feature = "zbb") => true,
        "has_zbc" if cfg!(target_feature = "zbc") => true,
        "has_zbs" if cfg!(target_feature = "zbs") => true,
        "has_zbkb" if cfg!(target_feature = "zbkb") => true,
        _ => return None,
    })
}

/// Whether the kernel reports an extension with a name of one letter: bit
/// `letter - 'A'` of the hardware capabilities (arch/riscv/include/uapi/asm/hwcap.h
/// of the kernel).
#[cfg(all(feature = "std", target_os = "linux"))]
fn has_extension(letter: char) -> Option<bool> {
    let (capabilities, _) = rustix::param::linux_hwcap();
    // 0 is what a kernel says that says nothing.
    (capabilities != 0).then(|| capabilities >> (letter as u32 - 'A' as u32) & 1 == 1)
}

/// Nobody to ask.
#[cfg(not(all(feature = "std", target_os = "linux")))]
fn has_extension(_letter: char) -> Option<bool> {
    None
}
