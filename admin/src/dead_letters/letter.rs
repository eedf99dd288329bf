//! One dead letter, read back from its record.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use floodgate_buffer::{EventOrigin, Header, Names, Offset, Partition, Received};
use floodgate_schemas::dead_letter::headers;
use floodgate_schemas::{Codecs, Mixed, Timestamp};

/// A dead letter, or a copy of one.
#[derive(Debug)]
pub(super) struct Letter<'r> {
    pub(super) origin: EventOrigin,
    /// Which log the origin is of; empty where that is not said.
    pub(super) log: Cow<'r, str>,
    pub(super) group: Cow<'r, str>,
    pub(super) reason: Cow<'r, str>,
    pub(super) message: Cow<'r, str>,
    pub(super) attempts: u32,
    pub(super) failed_at: Timestamp,
    /// Set on a marker.
    pub(super) mark: Option<Mark<'r>>,
    pub(super) key: Option<&'r [u8]>,
    pub(super) value: Option<&'r [u8]>,
    /// The original record's.
    pub(super) headers: &'r [Header<'r>],
    /// The letter's.
    pub(super) all_headers: &'r [Header<'r>],
}

/// What a marker says: what was done about the letter, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark<'r> {
    /// Its record was published again.
    Replayed(Timestamp),
    /// Nothing will be done about it, and why.
    Dismissed(Timestamp, Cow<'r, str>),
}

/// The record is no dead letter of ours: why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(String);

impl<'r> Letter<'r> {
    /// Reads the block of headers that we append. The original may have headers of the same names, of a letter that
    /// somebody copied by hand: the last one of a name is ours, and what stands before the block is the original's.
    pub(super) fn read(record: &'r Received<'r>, topics: &Names) -> Result<Self, Unreadable> {
        let block = Block::find(&record.headers)?;
        let topic = block.text(headers::TOPIC);
        let of = topics.of(&topic);
        let origin = EventOrigin {
            of: of.ok_or_else(|| Unreadable(format!("{} {topic:?} is none of ours", headers::TOPIC)))?,
            partition: Partition(block.parse(headers::PARTITION)?),
            offset: Offset(block.parse(headers::OFFSET)?),
        };
        Ok(Self {
            origin,
            log: block.optional(headers::LOG),
            group: block.text(headers::GROUP),
            reason: block.text(headers::REASON),
            message: block.text(headers::MESSAGE),
            attempts: block.parse(headers::ATTEMPTS)?,
            failed_at: block.parse(headers::FAILED_AT)?,
            mark: block.mark()?,
            key: record.key,
            value: record.value,
            headers: &record.headers[..block.start()],
            all_headers: &record.headers,
        })
    }
}

/// Tells letters apart: records of a log and of one that was there before it under the same name have the same origins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LetterId {
    pub(super) origin: EventOrigin,
    /// A hash of the log's name: there may be millions of letters, of a log or two.
    log: u64,
}

impl Letter<'_> {
    pub(super) fn id(&self) -> LetterId {
        let mut hasher = DefaultHasher::new();
        self.log.hash(&mut hasher);
        LetterId { origin: self.origin, log: hasher.finish() }
    }

    /// Whether its value is an event, as far as this build can tell.
    pub(super) fn reads(&self, codecs: &Codecs) -> Reads {
        match Mixed::decode(self.origin.of, self.value.unwrap_or_default(), codecs) {
            Ok(_) => Reads::Event,
            Err(error) if error.unknown_schema().is_some() => Reads::Unknown,
            Err(_) => Reads::Nothing,
        }
    }

    /// Which letter's replay its record was, as the record says.
    pub(super) fn replay_of(&self) -> Option<Cow<'_, str>> {
        let name = headers::REPLAY_OF.as_bytes();
        let (_, value) = self.headers.iter().rev().find(|(found, _)| *found == name)?;
        Some(String::from_utf8_lossy((*value)?))
    }
}

/// What a value is to this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// An event.
    Event,
    /// One that a newer build may read.
    Unknown,
    /// No event.
    Nothing,
}

/// Our headers among all others.
struct Block<'r> {
    headers: &'r [Header<'r>],
    /// Where each of [`headers::ALL`] stands.
    places: [usize; headers::ALL.len()],
}

impl<'r> Block<'r> {
    fn find(all: &'r [Header<'r>]) -> Result<Self, Unreadable> {
        let mut places = [0; headers::ALL.len()];
        for (place, name) in places.iter_mut().zip(headers::ALL) {
            let found = all.iter().rposition(|(found, _)| *found == name.as_bytes());
            *place = found.ok_or_else(|| Unreadable(format!("no header {name}")))?;
        }
        Ok(Self { headers: all, places })
    }

    fn start(&self) -> usize {
        self.places.into_iter().min().unwrap_or(0)
    }

    fn text(&self, name: &str) -> Cow<'r, str> {
        let place = headers::ALL.iter().position(|known| *known == name).map(|index| self.places[index]);
        let value = place.and_then(|place| self.headers[place].1);
        String::from_utf8_lossy(value.unwrap_or_default())
    }

    /// Of a header that letters need not have: within the block, or it is the original's.
    fn optional(&self, name: &str) -> Cow<'r, str> {
        let end = self.places.into_iter().max().unwrap_or(0);
        let within = &self.headers[self.start()..end];
        let found = within.iter().rev().find(|(found, _)| *found == name.as_bytes());
        String::from_utf8_lossy(found.and_then(|(_, value)| *value).unwrap_or_default())
    }

    fn parse<T: FromStr>(&self, name: &str) -> Result<T, Unreadable> {
        let text = self.text(name);
        text.parse().map_err(|_| Unreadable(format!("{name} is {text:?}")))
    }

    /// Behind the block only: a marker that somebody copied by hand onto a topic of events marks nothing there.
    fn mark(&self) -> Result<Option<Mark<'r>>, Unreadable> {
        let end = self.places.into_iter().max().unwrap_or(0);
        let behind = |name: &str| {
            let found = self.headers[end..].iter().find(|(found, _)| *found == name.as_bytes());
            found.map(|(_, value)| String::from_utf8_lossy(value.unwrap_or_default()))
        };
        let time = |name: &str| {
            let Some(text) = behind(name) else { return Ok(None) };
            text.parse().map(Some).map_err(|_| Unreadable(format!("{name} is {text:?}")))
        };
        if let Some(at) = time(headers::REPLAYED_AT)? {
            return Ok(Some(Mark::Replayed(at)));
        }
        let because = behind(headers::DISMISSED_BECAUSE).unwrap_or_default();
        Ok(time(headers::DISMISSED_AT)?.map(|at| Mark::Dismissed(at, because)))
    }
}
