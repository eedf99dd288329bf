//! What there is: counts of all letters that are meant, and those of them that come first, which are the open ones.

use std::collections::{BTreeMap, HashMap};

use floodgate_buffer::EventOrigin;
use floodgate_schemas::Timestamp;
use serde::Serialize;

use super::filter::Filter;
use super::index::{Index, LetterState, Noted, Sparing, Troubles};
use super::letter::{Letter, LetterId};
use super::report::{DeadLetterDetail, DeadLetterReport};
use super::scan::{Scan, ScanError, ScanLimits, Unread};
use super::topic::DeadLetterTopic;

/// What `/dlq` and `floodgate dlq list` say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// When the reading began.
    pub as_of: String,
    /// Letters that the filter means, each origin once.
    pub total: u64,
    /// How many of them nothing was done about.
    pub open: u64,
    /// How many were replayed.
    pub replayed: u64,
    /// How many were dismissed.
    pub dismissed: u64,
    /// Records on the topic that are no dead letters of ours.
    #[serde(serialize_with = "count")]
    pub unreadable: Troubles,
    /// How many of `total` are there for which reason.
    pub by_reason: BTreeMap<String, u64>,
    /// How many of `open` are.
    pub open_by_reason: BTreeMap<String, u64>,
    /// Open ones first, then the others, of both those first that failed last.
    pub letters: Vec<DeadLetterReport>,
    /// Whether there are more than these.
    pub truncated: bool,
    /// What could not be read: there may be more letters, and markers, in it.
    pub unread: Vec<Unread>,
}

fn count<S: serde::Serializer>(troubles: &Troubles, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(troubles.count)
}

impl Survey {
    /// Reads all letters and keeps `limit`. Blocks on the network.
    ///
    /// # Errors
    /// [`ScanError`] says whether trying again can help.
    pub fn take(
        topic: &DeadLetterTopic,
        filter: &Filter,
        limit: usize,
        limits: &ScanLimits,
    ) -> Result<Self, ScanError> {
        let as_of = topic.clock.now();
        let mut scan = Scan::open(topic, limits)?;
        let mut index = Index::new(topic, filter, Sparing::NONE, limits, &scan);
        let (mut by_reason, mut open_by_reason) = (BTreeMap::new(), BTreeMap::new());
        let mut first = First::new(limit);
        scan.each(|batch, _| {
            for record in batch.iter() {
                let Some(Noted { letter, before, now }) = index.note(&record)? else { continue };
                match before {
                    None => {
                        count_reason(&mut by_reason, &letter.reason);
                        if now.is_open() {
                            count_reason(&mut open_by_reason, &letter.reason);
                        }
                        first.offer(&letter, true, topic);
                    }
                    Some(before) => {
                        if before.is_open() && !now.is_open() {
                            discount_reason(&mut open_by_reason, &letter.reason);
                        }
                        first.mark(&letter);
                    }
                }
            }
            Ok::<_, ScanError>(())
        })?;
        let counts = index.counts();
        let total = counts.open() + counts.replayed + counts.dismissed;
        let letters = match first.letters.len() as u64 {
            // which ones are open was not known when others were dropped for them
            kept if limit > 0 && kept < total && counts.open() < total => {
                again(&mut scan, &mut index, limit, topic)?
            }
            _ => first.into_letters(),
        };
        Ok(Self {
            as_of: as_of.to_string(),
            total,
            open: counts.open(),
            replayed: counts.replayed,
            dismissed: counts.dismissed,
            unreadable: index.unreadable,
            by_reason,
            open_by_reason,
            truncated: (letters.len() as u64) < total,
            letters,
            unread: scan.unread,
        })
    }
}

/// Reads all letters once more, now that it is known how each stands.
fn again(
    scan: &mut Scan,
    index: &mut Index,
    limit: usize,
    topic: &DeadLetterTopic,
) -> Result<Vec<DeadLetterReport>, ScanError> {
    let mut first = First::new(limit);
    scan.each(|batch, _| {
        for record in batch.iter() {
            let Ok(letter) = Letter::read(&record, topic.names()) else { continue };
            match index.once(letter.id()) {
                Some(LetterState::Other) => {}
                Some(state) => first.offer(&letter, state.is_open(), topic),
                None => first.mark(&letter),
            }
        }
        Ok::<_, ScanError>(())
    })?;
    Ok(first.into_letters())
}

/// Reasons told apart, and how long each may be: ours are few and short, and others may write to the topic as well.
const REASONS_MAX: usize = 100;
const REASON_CHARS: usize = 80;
/// What the others are counted as.
const OTHER_REASONS: &str = "other";

fn count_reason(by_reason: &mut BTreeMap<String, u64>, reason: &str) {
    let reason: String = reason.chars().take(REASON_CHARS).collect();
    let is_known = by_reason.len() < REASONS_MAX || by_reason.contains_key(&reason);
    *by_reason.entry(if is_known { reason } else { OTHER_REASONS.to_owned() }).or_default() += 1;
}

/// Takes back what [`count_reason`] counted. What stands under the reasons that there was no room for is not known by name.
fn discount_reason(by_reason: &mut BTreeMap<String, u64>, reason: &str) {
    let reason: String = reason.chars().take(REASON_CHARS).collect();
    let name = if by_reason.contains_key(&reason) { reason } else { OTHER_REASONS.to_owned() };
    if let Some(count) = by_reason.get_mut(&name) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            by_reason.remove(&name);
        }
    }
}

/// Where a letter stands in a list, the last ones first: open ones behind the others, and in the order in which they failed.
type Place = (bool, Timestamp, LetterId);

/// The letters that come first.
struct First {
    limit: usize,
    letters: BTreeMap<Place, DeadLetterReport>,
    /// A copy may tell another time than the first one did.
    kept: HashMap<LetterId, Place>,
}

impl First {
    fn new(limit: usize) -> Self {
        Self { limit, letters: BTreeMap::new(), kept: HashMap::new() }
    }

    fn offer(&mut self, letter: &Letter<'_>, is_open: bool, topic: &DeadLetterTopic) {
        let place = (is_open, letter.failed_at, letter.id());
        if self.letters.len() >= self.limit {
            match self.letters.first_entry() {
                Some(last) if *last.key() < place => {
                    self.kept.remove(&last.key().2);
                    last.remove();
                }
                _ => return,
            }
        }
        self.kept.insert(letter.id(), place);
        self.letters.insert(place, DeadLetterReport::new(letter, topic));
    }

    fn mark(&mut self, copy: &Letter<'_>) {
        let place = self.kept.get(&copy.id());
        if let Some(letter) = place.and_then(|place| self.letters.get_mut(place)) {
            letter.mark(copy);
        }
    }

    fn into_letters(self) -> Vec<DeadLetterReport> {
        let mut letters: Vec<_> = self.letters.into_values().rev().collect();
        // keeps the order of time within both
        letters.sort_by_key(|letter| !letter.state.is_open());
        letters
    }
}

/// What is known of the letter of one origin.
#[derive(Debug, Clone)]
pub struct Found {
    /// Everything about it, if it is there.
    pub detail: Option<DeadLetterDetail>,
    /// What could not be read: the letter, or that it was replayed, may stand in it.
    pub unread: Vec<Unread>,
}

/// Everything about the letter of one origin, if there is one; of the latest log, where several had one. Blocks on the network.
///
/// # Errors
/// [`ScanError`] says whether trying again can help.
pub fn find(topic: &DeadLetterTopic, origin: EventOrigin) -> Result<Found, ScanError> {
    let topics = topic.names();
    // in the order in which their logs came
    let mut found: Vec<(LetterId, DeadLetterDetail)> = Vec::new();
    let mut scan = Scan::open(topic, &ScanLimits::NONE)?;
    // to the end, as a marker may stand anywhere behind
    scan.each(|batch, _| {
        for record in batch.iter() {
            let letter = Letter::read(&record, topics).ok().filter(|letter| letter.origin == origin);
            let Some(letter) = letter else { continue };
            let known = found.iter().position(|(id, _)| *id == letter.id());
            let place = known.unwrap_or_else(|| {
                found.push((letter.id(), DeadLetterDetail::new(&letter, topic)));
                found.len() - 1
            });
            found[place].1.letter.mark(&letter);
        }
        Ok::<_, ScanError>(())
    })?;
    Ok(Found { detail: found.pop().map(|(_, detail)| detail), unread: scan.unread })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anybody may write to the topic: reasons without end take no memory without end.
    #[test]
    fn reasons_are_counted_by_name_as_far_as_there_is_room() {
        let mut by_reason = BTreeMap::new();
        let reasons: Vec<_> = (0..150).map(|number| number.to_string()).collect();
        reasons.iter().for_each(|reason| count_reason(&mut by_reason, reason));
        assert_eq!((by_reason.len(), by_reason["99"], by_reason["other"]), (101, 1, 50));
        // what has its place keeps it
        count_reason(&mut by_reason, "99");
        assert_eq!((by_reason["99"], by_reason["other"]), (2, 50));
        let mut long = BTreeMap::new();
        count_reason(&mut long, &"x".repeat(81));
        assert_eq!(long, [("x".repeat(80), 1)].into());
        // and back
        for reason in ["99", "149", "148", "1"] {
            discount_reason(&mut by_reason, reason);
        }
        assert_eq!((by_reason["99"], by_reason["other"], by_reason.get("1")), (1, 48, None));
        discount_reason(&mut long, &"x".repeat(90));
        assert!(long.is_empty());
    }
}
