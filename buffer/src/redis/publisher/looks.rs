//! Looks: how much the lists hold, and whether Redis takes records.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::Publisher;
use crate::redis::link::{Link, Silence};
use crate::redis::scripts::{Call, SCRIPTS, numbers};
use crate::redis::server;
use crate::{Partition, Topic};

impl Publisher {
    /// Tells which settings of the server break the promise, once for each connection and only what is new.
    async fn look_at_settings(&self, link: &mut Link) -> Result<(), Silence> {
        let number = Some(link.number());
        if *self.settings_seen.lock() == number {
            return Ok(());
        }
        let answers = link.send(server::asked()).await?;
        *self.settings_seen.lock() = number;
        let told = server::told(&answers, self.settings.ack);
        let before = std::mem::replace(&mut *self.told.lock(), told.clone());
        for sentence in told.iter().filter(|sentence| !before.contains(sentence)) {
            tracing::warn!("Redis at {}: {sentence}", self.settings.place);
        }
        Ok(())
    }

    /// Looks how much every list holds, and by that whether Redis answers.
    pub(super) async fn look(&self, link: &mut Link) {
        let lists: Vec<(Topic, Partition)> = self.settings.lists().collect();
        let calls: Vec<Call> = lists
            .iter()
            .map(|(topic, partition)| {
                let keys = self.settings.keys(*topic);
                Call::new(&SCRIPTS.look, [keys.list(*partition), keys.meta(*partition)])
            })
            .collect();
        let place = &self.settings.place;
        let looked = async {
            link.connect().await?;
            self.look_at_settings(link).await?;
            let mut unfit = None;
            for topic in Topic::ALL {
                let found = link.send(self.settings.found(topic).into()).await?;
                unfit = unfit.or(self.settings.log_found(topic, &found).err());
            }
            *self.unfit.lock() = unfit;
            // where writes were refused one that harms nobody finds out whether they still are
            if self.refused.lock().is_some() {
                let probe = self.settings.keys(Topic::DeadLetters).probe();
                let probed = link.send(vec![::redis::cmd("SET").arg(probe).arg(1).to_owned()]).await?;
                if probed.iter().all(Result::is_ok) {
                    *self.refused.lock() = None;
                }
            }
            // what the lists hold is no older than this
            let began = Instant::now();
            let answered = link.call(&calls, self.settings.trial_wait().as_ref()).await?;
            Ok::<_, Silence>((began, answered))
        };
        let health = match looked.await {
            Ok((began, (answers, waited))) => {
                self.is_silent.store(false, Ordering::Release);
                let trial = waited.and_then(|waited| self.settings.trial_failed(&waited)).map_or(Ok(()), Err);
                // one list that somebody spoilt hides no other
                let health = lists.iter().zip(answers).fold(trial, |health, ((topic, partition), answer)| {
                    let seen = match answer.map(|answer| numbers::<3>(&answer)) {
                        Ok(Some([_, events, bytes])) => {
                            self.room.note(*topic, *partition, events, bytes);
                            Ok(())
                        }
                        Ok(None) => Err(format!("Redis at {place} answers nonsense")),
                        Err(error) => Err(format!("Redis at {place}: {error}")),
                    };
                    health.and(seen)
                });
                // behind what was seen: whoever trusts it must find it
                *self.looked_at.lock() = Some(began);
                health
            }
            Err(silence) => {
                self.is_silent.store(true, Ordering::Release);
                Err(silence.reason().to_owned())
            }
        };
        *self.health.lock() = health;
    }
}
