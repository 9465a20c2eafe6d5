//! The page in the documentation, with its plots.

use crate::backtraces::{DEPTHS, depth_name};
use crate::machine;
use crate::plot::{self, Group, Scale, Series, Words};
use crate::registry::{THREADS, threads_name};
use crate::rows::Topic;
use crate::run::{Outcome, Side};
use crate::table::{self, Verdict};

/// A file of the documentation.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) content: String,
}

/// What is said before the tables.
const INTRODUCTION: &str = "\
# Benchmarks

What operations cost here, and in the runtime that is the one to beat: Wasmtime. `cargo xtask bench` has written this page
and its plots; `cargo xtask bench NAME…` measures single rows and prints their table. The figures are those of one machine:
what carries over to others is the ratios.
";

/// What a reader has to know to make sense of the tables.
const HOW_TO_READ: &str = "\
## How to read it

* **Same work.** Both sides load the same bytes: one module, compiled once with the settings that trapline's embedder needs
  (no lazy tables, no copy-on-write memories, no fuel, no epochs, no concurrency support, no collector). The peer's engine
  has the same settings, and the features that this workspace gives to the crate `wasmtime`. Calls are typed on both sides;
  errors of host functions are the same type without fields. A resolved frame has function index, names of module and
  function, and bytecode offset; no debug information is involved. Where the peer resolves frames before it is asked, ours
  is asked within the measured time.
* **Same build.** Both are in one program, built with the workspace's release profile: `opt-level = 3`, line tables as the
  only debug information, no link-time optimisation, the standard allocator.
* **Turns.** Each side of each row is measured several times, each time in a process of its own, since both install signal
  handlers; the sides take turns. Backtraces of the host are off (`RUST_BACKTRACE=0`, `RUST_LIB_BACKTRACE=0`). A process
  keeps to one CPU, except in the rows with threads. Its stack begins at a place of its own, since that alone decides over
  a nanosecond or more of a call.
* **Figures.** A process takes 151 samples of about a millisecond, which is shorter than a time slice, and reports their
  median; the table has the median over the processes, and *Spread* the smallest and the largest of them. What a process
  does only once (*Size and start-up*) is a single sample each time. The clock is read around a sample; nothing is
  subtracted but where a row says so.
* **Floor.** The least that the operation can cost on this machine: a bare program, measured in the same run, that does
  what neither side can do without, and nothing else. Where compiled code has a part in it, it is the code that both sides
  run, entered through its own trampolines. The notes below the tables say what floors are made of. Of two with a slash,
  the last one counts. Where a signal is handled, the first one is a handler that rewrites the interrupted context and
  returns from the signal, the second one that jumps straight out of it.
* **To peer, to floor**: trapline's figure over the peer's, and over that of the floor that counts.
* **Target.** A multiple of the floor, or of the peer, that was decided on beforehand. One that was not reached says so,
  whether it lies below the floor, where nobody could reach it on this machine, and below the table what the time is
  made of.
";

/// All files. `facts` are figures that somebody else has measured.
pub(crate) fn files(outcomes: &[Outcome], facts: &[(String, String)]) -> Vec<File> {
    let mut page = String::from(INTRODUCTION);
    page += "\n| | |\n| --- | --- |\n";
    for (what, text) in machine::describe() {
        page += &format!("| {what} | {text} |\n");
    }
    page += &format!("\n{}\n", summary(outcomes));
    let plots = plots(outcomes);
    for topic in Topic::ALL {
        let table = table::of_topic(topic, outcomes);
        if table.is_empty() {
            continue;
        }
        page += &format!("\n## {}\n\n{table}", topic.title());
        let notes = table::notes(topic, outcomes);
        if !notes.is_empty() {
            page += &format!("\n{notes}");
        }
        if topic == Topic::Startup && !facts.is_empty() {
            page += "\n| measured by `cargo xtask bench` | |\n| --- | --- |\n";
            for (what, figure) in facts {
                page += &format!("| {what} | {figure} |\n");
            }
        }
        for plot in plots.iter().filter(|plot| plot.topic == topic) {
            page += &format!("\n![{}]({})\n", plot.title, plot.name);
        }
    }
    page += &format!("\n{HOW_TO_READ}\n## Spread\n\n{}", table::spread(outcomes));
    let page = File {
        name: "benchmarks.md",
        content: page,
    };
    let plots = plots.into_iter().map(|plot| File {
        name: plot.name,
        content: plot.svg,
    });
    [page].into_iter().chain(plots).collect()
}

/// How many targets were reached, and how many of the others could have been.
fn summary(outcomes: &[Outcome]) -> String {
    let count = |wanted| {
        let verdicts = outcomes.iter().map(table::verdict);
        verdicts.filter(|verdict| *verdict == wanted).count()
    };
    let met = count(Verdict::Met);
    let below = count(Verdict::MissedBelowFloor);
    let missed = count(Verdict::Missed);
    let text = format!("Of {} targets, {met} are met", met + below + missed);
    if below + missed == 0 {
        return text + ".";
    }
    format!(
        "{text}. Missed are {below} that lie below the floor, where nobody could reach them on \
         this machine,\nand {missed} that do not. The reasons are below the tables."
    )
}

struct Plot {
    topic: Topic,
    name: &'static str,
    title: &'static str,
    svg: String,
}

/// The plots whose rows were run.
fn plots(outcomes: &[Outcome]) -> Vec<Plot> {
    [
        entry(outcomes),
        traps(outcomes),
        backtraces(outcomes),
        registry(outcomes),
        threads(outcomes),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn find<'a>(outcomes: &'a [Outcome], name: &str) -> Option<&'a Outcome> {
    outcomes
        .iter()
        .find(|outcome| outcome.row.name == name && outcome.found.is_ok())
}

/// The rows with these names as bars: ours, the peer, the floor that counts.
fn bars(
    outcomes: &[Outcome],
    words: Words<'_>,
    scale: Scale,
    rows: &[(&str, &str)],
) -> Option<String> {
    let groups: Vec<Group> = (rows.iter())
        .filter_map(|(row, name)| {
            let outcome = find(outcomes, row)?;
            Some(Group {
                name: (*name).to_owned(),
                bars: vec![
                    outcome.median(Side::Ours),
                    outcome.median(Side::Peer),
                    table::floor(outcome),
                ],
            })
        })
        .collect();
    if groups.is_empty() {
        return None;
    }
    // Short: the axis has the unit.
    let text = |figure: f64| {
        let decimals = usize::from(figure < 100.0);
        format!("{figure:.decimals$}")
    };
    Some(plot::bars(
        words,
        scale,
        &["trapline", "Wasmtime", "floor"],
        &groups,
        text,
    ))
}

fn entry(outcomes: &[Outcome]) -> Option<Plot> {
    let title = "Entering a guest and returning";
    let words = Words {
        title,
        across: "",
        up: "nanoseconds",
    };
    let rows = [
        ("entry-empty", "empty function"),
        ("entry-values", "2 × i32 → i32"),
        ("entry-host-call", "calls the host once"),
    ];
    Some(Plot {
        topic: Topic::Entry,
        name: "benchmarks-entry.svg",
        title,
        svg: bars(outcomes, words, Scale::Linear, &rows)?,
    })
}

fn traps(outcomes: &[Outcome]) -> Option<Plot> {
    let title = "A trap, by kind";
    let words = Words {
        title,
        across: "no backtrace unless it says so; mind the logarithmic axis",
        up: "nanoseconds",
    };
    let rows = [
        ("trap-explicit", "explicit check"),
        ("trap-host-error", "host error"),
        ("trap-host-error-backtrace", "… + 1 frame"),
        ("trap-out-of-bounds", "SIGSEGV"),
        ("trap-division", "SIGFPE"),
        ("trap-unreachable", "unreachable"),
    ];
    Some(Plot {
        topic: Topic::Traps,
        name: "benchmarks-traps.svg",
        title,
        svg: bars(outcomes, words, Scale::Logarithmic, &rows)?,
    })
}

/// A line through points of a row, each a number and the name of its point.
fn points(
    outcome: &Outcome,
    side: Side,
    name: &str,
    points: impl Iterator<Item = (f64, String)>,
) -> Option<Series> {
    let found = outcome.side(side)?;
    let points: Vec<(f64, f64)> = points
        .filter_map(|(at, point)| Some((at, found.points.get(&point)?.median)))
        .collect();
    (!points.is_empty()).then(|| Series {
        name: name.to_owned(),
        points,
    })
}

fn backtraces(outcomes: &[Outcome]) -> Option<Plot> {
    let title = "A backtrace captured by a host function";
    let words = Words {
        title,
        across: "frames",
        up: "nanoseconds",
    };
    let line = |row, side, name| {
        let depths = DEPTHS.map(|depth| (f64::from(depth), depth_name(depth)));
        points(find(outcomes, row)?, side, name, depths.into_iter())
    };
    let series: Vec<Series> = [
        line("backtrace-frame", Side::Ours, "trapline"),
        line(
            "backtrace-frame",
            Side::Peer,
            "Wasmtime (20 of them resolved)",
        ),
        line("backtrace-frame-resolved", Side::Ours, "trapline, resolved"),
        line("backtrace-frame-resolved", Side::Peer, "Wasmtime, resolved"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!series.is_empty()).then(|| Plot {
        topic: Topic::Backtraces,
        name: "benchmarks-backtraces.svg",
        title,
        svg: plot::lines(words, Scale::Logarithmic, Scale::Logarithmic, &series),
    })
}

/// The numbers of ranges that rows are named after.
const RANGES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];

fn registry(outcomes: &[Outcome]) -> Option<Plot> {
    let title = "Lookups and registrations";
    let words = Words {
        title,
        across: "registered ranges",
        up: "nanoseconds",
    };
    let line = |row: &str, side, name: &str| {
        let points: Vec<(f64, f64)> = (RANGES.iter())
            .filter_map(|ranges| {
                let outcome = find(outcomes, &format!("{row}-{ranges}"))?;
                Some((*ranges as f64, outcome.median(side)?))
            })
            .collect();
        (!points.is_empty()).then(|| Series {
            name: name.to_owned(),
            points,
        })
    };
    let series: Vec<Series> = [
        line("lookup", Side::Ours, "lookup"),
        line("lookup", Side::Peer, "RwLock<BTreeMap>"),
        line("register", Side::Ours, "registration"),
        line("register", Side::Peer, "RwLock<BTreeMap>"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!series.is_empty()).then(|| Plot {
        topic: Topic::Registry,
        name: "benchmarks-registry.svg",
        title,
        svg: plot::lines(words, Scale::Logarithmic, Scale::Logarithmic, &series),
    })
}

fn threads(outcomes: &[Outcome]) -> Option<Plot> {
    let title = "Lookups of all threads together, among 1 000 ranges";
    let words = Words {
        title,
        across: "threads",
        up: "lookups a second",
    };
    let outcome = find(outcomes, "lookup-threads-1000")?;
    let line = |side, name| {
        let threads = THREADS.map(|threads| (threads as f64, threads_name(threads)));
        points(outcome, side, name, threads.into_iter())
    };
    let series: Vec<Series> = [
        line(Side::Ours, "trapline"),
        line(Side::Peer, "RwLock<BTreeMap>"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!series.is_empty()).then(|| Plot {
        topic: Topic::Registry,
        name: "benchmarks-threads.svg",
        title,
        svg: plot::lines(words, Scale::Linear, Scale::Linear, &series),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::measure::Measured;
    use crate::rows::{self, Unit};
    use crate::run::Found;

    /// Rows as if they had been run, with all points that a plot could ask for, and all
    /// targets met.
    fn outcomes() -> Vec<Outcome> {
        let measured = |value: f64| {
            let names = DEPTHS.map(depth_name);
            let names = names.into_iter().chain(THREADS.map(threads_name));
            names.fold(Measured::from(value), |measured, name| {
                measured.with(name, value)
            })
        };
        let found = |value| Found::of(&[measured(value)]).unwrap();
        (rows::all().into_iter())
            .map(|row| Outcome {
                found: Ok(BTreeMap::from([
                    (
                        Side::Ours,
                        found(if row.unit == Unit::Factor { 1.0 } else { 4.0 }),
                    ),
                    (Side::Peer, found(1_000.0)),
                    (Side::Floor(0), found(5.0)),
                    (Side::Floor(1), found(4.0)),
                ])),
                row,
            })
            .collect()
    }

    #[test]
    fn the_page_has_every_row_every_note_and_every_plot() {
        let facts = [(String::from("building it"), String::from("3 s"))];
        let files = files(&outcomes(), &facts);
        let page = &files[0].content;
        for row in rows::all() {
            assert!(page.contains(&format!("| {} ", row.what)), "{}", row.name);
            assert!(page.contains(&format!("| `{}` ", row.name)), "{}", row.name);
            assert!(page.contains(row.note) && !page.contains("missed:"));
        }
        assert!(page.contains("| building it | 3 s |"));
        assert_eq!(files.len(), 6);
        for plot in &files[1..] {
            assert!(page.contains(&format!("]({})", plot.name)));
            assert!(plot.content.starts_with("<svg ") && plot.content.ends_with("</svg>\n"));
        }
    }

    #[test]
    fn what_was_missed_is_counted_and_explained() {
        let mut outcomes = outcomes();
        // Beside floors of 5 and 4.
        let set = |outcome: &mut Outcome, ours: f64, peer: f64| {
            let sides = outcome.found.as_mut().unwrap();
            sides.insert(Side::Ours, Found::of(&[ours.into()]).unwrap());
            sides.insert(Side::Peer, Found::of(&[peer.into()]).unwrap());
        };
        assert!(summary(&outcomes).ends_with(" are met."));
        let row = |name: &str| rows::all().iter().position(|row| row.name == name).unwrap();
        set(&mut outcomes[row("entry-empty")], 50.0, 100.0);
        set(&mut outcomes[row("entry-host-call")], 50.0, 100.0);
        set(&mut outcomes[row("trap-unreachable")], 20.0, 10.0);
        let text = summary(&outcomes);
        assert!(
            text.contains("Missed are 1 that lie below the floor"),
            "{text}"
        );
        assert!(text.contains("and 2 that do not"), "{text}");
        let page = &files(&outcomes, &[])[0].content;
        for name in ["entry-empty", "entry-host-call", "trap-unreachable"] {
            assert!(page.contains(outcomes[row(name)].row.reason), "{name}");
        }
        assert!(!page.contains(outcomes[row("nested-backtrace")].row.reason));
    }

    #[test]
    fn what_was_not_run_is_not_plotted() {
        let mut outcomes = outcomes();
        outcomes.retain(|outcome| outcome.row.topic == Topic::Entry);
        let files = files(&outcomes, &[]);
        let names: Vec<&str> = files.iter().map(|file| file.name).collect();
        assert_eq!(names, ["benchmarks.md", "benchmarks-entry.svg"]);
        assert!(!files[0].content.contains("## Traps"));
    }

    #[test]
    fn ranges_are_those_of_the_rows() {
        for ranges in RANGES {
            let name = format!("lookup-{ranges}");
            assert!(rows::all().iter().any(|row| row.name == name));
        }
    }
}
