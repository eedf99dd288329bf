//! The `in-memory` strategy: partitions in this process, gone with it.
//!
//! Every partition is a queue with Kafka's vocabulary: records keep their offsets for life, a group's
//! committed offset moves forward, and what is committed is dropped, as each topic has a single group.
//!
//! Members of a group do not own partitions, they *claim* them: a member that asks for a batch takes
//! records from partitions that nobody else has records in work of, and keeps such a partition until all of
//! its records are committed. One partition is thus never in two members' hands, its order holds, and a
//! member that leaves simply gives its claims back: what it had not committed is read again by others. No
//! rebalance is needed. A member claims no more partitions at a time than are its share, or the first to be woken would have all of
//! them, and with them all the work, while the others sleep.

mod config;
mod log;
mod member;
mod partition;
mod state;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use floodgate_config::Section;
use floodgate_schemas::EventType;

use crate::kind::{Given, Kind, Opener, Surroundings};
use crate::{
    Absent, Batch, BatchLimits, GroupLag, Lag, LagError, Log, Logs, Names, OpenError, Publish, Reach, Spill,
    Strategy, Subscription, Topic, Topics, TopicsConfig,
};
pub(crate) use config::InMemoryConfig;
use log::MemoryLog;
use member::Member;
use state::State;

pub(crate) const KIND: Kind = Kind {
    name: "in-memory",
    with_fallback: false,
    as_fallback: false,
    section: "in_memory",
    defaults: include_str!("default.toml"),
    passes_through: None,
    configure,
    mask: |_| {},
    copies: false,
    idle: |_| Vec::new(),
};

fn configure(section: &Section, around: &Surroundings<'_>, problems: &mut Vec<String>) -> Option<Opener> {
    let config: InMemoryConfig = section.read(problems)?;
    if config.max_events == 0 {
        problems.push(format!("{} must be at least 1", section.key("max_events")));
    }
    let topics = around.topics.clone();
    Some(Box::new(move |given| Ok(Arc::new(InMemory::new(&config, &topics, given)))))
}

/// See the [module's documentation](self).
pub(crate) struct InMemory {
    state: Arc<State>,
}

impl InMemory {
    pub(crate) fn new(config: &InMemoryConfig, topics: &TopicsConfig, given: &Given) -> Self {
        Self { state: Arc::new(State::new(config, topics, given)) }
    }
}

impl Strategy for InMemory {
    fn name(&self) -> &'static str {
        "in-memory"
    }

    fn place(&self) -> String {
        "this process".into()
    }

    fn promise(&self) -> String {
        "a 202 means: held in this process's memory only; a crash or kill loses what is not yet applied"
            .into()
    }

    fn reach(&self) -> Reach {
        Reach { is_shared: false, outlives_process: false, is_readable_from_outside: false }
    }

    fn names(&self) -> &Names {
        &self.state.names
    }

    fn reports_within(&self) -> Option<Duration> {
        None
    }

    fn publisher_with(&self, _: Arc<dyn Spill>) -> Result<Arc<dyn Publish>, OpenError> {
        // what is taken is stored

        Ok(Arc::clone(&self.state) as Arc<dyn Publish>)
    }

    fn subscribe(&self, of: EventType, limits: BatchLimits) -> Result<Box<dyn Subscription>, OpenError> {
        let topic = Topic::Events(of);
        self.state.topics[topic.index()].lock().members += 1;
        let id = self.state.members.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Member {
            state: Arc::clone(&self.state),
            topic,
            id,
            news: Arc::default(),
            limits,
            stopped: false,
            filling: Batch::new(topic),
            hand_out_at: None,
        }))
    }

    fn logs(&self) -> Result<&dyn Logs, Absent> {
        Ok(self)
    }

    fn topics(&self) -> Result<&dyn Topics, Absent> {
        let reason = "the in-memory strategy keeps its topics inside the process: there are none to create or to describe";
        Err(Absent(reason.to_owned()))
    }
}

impl Lag for InMemory {
    fn lag(&self, of: EventType) -> Result<GroupLag, LagError> {
        Ok(self.state.group_lag(of))
    }
}

impl Logs for InMemory {
    fn open(&self, topic: Topic) -> Result<Box<dyn Log>, OpenError> {
        Ok(Box::new(MemoryLog { state: Arc::clone(&self.state), topic }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::{Receipts, Record, Refused, Sender, Waiting};

    /// Takes as many events as it may have.
    #[derive(Debug)]
    struct Few(AtomicUsize);

    impl Sender for Few {
        fn takes(&self, _: usize, max: Waiting, taken: Waiting) -> bool {
            assert!(taken.events < max.events);
            let may = self.0.load(Ordering::Relaxed) < 2;
            self.0.fetch_add(usize::from(may), Ordering::Relaxed);
            may
        }

        fn gives(&self, _: usize) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What a client has waiting is its own until it is applied, and not only until it is acknowledged.
    #[tokio::test]
    async fn who_has_its_part_of_the_queue_leaves_the_rest_to_others() {
        let strategy = crate::contract::in_memory(1, 10, "");
        let publisher = strategy.publisher_with(Arc::new(crate::publish::NotStored)).unwrap();
        let (first, second) = (Arc::new(Few(0.into())), Arc::new(Few(0.into())));
        let put = |sender: &Arc<Few>| {
            let topic = Topic::Events(EventType::Like);
            let record = Record { topic, key: Some(b"key"), value: Some(b"value"), headers: &[] };
            let receipts = Receipts::of(Arc::clone(sender) as _, 1);
            publisher.offer(&record, receipts.receipt(0)).map_err(|not_taken| not_taken.reason)
        };
        assert_eq!([put(&first), put(&first), put(&first)], [Ok(()), Ok(()), Err(Refused::Full)]);
        assert_eq!(put(&second), Ok(()));
        let limits =
            BatchLimits { events: 2, bytes: usize::MAX, wait: Duration::ZERO, drain: Duration::ZERO };
        let mut member = strategy.subscribe(EventType::Like, limits).unwrap();
        let batch = member.next().await.unwrap().unwrap();
        assert_eq!(put(&first), Err(Refused::Full), "read is not applied");
        member.commit(batch);
        assert_eq!([put(&first), put(&first), put(&first)], [Ok(()), Ok(()), Err(Refused::Full)]);
    }

    #[test]
    fn a_queue_that_takes_nothing_is_refused() {
        let told = |max_events: i64| {
            let default: toml::Table = KIND.defaults.parse().unwrap();
            let default = default["buffer"][KIND.section].as_table().unwrap();
            let mut table = default.clone();
            table.insert("max_events".to_owned(), max_events.into());
            let topics = TopicsConfig {
                partitions: 1,
                replication_factor: 1,
                prefix: String::new(),
                retention_hours: 1,
                dead_letter_retention_hours: 1,
            };
            let section = Section::new("buffer.in_memory", table, default.clone());
            let (around, mut problems) = (Surroundings { topics: &topics, drain_ms: 1 }, Vec::new());
            assert!(configure(&section, &around, &mut problems).is_some());
            problems
        };
        assert_eq!(told(0), ["buffer.in_memory.max_events must be at least 1"]);
        assert_eq!(told(1), Vec::<String>::new());
    }
}
