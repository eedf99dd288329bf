//! Redis as its users see it: one server, or those of a cluster that have lists.
//!
//! A cluster spreads keys over slots and slots over nodes, and every node says where they are. All keys of a partition have one
//! slot, so that its scripts run on one node; what is about several partitions goes to each of their nodes in a pipeline of its
//! own, at the same time. So every call has an outcome of its own: **a node that does not answer says nothing of what is on
//! others**.
//!
//! A node that is asked for a slot of another's answers `MOVED`, and has done nothing: the map is asked for anew. Whether the
//! call is made again is for its caller to say: a record may be pushed to whoever has the list now, but what was read of a list is not
//! known of the list that a former replica has of it.
//!
//! With one URL there is no map, and all keys are that server's, until it turns out to be a node of a cluster.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use ::redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, Value};
use crc::{CRC_16_XMODEM, Crc, Table};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::link::{Answer, CONNECT_RETRY, Link, Silence};
use super::scripts::Call;

/// How many slots a cluster has; keys go to them by a checksum.
const SLOTS: u16 = 16384;

static CHECKSUM: LazyLock<Crc<u16, Table<1>>> = LazyLock::new(|| Crc::<u16, Table<1>>::new(&CRC_16_XMODEM));

/// For how many times as long as connecting to a node of several took in vain the others are not kept waiting for it again.
const PAUSE: u32 = 4;

/// What a call was answered, and what was waited for behind it on its node.
pub(super) type Called = Result<(Answer, Option<Answer>), Silence>;

/// See the [module's documentation](self).
pub(super) struct Nodes {
    seeds: Vec<ConnectionInfo>,
    answer_timeout: Duration,
    nodes: Vec<Node>,
    /// Whose slots are, as the cluster told it last; nothing where there is one server.
    slots: Slots,
    /// Whether the cluster is to be asked again, and when it was asked last.
    is_outdated: bool,
    asked_at: Option<Instant>,
    /// Seeds that the cluster does not name: what they were is remembered, as one that cannot be reached takes its time.
    others: Vec<Node>,
    /// Nodes of which nobody was told yet that a connection to them is new, or slots are.
    news: BTreeSet<String>,
    /// How many connections there were.
    made: u64,
}

struct Node {
    address: String,
    link: Link,
}

/// Slots with the address of their node.
type Slots = Vec<(RangeInclusive<u16>, String)>;

impl Nodes {
    /// The server of one URL, or the cluster that several lead to. An answer is waited for so long.
    pub(super) fn new(seeds: &[ConnectionInfo], answer_timeout: Duration) -> Self {
        let mut nodes = Self {
            seeds: seeds.to_vec(),
            answer_timeout,
            nodes: Vec::new(),
            slots: Slots::new(),
            is_outdated: seeds.len() > 1,
            asked_at: None,
            others: Vec::new(),
            news: BTreeSet::new(),
            made: 0,
        };
        let known = seeds
            .iter()
            .filter_map(|seed| Some(Node { address: address(seed.addr()), link: nodes.link(seed)? }));
        let known = known.collect();
        match seeds {
            [_] => nodes.nodes = known,
            _ => nodes.others = known,
        }
        nodes
    }

    fn link(&self, to: &ConnectionInfo) -> Option<Link> {
        // the seeds were looked at when the configuration was read
        let client = Client::open(to.clone()).ok()?;
        let is_alone = self.seeds.len() == 1 && self.slots.is_empty();
        let pause = if is_alone { 0 } else { PAUSE };
        Some(Link::new(client, &address(to.addr()), self.answer_timeout, pause))
    }

    /// Makes the connections that are missing. Returns which nodes have a new one, or slots that were another's, since it was told
    /// last.
    ///
    /// # Errors
    /// No node can be talked with. Of one that cannot its calls will tell.
    pub(super) async fn connect(&mut self) -> Result<News, Silence> {
        let was_asked = self.asked_at.is_some_and(|at| at.elapsed() < CONNECT_RETRY);
        if self.is_outdated && (self.slots.is_empty() || !was_asked) {
            self.ask_for_slots().await?;
        }
        let connected = join_all(self.nodes.iter_mut().map(|node| node.link.connect())).await;
        self.note_connections();
        let silence = connected.into_iter().find_map(Result::err);
        // another may have taken its place
        self.is_outdated |= silence.is_some() && !self.slots.is_empty();
        match silence {
            Some(silence) if !self.is_anybody_there() => Err(silence),
            _ => Ok(News(std::mem::take(&mut self.news))),
        }
    }

    /// The same for whoever needs no news, for so long.
    ///
    /// # Errors
    /// As there; or it takes longer.
    pub(super) async fn connect_within(&mut self, within: Duration) -> Result<(), Silence> {
        let late = || Err(Silence::NotSent("no connection to Redis in time".to_owned()));
        timeout_at(Instant::now() + within, self.connect()).await.unwrap_or_else(|_| late()).map(drop)
    }

    /// Whether there is a connection to any.
    pub(super) fn is_anybody_there(&self) -> bool {
        self.nodes.iter().any(|node| node.link.is_well())
    }

    /// Also of connections that were made while somebody gave up waiting.
    fn note_connections(&mut self) {
        for node in self.nodes.iter_mut().chain(&mut self.others) {
            if node.link.take_new() {
                self.made += 1;
                self.news.insert(node.address.clone());
            }
        }
    }

    /// How many connections were made by now.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// Whether a key is on a node of which there is news.
    pub(super) fn is_on(&self, news: &News, key: &str) -> bool {
        self.node_of(key).is_some_and(|node| news.0.contains(&self.nodes[node].address))
    }

    /// Asks the nodes that are known, or else the seeds, and goes by what most of them say: one that was cut off may know nothing of
    /// the present.
    async fn ask_for_slots(&mut self) -> Result<(), Silence> {
        self.asked_at = Some(Instant::now());
        let mut answers = slots_of(&mut self.nodes).await;
        if answers.iter().all(Result::is_err) {
            answers.extend(slots_of(&mut self.others).await);
        }
        self.note_connections();
        let mut said: HashMap<Slots, usize> = HashMap::new();
        let mut silence = None;
        for answer in answers {
            match answer {
                Ok(slots) if !slots.is_empty() => *said.entry(slots).or_default() += 1,
                Ok(_) => {
                    silence.get_or_insert(Silence::NotSent("no node of the cluster has a slot".to_owned()));
                }
                Err(error) => {
                    silence.get_or_insert(error);
                }
            }
        }
        // those of a cluster that is just being made know their own slots only
        let covered = |slots: &Slots| slots.iter().map(|(range, _)| range.len()).sum::<usize>();
        let Some((slots, _)) = said.into_iter().max_by_key(|(slots, count)| (*count, covered(slots))) else {
            // what was known before may still be right
            return match silence {
                Some(silence) if self.slots.is_empty() => Err(silence),
                _ => Ok(()),
            };
        };
        self.is_outdated = false;
        self.take(slots);
        Ok(())
    }

    /// Goes by another map from here on.
    fn take(&mut self, slots: Slots) {
        let ranges = |slots: &Slots, of: &str| -> Vec<RangeInclusive<u16>> {
            slots.iter().filter(|(_, address)| address == of).map(|(range, _)| range.clone()).collect()
        };
        let addresses: BTreeSet<&String> = slots.iter().map(|(_, address)| address).collect();
        if !self.slots.is_empty() {
            let others = addresses.iter().filter(|of| ranges(&slots, of) != ranges(&self.slots, of));
            self.news.extend(others.map(|address| (*address).clone()));
        }
        let before = std::mem::take(&mut self.nodes).into_iter().chain(std::mem::take(&mut self.others));
        let mut before: HashMap<String, Node> = before.map(|node| (node.address.clone(), node)).collect();
        for address in addresses {
            let node = before.remove(address).or_else(|| {
                let to = self.info(address)?;
                Some(Node { address: address.clone(), link: self.link(&to)? })
            });
            self.nodes.extend(node);
        }
        let is_seed = |node: &Node| self.seeds.iter().any(|seed| address(seed.addr()) == node.address);
        self.others = before.into_values().filter(is_seed).collect();
        self.slots = slots;
    }

    /// How another node of the cluster is talked with: as its seeds are.
    fn info(&self, address: &str) -> Option<ConnectionInfo> {
        let (host, port) = address.rsplit_once(':')?;
        let (host, port) = (host.to_owned(), port.parse().ok()?);
        let seed = self.seeds.first()?;
        Some(seed.clone().set_addr(match seed.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        }))
    }

    fn node_of(&self, key: &str) -> Option<usize> {
        if self.slots.is_empty() {
            return (!self.nodes.is_empty()).then_some(0);
        }
        let slot = slot_of(key);
        let (_, address) = self.slots.iter().find(|(slots, _)| slots.contains(&slot))?;
        self.nodes.iter().position(|node| node.address == *address)
    }

    fn nobody() -> Silence {
        Silence::NotSent("no node of the cluster has its slot".to_owned())
    }

    /// Sends commands to the node of a key, and gives what each was answered.
    pub(super) async fn send(&mut self, key: &str, commands: Vec<Cmd>) -> Result<Vec<Answer>, Silence> {
        let Some(node) = self.node_of(key) else {
            self.is_outdated = true;
            return Err(Self::nobody());
        };
        let answers = self.nodes[node].link.send(commands).await?;
        self.is_outdated |= answers.iter().any(is_moved);
        Ok(answers)
    }

    /// Sends commands to every node, and gives its address and what they were answered.
    pub(super) async fn send_to_each(
        &mut self,
        commands: &[Cmd],
    ) -> Vec<(String, Result<Vec<Answer>, Silence>)> {
        let sent = self
            .nodes
            .iter_mut()
            .map(|node| async { (node.address.clone(), node.link.send(commands.to_vec()).await) });
        join_all(sent).await
    }

    /// Calls scripts together, each on the node of its keys, and on every node that has some of them `then` behind them.
    pub(super) async fn call(
        &mut self,
        calls: impl IntoIterator<Item = &Call>,
        then: Option<&Cmd>,
    ) -> Vec<Called> {
        let calls: Vec<&Call> = calls.into_iter().collect();
        let mut called: Vec<Option<Called>> = calls.iter().map(|_| None).collect();
        let mut of_nodes: Vec<Vec<usize>> = self.nodes.iter().map(|_| Vec::new()).collect();
        for (number, call) in calls.iter().enumerate() {
            match self.node_of(call.key()) {
                Some(node) => of_nodes[node].push(number),
                None => self.is_outdated = true,
            }
        }
        let asked = self.nodes.iter_mut().zip(of_nodes).filter(|(_, numbers)| !numbers.is_empty());
        let asked = asked.map(|(node, numbers)| async {
            let calls: Vec<&Call> = numbers.iter().map(|number| calls[*number]).collect();
            (numbers, node.link.call(&calls, then).await)
        });
        for (numbers, answered) in join_all(asked).await {
            match answered {
                Ok((answers, waited)) => {
                    self.is_outdated |= answers.iter().any(is_moved);
                    for (number, answer) in numbers.into_iter().zip(answers) {
                        called[number] = Some(Ok((answer, waited.clone())));
                    }
                }
                Err(silence) => {
                    numbers.into_iter().for_each(|number| called[number] = Some(Err(silence.clone())));
                }
            }
        }
        called.into_iter().map(|called| called.unwrap_or_else(|| Err(Self::nobody()))).collect()
    }

    /// The same, and calls that a node did not make, as it has their slot no more, are made once more where it is now, all within the
    /// time of an answer. Not for whoever has to know of connections that are new.
    pub(super) async fn call_where_it_is(&mut self, calls: &[Call], then: Option<&Cmd>) -> Vec<Called> {
        let until = Instant::now() + self.answer_timeout;
        let mut called = self.call(calls, then).await;
        let is_refused = |called: &Called| called.as_ref().is_ok_and(|(answer, _)| is_moved(answer));
        let moved: Vec<usize> = (0..called.len()).filter(|number| is_refused(&called[*number])).collect();
        if moved.is_empty() || !matches!(timeout_at(until, self.connect()).await, Ok(Ok(_))) {
            return called;
        }
        let again = moved.iter().map(|number| &calls[*number]);
        let late = || vec![Err(Silence::Unknown("Redis did not answer in time".to_owned())); moved.len()];
        let answers = timeout_at(until, self.call(again, then)).await.unwrap_or_else(|_| late());
        for (number, again) in moved.into_iter().zip(answers) {
            called[number] = again;
        }
        called
    }
}

/// What each of these says of all.
async fn slots_of(nodes: &mut [Node]) -> Vec<Result<Slots, Silence>> {
    let asked = nodes.iter_mut().map(|node| async {
        node.link.connect().await?;
        let asked = ::redis::cmd("CLUSTER").arg("SLOTS").to_owned();
        let answers = node.link.send(vec![asked]).await?;
        let host = node.address.rsplit_once(':').map_or("", |(host, _)| host);
        match answers.into_iter().next() {
            Some(Ok(slots)) => Ok(read(&slots, host)),
            Some(Err(error)) => Err(Silence::NotSent(format!(
                "Redis at {}, one of several in buffer.redis.url, is no node of a cluster: {error}",
                node.address
            ))),
            None => Ok(Slots::new()),
        }
    });
    join_all(asked).await
}

/// Nodes that have a new connection, or slots that were another's, by their addresses.
pub(super) struct News(BTreeSet<String>);

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a node says that it did not do what it was asked for, as another has the slot, or nobody does.
pub(super) fn is_moved(answer: &Answer) -> bool {
    let refusals = ["MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN "];
    answer.as_ref().is_err_and(|error| refusals.iter().any(|refusal| error.starts_with(refusal)))
}

fn address(of: &ConnectionAddr) -> String {
    match of {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            format!("{host}:{port}")
        }
        other => other.to_string(),
    }
}

/// By the part of a key in braces, if there is one, as Redis has it.
fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key);
    CHECKSUM.checksum(hashed.as_bytes()) % SLOTS
}

/// An answer to `CLUSTER SLOTS`: lists of first and last slot, and nodes, of which the first is the one that is written to. A node
/// without a host is where the answer came from.
fn read(slots: &Value, asked: &str) -> Slots {
    let parts = |value: &Value| match value {
        Value::Array(parts) => parts.clone(),
        _ => Vec::new(),
    };
    let one = |range: &Value| {
        let range = parts(range);
        let [Value::Int(first), Value::Int(last), node, ..] = &range[..] else { return None };
        let node = parts(node);
        let Some(Value::Int(port)) = node.get(1) else { return None };
        let host = match node.first() {
            Some(Value::BulkString(host)) => String::from_utf8_lossy(host).into_owned(),
            Some(Value::SimpleString(host)) => host.clone(),
            _ => String::new(),
        };
        let host = if host.is_empty() || host == "?" { asked } else { &host };
        Some((u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?, format!("{host}:{port}")))
    };
    let mut found: Slots = parts(slots).iter().filter_map(one).collect();
    found.sort_by_key(|(range, _)| *range.start());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Redis' documentation of its cluster, and of `CLUSTER KEYSLOT`.
    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        assert_eq!(CHECKSUM.checksum(b"123456789"), 0x31c3);
        for (key, slot) in [("somekey", 11058), ("foo{hash_tag}", 2515), ("bar{hash_tag}", 2515)] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
        assert_eq!(slot_of("x.{floodgate.like.v1:3}"), slot_of("x.{floodgate.like.v1:3}:meta"));
        assert_eq!(slot_of("a{}b"), CHECKSUM.checksum(b"a{}b") % SLOTS);
    }

    #[test]
    fn the_map_names_who_is_written_to() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let range = |first, last, nodes: Vec<Value>| {
            Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
        };
        let told = Value::Array(vec![
            range(8192, 16383, vec![node(text(""), 7001)]),
            range(0, 8191, vec![node(text("a"), 7000), node(text("replica"), 7002)]),
            Value::Nil,
        ]);
        let expected = vec![(0..=8191, "a:7000".to_owned()), (8192..=16383, "asked:7001".to_owned())];
        assert_eq!(read(&told, "asked"), expected);
        assert!(read(&Value::Nil, "asked").is_empty());
    }

    #[test]
    fn a_node_that_did_nothing_says_so() {
        for error in
            ["MOVED 12 h:1", "ASK 12 h:1", "TRYAGAIN Multiple keys", "CLUSTERDOWN The cluster is down"]
        {
            assert!(is_moved(&Err(error.to_owned())), "{error}");
        }
        assert!(!is_moved(&Err("OOM command not allowed".to_owned())) && !is_moved(&Ok(Value::Nil)));
    }
}
