//! Numbers as people read them.

/// A time: `0.4 s`, `12 s`, `8 min`, `3 h`, `2 d`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 9.95 => format!("{seconds:.1} s"),
        seconds if seconds < 119.5 => format!("{seconds:.0} s"),
        seconds if seconds < 119.5 * 60.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 47.5 * 3600.0 => format!("{:.0} h", seconds / 3600.0),
        seconds => format!("{:.0} d", seconds / 86_400.0),
    }
}

/// A count with its thousands apart: `6,850`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut told = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

/// A rate: `0.4/s`, `12/s`, `6,850/s`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate > 0.0 && rate < 9.95 => format!("{rate:.1}/s"),
        rate => format!("{}/s", count(rate.round().max(0.0) as u64)),
    }
}

/// One thing or several: `1 event`, `3 events`.
pub fn many(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Partitions by number: `partition 3`, `partitions 1, 2 and 7`, at most five of them by name.
pub fn partitions(numbers: &[i32]) -> String {
    const NAMED: usize = 5;
    match numbers {
        [one] => format!("partition {one}"),
        numbers if numbers.len() <= NAMED => {
            let names: Vec<_> = numbers.iter().map(i32::to_string).collect();
            let (last, first) = names.split_last().map_or(("", &[][..]), |(last, first)| (last, first));
            format!("partitions {} and {last}", first.join(", "))
        }
        numbers => {
            let names: Vec<_> = numbers[..NAMED].iter().map(i32::to_string).collect();
            format!("partitions {} and {} more", names.join(", "), numbers.len() - NAMED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_say_them() {
        let told = [0.04, 9.94, 9.96, 119.4, 121.0, 7140.0, 7200.0, 180_000.0].map(seconds);
        assert_eq!(told, ["0.0 s", "9.9 s", "10 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
        assert_eq!([0, 999, 1000, 6850, 1_234_567].map(count), ["0", "999", "1,000", "6,850", "1,234,567"]);
        assert_eq!([0.0, 0.26, 9.94, 10.4, 6850.3].map(rate), ["0/s", "0.3/s", "9.9/s", "10/s", "6,850/s"]);
        assert_eq!([1, 2].map(|number| many(number, "event")), ["1 event", "2 events"]);
        assert_eq!(partitions(&[3]), "partition 3");
        assert_eq!(partitions(&[1, 2, 7]), "partitions 1, 2 and 7");
        assert_eq!(partitions(&[0, 1, 2, 3, 4, 5, 6]), "partitions 0, 1, 2, 3, 4 and 2 more");
    }
}
