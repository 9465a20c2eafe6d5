//! Medians, and how far apart figures lie.

/// The middle one of the figures; of an even number, the mean of the middle two.
///
/// # Panics
///
/// If there are no figures.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    assert!(!figures.is_empty(), "the median of nothing");
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    }
}

/// Several measurements of one thing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) smallest: f64,
    pub(crate) largest: f64,
}

impl Summary {
    /// `None` if there are no figures.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut figures = figures.to_vec();
        if figures.is_empty() {
            return None;
        }
        Some(Self {
            median: median(&mut figures),
            smallest: figures[0],
            largest: figures[figures.len() - 1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&mut [3.0]), 3.0);
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&mut [9.0, 1.0, 5.0, 6.0]), 5.5);
        // One outlier moves it to a neighbour at most.
        assert_eq!(median(&mut [1.0, 2.0, 3.0, 4.0, 1e9]), 3.0);
    }

    #[test]
    fn a_summary_has_the_ends_as_well() {
        assert_eq!(Summary::of(&[]), None);
        let summary = Summary {
            median: 3.0,
            smallest: 1.0,
            largest: 7.0,
        };
        assert_eq!(Summary::of(&[7.0, 1.0, 3.0]), Some(summary));
    }
}
