//! Made-up code: text ranges in which nothing is, for whatever keeps code by its address.
//!
//! Ranges lie at irregular distances, so that no table finds its way by arithmetic, and are
//! taken in no order, so that large tables are met as a trap meets them: with cold caches.
//! [`code_object!`](crate::code_object) is the code itself: what only who knows the registry
//! can make.

use std::ops::Range;

/// Distance between the starts of two ranges in bytes, on average; they are half as long.
pub const DISTANCE: usize = 4096;

/// Where the first range starts: where no code of this process is.
const BASE: usize = 0x1000_0000_0000;

/// A prime, without a common divisor with any number of ranges that anybody asks for:
/// multiples of it come to every range once, and not in order.
pub const STRIDE: usize = 7919;

/// The `nth` range. It is at least [`DISTANCE`]` / 4` away from the next one.
#[must_use]
pub fn range(nth: usize) -> Range<usize> {
    let start = BASE + nth * DISTANCE + (nth * STRIDE % 64) * 16;
    start..start + DISTANCE / 2
}

/// So many addresses in the first `ranges` ranges, in no order.
#[must_use]
pub fn addresses(random: &mut Random, ranges: usize, count: usize) -> Vec<usize> {
    (0..count)
        .map(|_| range(random.below(ranges)).start + random.below(DISTANCE / 2))
        .collect()
}

/// `count` different ranges of 16 bytes that lie between the first `ranges` ones or, where
/// there are fewer of those, behind them.
#[must_use]
pub fn gaps(random: &mut Random, ranges: usize, count: usize) -> Vec<Range<usize>> {
    let ranges = ranges.max(count);
    let first = random.below(ranges);
    (0..count)
        .map(|nth| {
            let start = range((first + nth * STRIDE) % ranges).end;
            start..start + 16
        })
        .collect()
}

/// Numbers in no order, the same in each run (xorshift).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Another sequence for each of the small seeds.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(0x1234_5678_9abc_def1 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `bound`.
    ///
    /// # Panics
    ///
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    /// All numbers below `count`, shuffled.
    #[must_use]
    pub fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at, self.below(at + 1));
        }
        order
    }
}

/// Defines a type of this name: a code object that is at an address, and nothing else. It is
/// made of its text range, a `Range<usize>`.
///
/// (A macro, since this crate knows nothing of the product: whoever uses it depends on
/// `trapline-arch` and `trapline-code-registry`.)
#[macro_export]
macro_rules! code_object {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        struct $name(::core::ops::Range<usize>);

        // SAFETY: nothing is executed in its range, which stays as it is; there are no trap sites.
        unsafe impl ::trapline_code_registry::CodeObject for $name {
            fn text(&self) -> ::core::ops::Range<::trapline_arch::VirtualAddress> {
                let address = ::trapline_arch::VirtualAddress::new;
                address(self.0.start)..address(self.0.end)
            }

            fn lookup_trap_code(
                &self,
                _text_offset: usize,
            ) -> ::core::option::Option<::trapline_code_registry::TrapKind> {
                None
            }

            fn lookup_address(
                &self,
                _text_offset: usize,
            ) -> ::core::option::Option<::trapline_code_registry::CodeAddress> {
                None
            }

            fn as_any(&self) -> &dyn ::core::any::Any {
                self
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_disjoint_and_gaps_lie_between_them() {
        for ranges in [1, 1_000, 100_000] {
            let mut all = gaps(&mut Random::new(5), ranges, 100);
            assert_eq!(all.len(), 100);
            all.extend((0..ranges.max(100)).map(range));
            all.sort_by_key(|range| range.start);
            assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }

    #[test]
    fn addresses_are_in_all_of_the_ranges_and_only_there() {
        let mut found = [false; 10];
        for address in addresses(&mut Random::new(1), 10, 1_000) {
            let nth = (0..10).find(|nth| range(*nth).contains(&address));
            found[nth.expect("an address in a range")] = true;
        }
        assert_eq!(found, [true; 10]);
    }

    #[test]
    fn a_shuffled_list_has_every_number_once_and_not_in_order() {
        let shuffled = Random::new(1).shuffled(1_000);
        let mut sorted = shuffled.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1_000));
        assert_ne!(shuffled, sorted);
        assert_ne!(Random::new(2).shuffled(1_000), shuffled);
    }
}
