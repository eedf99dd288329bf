//! What a client may deliver, a pipeline do and a group decide, and what must be true whatever the order.

use std::collections::{BTreeSet, VecDeque};

use floodgate_schemas::EventType;
use proptest::prelude::*;

use super::super::commits::Commit;
use super::super::reading::{Came, Step};
use super::super::*;
use crate::share::place::{CommitMark, Committed, place};

const TOPIC: Topic = Topic::Events(EventType::Like);
pub(super) const PARTITIONS: usize = 2;
const LIMITS: BatchLimits =
    BatchLimits { events: 4, bytes: 1 << 20, wait: Duration::ZERO, drain: Duration::ZERO };

/// One thing that happens; a partition is the first number.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A record, or a marker that is none, is appended.
    Append(usize, bool),
    /// The client delivers what is next.
    Deliver(usize),
    /// The owner looks after held partitions; whether the client does what it is asked for, and whether it passes over a
    /// resumption.
    Serve {
        worked: bool,
        is_resumption_lost: bool,
    },
    /// The owner pauses everything while the batch is full, and resumes it afterwards.
    LookWhetherFull,
    /// Milliseconds go by.
    Wait(u64),
    Take,
    /// Everything in work is done.
    GiveBack,
    /// The first few of a partition are done, the others are not.
    GiveBackInPart(usize, usize),
    /// A partition is held for so many milliseconds; the batch in work stays.
    Hold(usize, u64),
    SendCommits,
    /// A commit is answered.
    Answer {
        is_acknowledged: bool,
    },
    /// A partition leaves. Whether its work was waited for, whether its last commit worked, and whether somebody else reads
    /// it to its end before it comes back.
    Leave(usize, [bool; 3]),
    /// A partition comes, and its place is known or not.
    Come(usize, bool),
    /// The leaders tell where the logs lie.
    Place,
    Stand(usize),
    AnotherLog(usize),
    /// The pipeline says why a partition does not go on, or that it does.
    Say(usize, Option<u8>),
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let partition = || 0..PARTITIONS;
    prop_oneof![
        4 => (partition(), prop::bool::weighted(0.8)).prop_map(|(p, is_record)| Event::Append(p, is_record)),
        8 => partition().prop_map(Event::Deliver),
        4 => (prop::bool::weighted(0.8), prop::bool::weighted(0.2))
            .prop_map(|(worked, is_resumption_lost)| Event::Serve { worked, is_resumption_lost }),
        1 => Just(Event::LookWhetherFull),
        2 => (0..6000_u64).prop_map(Event::Wait),
        4 => Just(Event::Take),
        3 => Just(Event::GiveBack),
        1 => (partition(), 0..4_usize).prop_map(|(p, first)| Event::GiveBackInPart(p, first)),
        1 => (partition(), 0..3000_u64).prop_map(|(p, pause)| Event::Hold(p, pause)),
        3 => Just(Event::SendCommits),
        3 => prop::bool::weighted(0.7).prop_map(|is_acknowledged| Event::Answer { is_acknowledged }),
        1 => (partition(), any::<[bool; 3]>()).prop_map(|(p, how)| Event::Leave(p, how)),
        2 => (partition(), prop::bool::weighted(0.7)).prop_map(|(p, is_known)| Event::Come(p, is_known)),
        1 => Just(Event::Place),
        1 => partition().prop_map(Event::Stand),
        1 => partition().prop_map(Event::AnotherLog),
        1 => (partition(), prop::option::of(0..3_u8)).prop_map(|(p, word)| Event::Say(p, word)),
    ]
}

/// A partition as the cluster and the database have it.
#[derive(Debug, Default)]
struct Log {
    /// Whether there is a record at each offset.
    records: Vec<bool>,
    committed: Option<i64>,
    /// What was said with the last commit.
    word: Option<Word>,
    applied: BTreeSet<i64>,
}

impl Log {
    fn end(&self) -> i64 {
        self.records.len() as i64
    }

    fn is_record(&self, offset: i64) -> bool {
        self.records[offset as usize]
    }
}

/// A partition as the client has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetch {
    pub(super) at: i64,
    is_paused: bool,
}

pub(super) struct World {
    pub(super) share: Share,
    pub(super) now: Instant,
    logs: [Log; PARTITIONS],
    pub(super) fetches: [Option<Fetch>; PARTITIONS],
    all_are_paused: bool,
    pub(super) in_hand: Option<Batch>,
    /// Commits on their way.
    sent: VecDeque<Vec<Commit>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            share: Share::new(TOPIC, "g", LIMITS, Duration::from_millis(10)),
            now: Instant::now(),
            logs: Default::default(),
            fetches: [None; PARTITIONS],
            all_are_paused: false,
            in_hand: None,
            sent: VecDeque::new(),
        }
    }

    pub(super) fn play(&mut self, event: &Event) {
        match *event {
            Event::Append(p, is_record) => self.logs[p].records.push(is_record),
            Event::Deliver(p) => self.deliver(p),
            Event::Serve { worked, is_resumption_lost } => self.serve(worked, is_resumption_lost),
            Event::LookWhetherFull => self.look_whether_full(),
            Event::Wait(ms) => self.now += Duration::from_millis(ms),
            Event::Take => self.take(),
            Event::GiveBack => self.give_back(),
            Event::GiveBackInPart(p, first) => {
                if let Some(mut batch) = self.in_hand.take() {
                    batch.keep_first(partition(p), first);
                    self.apply(&batch);
                    self.share.give_back(batch);
                    self.share.hold(partition(p), self.now);
                }
            }
            Event::Hold(p, ms) => {
                if let Some(batch) = &mut self.in_hand {
                    batch.retain_partitions(|other| other != partition(p));
                    self.share.hold(partition(p), self.now + Duration::from_millis(ms));
                }
            }
            Event::SendCommits => {
                let commits = self.share.commits_to_send(self.now);
                if !commits.is_empty() {
                    let on_their_way: Vec<Partition> =
                        self.sent.iter().flatten().map(|commit| commit.partition).collect();
                    let twice = commits.iter().find(|commit| on_their_way.contains(&commit.partition));
                    assert!(twice.is_none(), "{twice:?} may be overtaken by an older one");
                    self.sent.push_back(commits);
                }
            }
            Event::Answer { is_acknowledged } => {
                let commits = self.sent.pop_front().unwrap_or_default();
                self.answer(&commits, is_acknowledged);
            }
            Event::Leave(p, how) => self.leave(p, how),
            Event::Come(p, is_known) => self.come(p, is_known),
            Event::Place => self.place(),
            Event::Stand(p) => {
                if self.fetches[p].is_some() && !self.share.is_held(partition(p)) {
                    self.share.stands(partition(p), None, "trouble".to_owned(), self.now);
                }
            }
            Event::AnotherLog(p) => {
                self.share.lies_in_another_log(partition(p));
            }
            Event::Say(p, word) => {
                let word = word.map(|number| Word::held(number.to_string()));
                self.share.leave_word(partition(p), word.as_ref());
            }
        }
    }

    pub(super) fn deliver(&mut self, p: usize) {
        let Some(fetch) = self.fetches[p].as_mut().filter(|fetch| !fetch.is_paused) else { return };
        if fetch.at == self.logs[p].end() {
            return self.share.reaches(partition(p), Offset(fetch.at));
        }
        let offset = fetch.at;
        fetch.at += 1;
        if self.logs[p].is_record(offset) {
            let came = Came {
                partition: partition(p),
                offset: Offset(offset),
                leader_epoch: Some(1),
                appended_at_ms: 0,
                key: None,
                value: None,
                headers: Vec::new(),
            };
            self.share.keep(came, self.now);
        }
    }

    pub(super) fn serve(&mut self, worked: bool, is_resumption_lost: bool) {
        for turn in self.share.turns(self.now, self.all_are_paused) {
            let fetch = self.fetches[turn.partition.0 as usize].as_mut().expect("only what is owned is held");
            assert!(!self.share.unplaced.contains_key(&turn.partition), "its place is not known: {turn:?}");
            match turn.step {
                Step::Pause if worked => fetch.is_paused = true,
                Step::Pause => {}
                // also if it fails in the end it may have been sought
                Step::SetBack(to, _) => {
                    *fetch = Fetch { at: to.0, is_paused: !worked || is_resumption_lost };
                }
                Step::Resume => fetch.is_paused = is_resumption_lost,
            }
            self.share.turned(turn, worked, self.now);
        }
    }

    fn look_whether_full(&mut self) {
        let was_paused = std::mem::replace(&mut self.all_are_paused, self.share.is_full());
        if !was_paused && !self.all_are_paused {
            return;
        }
        for (p, fetch) in self.fetches.iter_mut().enumerate() {
            if let Some(fetch) = fetch {
                fetch.is_paused = self.all_are_paused || self.share.is_held(partition(p));
            }
        }
    }

    pub(super) fn take(&mut self) {
        if self.in_hand.is_some() {
            return;
        }
        if let Taken::Batch(batch) = self.share.take(self.now) {
            for (p, log) in self.logs.iter().enumerate() {
                let of = batch
                    .iter()
                    .map(|record| record.origin)
                    .filter(|origin| origin.partition.0 as usize == p);
                let offsets: Vec<i64> = of.map(|origin| origin.offset.0).collect();
                for pair in offsets.windows(2) {
                    assert!(pair[0] < pair[1], "out of order: {offsets:?}");
                    assert!(
                        (pair[0] + 1..pair[1]).all(|between| !log.is_record(between)),
                        "skipped: {offsets:?}"
                    );
                }
            }
            self.in_hand = Some(batch);
        }
    }

    fn apply(&mut self, batch: &Batch) {
        for origin in batch.iter().map(|record| record.origin) {
            self.logs[origin.partition.0 as usize].applied.insert(origin.offset.0);
        }
    }

    pub(super) fn give_back(&mut self) {
        if let Some(batch) = self.in_hand.take() {
            self.apply(&batch);
            self.share.give_back(batch);
        }
    }

    /// The cluster takes a commit of whoever owns the partition.
    fn answer(&mut self, commits: &[Commit], is_acknowledged: bool) {
        for commit in commits {
            let p = commit.partition.0 as usize;
            let is_taken = is_acknowledged && self.fetches[p].is_some();
            if is_taken {
                self.logs[p].committed = Some(commit.next.0);
                self.logs[p].word = commit.word.clone();
            }
            self.share.answered(commit.partition, is_taken.then_some(commit.next));
        }
    }

    fn leave(&mut self, p: usize, [is_waited_for, is_committed, another_reads_it]: [bool; 3]) {
        if self.fetches[p].is_none() {
            return;
        }
        let leaving = [partition(p)];
        self.share.begin_to_leave(&leaving);
        if is_waited_for && self.share.are_in_work(&leaving) {
            self.give_back();
        }
        // what was sent before is answered before
        while let Some(commits) = self.sent.pop_front() {
            self.answer(&commits, is_committed);
        }
        let commits = self.share.commits_to_settle(|other| other == partition(p));
        self.answer(&commits, is_committed);
        self.share.have_left(&leaving);
        self.fetches[p] = None;
        if another_reads_it {
            let log = &mut self.logs[p];
            log.applied = (0..log.end()).filter(|offset| log.is_record(*offset)).collect();
            log.committed = Some(log.end());
        }
    }

    pub(super) fn come(&mut self, p: usize, is_known: bool) {
        if self.fetches[p].is_some() {
            return;
        }
        let log = &self.logs[p];
        let committed = log.committed.map(|offset| Committed {
            offset: Offset(offset),
            leader_epoch: Some(1),
            mark: CommitMark::Ours(None),
            word: log.word.clone(),
        });
        if !is_known {
            self.share.comes_unplaced(partition(p), committed, "no leader".to_owned());
            self.fetches[p] = Some(Fetch { at: 0, is_paused: true });
            return;
        }
        let place = place(committed.as_ref(), None, Offset(0)..Offset(log.end()));
        let is_paused = self.share.comes(partition(p), &place, self.now);
        self.fetches[p] = Some(Fetch { at: place.offset.0, is_paused });
    }

    fn place(&mut self) {
        for unplaced in self.share.unplaced() {
            let end = self.logs[unplaced.0 as usize].end();
            self.share.put_in_place(unplaced, Offset(0)..Offset(end), self.now);
        }
    }

    /// What must be true at every moment.
    pub(super) fn check(&self) {
        for (p, log) in self.logs.iter().enumerate() {
            let committed = log.committed.unwrap_or(0);
            let missing =
                (0..committed).find(|offset| log.is_record(*offset) && !log.applied.contains(offset));
            assert_eq!(missing, None, "committed {committed} of partition {p} before it was applied");
        }
        for (p, position) in &self.share.owned {
            let Position { acknowledged, sent, done, read, .. } = *position;
            assert!(acknowledged <= sent && sent <= done && done <= read, "partition {p}: {position:?}");
        }
        assert_eq!(self.share.failed, None);
    }

    /// Once nothing goes wrong any more everything comes to its end.
    pub(super) fn settle(&mut self) {
        (0..PARTITIONS).for_each(|p| self.come(p, true));
        self.go_on();
        // what stood where no record was does so until one comes
        (0..PARTITIONS).for_each(|p| self.logs[p].records.push(true));
        self.go_on();
        assert!(self.share.standing.is_empty(), "{:?}", self.share.standing);
        assert!(self.share.in_work.is_empty() && self.share.filling.is_empty());
    }

    fn go_on(&mut self) {
        let rounds = self.logs.iter().map(Log::end).sum::<i64>() + 10;
        for _ in 0..rounds {
            self.place();
            self.play(&Event::Wait(10_000));
            self.look_whether_full();
            self.serve(true, false);
            (0..PARTITIONS).for_each(|p| self.deliver(p));
            self.take();
            self.give_back();
            self.play(&Event::SendCommits);
            while let Some(commits) = self.sent.pop_front() {
                self.answer(&commits, true);
            }
            self.check();
        }
        for (p, log) in self.logs.iter().enumerate() {
            let committed = log.committed.unwrap_or(0);
            assert_eq!(committed, log.end(), "partition {p} did not come to its end: {log:?}");
            // what was found of the position is not hidden by a word while nothing is done
            let is_told = self.share.owned.get(&partition(p)).is_some_and(|position| !position.is_found);
            if is_told {
                let word = self.share.words.get(&partition(p));
                assert_eq!(log.word.as_ref(), word, "what is told of partition {p}");
            }
        }
    }
}

pub(super) fn partition(p: usize) -> Partition {
    Partition(p as i32)
}
