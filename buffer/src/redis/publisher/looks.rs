//! Looks: how much the lists hold, and whether Redis takes records.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{CONNECT_PATIENCE, Publisher};
use crate::redis::link::Silence;
use crate::redis::nodes::{Called, Nodes, is_moved};
use crate::redis::scripts::{Call, SCRIPTS, numbers};
use crate::redis::server;
use crate::{Partition, Topic};

impl Publisher {
    /// Tells which settings of the servers break the promise, once for all new connections and only what is new.
    async fn look_at_settings(&self, nodes: &mut Nodes) {
        let made = Some(nodes.made());
        if *self.settings_seen.lock() == made {
            return;
        }
        let mut told = Vec::new();
        for (address, answers) in nodes.send_to_each(&server::asked()).await {
            // of one that does not answer its new connection tells
            let sentences = answers.map(|answers| server::told(&answers, self.settings.ack));
            let of = |sentence| format!("Redis at {address}: {sentence}");
            told.extend(sentences.unwrap_or_default().into_iter().map(of));
        }
        *self.settings_seen.lock() = made;
        let before = std::mem::replace(&mut *self.told.lock(), told.clone());
        told.iter().filter(|sentence| !before.contains(sentence)).for_each(|sentence| {
            tracing::warn!("{sentence}");
        });
    }

    /// Where writes were refused, one that harms nobody finds out whether they still are.
    async fn look_at_refusals(&self, nodes: &mut Nodes) -> Result<(), Silence> {
        let refused: Vec<_> = self.refused.lock().keys().copied().collect();
        for (topic, partition) in refused {
            let probe = self.settings.keys(Topic::ALL[topic]).probe(partition);
            let write = ::redis::cmd("SET").arg(&probe).arg(1).to_owned();
            if nodes.send(&probe, vec![write]).await?.iter().all(Result::is_ok) {
                self.refused.lock().remove(&(topic, partition));
            }
        }
        Ok(())
    }

    /// What the servers are, beside what is in their lists.
    async fn look_around(&self, nodes: &mut Nodes) -> Result<(), Silence> {
        nodes.connect_within(CONNECT_PATIENCE).await?;
        self.look_at_settings(nodes).await;
        let mut unfit = None;
        for topic in Topic::ALL {
            let found =
                nodes.send(&self.settings.keys(topic).id(), self.settings.found(topic).into()).await?;
            unfit = unfit.or(self.settings.log_found(topic, &found).err());
        }
        *self.unfit.lock() = unfit;
        self.look_at_refusals(nodes).await
    }

    /// Looks how much every list holds, and by that whether Redis answers.
    pub(super) async fn look(&self, nodes: &mut Nodes) {
        let lists: Vec<(Topic, Partition)> = self.settings.lists().collect();
        let calls: Vec<Call> = lists
            .iter()
            .map(|(topic, partition)| {
                let keys = self.settings.keys(*topic);
                Call::new(&SCRIPTS.look, [keys.list(*partition), keys.meta(*partition)])
            })
            .collect();
        let mut health = self.look_around(nodes).await.map_err(|silence| silence.reason().to_owned());
        // what the lists hold is no older than this
        let began = Instant::now();
        let trial = self.settings.trial_wait();
        let called = nodes.call(&calls, trial.as_ref()).await;
        let mut is_silent = false;
        for ((topic, partition), called) in lists.into_iter().zip(called) {
            is_silent |= called.as_ref().map_or(true, |(answer, _)| is_moved(answer));
            // one list that somebody spoilt, or a node that is away, hides no other
            health = health.and(self.looked(topic, partition, called));
        }
        self.is_silent.store(is_silent, Ordering::Release);
        if !is_silent {
            // behind what was seen: whoever trusts it must find it
            *self.looked_at.lock() = Some(began);
        }
        *self.health.lock() = health;
    }

    fn looked(&self, topic: Topic, partition: Partition, called: Called) -> Result<(), String> {
        let place = &self.settings.place;
        let (answer, waited) = called.map_err(|silence| silence.reason().to_owned())?;
        let trial = waited.and_then(|waited| self.settings.trial_failed(&waited)).map_or(Ok(()), Err);
        match answer.map(|answer| numbers::<3>(&answer)) {
            Ok(Some([_, events, bytes])) => {
                self.room.note(topic, partition, events, bytes);
                trial
            }
            Ok(None) => trial.and(Err(format!("Redis at {place} answers nonsense"))),
            Err(error) => trial.and(Err(format!("Redis at {place}: {error}"))),
        }
    }
}
