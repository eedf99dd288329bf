//! The strategies beside each other: the same load over each, in turn, in one run.
//!
//! `./scripts/compare` sets up what it takes and runs this. It writes what it found into `docs/choosing.md`, between markers, and
//! as `docs/pictures/strategies.svg`.
//!
//! Strategies take turns in every round, forward and then backward, and each figure is the median of the rounds. Then each is
//! loaded again while its processes are killed, one at a time, and what was accepted is looked for in the database, by ids.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod account;
mod cases;
mod chart;
mod crash;
mod fleet;
mod measure;
mod meter;
mod page;
mod site;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../support/mod.rs"]
mod tools;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cases::CASES;
use fleet::Fleet;
use measure::{STEADY_RATE, Times};
use page::{Figures, Row};
use tools::machine::machine;
use tools::start::start;

/// Writes around each kill, for each second of a load.
const KILL_WRITES: usize = 3000;
/// Enough that a kill finds work going on.
const KILL_WRITES_MIN: usize = 15_000;

struct Options {
    seconds: u64,
    rounds: usize,
    outage: u64,
}

fn main() -> ExitCode {
    start("compare", "./scripts/compare", || {
        let options = Options::read(std::env::args().skip(1).filter(|arg| arg != "--bench"))?;
        compare(&options)
    })
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options { seconds: 10, rounds: 3, outage: 60 };
        while let Some(name) = args.next() {
            let mut number = || -> Result<u64> {
                let value = args.next().with_context(|| format!("{name} wants a number"))?;
                value.parse().with_context(|| format!("{name} {value}: not a number"))
            };
            match name.as_str() {
                "--seconds" => options.seconds = number()?,
                "--rounds" => options.rounds = number()? as usize,
                "--outage" => options.outage = number()?,
                _ => bail!("there is no option {name}; there are --seconds, --rounds and --outage"),
            }
        }
        ensure!(options.seconds > 0 && options.rounds > 0, "nothing can be measured in no time");
        Ok(options)
    }

    /// The command that measures the same.
    fn command(&self) -> String {
        let Options { seconds, rounds, outage } = self;
        format!("./scripts/compare --seconds {seconds} --rounds {rounds} --outage {outage}")
    }
}

fn compare(options: &Options) -> Result<()> {
    let (load, outage) = (Duration::from_secs(options.seconds), Duration::from_secs(options.outage));
    let fleet = Fleet::start()?;
    account::try_out(&fleet).context("what is planted is not counted")?;
    let mut rounds: [Vec<Figures>; CASES.len()] = Default::default();
    for number in 0..options.rounds {
        let mut order: Vec<usize> = (0..CASES.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let case = &CASES[index];
            let figures = measure::round(&fleet, case, Times { load, outage }).context(case.name)?;
            println!("round {}, {}: {figures:?}", number + 1, case.name);
            rounds[index].push(figures);
        }
    }
    let writes = KILL_WRITES_MIN.max(options.seconds as usize * KILL_WRITES);
    let mut rows = Vec::new();
    for (case, rounds) in CASES.iter().zip(&rounds) {
        let tolls = crash::tolls(&fleet, case, writes).context(case.name)?;
        let (figures, has_server) = (Figures::median(rounds), !case.is_one_process());
        rows.push(Row { name: case.name, has_server, figures, tolls });
    }
    write(options, writes, &rows)
}

fn write(options: &Options, writes: usize, rows: &[Row]) -> Result<()> {
    let table = page::table(rows);
    let found = format!(
        "![Accepted writes and rows a second, by strategy](pictures/strategies.svg)\n\n{table}\n\
         `{}` on {}. Rates: 256 clients that send their next write when the last is answered, for {} s; rows/s until the last row \
         is there. Times: {} writes/s, from when each was due to its answer, and from acceptance to the row. CPU and memory: floodgate + \
         what events wait in + Postgres. Kills: lost, and applied twice, of {} writes that were all accepted in the end. Where Kafka \
         is away it is killed in the midst of each load and started again after {} s, and Redis is the server that is killed meanwhile.\n",
        options.command(),
        machine(),
        options.seconds,
        page::rate(f64::from(STEADY_RATE)),
        page::rate(writes as f64),
        options.outage,
    );
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let file = docs.join("choosing.md");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    std::fs::write(&file, page::place(&text, &found)?)?;
    std::fs::write(docs.join("pictures/strategies.svg"), chart::chart(rows))?;
    println!("\n{table}\nwritten into {}", file.display());
    Ok(())
}
