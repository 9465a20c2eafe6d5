//! Plots as SVG: bars for operations, lines for what grows.

use core::fmt::Write as _;

/// The whole picture, in pixels; what axes need around the plot itself.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 64.0;

/// Colours that can be told apart, also by those who see fewer of them.
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#999999", "#009e73", "#cc79a7"];

/// How an axis is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scale {
    /// From 0.
    Linear,
    Logarithmic,
}

/// An axis, and what is on it.
#[derive(Clone, Debug)]
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis with room for all figures that are shown.
    fn new(scale: Scale, figures: impl Iterator<Item = f64>) -> Self {
        let figures: Vec<f64> = figures.filter(|figure| *figure > 0.0).collect();
        let smallest = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = figures.iter().copied().fold(0.0, f64::max);
        let (smallest, largest) = if figures.is_empty() {
            (1.0, 10.0)
        } else {
            (smallest, largest)
        };
        match scale {
            Scale::Linear => {
                let step = step(largest);
                let steps = (largest / step).ceil();
                Self {
                    scale,
                    from: 0.0,
                    to: step * steps,
                    ticks: (0..=steps as u32)
                        .map(|nth| step * f64::from(nth))
                        .collect(),
                }
            }
            Scale::Logarithmic => {
                let from = smallest.log10().floor() as i32;
                let to = (largest.log10().ceil() as i32).max(from + 1);
                Self {
                    scale,
                    from: 10_f64.powi(from),
                    to: 10_f64.powi(to),
                    ticks: (from..=to).map(|power| 10_f64.powi(power)).collect(),
                }
            }
        }
    }

    /// Where a figure is on the axis: 0 at its start, 1 at its end.
    fn place(&self, figure: f64) -> f64 {
        match self.scale {
            Scale::Linear => (figure - self.from) / (self.to - self.from),
            Scale::Logarithmic => {
                (figure.max(self.from) / self.from).log10() / (self.to / self.from).log10()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, so that about five of them make `largest`.
fn step(largest: f64) -> f64 {
    let rough = largest / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// From left to right.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What both kinds of plots say in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    pub(crate) title: &'a str,
    /// Below the plot.
    pub(crate) across: &'a str,
    /// Beside it.
    pub(crate) up: &'a str,
}

/// Lines.
pub(crate) fn lines(words: Words<'_>, across: Scale, up: Scale, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let mut x = Axis::new(across, points().map(|point| point.0));
    let y = Axis::new(up, points().map(|point| point.1));
    if across == Scale::Linear {
        // What was measured, not round numbers in between.
        x.ticks = points().map(|point| point.0).collect();
        x.ticks.sort_by(f64::total_cmp);
        x.ticks.dedup();
    }
    let mut picture = Picture::new(words, &y);
    let right = |figure: f64| LEFT + x.place(figure) * (WIDTH - LEFT - RIGHT);
    for tick in &x.ticks {
        picture.tick_across(right(*tick), &short(*tick));
    }
    picture.legend(series.iter().map(|series| series.name.as_str()));
    for (nth, series) in series.iter().enumerate() {
        let colour = COLOURS[nth % COLOURS.len()];
        let places: Vec<(f64, f64)> = (series.points.iter())
            .map(|(across, up)| (right(*across), picture.height_of(&y, *up)))
            .collect();
        let path: Vec<String> = (places.iter())
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let path = path.join(" ");
        picture.add(&format!(
            r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#
        ));
        for (x, y) in places {
            picture.add(&format!(
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{colour}"/>"#
            ));
        }
    }
    picture.finish()
}

/// Some bars side by side, one for each name; a missing one leaves a gap.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) bars: Vec<Option<f64>>,
}

/// Groups of bars. `texts` are what figures are called on the bars.
pub(crate) fn bars(
    words: Words<'_>,
    up: Scale,
    names: &[&str],
    groups: &[Group],
    text: impl Fn(f64) -> String,
) -> String {
    let figures = groups.iter().flat_map(|group| &group.bars).flatten();
    let y = Axis::new(up, figures.copied());
    let mut picture = Picture::new(words, &y);
    picture.legend(names.iter().copied());
    let each = (WIDTH - LEFT - RIGHT) / groups.len().max(1) as f64;
    let width = each * 0.8 / names.len().max(1) as f64;
    for (nth, group) in groups.iter().enumerate() {
        let start = LEFT + each * nth as f64;
        picture.tick_across(start + each / 2.0, &group.name);
        for (nth, bar) in group.bars.iter().enumerate() {
            let Some(figure) = bar else { continue };
            let colour = COLOURS[nth % COLOURS.len()];
            let x = start + each * 0.1 + width * nth as f64;
            let top = picture.height_of(&y, *figure);
            let height = HEIGHT - BOTTOM - top;
            picture.add(&format!(
                r#"<rect x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
            ));
            picture.text(x + width / 2.0, top - 4.0, "middle", 9.0, &text(*figure));
        }
    }
    picture.finish()
}

/// A picture while it is drawn.
struct Picture(String);

impl Picture {
    /// With a frame, a title, and the axis that goes up.
    fn new(words: Words<'_>, y: &Axis) -> Self {
        let mut this = Self(format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" fill="#222">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
"##
        ));
        this.text(LEFT, 22.0, "start", 15.0, words.title);
        for tick in &y.ticks {
            let height = this.height_of(y, *tick);
            let right = WIDTH - RIGHT;
            this.add(&format!(
                r##"<line x1="{LEFT}" y1="{height:.1}" x2="{right}" y2="{height:.1}" stroke="#ddd"/>"##
            ));
            this.text(LEFT - 6.0, height + 4.0, "end", 11.0, &short(*tick));
        }
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        this.text(middle, HEIGHT - 14.0, "middle", 12.0, words.across);
        let middle = TOP + (HEIGHT - TOP - BOTTOM) / 2.0;
        let up = escape(words.up);
        this.add(&format!(
            r#"<text x="18" y="{middle}" transform="rotate(-90 18 {middle})" text-anchor="middle" font-size="12">{up}</text>"#
        ));
        this
    }

    /// How far down a figure lies.
    fn height_of(&self, y: &Axis, figure: f64) -> f64 {
        HEIGHT - BOTTOM - y.place(figure) * (HEIGHT - TOP - BOTTOM)
    }

    fn add(&mut self, element: &str) {
        self.0 += element;
        self.0.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, size: f64, text: &str) {
        let text = escape(text);
        // Writing to a string does not fail.
        let _ = writeln!(
            self.0,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}">{text}</text>"#
        );
    }

    fn tick_across(&mut self, x: f64, text: &str) {
        let y = HEIGHT - BOTTOM;
        let below = y + 5.0;
        self.add(&format!(
            r##"<line x1="{x:.1}" y1="{y}" x2="{x:.1}" y2="{below}" stroke="#888"/>"##
        ));
        self.text(x, y + 18.0, "middle", 11.0, text);
    }

    /// Names and their colours, between title and plot.
    fn legend<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let mut x = LEFT;
        for (nth, name) in names.enumerate() {
            let colour = COLOURS[nth % COLOURS.len()];
            self.add(&format!(
                r#"<rect x="{x:.1}" y="34" width="12" height="12" fill="{colour}"/>"#
            ));
            self.text(x + 17.0, 44.0, "start", 12.0, name);
            x += 36.0 + 6.6 * name.chars().count() as f64;
        }
    }

    fn finish(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }
}

/// A figure on an axis: `1k`, `20M`, `0.5`.
fn short(figure: f64) -> String {
    let (figure, suffix) = match figure {
        large if large >= 1e6 => (large / 1e6, "M"),
        large if large >= 1e3 => (large / 1e3, "k"),
        small => (small, ""),
    };
    // Sums of steps are off by the last bit.
    let rounded = (figure * 1e3).round() / 1e3;
    format!("{rounded}{suffix}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words<'_> = Words {
        title: "a < b",
        across: "n",
        up: "ns",
    };

    #[test]
    fn axes_have_round_ends_beyond_the_figures() {
        let axis = Axis::new(Scale::Linear, [3.0, 37.0].into_iter());
        assert_eq!((axis.from, axis.to), (0.0, 40.0));
        assert_eq!(axis.ticks, [0.0, 10.0, 20.0, 30.0, 40.0]);
        let axis = Axis::new(Scale::Logarithmic, [12.0, 6_000.0].into_iter());
        assert_eq!((axis.from, axis.to), (10.0, 10_000.0));
        assert_eq!(axis.ticks.len(), 4);
        assert!((axis.place(100.0) - 1.0 / 3.0).abs() < 1e-9);
        // Nothing to show, and one figure only, are no reason to fail.
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let axis = Axis::new(scale, core::iter::empty());
            assert!(axis.to > axis.from);
            let axis = Axis::new(scale, [1.0].into_iter());
            assert!(axis.to > axis.from && axis.place(1.0).is_finite());
        }
    }

    #[test]
    fn steps_are_round_and_about_five() {
        assert_eq!(step(37.0), 10.0);
        assert_eq!(step(10.0), 2.0);
        assert_eq!(step(25.0), 5.0);
        assert_eq!(step(0.9), 0.2);
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!(short(0.1), "0.1");
        assert_eq!(short(8_000.0), "8k");
        assert_eq!(short(1e6), "1M");
        assert_eq!(short(0.1 + 0.2), "0.3");
    }

    #[test]
    fn a_line_has_a_point_for_each_figure_within_the_picture() {
        let series = Series {
            name: String::from("ours & theirs"),
            points: vec![(10.0, 50.0), (1_000.0, 700.0), (8_000.0, 9.0)],
        };
        let svg = lines(WORDS, Scale::Logarithmic, Scale::Logarithmic, &[series]);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("a &lt; b") && svg.contains("ours &amp; theirs"));
        let heights: Vec<f64> = (svg.split("cy=\"").skip(1))
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!(
            heights
                .iter()
                .all(|at| (TOP..=HEIGHT - BOTTOM).contains(at))
        );
        // More is further up.
        assert!(heights[1] < heights[0] && heights[0] < heights[2]);
    }

    #[test]
    fn a_missing_bar_leaves_a_gap() {
        let group = |bars| Group {
            name: String::from("x"),
            bars,
        };
        let groups = [
            group(vec![Some(1.0), None]),
            group(vec![Some(2.0), Some(3.0)]),
        ];
        let svg = bars(WORDS, Scale::Linear, &["a", "b"], &groups, |figure| {
            format!("<{figure}>")
        });
        // Background, two of the legend, three bars.
        assert_eq!(svg.matches("<rect").count(), 6);
        assert!(svg.contains("&lt;3&gt;"));
    }
}
