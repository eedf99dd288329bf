//! Lag as operators see it: read in the background, told as JSON and as gauges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{GroupLag, LagError, Strategy};
use floodgate_observe::LagGauges;
use floodgate_schemas::{Clock, EventType};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::rounds::Rounds;

mod courses;
mod gauges;
mod hot;
mod reading;
mod report;
#[cfg(test)]
mod tests;

pub use courses::Courses;
use courses::HistoryPoint;
pub use hot::{HotKey, HotKeys};
pub use reading::Reading;
pub use report::{Group, LagReport, PartitionReport, SpillReport};

/// What waits in the fallback, and how much may.
struct Spill {
    report: SpillReport,
    room: Option<usize>,
}

/// Reads the groups' positions again and again.
pub struct LagWatch {
    strategy: Arc<dyn Strategy>,
    hot_keys: HotKeys,
    gauges: Option<LagGauges>,
    clock: Arc<dyn Clock>,
    courses: Mutex<Courses>,
    spill: Mutex<Option<SpillReport>>,
}

impl LagWatch {
    /// Over a strategy's groups; `gauges` only in the process that exports them.
    pub fn new(strategy: Arc<dyn Strategy>, gauges: Option<LagGauges>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let hot_keys = HotKeys::default();
        Arc::new(Self {
            strategy,
            hot_keys,
            gauges,
            clock,
            courses: Mutex::default(),
            spill: Mutex::default(),
        })
    }

    /// The newest report.
    pub fn latest(&self) -> LagReport {
        LagReport::all(self.strategy.names(), &self.courses.lock(), self.spill.lock().clone())
    }

    /// The course of the last minutes, by group.
    pub(crate) fn history(&self) -> BTreeMap<String, Vec<HistoryPoint>> {
        self.courses.lock().history(self.strategy.names())
    }

    /// Reads every `refresh` until `stop`. One group that cannot be read keeps its last values and holds up no other.
    pub async fn run(self: Arc<Self>, refresh: Duration, stop: CancellationToken) {
        self.know_nothing();
        let rounds = Rounds { refresh, stop };
        let watch = || Arc::clone(&self);
        let groups = EventType::ALL.map(|of| {
            let failed = move |watch: &Self, error: &LagError, _| watch.fail(of, error);
            rounds.clone().run(watch(), move |watch| watch.read(of).map(Some), Self::keep, failed)
        });
        let spill = rounds.clone().run(watch(), Self::read_spill, Self::keep_spill, |_, error, is_news| {
            if is_news {
                tracing::warn!("how much waits in the fallback is not read: {error}");
            }
        });
        // apart from the positions, which wait for no record
        let keys = rounds.clone().run(watch(), Self::look_for_hot_keys, |_, ()| {}, |_, _, _| {});
        tokio::join!(futures_util::future::join_all(groups), spill, keys);
    }

    /// Whoever asks for a group before it was read is told that nobody knows how it stands.
    fn know_nothing(&self) {
        let (Some(gauges), courses) = (&self.gauges, self.courses.lock()) else { return };
        for of in EventType::ALL.into_iter().filter(|of| courses.latest(*of).is_none()) {
            gauges::set_group(gauges, &Group::of(self.strategy.names(), &courses, of), None);
        }
    }

    fn read(&self, of: EventType) -> Result<Reading, LagError> {
        Ok(Reading::take(&*self.strategy, of, &*self.clock)?.with_hot_keys(&self.hot_keys))
    }

    fn read_spill(&self) -> Result<Option<Spill>, LagError> {
        let Some(spill) = self.strategy.spill().transpose()? else { return Ok(None) };
        Ok(Some(Spill { report: SpillReport::new(&spill, &*self.clock), room: spill.room }))
    }

    fn look_for_hot_keys(&self) -> Result<Option<()>, LagError> {
        let latest = EventType::ALL.map(|of| self.courses.lock().reading(of).cloned());
        for reading in latest.iter().flatten() {
            reading.look_for_hot_keys(&*self.strategy, &self.hot_keys);
        }
        Ok(Some(()))
    }

    fn keep_spill(&self, Spill { report, room }: Spill) {
        if let Some(gauges) = &self.gauges {
            let waiting = i64::try_from(report.waiting).unwrap_or(i64::MAX);
            gauges.spill_waiting.with_label_values::<&str>(&[]).set(waiting);
            if let Some(room) = room {
                let room = i64::try_from(room).unwrap_or(i64::MAX);
                gauges.spill_waiting_max.with_label_values::<&str>(&[]).set(room);
            }
        }
        *self.spill.lock() = Some(report);
    }

    /// The last values stay, and how the group stands is not known any more.
    fn fail(&self, of: EventType, error: &LagError) {
        let error = error.to_string();
        let mut courses = self.courses.lock();
        let what_is_known = match courses.latest(of) {
            Some(_) => "what was read last stays",
            None => "nothing is known of it yet",
        };
        // a broker that is away is away for all groups, and publishing tells of it as well
        if courses.fail(of, &error, self.clock.now()) {
            let group = self.strategy.names().group(of);
            tracing::warn!(group, "the group's positions are not read, {what_is_known}: {error}");
        }
        if let Some(gauges) = &self.gauges {
            gauges::set_group(gauges, &Group::of(self.strategy.names(), &courses, of), None);
        }
    }

    fn keep(&self, reading: Reading) {
        let of = reading.of();
        let mut courses = self.courses.lock();
        let before = courses.add(reading);
        let Some(latest) = courses.latest(of) else { return };
        let lag = &latest.reading.lag;
        if let Some(before) = &before {
            self.tell_moves(&before.reading.lag, lag);
        }
        let known_foreigners = before.as_ref().map_or(&[][..], |before| &before.reading.lag.foreign_members);
        tell_foreigners(known_foreigners, lag);
        let Some(gauges) = &self.gauges else { return };
        if let Some(before) = before {
            gauges::forget(gauges, &before.reading.lag, lag);
        }
        let foreigners = i64::try_from(lag.foreign_members.len()).unwrap_or(i64::MAX);
        gauges.foreign_members.with_label_values(&[&lag.group]).set(foreigners);
        let report = Group::new(latest);
        gauges::set_group(gauges, &report, courses.desired(of));
        for topic in &report.topics {
            for partition in &topic.partitions {
                gauges::set(gauges, &report.group, &topic.topic, partition);
            }
            if let Some(queue) = &report.queue {
                gauges::set_queue(gauges, &report.group, &topic.topic, queue);
            }
        }
        let read = EventType::ALL.into_iter().filter_map(|of| courses.reading(of));
        if let Some(as_of) = report::oldest(read) {
            gauges.as_of.with_label_values::<&str>(&[]).set(as_of.as_micros() as f64 / 1e6);
        }
    }
}

impl LagWatch {
    /// Nobody of ours moves a committed offset back: someone reset it, it expired, or the topic was made anew. What is
    /// read again changes nothing, but an operator should know. Nor does anybody of ours go on without marking its commits:
    /// an offset that another program moved forward passes over what was never applied.
    fn tell_moves(&self, before: &GroupLag, now: &GroupLag) {
        let (group, topic) = (&now.group, &now.topic);
        for now in &now.partitions {
            let before = before.partitions.iter().find(|before| before.partition == now.partition);
            let Some(was) = before.and_then(|before| before.committed) else { continue };
            let (number, was_at) = (now.partition.0, was.0);
            let counter = match now.committed {
                Some(committed) if committed > was && now.set_by_others => {
                    tracing::error!(
                        group,
                        topic,
                        partition = number,
                        was = was_at,
                        now = committed.0,
                        skipped = committed.0 - was_at,
                        "another program moved the committed offset forward: what lies between was not applied, unless it was \
                         before; `floodgate verify` tells and `floodgate reapply` mends"
                    );
                    self.gauges.as_ref().map(|gauges| &gauges.skips)
                }
                Some(committed) if committed >= was => continue,
                committed => {
                    // without one it is gone
                    tracing::error!(
                        group,
                        topic,
                        partition = number,
                        was = was_at,
                        now = committed.map(|now| now.0),
                        "the committed offset moved back: what lies between is applied again, which changes nothing"
                    );
                    self.gauges.as_ref().map(|gauges| &gauges.rewinds)
                }
            };
            if let Some(counter) = counter {
                counter.with_label_values(&[group.as_str(), topic, &number.to_string()]).inc();
            }
        }
    }
}

/// Members of other programs take partitions and commit offsets as they like.
fn tell_foreigners(before: &[String], now: &GroupLag) {
    if now.foreign_members != before && !now.foreign_members.is_empty() {
        tracing::error!(
            group = now.group,
            members = now.foreign_members.join(", "),
            "the group has members of other programs: what they take is not applied"
        );
    }
}
