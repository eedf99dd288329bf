//! The course of a rehearsal: what its four plots show.

use crate::axis::Axis;
use crate::plot::{Fill, Line, Plot};
use crate::report::{LAG, Latency, P95, P99, Report, Second};
use crate::words::{UNKNOWN, count, ms, places};

/// Points a line has at most: as many as can be told apart.
const POINTS_MAX: u32 = 300;

/// A plot with what stands above it.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// What is drawn.
    pub(crate) plot: Plot,
    /// Of what its numbers are.
    pub(crate) unit: &'static str,
    /// What its lines are.
    pub(crate) legend: Vec<Entry>,
    /// Instead of the plot, where there is nothing to draw.
    pub(crate) nothing: Option<&'static str>,
}

/// A line of the legend.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// How it looks.
    pub(crate) look: &'static str,
    /// What it is.
    pub(crate) name: String,
    /// The most it comes to.
    pub(crate) value: String,
}

/// One second, or several.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// The first.
    pub(crate) second: u32,
    /// The middle of its time.
    pub(crate) at: f64,
    /// A second, as the next ones.
    pub(crate) due: f64,
    pub(crate) answered: f64,
    pub(crate) accepted: f64,
    /// In the second that had most.
    pub(crate) failed: f64,
    /// Of the second that was slowest; `None` where nothing was due.
    pub(crate) latency: Option<Latency>,
    /// At most.
    pub(crate) lag: Option<f64>,
    pub(crate) decided: f64,
}

/// The series, with several seconds in one point where there are very many.
pub(crate) struct Course {
    /// Seconds in a point.
    pub(crate) each: u32,
    pub(crate) points: Vec<Point>,
}

impl Course {
    /// That of a report.
    pub(crate) fn new(report: &Report) -> Self {
        let mut series: Vec<&Second> = report.series.iter().collect();
        series.sort_by_key(|second| second.second);
        let last = series.last().map_or(0, |second| second.second);
        let each = (last / POINTS_MAX).saturating_add(1);
        let points = series.chunk_by(|one, next| one.second / each == next.second / each);
        Self { each, points: points.map(|seconds| Point::of(seconds, each)).collect() }
    }

    fn end(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.at + f64::from(self.each) / 2.0)
    }

    fn line(&self, look: &'static str, of: impl Fn(&Point) -> Option<f64>) -> Line {
        Line { look, points: self.points.iter().map(|point| (point.at, of(point))).collect() }
    }

    /// Failures where there are some: a line along the ground would look as if there were.
    fn failures(&self) -> Line {
        let failed: Vec<f64> = self.points.iter().map(|point| point.failed).collect();
        let is_near = |at: usize| {
            (at.saturating_sub(1)..=at + 1).any(|at| failed.get(at).is_some_and(|failed| *failed > 0.0))
        };
        let points = self.points.iter().enumerate();
        let points = points.map(|(at, point)| (point.at, is_near(at).then_some(point.failed)));
        Line { look: "bad", points: points.collect() }
    }
}

impl Point {
    fn of(seconds: &[&Second], each: u32) -> Self {
        let number = seconds.len().max(1) as f64;
        let mean =
            |of: fn(&Second) -> u32| seconds.iter().map(|second| f64::from(of(second))).sum::<f64>() / number;
        let most =
            |values: &mut dyn Iterator<Item = f64>| values.filter(|value| value.is_finite()).reduce(f64::max);
        let due = || seconds.iter().filter(|second| second.due > 0);
        let latency = |of: fn(&Latency) -> f64| {
            most(&mut due().map(|second| of(&second.latency_ms)))
                .map(|value| value.max(0.0))
                .unwrap_or(f64::NAN)
        };
        let first = seconds.first().map_or(0, |second| second.second / each * each);
        Self {
            second: first,
            at: f64::from(first) + f64::from(each) / 2.0,
            due: mean(|second| second.due),
            answered: mean(|second| second.answered),
            accepted: mean(|second| second.accepted),
            failed: most(&mut seconds.iter().map(|second| f64::from(second.failed))).unwrap_or(0.0),
            latency: due().next().map(|_| Latency {
                p50: latency(|latency| latency.p50),
                p95: latency(|latency| latency.p95),
                p99: latency(|latency| latency.p99),
                max: latency(|latency| latency.max),
            }),
            lag: most(&mut seconds.iter().filter_map(|second| second.lag).map(|lag| lag as f64)),
            decided: mean(|second| second.decided),
        }
    }
}

/// What all plots of a page have in common.
struct Page<'r> {
    report: &'r Report,
    now: &'r Course,
    before: Option<Course>,
    time: Axis,
    load_ends: Option<f64>,
}

/// The plots of a report, with the lines of an earlier one behind.
pub(crate) fn figures(report: &Report, course: &Course, before: Option<&Report>) -> [Figure; 4] {
    let before = before.map(Course::new);
    let end = before.iter().map(Course::end).fold(course.end(), f64::max);
    let load_ends = Some(report.seconds).filter(|seconds| *seconds > 0.0 && *seconds < end - 0.5);
    let page = Page { report, now: course, before, time: Axis::time(end), load_ends };
    [page.load(), page.latency(), page.lag(), page.decisions()]
}

/// What one plot has of its own.
struct Drawn {
    /// Lines of this run, and of the one before.
    lines: (Vec<Line>, Vec<Line>),
    legend: Vec<Entry>,
    levels: Vec<f64>,
}

impl Page<'_> {
    fn load(&self) -> Figure {
        let lines = self.both(|course| {
            vec![
                course.line("line-0", |point| Some(point.due)),
                course.line("line-1", |point| Some(point.answered)),
                course.failures(),
            ]
        });
        let rate = |line: &Line| format!("{}/s", number(most(line).unwrap_or(0.0)));
        let legend = entries(&lines.0, ["due", "answered", "failed"], rate);
        let drawn = Drawn { lines, legend, levels: Vec::new() };
        let values = Axis::linear(&drawn.values());
        self.figure("load", "Load", "requests a second", values, drawn)
    }

    fn latency(&self) -> Figure {
        let lines = self.both(|course| {
            let of = |look, of: fn(&Latency) -> f64| {
                course.line(look, move |point| point.latency.as_ref().map(of).filter(|ms| ms.is_finite()))
            };
            vec![
                of("line-0", |latency| latency.p50),
                of("line-1", |latency| latency.p95),
                of("line-2", |latency| latency.p99),
            ]
        });
        let highest_of = |line: &Line| most(line).map_or(UNKNOWN.to_owned(), ms);
        let mut legend = entries(&lines.0, ["p50", "p95", "p99"], highest_of);
        let expected = [("p95", P95), ("p99", P99)].into_iter().filter_map(|(of, name)| {
            expected(self.report, name).map(|(ms, aim)| (ms, format!("{of} {aim}")))
        });
        let levels = levels(expected, highest(&lines.0) * 100.0, &mut legend);
        let drawn = Drawn { lines, legend, levels };
        let values = Axis::log(&drawn.values());
        let unit = "ms from the due time, log scale";
        let mut figure = self.figure("latency", "Time to answer", unit, values, drawn);
        figure.plot.fill = Fill::Bands;
        figure
    }

    fn lag(&self) -> Figure {
        let lines = self.both(|course| vec![course.line("line-0", |point| point.lag)]);
        let is_known = lines.0.iter().any(|line| most(line).is_some());
        let highest_of = |line: &Line| most(line).map_or(UNKNOWN.to_owned(), number);
        let mut legend = entries(&lines.0, ["lag"], highest_of);
        let levels = levels(expected(self.report, LAG), highest(&lines.0) * 10.0, &mut legend);
        let drawn = Drawn { lines, legend, levels };
        let values = Axis::linear(&drawn.values());
        let mut figure = self.figure("lag", "Lag", "events accepted and not yet applied", values, drawn);
        figure.nothing = (!is_known).then_some("The lag is not known: nobody was asked for it.");
        figure
    }

    fn decisions(&self) -> Figure {
        let lines = self.both(|course| vec![course.line("line-0", |point| Some(point.decided))]);
        let is_known = highest(&lines.0) > 0.0;
        let rate = |line: &Line| format!("{}/s", number(most(line).unwrap_or(0.0)));
        let legend = entries(&lines.0, ["decided"], rate);
        let drawn = Drawn { lines, legend, levels: Vec::new() };
        let values = Axis::linear(&drawn.values());
        let mut figure = self.figure("decisions", "Coupon decisions", "decisions a second", values, drawn);
        figure.nothing = (!is_known).then_some("No coupon was decided.");
        figure
    }

    fn both(&self, lines: impl Fn(&Course) -> Vec<Line>) -> (Vec<Line>, Vec<Line>) {
        (lines(self.now), self.before.as_ref().map(lines).unwrap_or_default())
    }

    fn figure(
        &self,
        id: &'static str,
        title: &str,
        unit: &'static str,
        values: Axis,
        drawn: Drawn,
    ) -> Figure {
        let Drawn { lines: (lines, before), legend, levels } = drawn;
        let told = legend.iter().map(|entry| format!("{}: {}", entry.name, entry.value));
        let description =
            format!("By second, {unit}. The highest values: {}.", told.collect::<Vec<_>>().join(", "));
        let plot = Plot {
            id,
            title: title.to_owned(),
            description,
            time: self.time.clone(),
            values,
            before,
            lines,
            fill: Fill::Ground,
            levels,
            load_ends: self.load_ends,
        };
        let nothing = self.now.points.is_empty().then_some("Nothing was recorded.");
        Figure { plot, unit, legend, nothing }
    }
}

impl Drawn {
    /// All that have to have a place.
    fn values(&self) -> Vec<f64> {
        let (now, before) = &self.lines;
        let points = now.iter().chain(before).flat_map(|line| &line.points);
        points.filter_map(|(_, value)| *value).chain(self.levels.iter().copied()).collect()
    }
}

fn entries<const N: usize>(lines: &[Line], names: [&str; N], value: impl Fn(&Line) -> String) -> Vec<Entry> {
    let of =
        |(line, name): (&Line, &str)| Entry { look: line.look, name: name.to_owned(), value: value(line) };
    lines.iter().zip(names).map(of).collect()
}

fn most(line: &Line) -> Option<f64> {
    line.points.iter().filter_map(|(_, value)| *value).reduce(f64::max)
}

fn highest(lines: &[Line]) -> f64 {
    lines.iter().filter_map(most).fold(0.0, f64::max)
}

fn number(value: f64) -> String {
    if value < 10.0 { places(value) } else { count(value.round() as u64) }
}

/// What was expected: all of it in the legend, and as lines as far as they lie near what was found.
fn levels(expected: impl IntoIterator<Item = (f64, String)>, near: f64, legend: &mut Vec<Entry>) -> Vec<f64> {
    let mut levels = Vec::new();
    for (level, told) in expected {
        let value = if level <= near { told } else { format!("{told}, above what is drawn") };
        legend.push(Entry { look: "expected", name: "expected".to_owned(), value });
        levels.extend((level <= near).then_some(level));
    }
    levels
}

/// What must not be passed, of the check of this name: the number in `at most 5000` and `at most 200 ms`, and all of it.
fn expected(report: &Report, name: &str) -> Option<(f64, String)> {
    let aim = &report.checks.iter().find(|check| check.name == name)?.aim;
    let bound = aim.strip_prefix("at most ")?.trim_end_matches(" ms").replace(',', "");
    bound.parse().ok().filter(|bound: &f64| bound.is_finite()).map(|bound| (bound, aim.clone()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::example;
    use crate::markup::check::elements;
    use crate::plot::tests::lies_in_its_box;

    fn drawn(report: &Report, before: Option<&Report>) -> [Figure; 4] {
        let figures = figures(report, &Course::new(report), before);
        for figure in &figures {
            lies_in_its_box(&elements(&figure.plot.svg()));
        }
        figures
    }

    #[test]
    fn expectations_are_lines_where_a_check_has_them() {
        let [load, latency, lag, _] = drawn(&example::report(), None);
        assert!(load.plot.levels.is_empty());
        assert_eq!((latency.plot.levels, lag.plot.levels), (vec![200.0], vec![5000.0]));
        assert_eq!(latency.legend[3].value, "p95 at most 200 ms");
    }

    #[test]
    fn an_expectation_far_away_is_told_and_not_drawn() {
        let mut report = example::report();
        report.series.iter_mut().for_each(|second| second.lag = Some(3));
        let [_, _, lag, _] = drawn(&report, None);
        assert!(lag.plot.levels.is_empty());
        assert_eq!(lag.legend[1].value, "at most 5,000, above what is drawn");
    }

    #[test]
    fn seconds_without_requests_are_gaps() {
        let [load, latency, ..] = drawn(&example::report(), None);
        let known = |line: &Line| line.points.iter().filter(|(_, value)| value.is_some()).count();
        assert_eq!(latency.plot.lines.iter().map(known).collect::<Vec<_>>(), [30, 30, 30]);
        assert_eq!(known(&load.plot.lines[2]), 3, "failures, and a second on both sides");
        assert_eq!(load.plot.load_ends, Some(30.0));
    }

    #[test]
    fn hours_have_as_many_points_as_can_be_told_apart() {
        let mut report = example::report();
        report.series = (0..7200)
            .map(|second| Second { second, due: 30, lag: Some(u64::from(second % 100)), ..Second::default() })
            .collect();
        let course = Course::new(&report);
        assert_eq!((course.each, course.points.len()), (24, 300));
        assert!(course.points.iter().all(|point| point.due == 30.0));
        assert_eq!(course.points[4].lag, Some(99.0));
        drawn(&report, None);
    }

    #[test]
    fn what_was_not_there_is_said() {
        let nothing = drawn(&example::nothing(), Some(&example::report()));
        assert!(nothing.iter().all(|figure| figure.nothing.is_some()));
        let mut report = example::report();
        report.series = vec![Second { second: 0, due: 5, ..Second::default() }];
        let [load, latency, lag, decisions] = drawn(&report, None);
        assert_eq!((load.nothing, latency.nothing), (None, None));
        assert!(lag.nothing.is_some() && decisions.nothing.is_some());
    }

    fn any_second() -> impl Strategy<Value = Second> {
        let latency = (any::<f64>(), any::<f64>(), any::<f64>(), any::<f64>());
        (any::<[u32; 6]>(), latency, prop::option::of(any::<u64>()), 0u32..4000).prop_map(
            |([second, due, answered, accepted, failed, decided], (p50, p95, p99, max), lag, near)| Second {
                second: if second % 8 == 0 { second } else { near },
                due,
                answered,
                accepted,
                failed,
                latency_ms: Latency { p50, p95, p99, max },
                lag,
                decided,
            },
        )
    }

    proptest! {
        #[test]
        fn any_series_is_drawn_within_its_box(
            series in prop::collection::vec(any_second(), 0..30),
            earlier in prop::collection::vec(any_second(), 0..30),
            seconds in any::<f64>(),
        ) {
            let now = Report { series, seconds, ..example::report() };
            drawn(&now, Some(&Report { series: earlier, ..example::report() }));
        }
    }
}
