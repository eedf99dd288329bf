//! Numbers and others' texts as people read them.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// What stands where nothing is known. Never a zero.
pub(crate) const UNKNOWN: &str = "?";

/// A count with its thousands apart: `6,850`.
pub(crate) fn count(count: u64) -> String {
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

/// One thing or several: `1 check`, `3 checks`.
pub(crate) fn many(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A time: `0.4 s`, `12 s`, `8 min 30 s`, `3 h 20 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() {
        return UNKNOWN.to_owned();
    }
    let whole = seconds.abs().round() as u64;
    let pair = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {smaller}"),
    };
    match seconds {
        seconds if seconds < 9.95 => format!("{seconds:.1} s"),
        seconds if seconds < 119.5 => format!("{seconds:.0} s"),
        seconds if seconds < 7199.5 => pair(whole / 60, "min", whole % 60, "s"),
        _ => pair(whole / 3600, "h", whole % 3600 / 60, "min"),
    }
}

/// A time in milliseconds: `0.4 ms`, `12 ms`, `1,204 ms`, `12 s`.
pub(crate) fn ms(ms: f64) -> String {
    match ms {
        ms if !ms.is_finite() => UNKNOWN.to_owned(),
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 9950.0 => format!("{} ms", count(ms.round() as u64)),
        ms => seconds(ms / 1000.0),
    }
}

/// A share: `97.5 %`. Only all is `100 %`, and only nothing is `0 %`.
pub(crate) fn share(share: f64) -> String {
    match share {
        share if !share.is_finite() => UNKNOWN.to_owned(),
        share if share > 0.9999 && share < 1.0 => "over 99.99 %".to_owned(),
        share if share > 0.0 && share < 0.0001 => "under 0.01 %".to_owned(),
        share => format!("{} %", places(share * 100.0)),
    }
}

/// Of some; of none there is no share.
pub(crate) fn share_of(part: u64, whole: u64) -> String {
    if whole == 0 { UNKNOWN.to_owned() } else { share(part as f64 / whole as f64) }
}

/// A number with at most two places: `12`, `12.5`, `0.25`.
pub(crate) fn places(number: f64) -> String {
    if !number.is_finite() {
        return UNKNOWN.to_owned();
    }
    let text = format!("{number:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// An RFC 3339 time without fractions of a second: `2026-01-02 03:04:05Z`.
pub(crate) fn stamp(time: &str) -> String {
    let Some((day, time)) = time.split_once('T') else { return time.to_owned() };
    let (clock, rest) = time.split_once('.').unwrap_or((time, ""));
    let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{day} {clock}{zone}")
}

/// A text of somebody else's without what a terminal obeys, what turns the order of its neighbours around, or is not to be seen.
pub(crate) fn harmless(text: &str) -> String {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    let is_hidden =
        |c: char| matches!(c.general_category(), Control | Format | LineSeparator | ParagraphSeparator);
    text.chars().map(|c| if is_hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_say_them() {
        assert_eq!([0, 999, 6850, 1_234_567].map(count), ["0", "999", "6,850", "1,234,567"]);
        assert_eq!([1, 2].map(|number| many(number, "check")), ["1 check", "2 checks"]);
        let told = [0.04, 9.96, 119.4, 120.0, 510.0, 12_000.0, f64::NAN].map(seconds);
        assert_eq!(told, ["0.0 s", "10 s", "119 s", "2 min", "8 min 30 s", "3 h 20 min", "?"]);
        let told = [0.42, 18.4, 1204.0, 12_000.0, f64::INFINITY].map(ms);
        assert_eq!(told, ["0.4 ms", "18 ms", "1,204 ms", "12 s", "?"]);
        assert_eq!([12.0, 12.5, 0.254, -0.001].map(places), ["12", "12.5", "0.25", "0"]);
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        let told = [0.0, 0.000_01, 0.975, 0.999_999, 1.0, f64::NAN].map(share);
        assert_eq!(told, ["0 %", "under 0.01 %", "97.5 %", "over 99.99 %", "100 %", "?"]);
        assert_eq!([share_of(0, 0), share_of(1, 4)], ["?", "25 %"]);
    }

    #[test]
    fn times_are_as_exact_as_people_need_them() {
        let told = ["2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05+09:00", "yesterday"].map(stamp);
        assert_eq!(told, ["2026-01-02 03:04:05Z", "2026-01-02 03:04:05+09:00", "yesterday"]);
    }

    #[test]
    fn nothing_reaches_a_terminal_that_it_would_obey() {
        assert_eq!(
            harmless("a\u{1b}[2J\u{85}\n가\u{202e}\u{200b}"),
            "a\\u{1b}[2J\\u{85}\\u{a}가\\u{202e}\\u{200b}"
        );
    }
}
