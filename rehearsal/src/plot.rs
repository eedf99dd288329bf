//! A plot as SVG: values by second as lines, which differ by their dashes as well as by their colours.

use std::fmt::Write;

use crate::axis::Axis;
use crate::markup::text;

/// The box that all coordinates lie in. The page makes it as wide as there is room, and texts larger where that is little.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 236.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 48.0;

/// What is drawn.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    /// Unlike those of the page's other plots; a word.
    pub(crate) id: &'static str,
    /// For those who do not see it: what it is, and what it shows.
    pub(crate) title: String,
    /// The same, in sentences.
    pub(crate) description: String,
    /// Along the bottom.
    pub(crate) time: Axis,
    /// Along the side.
    pub(crate) values: Axis,
    /// Of the run before, pale, behind all else.
    pub(crate) before: Vec<Line>,
    /// In the front the last.
    pub(crate) lines: Vec<Line>,
    /// What lies below the lines.
    pub(crate) fill: Fill,
    /// What was expected: values that must not be passed.
    pub(crate) levels: Vec<f64>,
    /// When the load ended, if something came after.
    pub(crate) load_ends: Option<f64>,
}

/// Values by second.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// How it looks: the style's name for it.
    pub(crate) look: &'static str,
    /// When, and how much; `None` where nobody knows, or nothing was there.
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// What lies below lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Below the first, down to nothing.
    Ground,
    /// Between each and the next.
    Bands,
}

impl Plot {
    /// As an element of a page.
    pub(crate) fn svg(&self) -> String {
        let Self { id, .. } = self;
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH:.0} {HEIGHT:.0}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            text(&self.title),
            text(&self.description),
        );
        self.axes(&mut svg);
        for line in &self.before {
            // writing to a String cannot fail
            let _ = write!(svg, "<path class=\"line before {}\" d=\"{}\"/>", line.look, self.course(line));
        }
        self.fills(&mut svg);
        for level in &self.levels {
            if let Some(y) = self.y(*level) {
                let _ = write!(
                    svg,
                    "<path class=\"line expected\" d=\"M{LEFT:.1} {y:.1}H{:.1}\"/>",
                    WIDTH - RIGHT
                );
            }
        }
        for line in &self.lines {
            let _ = write!(svg, "<path class=\"line {}\" d=\"{}\"/>", line.look, self.course(line));
        }
        self.load_ends(&mut svg);
        svg + "</svg>"
    }

    fn axes(&self, svg: &mut String) {
        let (right, ground) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in &self.values.ticks {
            let Some(y) = self.y(*value) else { continue };
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT:.1} {y:.1}H{right:.1}\"/>\
                 <text class=\"side\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                LEFT - 8.0,
                text(label)
            );
        }
        for (value, label) in &self.time.ticks {
            let Some(x) = self.x(*value) else { continue };
            let _ = write!(
                svg,
                "<path class=\"axis\" d=\"M{x:.1} {ground:.1}v4\"/><text class=\"below\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                ground + 20.0,
                text(label)
            );
        }
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT:.1} {ground:.1}H{right:.1}\"/>\
             <text class=\"unit\" x=\"{right:.1}\" y=\"{:.1}\">{}</text>",
            HEIGHT - 7.0,
            self.time.unit
        );
    }

    fn load_ends(&self, svg: &mut String) {
        if let Some(x) = self.load_ends.and_then(|end| self.x(end)) {
            let (look, at) = if x > WIDTH / 2.0 { ("unit over", x - 5.0) } else { ("over", x + 5.0) };
            let _ = write!(
                svg,
                "<path class=\"ends\" d=\"M{x:.1} {TOP:.1}V{:.1}\"/>\
                 <text class=\"{look}\" x=\"{at:.1}\" y=\"{:.1}\">load ends</text>",
                HEIGHT - BOTTOM,
                TOP + 22.0
            );
        }
    }

    fn fills(&self, svg: &mut String) {
        match self.fill {
            Fill::Ground => {
                let Some(first) = self.lines.first() else { return };
                let ground: Vec<_> = first.points.iter().map(|(when, _)| (*when, Some(0.0))).collect();
                self.between(svg, first, &ground);
            }
            Fill::Bands => {
                for pair in self.lines.windows(2) {
                    self.between(svg, &pair[1], &pair[0].points);
                }
            }
        }
    }

    /// What lies between a line and points at the same times, as far as both are known.
    fn between(&self, svg: &mut String, line: &Line, below: &[(f64, Option<f64>)]) {
        let pairs: Vec<_> = line
            .points
            .iter()
            .zip(below)
            .map(|((when, upper), (_, lower))| Some((self.x(*when)?, self.y((*upper)?)?, self.y((*lower)?)?)))
            .collect();
        let mut d = String::new();
        for run in pairs.split(Option::is_none) {
            let upper = run.iter().flatten().map(|(x, upper, _)| (x, upper));
            let lower = run.iter().flatten().rev().map(|(x, _, lower)| (x, lower));
            for (number, (x, y)) in upper.chain(lower).enumerate() {
                let _ = write!(d, "{}{x:.1} {y:.1}", if number == 0 { "M" } else { "L" });
            }
            d.push_str(if run.is_empty() { "" } else { "Z" });
        }
        let _ = write!(svg, "<path class=\"fill {}\" d=\"{d}\"/>", line.look);
    }

    /// A line's way, with gaps where nothing is known. One point alone is a dot.
    fn course(&self, line: &Line) -> String {
        let mut d = String::new();
        let points: Vec<_> =
            line.points.iter().map(|(when, value)| Some((self.x(*when)?, self.y((*value)?)?))).collect();
        for run in points.split(Option::is_none) {
            for (number, (x, y)) in run.iter().flatten().enumerate() {
                let _ = write!(d, "{}{x:.1} {y:.1}", if number == 0 { "M" } else { "L" });
            }
            d.push_str(if run.len() == 1 { "h0" } else { "" });
        }
        d
    }

    fn x(&self, when: f64) -> Option<f64> {
        self.time.place(when).map(|place| LEFT + place * (WIDTH - LEFT - RIGHT))
    }

    fn y(&self, value: f64) -> Option<f64> {
        self.values.place(value).map(|place| HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::markup::check::{Element, elements};

    /// All numbers that say where something is lie in the box.
    pub(crate) fn lies_in_its_box(elements: &[Element]) {
        for element in elements {
            for (key, bound) in [("x", WIDTH), ("y", HEIGHT)] {
                if let Some(value) = element.get(key) {
                    let value: f64 = value.parse().unwrap();
                    assert!((0.0..=bound).contains(&value), "{element:?}");
                }
            }
            let is_icon = element.get("stroke").is_some();
            if let Some(d) = element.get("d").filter(|_| !is_icon) {
                let numbers = d.split(|c: char| c.is_ascii_alphabetic() || c == ' ');
                for number in numbers.filter(|number| !number.is_empty()) {
                    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{number:?} in {d}"));
                    assert!((0.0..=WIDTH).contains(&number), "{d}");
                }
            }
        }
    }

    fn plot(points: Vec<(f64, Option<f64>)>, log: bool, fill: Fill) -> Plot {
        let values: Vec<f64> = points.iter().filter_map(|(_, value)| *value).collect();
        let lower = points.iter().map(|(when, value)| (*when, value.map(|value| value / 2.0))).collect();
        Plot {
            id: "test",
            title: "a & b".to_owned(),
            description: String::new(),
            time: Axis::time(points.iter().map(|(when, _)| *when).fold(0.0, f64::max)),
            values: if log { Axis::log(&values) } else { Axis::linear(&values) },
            before: vec![Line { look: "one", points: points.clone() }],
            lines: vec![Line { look: "one", points: lower }, Line { look: "two", points }],
            fill,
            levels: vec![5000.0, f64::NAN],
            load_ends: Some(1.0),
        }
    }

    fn courses(svg: &str, look: &str) -> Vec<String> {
        let is_it = |element: &Element| element.get("class") == Some(look);
        elements(svg)
            .iter()
            .filter(|one| is_it(one))
            .filter_map(|one| one.get("d"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_line_goes_through_its_points_and_has_gaps() {
        let points = vec![(0.0, Some(0.0)), (5.0, Some(10.0)), (7.0, None), (10.0, Some(5.0))];
        let svg = plot(points, false, Fill::Ground).svg();
        assert_eq!(courses(&svg, "line two"), ["M66.0 188.0L307.0 12.0M548.0 100.0h0"]);
        assert_eq!(
            courses(&svg, "fill one"),
            ["M66.0 188.0L307.0 100.0L307.0 188.0L66.0 188.0ZM548.0 144.0L548.0 188.0Z"]
        );
        assert!(
            courses(&svg, "line expected").iter().all(|level| level.starts_with("M66.0 12.0")),
            "at the edge"
        );
        assert!(svg.contains("<title id=\"test-t\">a &amp; b</title>"));
    }

    #[test]
    fn of_nothing_there_is_a_plot_all_the_same() {
        for points in [vec![], vec![(0.5, Some(1.0))], vec![(0.5, None)], vec![(f64::NAN, Some(f64::NAN))]] {
            for fill in [Fill::Ground, Fill::Bands] {
                lies_in_its_box(&elements(&plot(points.clone(), true, fill).svg()));
                lies_in_its_box(&elements(&plot(points.clone(), false, fill).svg()));
            }
        }
    }

    proptest! {
        #[test]
        fn any_series_lies_in_its_box(
            points in prop::collection::vec((any::<f64>(), prop::option::of(any::<f64>())), 0..40),
            log in any::<bool>(),
            bands in any::<bool>(),
        ) {
            let fill = if bands { Fill::Bands } else { Fill::Ground };
            lies_in_its_box(&elements(&plot(points, log, fill).svg()));
        }
    }
}
