//! What a member leaves beside its positions for whoever looks at the group from outside: why a partition does not go on.
//!
//! A lag that stands has a reason, and only the member that stands knows it. So what it tries in vain and what it holds goes
//! with the position, and whoever reads the lag, in whatever process, reads it there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use floodgate_buffer::{Batch, Partition, Subscription, Word};

use crate::patience::Patience;

/// How long something is tried before it is told; and how often it is looked whether the reason is still the same.
const TRIED_FOR: Duration = Duration::from_secs(1);

/// The words of one member.
#[derive(Default)]
pub(crate) struct Words {
    /// What keeps it from applying what it works on.
    trouble: BTreeMap<Partition, Word>,
    held: BTreeMap<Partition, Word>,
    /// What was left.
    left: BTreeMap<Partition, Word>,
}

impl Words {
    /// These partitions are held, and no others.
    pub(crate) fn hold(&mut self, held: BTreeMap<Partition, Word>, subscription: &mut dyn Subscription) {
        self.held = held;
        self.leave(subscription);
    }

    /// Does some work on a batch, and says meanwhile what keeps it from being done.
    pub(crate) async fn during<T>(
        &mut self,
        work: impl Future<Output = T>,
        batch: &Batch,
        patience: &Patience,
        subscription: &mut dyn Subscription,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    self.trouble.clear();
                    self.leave(subscription);
                    return done;
                }
                () = tokio::time::sleep(TRIED_FOR) => {
                    let trouble = patience.trouble();
                    let partitions: BTreeSet<_> = batch.iter().map(|received| received.origin.partition).collect();
                    let word = |partition| Some((partition, Word::trouble(trouble.clone()?)));
                    self.trouble = partitions.into_iter().filter_map(word).collect();
                    self.leave(subscription);
                }
            }
        }
    }

    /// Takes back what is over and leaves what is new.
    fn leave(&mut self, subscription: &mut dyn Subscription) {
        if self.trouble.is_empty() && self.held.is_empty() && self.left.is_empty() {
            return;
        }
        let mut words = self.trouble.clone();
        words.extend(self.held.iter().map(|(partition, word)| (*partition, word.clone())));
        for partition in self.left.keys().filter(|partition| !words.contains_key(partition)) {
            subscription.leave_word(*partition, None);
        }
        // also what was left before: a partition that went and came back has none any more
        words.iter().for_each(|(partition, word)| subscription.leave_word(*partition, Some(word)));
        self.left = words;
    }
}
