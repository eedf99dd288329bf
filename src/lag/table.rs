//! The report as people read it: the verdict first, a line for each group, and only those partitions that stand otherwise.

use console::{Style, Term};
use floodgate_admin::{Group, LagReport, PartitionReport, SpillReport};
use floodgate_lag::{Status, words};
use floodgate_observe::printable;

/// Where output goes to no terminal.
const COLUMNS: usize = 120;

/// How many partitions of a group are named at most, those with the most waiting first; `--all` names all.
const NAMED_MAX: usize = 20;

/// The whole report.
pub(super) fn table(report: &LagReport, all: bool) -> String {
    let columns = Term::stdout().size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns));
    let mut text = String::new();
    for group in &report.groups {
        let verdict = format!("{}, {}", group.status.name(), printable(&group.reason));
        text += &paint(&wrapped(&format!("{}: ", group.group), &verdict, columns), group.status);
    }
    if let Some(spill) = &report.spill {
        text += &told_of(spill);
    }
    text.push('\n');
    let rows: Vec<Row> = report.groups.iter().flat_map(|group| rows_of(group, all)).collect();
    let heads = ["GROUP", "PARTITIONS", "STATUS", "WAITING", "OLDEST", "IN", "APPLIED"].map(str::to_owned);
    let offsets = ["FROM", "TO", "EXPIRED"].map(str::to_owned);
    let mut lines =
        vec![heads.into_iter().chain(if all { offsets.to_vec() } else { Vec::new() }).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| row.cells(all)));
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0))
        .collect();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0..3 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let line: String = line.trim_end().chars().take(columns.max(60)).collect::<String>() + "\n";
        text += &match number.checked_sub(1).and_then(|number| rows.get(number)) {
            Some(row) => paint(&line, row.status),
            None => line,
        };
        for note in
            number.checked_sub(1).and_then(|number| rows.get(number)).into_iter().flat_map(|row| &row.notes)
        {
            text += &wrapped("    ", note, columns);
        }
    }
    text
}

fn told_of(SpillReport { strategy, waiting, oldest_seconds, state }: &SpillReport) -> String {
    let oldest = oldest_seconds.filter(|_| *waiting > 0);
    let oldest =
        oldest.map_or(String::new(), |seconds| format!(", the oldest for {}", words::seconds(seconds)));
    format!("fallback {strategy}: {state}, {} waiting{oldest}\n", words::count(*waiting))
}

/// Several partitions that stand alike, or one.
struct Row {
    group: String,
    partitions: String,
    status: Status,
    waiting: String,
    oldest: String,
    came: String,
    applied: String,
    /// Where the group reads on, where the log ends, and how many expired unread; of one partition alone.
    offsets: [String; 3],
    /// What is to be told of it below.
    notes: Vec<String>,
}

impl Row {
    fn cells(&self, all: bool) -> Vec<String> {
        let Row { group, partitions, status, waiting, oldest, came, applied, offsets, .. } = self;
        let status = status.name().to_owned();
        let [group, partitions, waiting, oldest, came, applied] =
            [group, partitions, waiting, oldest, came, applied].map(String::clone);
        let offsets = if all { offsets.to_vec() } else { Vec::new() };
        [group, partitions, status, waiting, oldest, came, applied].into_iter().chain(offsets).collect()
    }

    fn of_group(group: &Group) -> Self {
        let partitions = || group.topics.iter().flat_map(|topic| &topic.partitions);
        let waiting = words::count(group.waiting());
        let of_queue = group.queue.map(|queue| queue.lag_seconds);
        // 0 where nothing waits; and what is not known does not pass for young
        let ages = partitions().map(|partition| partition.lag_seconds).chain(of_queue);
        let oldest = ages.collect::<Option<Vec<_>>>().map(|ages| ages.into_iter().fold(0.0, f64::max));
        Self {
            group: group.group.clone(),
            partitions: match group.queue {
                Some(_) => String::new(),
                None => format!("all {}", partitions().count()),
            },
            status: group.status,
            waiting: if group.is_partly_unknown() { format!("at least {waiting}") } else { waiting },
            oldest: known(oldest.map(words::seconds)),
            came: known(group.rates_per_second.map(|rates| words::rate(rates.r#in))),
            applied: known(group.rates_per_second.map(|rates| words::rate(rates.applied))),
            offsets: Default::default(),
            notes: Vec::new(),
        }
    }

    fn of_partition(partition: &PartitionReport) -> Self {
        let count = |count: Option<u64>| known(count.map(words::count));
        let mut notes = Vec::new();
        notes.extend(partition.unknown.as_ref().map(|why| format!("not known: {}", printable(why))));
        notes.extend(partition.word.as_ref().map(|word| format!("its member says: {}", printable(word))));
        let unreadable = partition.unreadable.filter(|unreadable| *unreadable > 0);
        notes.extend(unreadable.map(|unreadable| {
            format!("{unreadable} of them cannot be read yet: a transaction of another program is open")
        }));
        notes.extend(partition.hot_key.as_ref().map(|hot| {
            format!("key {} is {:.0} % of the first {} that wait", hot.key, hot.share * 100.0, hot.of)
        }));
        let goes_on = matches!(partition.status, Status::Ok | Status::Lagging);
        notes
            .extend(partition.member.as_ref().filter(|_| !goes_on).map(|member| format!("read by {member}")));
        Self {
            group: String::new(),
            partitions: partition.partition.to_string(),
            status: partition.status,
            waiting: count(partition.lag),
            oldest: known(partition.lag_seconds.map(words::seconds)),
            came: known(partition.rates_per_second.map(|rates| words::rate(rates.r#in))),
            applied: known(partition.rates_per_second.map(|rates| words::rate(rates.applied))),
            offsets: [
                partition.committed_offset.map_or("-".to_owned(), |offset| offset.to_string()),
                known(partition.end_offset.map(|offset| offset.to_string())),
                count(partition.missing),
            ],
            notes,
        }
    }
}

/// A group's line, and those of its partitions that stand otherwise.
fn rows_of(group: &Group, all: bool) -> Vec<Row> {
    let mut named: Vec<&PartitionReport> = group.topics.iter().flat_map(|topic| &topic.partitions).collect();
    if !all {
        let are_alike =
            named.windows(2).all(|pair| pair[0].status == pair[1].status && pair[1].word.is_none());
        named.retain(|partition| {
            let is_odd = !are_alike && partition.status != Status::Ok;
            let is_told = partition.missing.is_some_and(|missing| missing > 0)
                || partition.unreadable.is_some_and(|unreadable| unreadable > 0)
                || partition.word.is_some()
                || partition.hot_key.is_some();
            is_odd || is_told
        });
        named.sort_by_key(|partition| std::cmp::Reverse(partition.lag));
        named.truncate(NAMED_MAX);
    }
    std::iter::once(Row::of_group(group)).chain(named.into_iter().map(Row::of_partition)).collect()
}

/// What is not known is no 0.
fn known(value: Option<String>) -> String {
    value.unwrap_or_else(|| "?".to_owned())
}

/// A text that goes on under itself where a line is full.
fn wrapped(start: &str, text: &str, columns: usize) -> String {
    let room = columns.saturating_sub(start.len()).max(40);
    let (mut told, mut used) = (start.to_owned(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            told += &format!("\n{:indent$}", "", indent = start.len().min(4));
            used = 0;
        } else if used > 0 {
            told.push(' ');
            used += 1;
        }
        told += word;
        used += length;
    }
    told + "\n"
}

/// In colour where that is a terminal that wants it.
fn paint(text: &str, status: Status) -> String {
    let style = match status {
        Status::Ok => return text.to_owned(),
        Status::Lagging => Style::new().yellow(),
        Status::Unknown => Style::new().magenta(),
        Status::Empty | Status::FallingBehind | Status::Stalled | Status::Held => Style::new().red(),
    };
    let line = text.trim_end_matches('\n');
    format!("{}\n", style.apply_to(line))
}
