//! What is measured, what it should be, and how it is told.

use crate::support::usage::{cpu_seconds, cpu_seconds_alone};

/// One ratio.
pub struct Figure {
    pub name: &'static str,
    /// What is divided by what.
    pub what: &'static str,
    /// Below it something is wrong (above it, where less is better).
    pub floor: f64,
    /// What it should be.
    pub aim: f64,
}

const fn figure(name: &'static str, what: &'static str, floor: f64, aim: f64) -> Figure {
    Figure { name, what, floor, aim }
}

/// Every figure.
pub const FIGURES: [Figure; 34] = [
    figure("A1", "single writes, 1000 connections ÷ axum that does nothing", 0.65, 0.80),
    figure("A1n", "single writes, 1000 connections ÷ naive axum + Kafka", 1.1, 1.4),
    figure("A1m", "single writes, 200 connections ÷ axum that does nothing", 0.0, 0.0),
    figure("A1b", "single writes, 50 connections ÷ axum that does nothing", 0.22, 0.40),
    figure("A1c", "p50 of one connection ÷ a raw producer's round trip (less is better)", 1.6, 1.2),
    figure("A2", "events/s in bodies of 100 ÷ raw producer", 0.25, 0.50),
    figure("A3", "events/s in bodies of 1000 ÷ raw producer", 0.35, 0.60),
    figure("A7", "accepted/s at twice the capacity, open loop ÷ capacity", 0.85, 0.95),
    figure("P1", "single writes, best of 200 and 1000 connections ÷ Benthos", 1.6, 2.2),
    figure("B1", "likes/s into the database ÷ the same rows by COPY", 0.35, 0.60),
    figure("B2", "likes/s into the database ÷ a bare loop of the same SQL, as they arrive", 0.80, 0.92),
    figure("B4", "likes/s that are there already ÷ likes/s", 0.8, 1.2),
    figure("B5", "likes/s of one target ÷ spread over 10,000", 0.9, 1.1),
    figure("C1", "Redis: single writes, 1000 connections ÷ axum that does nothing", 0.6, 0.75),
    figure("C1b", "Redis: events/s in bodies of 100 ÷ redis-benchmark RPUSH, pipeline 16", 0.5, 0.8),
    figure("C2", "Redis: records/s read and trimmed ÷ LPOP of 1000", 0.6, 0.8),
    figure("C3", "Redis: likes/s into the database ÷ likes/s from Kafka", 0.8, 1.0),
    figure("D2", "decisions/s on one coupon ÷ expectations/s", 0.6, 0.9),
    figure("D3", "decisions/s on one coupon ÷ a transaction for each", 20.0, 50.0),
    figure("D4", "refused as sold out, 1000 connections ÷ axum that says so to all", 0.8, 0.9),
    figure("E2", "accept to row, p99 at half load ÷ waits + 3 transactions' p99 (less is better)", 1.0, 0.8),
    figure("E3", "events/s after a minute without database ÷ 10,000/s offered meanwhile", 2.0, 4.0),
    figure(
        "F1",
        "processor time of a flood that is refused ÷ of the same that is accepted (less is better)",
        0.1,
        0.05,
    ),
    figure(
        "F1r",
        "one refusal's processor time, without its wait ÷ an accepted write's (less is better)",
        1.1,
        0.7,
    ),
    figure(
        "F5",
        "deviation from the limit by the clock, of 1, 2 and 200 clients, the worst ÷ 2 % (less is better)",
        1.0,
        0.5,
    ),
    figure("F2", "single writes, 1000 connections, keys and limits on ÷ off", 0.95, 0.98),
    figure("F3", "p99 of who keeps to its rate, beside a flood ÷ alone (less is better)", 2.0, 1.5),
    figure("F4", "p99 of who keeps to its rate, beside the worst attack ÷ alone (less is better)", 2.0, 1.5),
    figure("G1", "PT-001 with everything on this machine, p95 in ms ÷ 20 (less is better)", 1.0, 0.5),
    figure(
        "G3",
        "LT-001 shortened, p50 and p95 of `floodgate burst` − k6's, the worse ÷ a tenth, 1 ms at least (less is better)",
        1.0,
        0.5,
    ),
    figure("G4", "LT-001 at 30 times its rate, likewise, p95 in ms ÷ 300 (less is better)", 1.0, 0.5),
    figure("G5", "ST-001 at 100 times its rate, likewise, p95 in ms ÷ 300 (less is better)", 1.0, 0.5),
    figure("P2", "likes/s with counters ÷ best sink, without counters", 0.7, 1.0),
    figure("P2e", "expectations/s ÷ best sink of likes", 1.2, 1.6),
];

/// What one side did in one round.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// A second, or seconds where less is better.
    pub value: f64,
    /// Processor time of each process, in microseconds for each event.
    pub cpu: Vec<(&'static str, f64)>,
    /// What else is worth telling.
    pub note: String,
}

/// Processor time of processes from here on.
pub struct Cpu(Vec<(&'static str, u32, f64)>);

impl Cpu {
    pub fn watch(processes: &[(&'static str, u32)]) -> Cpu {
        Cpu(processes.iter().map(|(name, pid)| (*name, *pid, spent(*pid))).collect())
    }

    pub fn per_event(&self, events: f64) -> Vec<(&'static str, f64)> {
        let all = self.0.iter().map(|(name, pid, before)| (*name, spent(*pid) - before));
        all.map(|(name, seconds)| (name, seconds * 1e6 / events)).collect()
    }
}

/// With descendants, but for this program, whose descendants are all others.
fn spent(pid: u32) -> f64 {
    if pid == std::process::id() { cpu_seconds_alone(pid) } else { cpu_seconds(pid) }
}

/// The rounds of several sides: forward, then backward, so that what drifts meets all alike.
pub fn rounds<const N: usize>(
    count: usize,
    mut run: impl FnMut(usize) -> anyhow::Result<Run>,
) -> anyhow::Result<Vec<[Run; N]>> {
    let mut rounds = Vec::with_capacity(count);
    for number in 0..count {
        let mut round: [Run; N] = std::array::from_fn(|_| Run::default());
        let mut order: Vec<usize> = (0..N).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for side in order {
            round[side] = run(side)?;
        }
        rounds.push(round);
    }
    Ok(rounds)
}

/// Collects and prints.
pub struct Table {
    wanted: Vec<String>,
    lines: Vec<String>,
}

impl Table {
    pub fn new(wanted: Vec<String>) -> Table {
        Table { wanted, lines: Vec::new() }
    }

    pub fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted == name)
    }

    pub fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    /// One figure from the (floodgate, reference) of each round, if it is wanted and was measured.
    pub fn add<'a>(&mut self, name: &str, rounds: impl IntoIterator<Item = (&'a Run, &'a Run)>) {
        let Some(figure) = FIGURES.iter().find(|figure| figure.name == name).filter(|_| self.wants(name))
        else {
            return;
        };
        let rounds: Vec<_> = rounds.into_iter().collect();
        if rounds.is_empty() || rounds.iter().any(|(ours, theirs)| ours.value * theirs.value == 0.0) {
            self.lines.push(format!("{:<4} {:<74} not measured", figure.name, figure.what));
            return;
        }
        let ratios: Vec<f64> = rounds.iter().map(|(ours, theirs)| ours.value / theirs.value).collect();
        let (low, high) =
            ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), r| (low.min(*r), high.max(*r)));
        let ratio = median(ratios.clone());
        let less_is_better = figure.aim < figure.floor;
        let reaches = |goal: f64| if less_is_better { ratio <= goal } else { ratio >= goal };
        let verdict = match figure {
            Figure { floor: 0.0, .. } => "",
            _ if reaches(figure.aim) => "aim reached",
            _ if reaches(figure.floor) => "above the floor",
            _ => "BELOW THE FLOOR",
        };
        let ours = median(rounds.iter().map(|(ours, _)| ours.value).collect());
        let theirs = median(rounds.iter().map(|(_, theirs)| theirs.value).collect());
        self.lines.push(format!(
            "{:<4} {:<74} {:>9} {:>9} {ratio:>6.2} {:>12} {:>5} {:>5}  {verdict}",
            figure.name,
            figure.what,
            short(ours),
            short(theirs),
            format!("{low:.2}..{high:.2}"),
            figure.floor,
            figure.aim,
        ));
        println!("{}", self.lines[self.lines.len() - 1]);
        // of the round that counts
        let counted = ratios.iter().position(|r| *r == ratio).unwrap_or_default();
        for (side, run) in [("floodgate", &rounds[counted].0), ("reference", &rounds[counted].1)] {
            let cpu: Vec<_> =
                run.cpu.iter().map(|(process, micros)| format!("{process} {micros:.1}")).collect();
            let cpu = (!cpu.is_empty()).then(|| format!("CPU µs an event: {}", cpu.join(", ")));
            let note = Some(run.note.clone()).filter(|note| !note.is_empty());
            let told: Vec<_> = cpu.into_iter().chain(note).collect();
            if !told.is_empty() {
                println!("       {side}: {}", told.join("; "));
            }
        }
    }

    /// All figures once more, without what stands between them.
    pub fn print_summary(&self) {
        println!(
            "\n{:<4} {:<74} {:>9} {:>9} {:>6} {:>12} {:>5} {:>5}",
            "", "figure", "floodgate", "reference", "ratio", "min..max", "floor", "aim"
        );
        self.lines.iter().for_each(|line| println!("{line}"));
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rates whole, seconds with digits.
fn short(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.6}") }
}
