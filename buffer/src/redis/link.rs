//! A connection to one server.
//!
//! Whether something was sent decides what is known of it: before a connection stands nothing was, and afterwards a missing
//! answer says nothing. So a connection is used as long as it is well, nothing is ever sent twice by itself, and whoever
//! asks is told which of the two it was.
//!
//! **Another connection may lead to other data.** A Redis that was started again, or another one in its place, may have lost what
//! came last: offsets that were seen before are then given to other records. So connections are made by [`Link::connect`]
//! alone, which says when it made one, and whoever knows offsets forgets them then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::aio::{ConnectionLike as _, MultiplexedConnection};
use ::redis::io::tcp::{TcpSettings, socket2};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, RedisResult, Value,
};
use floodgate_schemas::text::in_one_line;
use tokio::time::Instant;

use super::scripts::Call;

/// How long a connection may take to stand.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// After a connection could not be made, until the next try.
pub(super) const CONNECT_RETRY: Duration = Duration::from_millis(200);

/// After how long without a word the system asks whether the other side is still there, and how often it asks in vain.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// What Redis answers a script that it does not know, which is then certainly not run.
const NO_SCRIPT: &str = "NOSCRIPT";

/// What a server answers a write when it has become the replica of another, which may have taken over its name. Redis 6.2 says it
/// in the midst of what it says of a script.
const READ_ONLY: &str = "READONLY";

/// Where Redis is, how it is talked with, and who it is.
pub(super) fn connection_info(url: &str) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    // by which a broken connection is noticed while nobody asks
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER);
    let tcp =
        TcpSettings::default().set_nodelay(true).set_keepalive(keepalive.with_retries(KEEPALIVE_PROBES));
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// Nothing was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silence {
    /// And nothing was sent.
    NotSent(String),
    /// What was sent may have been done.
    Unknown(String),
}

impl Silence {
    pub(super) fn reason(&self) -> &str {
        let (Self::NotSent(reason) | Self::Unknown(reason)) = self;
        reason
    }
}

/// What one call was answered: an error of the server is one of a call that was not done.
pub(super) type Answer = Result<Value, String>;

/// A connection that is made when it is needed.
pub(super) struct Link {
    client: Client,
    place: String,
    answer_timeout: Duration,
    pause: u32,
    connection: Option<Live>,
    /// Whether nobody was told yet that the connection is a new one.
    is_new: bool,
    /// Until when no connection is tried, and why none was made.
    failed: Option<(Instant, Silence)>,
}

struct Live {
    connection: MultiplexedConnection,
    is_gone: Arc<AtomicBool>,
}

impl Link {
    /// To this Redis, called so by people. An answer is waited for so long. After a connection could not be made none is tried for
    /// `pause` times as long as that took.
    pub(super) fn new(client: Client, place: &str, answer_timeout: Duration, pause: u32) -> Self {
        Self {
            client,
            place: place.to_owned(),
            answer_timeout,
            pause,
            connection: None,
            is_new: false,
            failed: None,
        }
    }

    /// Makes a connection if there is none that is well; [`Link::take_new`] tells of it.
    pub(super) async fn connect(&mut self) -> Result<(), Silence> {
        if self.is_well() {
            return Ok(());
        }
        self.connection = None;
        let began = Instant::now();
        if let Some((_, silence)) = self.failed.as_ref().filter(|(until, _)| *until > began) {
            return Err(silence.clone());
        }
        let is_gone = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_gone);
        let note = move |info: PushInfo| -> Result<(), ()> {
            if info.kind == PushKind::Disconnection {
                told.store(true, Ordering::Release);
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.answer_timeout))
            .set_push_sender(note);
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        match connected {
            Ok(connection) => {
                self.connection = Some(Live { connection, is_gone });
                self.is_new = true;
                self.failed = None;
                Ok(())
            }
            Err(error) => {
                let silence = Silence::NotSent(self.says(&error));
                let pause = began.elapsed() * self.pause + CONNECT_RETRY;
                self.failed = Some((Instant::now() + pause, silence.clone()));
                Err(silence)
            }
        }
    }

    /// Whether a connection was made since this was asked last.
    pub(super) fn take_new(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// Whether there is a connection, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.connection.as_ref().is_some_and(|live| !live.is_gone.load(Ordering::Acquire))
    }

    fn says(&self, error: &::redis::RedisError) -> String {
        format!("Redis at {}: {}", self.place, in_one_line(error))
    }

    /// Sends commands together on the connection that there is, and gives what each was answered.
    pub(super) async fn send(&mut self, commands: Vec<Cmd>) -> Result<Vec<Answer>, Silence> {
        let count = commands.len();
        if count == 0 {
            // an answer to nothing never comes
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(count);
        for command in commands {
            pipeline.add_command(command);
        }
        let is_well = |live: &&mut Live| !live.is_gone.load(Ordering::Acquire);
        let Some(Live { connection, .. }) = self.connection.as_mut().filter(is_well) else {
            return Err(Silence::NotSent(format!("the connection to Redis at {} is gone", self.place)));
        };
        match connection.req_packed_commands(&pipeline, 0, count).await {
            Ok(answers) => {
                let answers: Vec<Answer> = answers.into_iter().map(answer).collect();
                if answers.iter().any(|answer| answer.as_ref().is_err_and(|error| error.contains(READ_ONLY)))
                {
                    self.connection = None;
                }
                Ok(answers)
            }
            Err(error) => {
                // whatever comes on it from here on belongs to nobody
                self.connection = None;
                Err(Silence::Unknown(self.says(&error)))
            }
        }
    }

    /// Calls scripts together, and `then` behind them. A script that Redis does not know is sent again with its text, and
    /// `then` behind those.
    pub(super) async fn call(
        &mut self,
        calls: &[&Call],
        then: Option<&Cmd>,
    ) -> Result<(Vec<Answer>, Option<Answer>), Silence> {
        match tokio::time::timeout(self.answer_timeout, self.call_patiently(calls, then)).await {
            Ok(answered) => answered,
            Err(_) => {
                self.connection = None;
                Err(Silence::Unknown(format!("Redis at {} did not answer in time", self.place)))
            }
        }
    }

    async fn call_patiently(
        &mut self,
        calls: &[&Call],
        then: Option<&Cmd>,
    ) -> Result<(Vec<Answer>, Option<Answer>), Silence> {
        let commands: Vec<Cmd> = calls.iter().map(|call| call.command(false)).chain(then.cloned()).collect();
        let mut answers = self.send(commands).await?;
        let mut last = then.and_then(|_| answers.pop());
        let unknown: Vec<usize> = (0..calls.len())
            .filter(|n| answers.get(*n).is_some_and(|answer| begins_with(answer, NO_SCRIPT)))
            .collect();
        if unknown.is_empty() {
            return Ok((answers, last));
        }
        let commands: Vec<Cmd> =
            unknown.iter().map(|n| calls[*n].command(true)).chain(then.cloned()).collect();
        match self.send(commands).await {
            Ok(mut again) => {
                last = then.and_then(|_| again.pop());
                for (n, answer) in unknown.into_iter().zip(again) {
                    answers[n] = answer;
                }
                Ok((answers, last))
            }
            // of the first ones it is known what became of them, but not whether what `then` waits for came
            Err(silence) => Err(Silence::Unknown(silence.reason().to_owned())),
        }
    }
}

/// An error of the server in its own words.
fn answer(value: Value) -> Answer {
    match value {
        Value::ServerError(error) => Err(format!("{} {}", error.code(), error.details().unwrap_or_default())),
        value => Ok(value),
    }
}

fn begins_with(answer: &Answer, code: &str) -> bool {
    answer.as_ref().is_err_and(|error| error.starts_with(code))
}
