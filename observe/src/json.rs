//! Log lines for machines: each a JSON object.
//!
//! Of two members with the same name parsers keep one, and which is anybody's guess. So a name is there once: what an event
//! calls as the line calls something of its own, or calls twice, gets an underscore behind it. And stores of logs take a name
//! for one type, that of the first line they see: it has the same in every line.

use std::fmt::{self, Debug};

use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

const MESSAGE: &str = "message";

/// What is a list of numbers in every line.
const LISTS: [&str; 1] = ["partitions"];

/// Writes them.
pub(crate) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let about = event.metadata();
        let mut line = Line(Vec::with_capacity(8));
        line.put("timestamp", timestamp);
        line.put("level", about.level().as_str());
        line.put("target", about.target());
        event.record(&mut line);
        if !line.has(MESSAGE) {
            line.put(MESSAGE, about.name());
        }
        writeln!(out, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

/// The members of a line, in their order.
struct Line(Vec<(String, Value)>);

impl Line {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn put(&mut self, name: &str, value: impl Into<Value>) {
        let mut name = name.to_owned();
        while self.has(&name) {
            name.push('_');
        }
        self.0.push((name, value.into()));
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Numbers stay numbers. What an event says in words is recorded first, under the name of its message.
impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        let list = LISTS.contains(&field.name()).then(|| serde_json::from_str::<Vec<i64>>(&text).ok());
        match list.flatten() {
            Some(list) => self.put(field.name(), list),
            None => self.put(field.name(), text),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged, without the time.
    fn logged(log: impl FnOnce()) -> String {
        let written = Written::default();
        let out = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || out.clone()).event_format(JsonLines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let (start, rest) = text.split_once(r#"Z","#).unwrap();
        assert!(start.starts_with(r#"{"timestamp":"20"#), "{text}");
        rest.replace(r#""target":"floodgate_observe::json::tests","#, "")
    }

    #[test]
    fn every_name_is_there_once() {
        let line = logged(|| tracing::error!(message = "first", level = 3, reason = "bad", "dead-lettered"));
        let expected =
            r#""level":"ERROR","message":"dead-lettered","message_":"first","level_":3,"reason":"bad"}"#;
        assert_eq!(line, format!("{expected}\n"));
        let line = logged(|| tracing::info!(partition = 3));
        assert!(line.contains(r#""partition":3,"message":"event "#), "{line}");
    }

    #[test]
    fn numbers_are_numbers_and_words_are_words() {
        let (offset, none) = (i64::MIN, None::<u32>);
        let line = logged(|| {
            tracing::warn!(offset, events = u64::MAX, none, share = 0.5, last = true, id = %7, of = ?[1, 2], "of {}", 9);
        });
        let expected = concat!(
            r#""level":"WARN","message":"of 9","offset":-9223372036854775808,"events":18446744073709551615,"#,
            r#""share":0.5,"last":true,"id":"7","of":"[1, 2]"}"#,
        );
        assert_eq!(line, format!("{expected}\n"));
    }

    #[test]
    fn lists_are_lists_by_their_name() {
        for (partitions, list) in [(vec![0, 2, 4], "[0,2,4]"), (vec![7], "[7]"), (vec![], "[]")] {
            let line = logged(|| tracing::info!(?partitions, "assigned"));
            assert!(line.ends_with(&format!("\"partitions\":{list}}}\n")), "{line}");
        }
    }
}
