//! Where an event is: in which record of the log, and what has become of it.
//!
//! An id says nothing of its event's key, and the log is not sorted by it, so the topics are read from their beginning to
//! where they end when the search begins; a key leads to one partition. The looks come in the order of [`crate`]'s, so
//! that what is said of a record is exact.
//!
//! Where the log drops what is applied there is nothing to find any more but coupon requests: their decisions are kept by
//! the request's id.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use floodgate_buffer::{
    EventOrigin, Log, LogId, Offset, Origin, Partition, PartitionReader, Piece, Received, Strategy, Topic,
    murmur2_partition,
};
use floodgate_schemas::codec::SchemaName;
use floodgate_schemas::text::escaped;
use floodgate_schemas::{
    Clock, Codecs, CouponIssue, Event, EventId, EventType, ExpectationWrite, Like, Timestamp,
};
use floodgate_store::{Audit, Decision, EventStatus, Store};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::class::Class;
use crate::error::{VerifyError, blocking};
use crate::kept::DecisionsKept;
use crate::letter_index::LetterIndex;
use crate::read::CHUNK_EVENTS;

/// How many records are told at most; of those of one key the newest.
pub const FOUND_MAX: usize = 100;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// The records of one event: several, if it was sent several times.
    Event(EventId),
    /// The records of one key.
    Key(EventType, Vec<u8>),
}

/// Looks for events.
pub struct Search {
    /// Where events wait.
    pub strategy: Arc<dyn Strategy>,
    /// Where rows are.
    pub store: Arc<dyn Store>,
    /// What events are read with.
    pub codecs: Codecs,
    /// How long decisions are kept.
    pub kept: DecisionsKept,
    /// Says how old a request is.
    pub clock: Arc<dyn Clock>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Whereabouts {
    /// The records, in the order of their partitions and offsets.
    pub found: Vec<FoundRecord>,
    /// The decision on a coupon request with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionReport>,
    /// How many records were looked at.
    pub records_read: u64,
    /// How many records there are besides those that are told.
    pub not_told: u64,
    /// What could not be looked at, a sentence each.
    pub notes: Vec<String>,
}

/// What was decided on a coupon request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionReport {
    /// As clients see it: `ISSUED` and so on.
    pub status: &'static str,
    /// The coupon asked for.
    pub coupon_id: String,
    /// Who asked.
    pub user_id: String,
    /// The place in line, if issued.
    pub rank: Option<i32>,
    /// When it was decided, in RFC 3339.
    pub decided_at: String,
}

impl From<&Decision> for DecisionReport {
    fn from(decision: &Decision) -> Self {
        Self {
            status: decision.status.name(),
            coupon_id: decision.coupon_id.as_str().to_owned(),
            user_id: decision.user_id.as_str().to_owned(),
            rank: decision.rank,
            decided_at: decision.decided_at.to_string(),
        }
    }
}

/// A record that was looked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundRecord {
    /// Where it stands: `TOPIC/PARTITION/OFFSET`.
    pub origin: String,
    /// What type of event it is.
    #[serde(rename = "type")]
    pub of: &'static str,
    /// The event's id; `None` where the record is none.
    pub event_id: Option<String>,
    /// Its key, as text; control characters and what is no UTF-8 escaped.
    pub key: Option<String>,
    /// When it was appended, in RFC 3339.
    pub appended_at: String,
    /// `current`, `superseded`, `decided`, `in-flight`, `dead-lettered`, `missing` or `unknown`.
    pub state: &'static str,
    /// The same in a sentence.
    pub meaning: String,
}

impl Search {
    /// Looks for something, and tells `read` now and then how many more records it has looked at.
    ///
    /// # Errors
    /// [`VerifyError`] when the log cannot be read at all. That a part of it cannot, or the database, is among the notes.
    pub async fn run(
        &self,
        sought: &Sought,
        read: impl Fn(u64) + Send + Sync,
    ) -> Result<Whereabouts, VerifyError> {
        let mut told = Whereabouts::default();
        if let Sought::Event(event_id) = sought {
            match self.store.decisions(&[*event_id]).await {
                Ok(decisions) => told.decision = decisions.first().map(DecisionReport::from),
                Err(error) => {
                    told.notes.push(format!("decisions on coupon requests were not looked at: {error}"))
                }
            }
        }
        let (mut looked, mut failed) = (0, Vec::new());
        for of in EventType::ALL {
            if matches!(sought, Sought::Key(sought, _) if *sought != of) {
                continue;
            }
            let found = match of {
                EventType::Expectation => self.look::<ExpectationWrite>(sought, &mut told, &read).await,
                EventType::Coupon => self.look::<CouponIssue>(sought, &mut told, &read).await,
                EventType::Like => self.look::<Like>(sought, &mut told, &read).await,
            };
            match found {
                Ok(()) => looked += 1,
                Err(error) => failed.push((of, error)),
            }
        }
        if looked == 0
            && told.decision.is_none()
            && let Some((_, error)) = failed.pop()
        {
            return Err(error);
        }
        for (of, error) in failed {
            told.notes.push(format!("{of} events were not looked at: {error}"));
        }
        let strategy = Arc::clone(&self.strategy);
        match blocking(move || Ok(strategy.spill())).await? {
            Some(Ok(spill)) if spill.waiting > 0 => told.notes.push(format!(
                "{} events wait in {}, and were not looked at: they are on their way to where they belong",
                spill.waiting, spill.strategy
            )),
            Some(Err(error)) => told.notes.push(format!("the fallback was not looked at: {error}")),
            _ => {}
        }
        // what nobody else may read is of one process, which keeps what is not applied
        let drops = !self.strategy.reach().is_readable_from_outside
            || self.strategy.logs().is_ok_and(|logs| logs.drops_what_is_applied());
        if told.found.is_empty() && drops {
            told.notes.push(format!(
                "the {} strategy drops what is applied: an event that is not there was applied, or never accepted",
                self.strategy.name()
            ));
        }
        Ok(told)
    }

    async fn look<E: Event>(
        &self,
        sought: &Sought,
        told: &mut Whereabouts,
        read: &(impl Fn(u64) + Send + Sync),
    ) -> Result<(), VerifyError>
    where
        dyn Store: Audit<E>,
    {
        let strategy = Arc::clone(&self.strategy);
        // in this order, see the crate's documentation
        let lag = blocking(move || Ok(strategy.lag(E::TYPE)?)).await?;
        let topic = Topic::Events(E::TYPE);
        let (strategy, sought) = (Arc::clone(&self.strategy), sought.clone());
        let opened = blocking(move || {
            let mut log = strategy.logs()?.open(topic)?;
            let bounds = log.bounds()?;
            Ok((log, bounds))
        });
        let (mut log, bounds) = opened.await?;
        let place = match &sought {
            Sought::Key(_, key) => Some(murmur2_partition(key, bounds.partitions().max(1))),
            Sought::Event(_) => None,
        };
        let is_wanted =
            |partition: Partition| place.is_none_or(|place| i32::try_from(place) == Ok(partition.0));
        for (partition, reason) in bounds.unknown.iter().filter(|(partition, _)| is_wanted(*partition)) {
            let name = self.strategy.names().events(E::TYPE);
            told.notes.push(format!("partition {partition} of {name} was not looked at: {reason}"));
        }
        let (mut hits, mut unread): (VecDeque<Hit<E>>, u64) = (VecDeque::new(), 0);
        for (partition, range) in bounds.known.into_iter().filter(|(partition, _)| is_wanted(*partition)) {
            let committed = lag.partitions.iter().find(|lag| lag.partition == partition);
            let committed = committed.and_then(|lag| lag.committed);
            let mut reader = PartitionReader::new(partition, range, CHUNK_EVENTS);
            loop {
                let (codecs, wanted) = (self.codecs.clone(), sought.clone());
                let next = blocking(move || {
                    let looked = Looked::next(&mut reader, &mut *log, &wanted, &codecs, committed)?;
                    Ok((log, reader, looked))
                });
                let (given_back, read_on, looked) = next.await?;
                (log, reader) = (given_back, read_on);
                match looked {
                    None => break,
                    Some(Looked::Records(count, found, unread_here)) => {
                        unread += unread_here;
                        told.records_read += count;
                        read(count);
                        hits.extend(found);
                        while hits.len() > FOUND_MAX {
                            hits.pop_front();
                            told.not_told += 1;
                        }
                    }
                    Some(Looked::Damaged(range, reason)) => told.notes.push(format!(
                        "offsets {} up to {} of partition {partition} are damaged and were not looked at: {reason}",
                        range.start, range.end
                    )),
                }
            }
        }
        if unread > 0 {
            let name = self.strategy.names().events(E::TYPE);
            told.notes.push(format!(
                "{unread} records of {name} have schemas that are unknown here, and may be the event"
            ));
        }
        self.classify(hits.into(), told).await
    }

    async fn classify<E: Event>(&self, hits: Vec<Hit<E>>, told: &mut Whereabouts) -> Result<(), VerifyError>
    where
        dyn Store: Audit<E>,
    {
        if hits.is_empty() {
            return Ok(());
        }
        let strategy = Arc::clone(&self.strategy);
        let letters = match blocking(move || LetterIndex::read(&*strategy)).await {
            Ok(letters) => Some(letters),
            Err(error) => {
                told.notes.push(format!("dead letters were not looked at: {error}"));
                None
            }
        };
        let events: Vec<E> = hits.iter().filter_map(|hit| hit.event.clone()).collect();
        let mut statuses = match self.store.statuses(&events).await {
            Ok(statuses) => statuses.into_iter().map(Some).collect::<VecDeque<_>>(),
            Err(error) => {
                told.notes.push(format!("rows were not looked at: {error}"));
                events.iter().map(|_| None).collect()
            }
        };
        // what was deleted by the look is older than it is kept by now
        let now = self.clock.now();
        for hit in hits {
            let may_lack = hit.event.as_ref().is_some_and(|event| self.kept.may_lack(event, now));
            // what is no event is in no row
            let status = match hit.event {
                Some(_) => statuses.pop_front().flatten(),
                None => Some(EventStatus::Absent),
            };
            let (state, meaning) = match (status, &letters) {
                (Some(status), Some(letters)) => {
                    let letter = || letters.letter_of(E::TYPE, &hit.record());
                    let class = Class::of(status, hit.offset, hit.committed, letter);
                    told_of(if may_lack { class.unless_forgotten() } else { class })
                }
                (Some(EventStatus::Current), None) => told_of(Class::Current),
                (Some(EventStatus::Superseded), None) => told_of(Class::Superseded),
                (Some(EventStatus::Decided), None) => told_of(Class::Decided),
                _ => UNKNOWN,
            };
            let origin = EventOrigin { of: E::TYPE, partition: hit.partition, offset: hit.offset };
            told.found.push(FoundRecord {
                origin: self.strategy.names().show(origin),
                of: E::TYPE.name(),
                event_id: hit.event.as_ref().map(|event| event.event_id().to_string()),
                key: hit.key.as_deref().map(escaped),
                appended_at: Timestamp::from_micros(hit.appended_at_ms.saturating_mul(1000))
                    .map_or_else(|_| hit.appended_at_ms.to_string(), |at| at.to_string()),
                state,
                meaning: meaning.to_owned(),
            });
        }
        Ok(())
    }
}

const UNKNOWN: (&str, &str) = ("unknown", "nobody can tell now: something could not be looked at");

/// As reports spell it, and what it means.
fn told_of(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::Current => ("current", "applied: its row carries it"),
        Class::Differing => ("current", "applied, and its row was changed since"),
        Class::Superseded => {
            ("superseded", "applied, or passed over: its row carries a greater version or time")
        }
        Class::Decided => ("decided", "the request is decided"),
        Class::Forgotten => {
            ("decided", "the request was decided, so long ago that its decision may be deleted")
        }
        Class::InFlight => ("in-flight", "not applied yet: the group is not there"),
        Class::DeadLettered => ("dead-lettered", "it could not be applied: see `floodgate dlq show`"),
        Class::Missing => {
            ("missing", "the group has passed it, and it is nowhere: `floodgate reapply` brings it back")
        }
        Class::LetterExpired | Class::LetterUnread => {
            ("unknown", "it is in no row, and dead letters among which it may be cannot be read")
        }
    }
}

/// What was looked at.
enum Looked<E> {
    /// So many records, of which these are what was looked for.
    /// How many there are, those that are wanted, and how many could not be read.
    Records(u64, Vec<Hit<E>>, u64),
    Damaged(Range<Offset>, String),
}

impl<E: Event> Looked<E> {
    /// What comes next in a partition; `None` at its end. Blocks, and decodes what it reads.
    fn next(
        reader: &mut PartitionReader,
        log: &mut dyn Log,
        sought: &Sought,
        codecs: &Codecs,
        committed: Option<Offset>,
    ) -> Result<Option<Self>, VerifyError> {
        Ok(match reader.next(log)? {
            None => None,
            Some(Piece::Records(chunk)) => {
                Handle::current().block_on(codecs.prepare(chunk.batch.values()));
                let (mut hits, mut unread) = (Vec::new(), 0);
                for record in chunk.batch.iter() {
                    match Hit::of(&record, sought, codecs, committed) {
                        Ok(hit) => hits.extend(hit),
                        Err(_) => unread += 1,
                    }
                }
                Some(Self::Records(chunk.batch.len() as u64, hits, unread))
            }
            // it had expired when it was to be read
            Some(Piece::Gone(_)) => Some(Self::Records(0, Vec::new(), 0)),
            Some(Piece::Damaged(range, reason)) => Some(Self::Damaged(range, reason)),
        })
    }
}

/// A record that is what was looked for.
struct Hit<E> {
    partition: Partition,
    offset: Offset,
    committed: Option<Offset>,
    appended_at_ms: i64,
    key: Option<Vec<u8>>,
    log: Option<LogId>,
    event: Option<E>,
}

impl<E: Event> Hit<E> {
    /// As far as it matters whose dead letter there is.
    fn record(&self) -> Received<'_> {
        Received {
            origin: Origin { topic: Topic::Events(E::TYPE), partition: self.partition, offset: self.offset },
            log: self.log.as_ref(),
            appended_at_ms: self.appended_at_ms,
            key: self.key.as_deref(),
            value: None,
            headers: Vec::new(),
        }
    }

    fn of(
        record: &Received<'_>,
        sought: &Sought,
        codecs: &Codecs,
        committed: Option<Offset>,
    ) -> Result<Option<Self>, SchemaName> {
        let value = record.value.unwrap_or_default();
        let event = match sought {
            Sought::Key(_, key) if record.key == Some(key) => codecs.decode::<E>(value).ok(),
            Sought::Key(..) => return Ok(None),
            Sought::Event(event_id) => match codecs.decode::<E>(value) {
                Ok(event) if event.event_id() == *event_id => Some(event),
                Ok(_) => return Ok(None),
                Err(error) => return error.unknown_schema().map_or(Ok(None), Err),
            },
        };
        Ok(Some(Self {
            partition: record.origin.partition,
            offset: record.origin.offset,
            committed,
            appended_at_ms: record.appended_at_ms,
            key: record.key.map(<[u8]>::to_vec),
            log: record.log.cloned(),
            event,
        }))
    }
}
