//! What readers ask past publisher and members, waiting for the answer.

use std::ops::Range;
use std::sync::Arc;

use ::redis::Value;
use tokio::runtime::Handle;

use super::element;
use super::nodes::{Called, Nodes};
use super::scripts::{Call, SCRIPTS, numbers, text};
use super::settings::Settings;
use crate::{LogId, Offset, Partition, Topic, Word};

/// For threads that may block, of a runtime that goes on meanwhile.
pub(super) struct Reader {
    settings: Arc<Settings>,
    nodes: Nodes,
    runtime: Handle,
}

/// What is in a list.
pub(super) struct Looked {
    pub(super) records: Range<Offset>,
    /// When the first of them was appended, in milliseconds since the Unix epoch.
    pub(super) oldest_ms: Option<i64>,
    /// Whose it is.
    pub(super) member: Option<String>,
    /// What whoever has it says of why it does not go on.
    pub(super) word: Option<Word>,
}

impl Reader {
    pub(super) fn new(settings: &Arc<Settings>) -> Self {
        let (nodes, runtime) = (settings.nodes(), settings.runtime.clone());
        Self { settings: Arc::clone(settings), nodes, runtime }
    }

    /// What scripts answer, each for itself.
    pub(super) fn call(&mut self, calls: &[Call]) -> Vec<Result<Value, String>> {
        let Self { settings, nodes, runtime } = self;
        let called = runtime.block_on(async {
            match nodes.connect().await {
                Ok(_) => nodes.call_where_it_is(calls, None).await,
                Err(silence) => vec![Err(silence); calls.len()],
            }
        });
        let answer = |called: Called| match called {
            Ok((answer, _)) => answer.map_err(|error| settings.refused(&error).reason().to_owned()),
            Err(silence) => Err(silence.reason().to_owned()),
        };
        called.into_iter().map(answer).collect()
    }

    pub(super) fn call_one(&mut self, call: Call) -> Result<Value, String> {
        self.call(&[call]).pop().unwrap_or_else(|| Err("an answer to nothing".to_owned()))
    }

    /// Which log a topic is, where it has a name already; or why that cannot be told now.
    ///
    /// # Errors
    /// It is not what is configured.
    pub(super) fn log_of(&mut self, topic: Topic) -> Result<Result<Option<LogId>, String>, String> {
        let Self { settings, nodes, runtime } = self;
        let key = settings.keys(topic).id();
        let answers = runtime.block_on(async {
            nodes.connect().await?;
            nodes.send(&key, settings.known(topic).into()).await
        });
        match answers {
            Ok(answers) => settings.log_found(topic, &answers).map(Ok),
            Err(silence) => Ok(Err(silence.reason().to_owned())),
        }
    }

    /// How many members a topic's group has.
    pub(super) fn members(&mut self, topic: Topic) -> Result<usize, String> {
        let call = Call::new(&SCRIPTS.members, [self.settings.keys(topic).members()]);
        match self.call_one(call)? {
            Value::Int(count) => Ok(usize::try_from(count).unwrap_or(0)),
            _ => Err(Self::nonsense()),
        }
    }

    /// What is in every list of a topic.
    pub(super) fn look(&mut self, topic: Topic) -> Vec<(Partition, Result<Looked, String>)> {
        let partitions: Vec<Partition> = self.settings.partitions(topic).collect();
        let keys = self.settings.keys(topic);
        let call =
            |partition: &Partition| Call::new(&SCRIPTS.look, [keys.list(*partition), keys.meta(*partition)]);
        let calls: Vec<Call> = partitions.iter().map(call).collect();
        let looked = |answer: Value| {
            let [base, there] = numbers(&answer).ok_or_else(Self::nonsense)?;
            let oldest_ms = text(&answer, 3).and_then(element::appended_at_ms);
            let told = |place| text(&answer, place).filter(|told| !told.is_empty());
            let told = |place| told(place).map(|told| String::from_utf8_lossy(told).into_owned());
            let records = Offset(base)..Offset(base + there);
            let word = told(5).as_deref().and_then(Word::read);
            Ok(Looked { records, oldest_ms, member: told(4), word })
        };
        let answers = self.call(&calls).into_iter().map(|answer| answer.and_then(looked));
        partitions.into_iter().zip(answers).collect()
    }

    pub(super) fn nonsense() -> String {
        "an answer that makes no sense".to_owned()
    }
}
