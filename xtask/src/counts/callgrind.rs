//! What Callgrind writes.

use anyhow::{Context as _, Result, ensure};

/// The number of executed instructions in a file of Callgrind's.
pub(super) fn instructions(text: &str) -> Result<u64> {
    let values = |key: &str| -> Vec<&str> {
        text.lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .map(str::trim)
            .collect()
    };
    let events = values("events");
    ensure!(
        events == ["Ir"],
        "events other than instructions: {events:?}"
    );
    let [total] = values("totals")[..] else {
        anyhow::bail!("there is not exactly one line with totals");
    };
    total
        .parse()
        .with_context(|| format!("no number: {total:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\npid: 1\n\
                        cmd:  trapline-counts run totals 1\npart: 1\n\n\ndesc: I1 cache: \n\
                        desc: Trigger: Program termination\n\npositions: line\nevents: Ir\n\
                        summary: 1592876\n\n\nob=(1) ld.so\nfl=(1) ???\nfn=(1) 0x1\n0 12\n\n\
                        totals: 1592876\n";

    #[test]
    fn the_total_is_that_of_instructions() {
        assert_eq!(instructions(FILE).expect("a whole file"), 1_592_876);
    }

    #[test]
    fn a_file_that_is_not_whole_or_counts_something_else_is_refused() {
        let without = FILE.replace("totals: 1592876\n", "");
        assert!(instructions(&without).is_err());
        assert!(instructions(&format!("{FILE}totals: 3\n")).is_err());
        assert!(instructions(&FILE.replace("events: Ir", "events: Ir Dr")).is_err());
        assert!(instructions(&FILE.replace("totals: 1592876", "totals: many")).is_err());
    }
}
