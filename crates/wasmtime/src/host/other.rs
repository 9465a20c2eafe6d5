//! Features of CPUs that cannot be asked, or not without an operating system:
//! those that this crate was compiled for.

/// Whether this crate was compiled for a CPU that has what a flag of the
/// compiler stands for; `None` for flags unknown here, and for features that
/// the CPU may or may not have.
pub(super) fn has_feature(flag: &str) -> Option<bool> {
    macro_rules! compiled_in {
        ($arch:literal: $($flag:literal = $feature:literal,)*) => {
            $(
                if flag == $flag && cfg!(all(target_arch = $arch, target_feature = $feature)) {
                    return Some(true);
                }
            )*
        };
    }
    compiled_in! {
        "riscv64":
        "has_m" = "m",
        "has_a" = "a",
        "has_f" = "f",
        "has_d" = "d",
        "has_c" = "c",
        // Part of `f`, and of each CPU that runs an operating system; the
        // compiler of this crate has no names for them.
        "has_zicsr" = "f",
        "has_zifencei" = "a",
        "has_zca" = "c",
        "has_zcd" = "c",
        "has_v" = "v",
        "has_zba" = "zba",
        "has_zbb" = "zbb",
        "has_zbc" = "zbc",
        "has_zbs" = "zbs",
        "has_zbkb" = "zbkb",
    }
    compiled_in! {
        "s390x":
        "has_vxrs_ext2" = "vector-enhancements-2",
        "has_vxrs_ext3" = "vector-enhancements-3",
        "has_mie3" = "miscellaneous-extensions-3",
        "has_mie4" = "miscellaneous-extensions-4",
    }
    None
}
