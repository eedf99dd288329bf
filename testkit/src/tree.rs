//! Process ids, groups and descendants, as the kernel shows them in `/proc`.

use std::time::Duration;

use anyhow::{Context, Result};

/// All descendants of `pid` that live, parents before their children.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if let Some(stat) = Stat::read(pid).filter(Stat::lives) {
            parents.push((pid, stat.parent));
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        next += 1;
    }
    found.split_off(1)
}

/// Whether `pid` exists and is not merely a zombie.
pub(crate) fn lives(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.lives())
}

/// Whether every thread of `pid` is stopped, or gone. A stop signal returns before the threads have noticed it.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok())
        .all(|text| Stat::parse(&text).is_none_or(|stat| stat.state == 'T' || !stat.lives()))
}

/// Sends a signal to one process; one that is gone is no error.
pub(crate) fn signal(pid: u32, signal: i32) -> Result<()> {
    send(pid as i32, signal).with_context(|| format!("signal {signal} to process {pid}"))
}

/// Sends a signal to all processes of a group; one that is gone is no error.
pub(crate) fn signal_group(leader: u32, signal: i32) -> Result<()> {
    send(-(leader as i32), signal).with_context(|| format!("signal {signal} to process group {leader}"))
}

fn send(target: i32, signal: i32) -> std::io::Result<()> {
    // SAFETY: kill touches no memory of ours. 0, -1 and 1 would reach more than one child and cannot be a child's id.
    if target.unsigned_abs() > 1 && unsafe { libc::kill(target, signal) } != 0 {
        let error = std::io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ESRCH) {
            return Err(error);
        }
    }
    Ok(())
}

/// What this crate reads of `/proc/<pid>/stat`.
pub(crate) struct Stat {
    state: char,
    parent: u32,
    /// Time on a processor, in the kernel and out of it, of all threads.
    pub(crate) cpu_time: Duration,
}

impl Stat {
    /// `None` when there is no such process.
    pub(crate) fn read(pid: u32) -> Option<Stat> {
        Stat::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `<pid> (<name>) <state> <parent> …`, where the name may hold anything, parentheses included.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        // SAFETY: sysconf only looks up a number.
        let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
        Some(Stat {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            cpu_time: Duration::from_secs_f64(ticks as f64 / ticks_per_s),
        })
    }

    fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_a_nasty_name_is_read() {
        let line = "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1";
        let stat = Stat::parse(line).map(|stat| (stat.state, stat.parent, stat.cpu_time));
        assert_eq!(stat, Some(('S', 3, Duration::from_secs(2))));
    }

    #[test]
    fn our_own_process_lives() {
        assert!(lives(std::process::id()));
        assert!(!lives(u32::MAX));
    }
}
