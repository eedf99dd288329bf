//! A member of a group: a task that reads the partitions it owns, and what it may do with them.
//!
//! A member says every third of its lease that it is there, sees who else is, and computes its share ([`super::shares`]). It
//! takes what is its and nobody's, and gives back what is another's: nothing more of it is handed out, the batch in work gets
//! time to finish, what is done is trimmed, and only then it goes. A member that dies loses its partitions when its leases
//! end, by the server's clock; what it does afterwards is refused, since each trim asks whether the partition is still its.
//!
//! Reading takes nothing away. A batch that is done is trimmed off the head of its list, so that a crash at any moment leads
//! to the same head being read again.

mod reading;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::link::{Link, Silence};
use super::scripts::{Call, SCRIPTS, numbers, texts};
use super::settings::Settings;
use super::shares::share;
use crate::share::handle::Handle;
use crate::share::place::Place;
use crate::share::shared::Shared;
use crate::share::{Phase, Share, commits::Commit};
use crate::{BatchLimits, Offset, Partition, SubscribeError, Topic};

/// How long a member looks for news at most, and at least, when there is nothing to read.
const IDLE_MAX: Duration = Duration::from_millis(100);
const IDLE_MIN: Duration = Duration::from_millis(2);

/// How often a member looks whether a partition that is its share was given back.
const HAND_OVER_LOOK: Duration = Duration::from_millis(100);

/// After Redis did not answer, until it is asked again.
const RETRY: Duration = Duration::from_millis(200);

/// A partition of this member.
struct Owned {
    epoch: i64,
    /// The next record to read.
    next: Offset,
    /// Until when nobody else can have it, by our clock, which began before the server's did.
    until: Instant,
    /// Whether there was more of it than was read last.
    is_behind: bool,
    /// When it goes at the latest, if it is to go.
    leaves: Option<Instant>,
    /// How large the records are that were read, by the offset behind each, from the first that is not trimmed.
    sizes: Vec<(Offset, usize)>,
}

struct Owner {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    link: Link,
    topic: Topic,
    group: String,
    me: String,
    owned: HashMap<Partition, Owned>,
    /// What is this member's share, which others may still own.
    wanted: Vec<Partition>,
    beats_at: Instant,
    idle: Duration,
    /// What Redis was asked for in vain, until it answers.
    silence: Option<String>,
}

/// Starts a member.
pub(super) fn start(
    settings: &Arc<Settings>,
    topic: Topic,
    group: &str,
    me: String,
    limits: BatchLimits,
) -> Handle {
    let shared = Arc::new(Shared::new(Share::new(topic, limits, limits.wait), limits));
    let (tell, ended) = oneshot::channel();
    let owner = Owner {
        settings: Arc::clone(settings),
        shared: Arc::clone(&shared),
        link: settings.link(),
        topic,
        group: group.to_owned(),
        me,
        owned: HashMap::new(),
        wanted: Vec::new(),
        beats_at: Instant::now(),
        idle: limits.wait.clamp(IDLE_MIN, IDLE_MAX),
        silence: None,
    };
    let failing = Arc::clone(&shared);
    tokio::spawn(async move {
        let ended = AssertUnwindSafe(owner.run()).catch_unwind().await;
        let ended =
            ended.unwrap_or_else(|_| Err(SubscribeError("the member met a bug and ended".to_owned())));
        if let Err(error) = &ended {
            failing.fail(error.to_string());
        }
        // nobody may be listening any more: the handle was dropped
        drop(tell.send(ended));
    });
    Handle::new(shared, ended)
}

impl Owner {
    /// Until the handle closes or is dropped. Then trims what is done and leaves the group.
    async fn run(mut self) -> Result<(), SubscribeError> {
        while self.shared.share.lock().phase() != Phase::Closing {
            let pause = match self.turn().await {
                Ok(true) => Duration::ZERO,
                Ok(false) => self.idle,
                Err(silence) => {
                    self.met(&silence);
                    RETRY
                }
            };
            self.drop_lapsed();
            // either way, the next turn tells
            let _ = tokio::time::timeout(pause, self.shared.woken.notified()).await;
        }
        self.leave().await.map_err(|silence| {
            SubscribeError(format!("the last offsets were not committed: {}", silence.reason()))
        })
    }

    /// Whether there may be more to do at once.
    async fn turn(&mut self) -> Result<bool, Silence> {
        if self.link.connect().await? {
            let all: Vec<Partition> = self.owned.keys().copied().collect();
            all.into_iter()
                .for_each(|partition| self.lost(partition, "the connection to Redis was another one"));
            self.beats_at = Instant::now();
        }
        if Instant::now() >= self.beats_at {
            self.beat().await?;
        }
        self.trim(|share| share.commits_to_send()).await?;
        self.finish_leaving().await?;
        self.serve_holds();
        let is_read = self.read().await?;
        self.silence = None;
        Ok(is_read)
    }

    fn met(&mut self, silence: &Silence) {
        let (group, reason) = (&self.group, silence.reason());
        if self.silence.as_deref() != Some(reason) {
            tracing::warn!(group, "the group's lists cannot be read now: {reason}");
        }
        self.silence = Some(reason.to_owned());
    }

    /// Says that this member is there, and takes and renews what is its.
    async fn beat(&mut self) -> Result<(), Silence> {
        let lease = self.settings.lease;
        let keys = self.settings.keys(self.topic).clone();
        let found = self.link.send(self.settings.found(self.topic).into()).await?;
        match self.settings.log_found(self.topic, &found) {
            Err(reason) => {
                self.shared.fail(reason);
                return Ok(());
            }
            Ok(Some(log)) if !self.shared.share.lock().reads_from(Some(&log)) => {
                let name = self.topic.base_name();
                self.shared.fail(format!("the lists of {name} were made anew while they were consumed"));
                return Ok(());
            }
            Ok(_) => {}
        }
        let began = Instant::now();
        let alive = Call::new(&SCRIPTS.alive, [keys.members()]).with(&self.me).with(lease.as_millis());
        let (answers, _) = self.link.call(&[alive], None).await?;
        let members = match answers.first() {
            Some(Ok(members)) => {
                texts(members).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
            }
            Some(Err(error)) => return Err(self.refused(error)),
            None => Vec::new(),
        };
        self.wanted = share(&self.me, &members, self.settings.partitions_of(self.topic));
        let leaving: Vec<Partition> =
            self.owned.keys().copied().filter(|partition| !self.wanted.contains(partition)).collect();
        self.begin_to_leave(&leaving);
        let mut asked = Vec::new();
        for partition in
            self.owned.keys().chain(self.wanted.iter().filter(|wanted| !self.owned.contains_key(wanted)))
        {
            asked.push(*partition);
        }
        let calls: Vec<Call> = asked
            .iter()
            .map(|partition| match self.owned.get(partition) {
                Some(owned) => Call::new(&SCRIPTS.renew, [keys.meta(*partition)])
                    .with(&self.me)
                    .with(owned.epoch)
                    .with(lease.as_millis()),
                None => Call::new(&SCRIPTS.acquire, [keys.meta(*partition)])
                    .with(&self.me)
                    .with(lease.as_millis()),
            })
            .collect();
        let (answers, _) = self.link.call(&calls, None).await?;
        let until = began + lease;
        let (mut came, mut trouble) = (Vec::new(), Ok(()));
        for (partition, answer) in asked.into_iter().zip(answers) {
            // one list that somebody spoilt keeps no other from being read
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    trouble = Err(self.refused(&error));
                    continue;
                }
            };
            let is_mine = numbers::<1>(&answer).is_some_and(|[is_mine]| is_mine == 1);
            match (self.owned.get_mut(&partition), numbers::<3>(&answer)) {
                (Some(owned), _) if is_mine => owned.until = until,
                (Some(_), _) => self.lost(partition, "it is another member's"),
                (None, Some([1, epoch, base])) => {
                    self.came(partition, epoch, Offset(base), until);
                    came.push(partition.0);
                }
                (None, _) => {}
            }
        }
        if !came.is_empty() {
            let owned = self.owned.len();
            tracing::info!(group = self.group, partitions = ?came, owned, "partitions assigned");
        }
        let is_complete = self.wanted.iter().all(|wanted| self.owned.contains_key(wanted));
        self.beats_at = began + if is_complete { lease / 3 } else { HAND_OVER_LOOK.min(lease / 3) };
        self.shared.joined();
        trouble
    }

    fn refused(&self, error: &str) -> Silence {
        Silence::Unknown(format!("Redis at {}: {error}", self.settings.place))
    }

    fn came(&mut self, partition: Partition, epoch: i64, base: Offset, until: Instant) {
        let place = Place { offset: base, leader_epoch: None, finding: None };
        self.shared.share.lock().comes(partition, &place, Instant::now());
        self.owned.insert(
            partition,
            Owned { epoch, next: base, until, is_behind: false, leaves: None, sizes: Vec::new() },
        );
    }

    /// A partition is not this member's any more, and what of it is in work belongs to another.
    fn lost(&mut self, partition: Partition, why: &str) {
        self.owned.remove(&partition);
        let mut share = self.shared.share.lock();
        share.begin_to_leave(&[partition]);
        share.have_left(&[partition]);
        tracing::warn!(group = self.group, %partition, "a partition was lost: {why}");
    }

    /// Leases that ended while Redis did not answer: others may own the partitions.
    fn drop_lapsed(&mut self) {
        let now = Instant::now();
        let lapsed: Vec<Partition> = self
            .owned
            .iter()
            .filter(|(_, owned)| owned.until <= now)
            .map(|(partition, _)| *partition)
            .collect();
        for partition in lapsed {
            self.lost(partition, "its lease was not renewed in time");
        }
    }

    fn begin_to_leave(&mut self, leaving: &[Partition]) {
        if leaving.is_empty() {
            return;
        }
        self.shared.share.lock().begin_to_leave(leaving);
        let at_the_latest = Instant::now() + self.shared.limits.drain;
        for partition in leaving {
            if let Some(owned) = self.owned.get_mut(partition) {
                owned.leaves.get_or_insert(at_the_latest);
            }
        }
    }

    /// Lets go what has nothing in work any more, or has had its time.
    async fn finish_leaving(&mut self) -> Result<(), Silence> {
        let now = Instant::now();
        let gone: Vec<Partition> = {
            let share = self.shared.share.lock();
            let goes = |(partition, owned): (&Partition, &Owned)| {
                let at_the_latest = owned.leaves?;
                (at_the_latest <= now || !share.are_in_work(&[*partition])).then_some(*partition)
            };
            self.owned.iter().filter_map(goes).collect()
        };
        if gone.is_empty() {
            return Ok(());
        }
        self.trim(|share| share.commits_to_settle(|partition| gone.contains(&partition))).await?;
        self.release(&gone).await
    }

    async fn release(&mut self, gone: &[Partition]) -> Result<(), Silence> {
        let keys = self.settings.keys(self.topic);
        let call = |partition: &Partition| {
            let owned = self.owned.get(partition)?;
            Some(Call::new(&SCRIPTS.release, [keys.meta(*partition)]).with(&self.me).with(owned.epoch))
        };
        let calls: Vec<Call> = gone.iter().filter_map(call).collect();
        self.shared.share.lock().have_left(gone);
        gone.iter().for_each(|partition| drop(self.owned.remove(partition)));
        if calls.is_empty() {
            return Ok(());
        }
        let numbers: Vec<i32> = gone.iter().map(|partition| partition.0).collect();
        tracing::info!(group = self.group, partitions = ?numbers, "partitions revoked");
        self.link.call(&calls, None).await.map(drop)
    }

    /// Takes what is done off the heads of its lists.
    async fn trim(&mut self, commits: impl FnOnce(&mut Share) -> Vec<Commit>) -> Result<(), Silence> {
        let commits = commits(&mut self.shared.share.lock());
        if commits.is_empty() {
            return Ok(());
        }
        let keys = self.settings.keys(self.topic);
        let lease = self.settings.lease;
        let began = Instant::now();
        let call = |commit: &Commit| {
            let owned = self.owned.get(&commit.partition)?;
            let bytes: usize = owned
                .sizes
                .iter()
                .take_while(|(behind, _)| *behind <= commit.next)
                .map(|(_, size)| size)
                .sum();
            let call = Call::new(&SCRIPTS.trim, [keys.list(commit.partition), keys.meta(commit.partition)]);
            let call = call.with(&self.me).with(owned.epoch).with(lease.as_millis());
            Some((*commit, call.with(commit.next).with(bytes)))
        };
        let (commits, calls): (Vec<Commit>, Vec<Call>) = commits.iter().filter_map(call).unzip();
        let answers = match self.link.call(&calls, None).await {
            Ok((answers, _)) => answers,
            Err(silence) => {
                let mut share = self.shared.share.lock();
                commits.iter().for_each(|commit| share.answered(commit.partition, None));
                return Err(silence);
            }
        };
        let mut trouble = Ok(());
        for (commit, answer) in commits.into_iter().zip(answers) {
            let trimmed = answer.as_ref().map(numbers::<1>);
            match trimmed {
                Ok(Some([1])) => {
                    self.shared.share.lock().answered(commit.partition, Some(commit.next));
                    if let Some(owned) = self.owned.get_mut(&commit.partition) {
                        owned.sizes.retain(|(behind, _)| *behind > commit.next);
                        owned.until = owned.until.max(began + lease);
                    }
                }
                Ok(Some(_)) => self.lost(commit.partition, "it is another member's"),
                Ok(None) | Err(_) => {
                    self.shared.share.lock().answered(commit.partition, None);
                    let error = answer.err().unwrap_or_else(|| "an answer that makes no sense".to_owned());
                    trouble = Err(self.refused(&error));
                }
            }
        }
        trouble
    }

    /// Trims what is done, gives everything back and leaves the group.
    async fn leave(&mut self) -> Result<(), Silence> {
        let trimmed = self.trim(|share| share.commits_to_settle(|_| true)).await;
        let all: Vec<Partition> = self.owned.keys().copied().collect();
        let released = self.release(&all).await;
        let members = self.settings.keys(self.topic).members();
        let left = self.link.send(vec![::redis::cmd("ZREM").arg(members).arg(&self.me).to_owned()]).await;
        if let Err(silence) = released.and(left.map(drop)) {
            // others take over when the leases end
            tracing::warn!(group = self.group, "the group was not left in order: {}", silence.reason());
        }
        trimmed
    }
}
