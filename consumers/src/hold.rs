//! Holding partitions that are mostly bad: what the storm breaker decides, done and told.

use std::collections::HashMap;

use floodgate_buffer::{Batch, Partition, Topic};
use floodgate_schemas::Event;

use crate::dead_letter::DeadLetter;
use crate::pipeline::Pipeline;
use crate::storm::{Storms, Verdict};

impl<E: Event> Pipeline<E> {
    /// The partitions of the batch that have too many bad records: nothing of them is dead-lettered or committed.
    pub(crate) fn judge(&self, batch: &Batch, letters: &[DeadLetter], storms: &mut Storms) -> Vec<Partition> {
        let (mut held, mut over) = (Vec::new(), Vec::new());
        // what only this process holds goes with it: better dead-lettered, and logged, than lost without a word
        if self.stop.is_cancelled() && !self.strategy.is_shared() {
            return held;
        }
        let mut counts: HashMap<Partition, (usize, usize)> = HashMap::new();
        for received in batch.iter() {
            counts.entry(received.origin.partition).or_default().0 += 1;
        }
        for received in letters.iter().filter_map(|letter| batch.get(letter.record)) {
            counts.entry(received.origin.partition).or_default().1 += 1;
        }
        for (partition, (records, bad)) in counts {
            let verdict = storms.judge(partition, records, bad);
            match verdict {
                Verdict::Calm => {}
                Verdict::Over => over.push(partition),
                Verdict::Held | Verdict::StillHeld => held.push(partition),
            }
            if verdict == Verdict::Held {
                let of_it = letters.iter().find(|letter| {
                    batch.get(letter.record).is_some_and(|received| received.origin.partition == partition)
                });
                let group = self.strategy.group_name(E::TYPE);
                let message = of_it.map_or("", |letter| letter.message.as_str());
                tracing::error!(
                    %group, %partition, records, bad, message,
                    "most of a partition's records would be dead letters: it is held until they can be applied; if they \
                     really are dead, raise consumers.dead_letter_share_max"
                );
            }
        }
        self.tell_held(&over, storms);
        held
    }

    /// These partitions are not held by this member any more.
    pub(crate) fn forget(&self, storms: &mut Storms, which: impl Fn(Partition) -> bool) {
        let forgotten: Vec<_> = storms.held().filter(|partition| which(*partition)).collect();
        if !forgotten.is_empty() {
            forgotten.iter().for_each(|partition| storms.forget(*partition));
            self.tell_held(&forgotten, storms);
        }
    }

    /// Tells readiness and metrics which partitions are held, and the log that others are not any more.
    fn tell_held(&self, no_more: &[Partition], storms: &Storms) {
        let group = self.strategy.group_name(E::TYPE);
        for partition in no_more {
            self.metrics.held(&group, *partition, false);
            tracing::info!(%group, %partition, "a partition is held no more: it goes on, here or with another member");
        }
        storms.held().for_each(|partition| self.metrics.held(&group, partition, true));
        self.health.held(storms.any().then(|| {
            let topic = self.strategy.topic_name(Topic::Events(E::TYPE));
            let partitions = storms.partitions();
            format!("{partitions} of {topic} held: too many bad records (consumers.dead_letter_share_max)")
        }));
    }
}
