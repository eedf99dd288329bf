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

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use ::redis::Value;
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::link::Silence;
use super::nodes::{Called, Nodes, is_moved};
use super::scripts::{Call, SCRIPTS, numbers, texts};
use super::settings::Settings;
use super::shares::share;
use crate::share::handle::Handle;
use crate::share::place::Place;
use crate::share::shared::Shared;
use crate::share::{Phase, Share, commits::Commit};
use crate::{BatchLimits, Offset, Partition, SubscribeError, Topic, Word};

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
    /// Where the list begins: nobody else takes anything off it.
    base: Offset,
    /// The next record to put into the batch.
    next: Offset,
    /// Records from there on that Redis answered already.
    ahead: VecDeque<Value>,
    /// Up to where records were seen to be there, and how large they are on average.
    seen: Offset,
    record_bytes: usize,
    /// Until when nobody else can have it, by our clock, which began before the server's did.
    until: Instant,
    /// When it goes at the latest, if it is to go.
    leaves: Option<Instant>,
    /// How large the records are that were read, by the offset behind each, from the first that is not trimmed.
    sizes: Vec<(Offset, usize)>,
}

struct Owner {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    nodes: Nodes,
    topic: Topic,
    group: String,
    me: String,
    owned: HashMap<Partition, Owned>,
    /// What is this member's share, which others may still own.
    wanted: Vec<Partition>,
    beats_at: Instant,
    idle: Duration,
    /// Whether the group's members were told once, and so what is this one's.
    is_known: bool,
    /// What went wrong in this turn first.
    trouble: Option<Silence>,
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
    let shared = Arc::new(Shared::new(Share::new(topic, group, limits, limits.wait), limits));
    let (tell, ended) = oneshot::channel();
    let owner = Owner {
        settings: Arc::clone(settings),
        shared: Arc::clone(&shared),
        nodes: settings.nodes(),
        topic,
        group: group.to_owned(),
        me,
        owned: HashMap::new(),
        wanted: Vec::new(),
        beats_at: Instant::now(),
        idle: limits.wait.clamp(IDLE_MIN, IDLE_MAX),
        is_known: false,
        trouble: None,
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
                    self.met(silence);
                    RETRY
                }
            };
            self.drop_lapsed();
            // a pause of nothing would last until the timer's next millisecond; either way, the next turn tells
            if !pause.is_zero() {
                let _ = tokio::time::timeout(pause, self.shared.woken.notified()).await;
            }
        }
        self.leave().await.map_err(|silence| {
            SubscribeError(format!("the last offsets were not committed: {}", silence.reason()))
        })
    }

    /// Whether there may be more to do at once. What went wrong with some lists is told at its end: it keeps no other from being
    /// read.
    async fn turn(&mut self) -> Result<bool, Silence> {
        let news = self.nodes.connect().await?;
        if !news.is_empty() {
            let keys = self.settings.keys(self.topic);
            let is_there = |partition: &&Partition| self.nodes.is_on(&news, &keys.list(**partition));
            let there: Vec<Partition> = self.owned.keys().filter(is_there).copied().collect();
            there
                .into_iter()
                .for_each(|partition| self.lost(partition, "the connection to Redis was another one"));
            self.beats_at = Instant::now();
        }
        self.trouble = None;
        if Instant::now() >= self.beats_at {
            self.beat().await;
        }
        self.trim(|share| share.commits_to_send(Instant::now())).await;
        self.finish_leaving().await;
        self.serve_holds();
        let is_read = self.read().await;
        match self.trouble.take() {
            Some(silence) if !is_read => Err(silence),
            Some(silence) => {
                self.met(silence);
                Ok(true)
            }
            None => {
                self.silence = None;
                Ok(is_read)
            }
        }
    }

    fn met(&mut self, silence: Silence) {
        let (group, reason) = (&self.group, silence.reason());
        if self.silence.as_deref() != Some(reason) {
            let (partition, offset) = self.shared.share.lock().first();
            tracing::warn!(group, partition, offset, "lists cannot be read now, trying again: {reason}");
        }
        self.silence = Some(reason.to_owned());
    }

    /// What a call about a partition was answered, or `None`, and then why is told at the turn's end.
    fn answer(&mut self, partition: Partition, called: Called) -> Option<Value> {
        match called {
            Ok((answer, _)) => {
                if is_moved(&answer) && self.owned.contains_key(&partition) {
                    // who has the list now may be a former replica, which lacks what came last
                    self.lost(partition, "its list is on another node");
                    self.beats_at = Instant::now();
                }
                if let Err(error) = &answer {
                    self.trouble.get_or_insert(self.settings.refused(error));
                }
                answer.ok()
            }
            Err(silence) => {
                self.trouble.get_or_insert(silence);
                None
            }
        }
    }

    /// Says that this member is there, and takes and renews what is its. Where it cannot be told who else is there, it keeps
    /// what it has.
    async fn beat(&mut self) {
        let lease = self.settings.lease;
        let keys = self.settings.keys(self.topic).clone();
        let began = Instant::now();
        match self.members().await {
            Ok(members) => {
                self.wanted = share(&self.me, &members, self.settings.partitions_of(self.topic));
                let wanted = &self.wanted;
                let leaving: Vec<Partition> =
                    self.owned.keys().copied().filter(|partition| !wanted.contains(partition)).collect();
                self.begin_to_leave(&leaving);
                self.is_known = true;
            }
            Err(Some(silence)) => drop(self.trouble.get_or_insert(silence)),
            Err(None) => return,
        }
        let wanted = self.wanted.iter().filter(|wanted| !self.owned.contains_key(wanted));
        let asked: Vec<Partition> = self.owned.keys().chain(wanted).copied().collect();
        let call = |partition: &Partition| {
            let meta = [keys.meta(*partition)];
            let call = match self.owned.get(partition) {
                Some(owned) => Call::new(&SCRIPTS.renew, meta).with(&self.me).with(owned.epoch),
                None => Call::new(&SCRIPTS.acquire, meta).with(&self.me),
            };
            call.with(lease.as_millis())
        };
        let calls: Vec<Call> = asked.iter().map(call).collect();
        let called = self.nodes.call(&calls, None).await;
        let until = began + lease;
        let mut came = Vec::new();
        for (partition, called) in asked.into_iter().zip(called) {
            // one list that somebody spoilt keeps no other from being read
            let Some(answer) = self.answer(partition, called) else { continue };
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
            self.shared.share.lock().is_assigned();
            let (member, owned) = (&self.me, self.owned.len());
            tracing::info!(group = self.group, member, partitions = ?came, owned, "partitions assigned");
        }
        let is_complete = self.wanted.iter().all(|wanted| self.owned.contains_key(wanted));
        self.beats_at = began + if is_complete { lease / 3 } else { HAND_OVER_LOOK.min(lease / 3) };
        // what is away or spoilt keeps it from nothing else
        if self.is_known {
            self.shared.joined();
        }
    }

    /// Says that this member is there, and who is. `Err` is why that cannot be told now, or nothing once it never can.
    async fn members(&mut self) -> Result<Vec<String>, Option<Silence>> {
        let keys = self.settings.keys(self.topic).clone();
        let found = self.nodes.send(&keys.id(), self.settings.found(self.topic).into()).await?;
        match self.settings.log_found(self.topic, &found) {
            Err(reason) => {
                self.shared.fail(reason);
                return Err(None);
            }
            Ok(Some(log)) if !self.shared.share.lock().reads_from(Some(&log)) => {
                let name = self.topic.base_name();
                self.shared.fail(format!("the lists of {name} were made anew while they were consumed"));
                return Err(None);
            }
            Ok(_) => {}
        }
        let lease = self.settings.lease.as_millis();
        let alive = Call::new(&SCRIPTS.alive, [keys.members()]).with(&self.me).with(lease);
        match self.nodes.call([&alive], None).await.pop() {
            Some(Ok((Ok(members), _))) => {
                Ok(texts(&members).map(|text| String::from_utf8_lossy(text).into_owned()).collect())
            }
            Some(Ok((Err(error), _))) => Err(Some(self.settings.refused(&error))),
            Some(Err(silence)) => Err(Some(silence)),
            None => Ok(Vec::new()),
        }
    }

    fn came(&mut self, partition: Partition, epoch: i64, base: Offset, until: Instant) {
        let place = Place { offset: base, leader_epoch: None, finding: None, has_word: false };
        self.shared.share.lock().comes(partition, &place, Instant::now());
        self.owned.insert(
            partition,
            Owned {
                epoch,
                base,
                next: base,
                ahead: VecDeque::new(),
                seen: base,
                record_bytes: 1,
                until,
                leaves: None,
                sizes: Vec::new(),
            },
        );
    }

    /// A partition is not this member's any more, and what of it is in work belongs to another.
    fn lost(&mut self, partition: Partition, why: &str) {
        let offset = self.owned.remove(&partition).map(|owned| owned.base.0);
        let mut share = self.shared.share.lock();
        share.begin_to_leave(&[partition]);
        share.have_left(&[partition]);
        tracing::warn!(group = self.group, partition = partition.0, offset, "a partition was lost: {why}");
    }

    /// Leases that ended while Redis did not answer: others may own the partitions.
    fn drop_lapsed(&mut self) {
        let now = Instant::now();
        let lapsed = self.owned.iter().filter(|(_, owned)| owned.until <= now);
        let lapsed: Vec<Partition> = lapsed.map(|(partition, _)| *partition).collect();
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
    async fn finish_leaving(&mut self) {
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
            return;
        }
        self.trim(|share| share.commits_to_settle(|partition| gone.contains(&partition))).await;
        self.release(&gone).await;
    }

    async fn release(&mut self, gone: &[Partition]) {
        let keys = self.settings.keys(self.topic);
        let call = |partition: &Partition| {
            let owned = self.owned.get(partition)?;
            Some(Call::new(&SCRIPTS.release, [keys.meta(*partition)]).with(&self.me).with(owned.epoch))
        };
        let calls: Vec<Call> = gone.iter().filter_map(call).collect();
        self.shared.share.lock().have_left(gone);
        gone.iter().for_each(|partition| drop(self.owned.remove(partition)));
        if calls.is_empty() {
            return;
        }
        let numbers: Vec<i32> = gone.iter().map(|partition| partition.0).collect();
        tracing::info!(group = self.group, partitions = ?numbers, "partitions revoked");
        let called = self.nodes.call(&calls, None).await;
        // of one that was not given back the lease ends
        gone.iter().zip(called).for_each(|(partition, called)| drop(self.answer(*partition, called)));
    }

    /// Takes what is done off the heads of its lists.
    async fn trim(&mut self, commits: impl FnOnce(&mut Share) -> Vec<Commit>) {
        let commits = commits(&mut self.shared.share.lock());
        if commits.is_empty() {
            return;
        }
        let keys = self.settings.keys(self.topic);
        let lease = self.settings.lease;
        let began = Instant::now();
        let call = |commit: &Commit| {
            let owned = self.owned.get(&commit.partition)?;
            let done = owned.sizes.iter().take_while(|(behind, _)| *behind <= commit.next);
            let bytes: usize = done.map(|(_, size)| size).sum();
            let call = Call::new(&SCRIPTS.trim, [keys.list(commit.partition), keys.meta(commit.partition)]);
            let call = call.with(&self.me).with(owned.epoch).with(lease.as_millis());
            let call = call
                .with(commit.next)
                .with(bytes)
                .with(commit.word.as_ref().map_or(String::new(), Word::text));
            Some((commit.clone(), call))
        };
        let (commits, calls): (Vec<Commit>, Vec<Call>) = commits.iter().filter_map(call).unzip();
        let called = self.nodes.call(&calls, None).await;
        for (commit, called) in commits.into_iter().zip(called) {
            let Some(answer) = self.answer(commit.partition, called) else {
                self.shared.share.lock().answered(commit.partition, None);
                continue;
            };
            match numbers::<1>(&answer) {
                Some([1]) => {
                    self.shared.share.lock().answered(commit.partition, Some(commit.next));
                    if let Some(owned) = self.owned.get_mut(&commit.partition) {
                        owned.base = owned.base.max(commit.next);
                        owned.sizes.retain(|(behind, _)| *behind > commit.next);
                        owned.until = owned.until.max(began + lease);
                    }
                }
                Some(_) => self.lost(commit.partition, "it is another member's"),
                None => {
                    self.shared.share.lock().answered(commit.partition, None);
                    self.trouble.get_or_insert(self.settings.refused("an answer that makes no sense"));
                }
            }
        }
    }

    /// Trims what is done, gives everything back and leaves the group.
    async fn leave(&mut self) -> Result<(), Silence> {
        self.trouble = None;
        self.trim(|share| share.commits_to_settle(|_| true)).await;
        let trimmed = self.trouble.take().map_or(Ok(()), Err);
        let all: Vec<Partition> = self.owned.keys().copied().collect();
        self.release(&all).await;
        let members = self.settings.keys(self.topic).members();
        let leave = ::redis::cmd("ZREM").arg(&members).arg(&self.me).to_owned();
        let left = self.nodes.send(&members, vec![leave]).await;
        if let Err(silence) = self.trouble.take().map_or(left.map(drop), Err) {
            // others take over when the leases end
            tracing::warn!(group = self.group, "the group was not left in order: {}", silence.reason());
        }
        trimmed
    }
}
