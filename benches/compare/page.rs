//! The table, and its place in a page. Values in, text out.

use std::fmt::Write as _;

use anyhow::{Context, Result};

pub const BEGIN: &str = "<!-- compare:begin -->";
pub const END: &str = "<!-- compare:end -->";

/// Floodgate, what it waits in, Postgres.
pub const PARTS: usize = 3;
/// An ingress, a consumer, the server.
pub const VICTIMS: usize = 3;

/// What one strategy did in one round, or in the median of several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// A second.
    pub accepted: f64,
    /// A second, until the last was there.
    pub rows: f64,
    /// Seconds, p50 and p99.
    pub answer: [f64; 2],
    pub row: [f64; 2],
    /// Microseconds on a processor for each event, by part.
    pub cpu: [f64; PARTS],
    /// MiB, by part.
    pub peak: [f64; PARTS],
}

/// What a kill took with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Toll {
    pub accepted: usize,
    pub lost: usize,
    pub doubled: usize,
}

impl Toll {
    /// What was lost and what was doubled, and in bold what should not be.
    fn told(self) -> String {
        let told = |count: usize| if count > 0 { format!("**{count}**") } else { "0".to_owned() };
        format!("{}, {}", told(self.lost), told(self.doubled))
    }
}

/// One strategy.
pub struct Row {
    pub name: &'static str,
    /// Whether anything but floodgate itself holds its events.
    pub has_server: bool,
    pub figures: Figures,
    /// None where nothing is left to kill.
    pub tolls: [Option<Toll>; VICTIMS],
}

impl Figures {
    /// Each figure by itself.
    pub fn median(rounds: &[Figures]) -> Figures {
        let of = |figure: &dyn Fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
        Figures {
            accepted: of(&|round| round.accepted),
            rows: of(&|round| round.rows),
            answer: [0, 1].map(|index| of(&|round| round.answer[index])),
            row: [0, 1].map(|index| of(&|round| round.row[index])),
            cpu: [0, 1, 2].map(|index| of(&|round| round.cpu[index])),
            peak: [0, 1, 2].map(|index| of(&|round| round.peak[index])),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The strategies as a table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| | accepted/s | rows/s | to the answer, p50, p99 | to the row, p50, p99 | CPU, µs an event | peak, MiB | lost, doubled: \
         an ingress killed | a consumer killed | its server killed |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for Row { name, has_server, figures, tolls } in rows {
        let parts = |values: [f64; PARTS]| {
            let told = values.map(|value| format!("{value:.0}"));
            if *has_server { told.join(" + ") } else { format!("{} + – + {}", told[0], told[2]) }
        };
        let times = |times: [f64; 2]| times.map(seconds).join(", ");
        let _ = write!(
            table,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            rate(figures.accepted),
            rate(figures.rows),
            times(figures.answer),
            times(figures.row),
            parts(figures.cpu),
            parts(figures.peak),
        );
        for toll in tolls {
            let told = toll.map_or_else(|| "–".to_owned(), |toll| toll.told());
            let _ = write!(table, " {told} |");
        }
        table.push('\n');
    }
    table
}

/// A page with something else between its markers.
pub fn place(page: &str, what: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no {END} behind {BEGIN}"))?;
    Ok(format!("{before}{BEGIN}\n{what}{END}{after}"))
}

/// Three digits that count, and commas.
pub fn rate(value: f64) -> String {
    let digits = (value.max(1.0).log10().floor() as i32 - 2).max(0);
    let unit = 10_f64.powi(digits);
    let whole = ((value / unit).round() * unit) as u64;
    let text = whole.to_string();
    let mut told = String::new();
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

/// In a unit that fits.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        _ if !seconds.is_finite() => "–".to_owned(),
        ..0.01 => format!("{:.1} ms", seconds * 1e3),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        ..10.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}
