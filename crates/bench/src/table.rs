//! What was found, as Markdown tables that can be read as they are.

use crate::rows::{Row, Target, Topic, Unit};
use crate::run::{Outcome, Side};
use crate::statistics::Summary;

/// Whether a target was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// There is none.
    NoTarget,
    Met,
    Missed,
    /// It is less than the row's floor, so that nobody can reach it on this machine.
    MissedBelowFloor,
    /// The row could not be run.
    NotRun,
}

impl Verdict {
    pub(crate) fn is_missed(self) -> bool {
        matches!(self, Self::Missed | Self::MissedBelowFloor)
    }

    fn text(self) -> &'static str {
        match self {
            Self::NoTarget => "",
            Self::Met => "met",
            Self::Missed => "**missed**",
            Self::MissedBelowFloor => "**missed** (below floor)",
            Self::NotRun => "**not run**",
        }
    }
}

/// Ours, as a multiple of the peer's.
fn to_peer(outcome: &Outcome) -> Option<f64> {
    Some(outcome.median(Side::Ours)? / outcome.median(Side::Peer)?)
}

/// Ours, as a multiple of the floor that counts.
fn to_floor(outcome: &Outcome) -> Option<f64> {
    Some(outcome.median(Side::Ours)? / floor(outcome)?)
}

/// Whether the row's target was reached.
pub(crate) fn verdict(outcome: &Outcome) -> Verdict {
    if outcome.found.is_err() {
        return Verdict::NotRun;
    }
    let at_most = |figure: f64, most: f64| figure <= most;
    let met = match outcome.row.target {
        Target::None => return Verdict::NoTarget,
        Target::OfPeer(most) => to_peer(outcome).map(|ratio| at_most(ratio, most)),
        Target::BelowPeer => to_peer(outcome).map(|ratio| ratio < 1.0),
        // Where nobody has written the floor down, there is nothing to be compared with.
        Target::OfFloor(_) if outcome.row.floors.is_empty() => return Verdict::NoTarget,
        Target::OfFloor(most) => to_floor(outcome).map(|ratio| at_most(ratio, most)),
        Target::AtMost(most) => outcome.median(Side::Ours).map(|ours| at_most(ours, most)),
    };
    match met {
        None => Verdict::NotRun,
        Some(true) => Verdict::Met,
        Some(false) if is_below_floor(outcome) => Verdict::MissedBelowFloor,
        Some(false) => Verdict::Missed,
    }
}

/// The target as a figure of this run.
fn limit(outcome: &Outcome) -> Option<f64> {
    match outcome.row.target {
        Target::None => None,
        Target::OfPeer(most) => Some(outcome.median(Side::Peer)? * most),
        Target::BelowPeer => outcome.median(Side::Peer),
        Target::OfFloor(most) => Some(floor(outcome)? * most),
        Target::AtMost(most) => Some(most),
    }
}

/// The floor that counts: the last one.
pub(crate) fn floor(outcome: &Outcome) -> Option<f64> {
    let last = outcome.row.floors.len().checked_sub(1)?;
    outcome.median(Side::Floor(last))
}

fn is_below_floor(outcome: &Outcome) -> bool {
    limit(outcome)
        .zip(floor(outcome))
        .is_some_and(|(limit, floor)| limit < floor)
}

/// What is said below the table of a topic: what readers should know of its rows, and why
/// targets were missed in this run. Empty if there is nothing to say.
pub(crate) fn notes(topic: Topic, all: &[Outcome]) -> String {
    let of_topic = || all.iter().filter(|outcome| outcome.row.topic == topic);
    let notes: String = of_topic()
        .filter(|outcome| !outcome.row.note.is_empty())
        .map(|outcome| format!("* *{}*: {}.\n", outcome.row.what, outcome.row.note))
        .collect();
    let missed: Vec<&Outcome> = of_topic()
        .filter(|outcome| verdict(outcome).is_missed())
        .collect();
    // What several rows have in common is said once.
    let same = |one: &&Outcome, next: &&Outcome| one.row.reason == next.row.reason;
    let reasons: String = (missed.chunk_by(same))
        .map(|rows| {
            let figures: Vec<String> = rows.iter().copied().map(figures).collect();
            let reason = match rows[0].row.reason {
                "" => "nobody has looked into it; *Spread* tells how far runs lie apart",
                reason => reason,
            };
            format!("* {}: {reason}.\n", figures.join(", "))
        })
        .collect();
    let reasons = match reasons.as_str() {
        "" => reasons,
        _ => format!("Targets that were missed:\n\n{reasons}"),
    };
    let parts = [notes, reasons].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<String>>().join("\n")
}

/// A row whose target was missed, and by how much.
fn figures(outcome: &Outcome) -> String {
    let figures = [
        ("target", limit(outcome)),
        ("floor", floor(outcome)),
        ("ours", outcome.median(Side::Ours)),
    ];
    let figures: Vec<String> = (figures.into_iter())
        .filter_map(|(what, figure)| {
            Some(format!("{what} {}", quantity(figure?, outcome.row.unit)))
        })
        .collect();
    format!("*{}* ({})", outcome.row.what, figures.join(", "))
}

/// The table of one topic; empty if none of its rows was run.
pub(crate) fn of_topic(topic: Topic, all: &[Outcome]) -> String {
    let rows: Vec<Vec<String>> = (all.iter())
        .filter(|outcome| outcome.row.topic == topic)
        .map(line)
        .collect();
    let head = [
        "operation",
        "trapline",
        topic.peer(),
        "floor",
        "to peer",
        "to floor",
        "target",
        "",
    ];
    markdown(&head, &rows)
}

fn line(outcome: &Outcome) -> Vec<String> {
    let row = &outcome.row;
    let figure = |side| {
        let figure = outcome.median(side);
        figure.map_or_else(|| String::from("—"), |figure| quantity(figure, row.unit))
    };
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| String::from("—"), times);
    let floors: Vec<String> = (0..row.floors.len())
        .map(|nth| figure(Side::Floor(nth)))
        .collect();
    vec![
        row.what.to_owned(),
        figure(Side::Ours),
        figure(Side::Peer),
        if floors.is_empty() {
            String::from("—")
        } else {
            floors.join(" / ")
        },
        ratio(to_peer(outcome)),
        ratio(to_floor(outcome)),
        target(row),
        verdict(outcome).text().to_owned(),
    ]
}

fn target(row: &Row) -> String {
    match row.target {
        Target::None => String::new(),
        Target::OfPeer(most) => format!("≤ {} peer", times(most)),
        Target::BelowPeer => String::from("< peer"),
        Target::OfFloor(most) => format!("≤ {} floor", times(most)),
        Target::AtMost(most) => format!("{} at most", quantity(most, row.unit)),
    }
}

/// The smallest and largest figure of each side over the repetitions.
pub(crate) fn spread(all: &[Outcome]) -> String {
    let rows: Vec<Vec<String>> = (all.iter())
        .filter(|outcome| outcome.found.is_ok())
        .map(|outcome| {
            let range = |side| {
                let found = outcome.side(side);
                found.map_or_else(
                    || String::from("—"),
                    |found| {
                        let Summary {
                            smallest, largest, ..
                        } = found.value;
                        let unit = outcome.row.unit;
                        format!("{} – {}", quantity(smallest, unit), quantity(largest, unit))
                    },
                )
            };
            let row = &outcome.row;
            vec![
                format!("`{}`", row.name),
                range(Side::Ours),
                range(Side::Peer),
            ]
        })
        .collect();
    markdown(&["row", "trapline", "peer"], &rows)
}

/// A table whose columns are as wide as their widest cell.
fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([head[column].chars().count(), 3])
            .max()
            .unwrap_or(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::from("|");
        for (cell, width) in cells.zip(&widths) {
            line += &format!(" {cell:width$} |");
        }
        line.push('\n');
        line
    };
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut table = line(&mut head.iter().copied());
    table += &line(&mut dashes.iter().map(String::as_str));
    for row in rows {
        table += &line(&mut row.iter().map(String::as_str));
    }
    table
}

/// A figure with its unit, to three digits.
pub(crate) fn quantity(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => format!("{figure:.0} bytes"),
        Unit::Factor => times(figure),
        Unit::Nanoseconds => match figure.abs() {
            // Rounding must not lead to four digits.
            below if below < 999.5 => format!("{} ns", three_digits(figure)),
            below if below < 999.5e3 => format!("{} µs", three_digits(figure / 1e3)),
            _ => format!("{} ms", three_digits(figure / 1e6)),
        },
    }
}

fn times(ratio: f64) -> String {
    format!("{} ×", three_digits(ratio))
}

fn three_digits(figure: f64) -> String {
    let decimals = match figure.abs() {
        below if below < 0.0995 => 3,
        below if below < 9.995 => 2,
        below if below < 99.95 => 1,
        _ => 0,
    };
    format!("{figure:.decimals$}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::measure::Measured;
    use crate::rows;
    use crate::run::Found;

    fn outcome(name: &str, ours: f64, peer: f64) -> Outcome {
        let row = (rows::all().into_iter()).find(|row| row.name == name);
        let found = |value: f64| Found::of(&[value.into()]).unwrap();
        let sides = [(Side::Ours, found(ours)), (Side::Peer, found(peer))];
        Outcome {
            row: row.expect("a row"),
            found: Ok(BTreeMap::from(sides)),
        }
    }

    #[test]
    fn figures_have_three_digits_and_a_fitting_unit() {
        let ns = |figure| quantity(figure, Unit::Nanoseconds);
        assert_eq!(ns(0.51234), "0.51 ns");
        assert_eq!(ns(0.0421), "0.042 ns");
        assert_eq!(ns(9.999), "10.0 ns");
        assert_eq!(ns(12.345), "12.3 ns");
        assert_eq!(ns(999.4), "999 ns");
        assert_eq!(ns(999.6), "1.00 µs");
        assert_eq!(ns(3301.0), "3.30 µs");
        assert_eq!(ns(999_600.0), "1.00 ms");
        assert_eq!(ns(-12.0), "-12.0 ns");
        assert_eq!(quantity(144.0, Unit::Bytes), "144 bytes");
        assert_eq!(quantity(1.25, Unit::Factor), "1.25 ×");
    }

    #[test]
    fn targets_are_met_up_to_their_limit() {
        let met = |name, ours, peer| verdict(&outcome(name, ours, peer));
        assert_eq!(met("trap-unreachable", 25.0, 100.0), Verdict::Met);
        assert_eq!(met("trap-unreachable", 25.1, 100.0), Verdict::Missed);
        assert_eq!(met("lookup-1", 99.0, 100.0), Verdict::Met);
        assert_eq!(met("lookup-1", 100.0, 100.0), Verdict::Missed);
        assert_eq!(met("nested-growth-100", 1.2, 9.0), Verdict::Met);
        assert_eq!(met("nested-growth-100", 1.3, 9.0), Verdict::Missed);
        assert_eq!(met("entry-values", 1e9, 1.0), Verdict::NoTarget);
        let met = |ours, floors: &[f64]| verdict(&with_floors("entry-empty", ours, 1.0, floors));
        assert_eq!(met(15.0, &[10.0]), Verdict::Met);
        assert_eq!(met(15.1, &[10.0]), Verdict::Missed);
        assert_eq!(met(15.0, &[]), Verdict::NotRun);
    }

    #[test]
    fn the_last_floor_is_what_ours_is_compared_with() {
        let outcome = with_floors("trap-division", 30.0, 60.0, &[15.0, 10.0]);
        assert_eq!(to_peer(&outcome), Some(0.5));
        assert_eq!(to_floor(&outcome), Some(3.0));
        assert_eq!(to_floor(&self::outcome("trap-division", 30.0, 60.0)), None);
    }

    #[test]
    fn the_table_has_a_line_for_each_row_also_if_it_failed() {
        let mut failed = outcome("entry-host-call", 1.0, 1.0);
        failed.found = Err(String::from("no"));
        let all = [with_floors("entry-empty", 11.2, 32.0, &[8.0]), failed];
        let table = of_topic(Topic::Entry, &all);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        let length = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == length));
        let cells: Vec<&str> = lines[2].split('|').map(str::trim).collect();
        assert_eq!(cells[2..5], ["11.2 ns", "32.0 ns", "8.00 ns"]);
        assert_eq!(cells[5..9], ["0.35 ×", "1.40 ×", "≤ 1.50 × floor", "met"]);
        assert!(lines[3].contains("| **not run** |"));
        assert_eq!(of_topic(Topic::Startup, &all), "");
    }

    /// A row with floors.
    fn with_floors(name: &str, ours: f64, peer: f64, floors: &[f64]) -> Outcome {
        let mut outcome = outcome(name, ours, peer);
        let sides = outcome.found.as_mut().unwrap();
        for (nth, floor) in floors.iter().enumerate() {
            let found = Found::of(&[(*floor).into()]).unwrap();
            sides.insert(Side::Floor(nth), found);
        }
        outcome
    }

    #[test]
    fn a_target_below_the_last_floor_is_called_that() {
        let verdict = |ours, floors: &[f64]| {
            // The target is 1,000.
            verdict(&with_floors("trap-unreachable", ours, 4_000.0, floors))
        };
        let missed = Verdict::MissedBelowFloor;
        assert_eq!(verdict(1_600.0, &[1_900.0, 1_300.0]), missed);
        assert_eq!(verdict(1_600.0, &[900.0, 1_300.0]), missed);
        assert_eq!(verdict(1_600.0, &[1_900.0, 900.0]), Verdict::Missed);
        assert_eq!(verdict(1_000.0, &[1_900.0, 1_300.0]), Verdict::Met);
        assert_eq!(verdict(1_600.0, &[]), Verdict::Missed);
    }

    #[test]
    fn a_reason_is_given_with_the_figures_where_a_target_was_missed_and_only_there() {
        let outcome = |ours| with_floors("entry-empty", ours, 100.0, &[20.0]);
        let reason = outcome(0.0).row.reason;
        let missed = notes(Topic::Entry, &[outcome(40.0)]);
        let figures = "(target 30.0 ns, floor 20.0 ns, ours 40.0 ns): ";
        assert!(
            missed.contains(&format!("{figures}{reason}.\n")),
            "{missed}"
        );
        let met = notes(Topic::Entry, &[outcome(30.0)]);
        assert!(met.contains(outcome(0.0).row.note));
        assert!(!met.contains(reason) && !met.contains("missed"), "{met}");
        // Nobody has thought of this one.
        let unexplained = notes(Topic::Registry, &[self::outcome("lookup-1000", 2.0, 1.0)]);
        assert!(unexplained.contains("(target 1.00 ns, ours 2.00 ns): nobody"));
        assert_eq!(notes(Topic::Startup, &[outcome(40.0)]), "");
    }

    #[test]
    fn a_reason_that_rows_have_in_common_is_given_once() {
        let missed = |name| with_floors(name, 20.0, 20.0, &[5.0, 10.0]);
        let all = ["trap-out-of-bounds", "trap-division", "trap-unreachable"].map(missed);
        let notes = notes(Topic::Traps, &all);
        assert_eq!(notes.matches(all[0].row.reason).count(), 1, "{notes}");
        assert_eq!(notes.matches("ours 20.0 ns").count(), 3, "{notes}");
    }

    #[test]
    fn the_spread_is_from_the_smallest_to_the_largest() {
        let mut outcome = outcome("entry-empty", 11.0, 32.0);
        let runs = [11.0, 10.0, 14.0].map(Measured::from);
        let sides = BTreeMap::from([(Side::Ours, Found::of(&runs).unwrap())]);
        outcome.found = Ok(sides);
        assert!(spread(&[outcome]).contains("| 10.0 ns – 14.0 ns |"));
    }
}
