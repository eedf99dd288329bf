//! What leads from an answer to the log.
//!
//! Clients are told what they can do about an error, not which broker or table it came from: that is in the log, in a line that
//! carries the same `instance` as the answer. A broker that is away fails thousands of requests for one reason: those within a
//! second share one instance and one line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use floodgate_schemas::Chance;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::problem::Problem;

/// For so long the same cause is told once.
const SHARED: Duration = Duration::from_secs(1);
/// So many causes are remembered.
const CAUSES_MAX: usize = 32;

/// Tells operators what clients are not told.
pub(crate) struct Instances {
    chance: Arc<dyn Chance>,
    /// The newest last.
    recent: Mutex<VecDeque<Told>>,
}

struct Told {
    name: &'static str,
    cause: String,
    instance: Uuid,
    at: Instant,
}

impl Instances {
    pub(crate) fn new(chance: Arc<dyn Chance>) -> Self {
        Self { chance, recent: Mutex::default() }
    }

    /// Logs a problem of ours, and lets it say under which instance.
    pub(crate) fn tell(&self, problem: &mut Problem) {
        if problem.is_ours() {
            problem.is_told_under(self.instance(problem));
        }
    }

    fn instance(&self, problem: &Problem) -> Uuid {
        let (name, cause, now) = (problem.name(), problem.cause(), Instant::now());
        let mut recent = self.recent.lock();
        recent.retain(|told| now.duration_since(told.at) < SHARED);
        if let Some(told) = recent.iter().find(|told| told.name == name && told.cause == cause) {
            return told.instance;
        }
        let instance = self.chance.event_id().as_uuid();
        if problem.is_bug() {
            tracing::error!(%instance, problem = name, cause, "a request met a bug");
        } else {
            tracing::warn!(%instance, problem = name, cause, "requests are answered with an error");
        }
        if recent.len() == CAUSES_MAX {
            recent.pop_front();
        }
        recent.push_back(Told { name, cause: cause.to_owned(), instance, at: now });
        instance
    }
}

#[cfg(test)]
mod tests {
    use floodgate_schemas::examples::Counted;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_cause_is_told_once_a_second() {
        let instances = Instances::new(Arc::new(Counted::default()));
        let of = |cause: &str| instances.instance(&Problem::not_stored(cause));
        let first = of("broker 1 is away");
        assert_eq!(of("broker 1 is away"), first);
        assert_ne!(of("broker 2 is away"), first);
        assert_ne!(instances.instance(&Problem::internal("broker 1 is away")), first, "another problem");
        tokio::time::advance(SHARED).await;
        let later = of("broker 1 is away");
        assert_ne!(later, first);
        for number in 0..CAUSES_MAX {
            of(&format!("broker {number} is slow"));
        }
        assert_eq!(instances.recent.lock().len(), CAUSES_MAX);
    }

    #[tokio::test]
    async fn what_is_the_clients_doing_is_not_logged() {
        let instances = Instances::new(Arc::new(Counted::default()));
        let mut problem = Problem::not_found("nothing");
        instances.tell(&mut problem);
        assert!(!serde_json::to_string(&problem).unwrap().contains("instance"));
        let mut problem = Problem::not_stored("broker-1.internal:9092 is away");
        instances.tell(&mut problem);
        let told = serde_json::to_string(&problem).unwrap();
        assert!(told.contains("\"instance\":\"urn:uuid:") && !told.contains("broker"), "{told}");
    }
}
