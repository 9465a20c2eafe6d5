//! Rounding as WebAssembly wants it, without `std`: for x86_64 CPUs without
//! SSE4.1, where compiled code calls the host for it.
//!
//! Every NaN comes out quiet, with its payload.

macro_rules! rounding {
    ($module:ident, $float:ident, $bits:ident) => {
        pub(crate) mod $module {
            /// Bits of the fraction that are stored.
            const FRACTION: u32 = $float::MANTISSA_DIGITS - 1;
            /// From here on all numbers are integers.
            const INTEGERS: $float = ((1 as $bits) << FRACTION) as $float;
            const QUIET: $bits = 1 << (FRACTION - 1);

            fn is_integer_or_nan(x: $float) -> bool {
                x.is_nan() || x.abs() >= INTEGERS
            }

            fn quiet(x: $float) -> $float {
                if x.is_nan() {
                    $float::from_bits(x.to_bits() | QUIET)
                } else {
                    x
                }
            }

            /// To the nearest integer, ties to even.
            pub(crate) fn nearest(x: $float) -> $float {
                if is_integer_or_nan(x) {
                    return quiet(x);
                }
                // Adding leaves no room for a fraction, and the CPU rounds to
                // nearest even.
                ((x.abs() + INTEGERS) - INTEGERS).copysign(x)
            }

            /// Towards zero.
            pub(crate) fn trunc(x: $float) -> $float {
                if is_integer_or_nan(x) {
                    return quiet(x);
                }
                let nearest = nearest(x).abs();
                let magnitude = if nearest > x.abs() {
                    nearest - 1.0
                } else {
                    nearest
                };
                magnitude.copysign(x)
            }

            /// Down.
            pub(crate) fn floor(x: $float) -> $float {
                let trunc = trunc(x);
                if trunc > x { trunc - 1.0 } else { trunc }
            }

            /// Up.
            pub(crate) fn ceil(x: $float) -> $float {
                let trunc = trunc(x);
                // -0.5 is rounded to -0, which the comparison leaves alone.
                if trunc < x { trunc + 1.0 } else { trunc }
            }
        }
    };
}

rounding!(single, f32, u32);
rounding!(double, f64, u64);

#[cfg(all(test, feature = "std"))]
mod tests {
    const SAMPLES: [f64; 22] = [
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
        1.5,
        2.5,
        3.5,
        4.499_999,
        1e6 + 0.5,
        8_388_607.5,
        8_388_608.0,
        4_503_599_627_370_495.5,
        4_503_599_627_370_496.0,
        1e300,
        f64::MIN_POSITIVE,
        5e-324,
        f64::INFINITY,
        f64::MAX,
        0.499_999_999_999_999_94,
        2_147_483_647.5,
        1e-10,
    ];

    #[test]
    fn rounding_is_that_of_std() {
        for x in SAMPLES.into_iter().flat_map(|x| [x, -x]) {
            let y = x as f32;
            let bits = |x: f64| x.to_bits();
            assert_eq!(bits(super::double::floor(x)), bits(x.floor()), "floor {x}");
            assert_eq!(bits(super::double::ceil(x)), bits(x.ceil()), "ceil {x}");
            assert_eq!(bits(super::double::trunc(x)), bits(x.trunc()), "trunc {x}");
            assert_eq!(
                bits(super::double::nearest(x)),
                bits(x.round_ties_even()),
                "nearest {x}"
            );
            let bits = |y: f32| y.to_bits();
            assert_eq!(bits(super::single::floor(y)), bits(y.floor()), "floor {y}");
            assert_eq!(bits(super::single::ceil(y)), bits(y.ceil()), "ceil {y}");
            assert_eq!(bits(super::single::trunc(y)), bits(y.trunc()), "trunc {y}");
            assert_eq!(
                bits(super::single::nearest(y)),
                bits(y.round_ties_even()),
                "nearest {y}"
            );
        }
    }

    #[test]
    fn a_signalling_nan_comes_out_quiet_with_its_payload() {
        for round in [super::single::floor, super::single::ceil] {
            assert_eq!(round(f32::from_bits(0x7fa0_0001)).to_bits(), 0x7fe0_0001);
        }
        for round in [super::double::trunc, super::double::nearest] {
            let nan = round(f64::from_bits(0xfff4_0000_0000_0007));
            assert_eq!(nan.to_bits(), 0xfffc_0000_0000_0007);
        }
    }
}
