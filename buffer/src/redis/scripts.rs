//! What Redis does in one step: scripts, each about one partition, and what they answer.
//!
//! A script runs alone, so what it looks at is still true when it writes. Each looks first and writes last, and those that
//! push records write them last of all that can fail: one that ends in an error has stored none. Times are the server's.
//!
//! **A Redis that is full must still be emptied.** It refuses a script's first write, if that may take memory, and none behind a
//! write that does not. So what members do begins with a removal.
//!
//! Redis 7 neither keeps scripts over a restart nor hands them to replicas: after a failover the first call of each is
//! answered `NOSCRIPT`, which is certainly not run, and is sent again with its text.

use std::sync::LazyLock;

use ::redis::{Cmd, Script, Value};

/// All scripts.
pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(Scripts::new);

/// A script.
#[derive(Debug)]
pub(super) struct Lua {
    text: &'static str,
    script: Script,
}

impl Lua {
    fn new(text: &'static str) -> Self {
        Self { text, script: Script::new(text) }
    }
}

/// A script, or a command, with what it is called with.
#[derive(Debug)]
pub(super) struct Call {
    what: What,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum What {
    Script(&'static Lua),
    Command(&'static str),
}

impl Call {
    pub(super) fn new(lua: &'static Lua, keys: impl IntoIterator<Item = String>) -> Self {
        Self { what: What::Script(lua), keys: keys.into_iter().collect(), arguments: Vec::new() }
    }

    /// A command of Redis about one key.
    pub(super) fn plain(command: &'static str, key: String) -> Self {
        Self { what: What::Command(command), keys: vec![key], arguments: Vec::new() }
    }

    /// The key by which it belongs to a node; its others belong to the same.
    pub(super) fn key(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    /// With one more argument.
    pub(super) fn with(mut self, argument: impl ToString) -> Self {
        self.arguments.push(argument.to_string().into_bytes());
        self
    }

    /// Adds an argument that is no text.
    pub(super) fn push(&mut self, argument: Vec<u8>) {
        self.arguments.push(argument);
    }

    /// What it is called with.
    pub(super) fn arguments(&self) -> &[Vec<u8>] {
        &self.arguments
    }

    /// By the script's name, or with its text.
    pub(super) fn command(&self, with_text: bool) -> Cmd {
        let mut command = match (&self.what, with_text) {
            (What::Command(name), _) => ::redis::cmd(name),
            (What::Script(lua), true) => ::redis::cmd("EVAL").arg(lua.text).arg(self.keys.len()).to_owned(),
            (What::Script(lua), false) => {
                ::redis::cmd("EVALSHA").arg(lua.script.get_hash()).arg(self.keys.len()).to_owned()
            }
        };
        command.arg(&self.keys).arg(&self.arguments);
        command
    }
}

/// See [`SCRIPTS`].
pub(super) struct Scripts {
    /// Appends records. Keys: list, meta. Arguments: the most events and bytes that the list may hold, how large the records are,
    /// the records. Answers 1 and the first one's offset, or 0 when there is no room, and how many events and bytes there are; then
    /// for how long the list has not been empty, in milliseconds.
    pub(super) push: Lua,
    /// Appends dead letters. Keys: list, meta. Arguments: how many are kept, for how many milliseconds, the letters. Answers as `push`.
    pub(super) push_letters: Lua,
    /// Takes a partition that is nobody's. Keys: meta. Arguments: the member, its lease in milliseconds. Answers 1,
    /// the epoch and the head's offset; or 0.
    pub(super) acquire: Lua,
    /// Renews what is still the member's. Keys: meta. Arguments: member, epoch, lease. Answers 1, or 0 when it is another's.
    pub(super) renew: Lua,
    /// Reads from the list and takes nothing away. Keys: list, meta. Arguments: the first offset, how many, at most how many bytes.
    /// Answers the head's offset, how many there are, and the records.
    pub(super) peek: Lua,
    /// Everything before an offset is done. Keys: list, meta. Arguments: member, epoch, lease, offset, how large these records
    /// were, why it does not go on (or nothing). Answers 1 and the head's offset; or 0 when the partition is another member's, and then nothing was taken.
    pub(super) trim: Lua,
    /// Gives a partition back. Keys: meta. Arguments: member, epoch.
    pub(super) release: Lua,
    /// Says that a member is there. Keys: members. Arguments: the member, for how long. Answers all members that are there.
    pub(super) alive: Lua,
    /// How much is in a partition. Keys: list, meta. Answers the head's offset, how many, how many bytes, how the head begins,
    /// whose the partition is, and why it does not go on.
    pub(super) look: Lua,
    /// How many members are there. Keys: members.
    pub(super) members: Lua,
}

/// Whether the caller owns the partition; the arguments begin with member and epoch.
const OWNS: &str = "
local owner, epoch = unpack(redis.call('HMGET', meta, 'owner', 'epoch'))
if owner ~= ARGV[1] or epoch ~= ARGV[2] then return {0} end
";

const NOW: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
";

impl Scripts {
    pub(super) fn new() -> Self {
        let lua = |parts: &[&str]| Lua::new(String::leak(parts.concat()));
        Self {
            push: lua(&["
local list, meta = KEYS[1], KEYS[2]
", NOW, "
local there = redis.call('LLEN', list)
local base, bytes, since = unpack(redis.call('HMGET', meta, 'base', 'bytes', 'since'))
base, bytes = tonumber(base or 0), tonumber(bytes or 0)
since = there == 0 and now or tonumber(since or now)
local count = #ARGV - 3
if there + count > tonumber(ARGV[1]) or bytes + ARGV[3] > tonumber(ARGV[2]) then return {0, 0, there, bytes} end
redis.call('HSET', meta, 'base', base, 'bytes', bytes + ARGV[3], 'since', since)
redis.call('RPUSH', list, unpack(ARGV, 4))
return {1, base + there, there + count, bytes + ARGV[3], now - since}
"]),
            push_letters: lua(&["
local list, meta = KEYS[1], KEYS[2]
", NOW, "
local there = redis.call('LLEN', list)
local base = tonumber(redis.call('HGET', meta, 'base') or 0)
local count = #ARGV - 2
local over = math.max(0, there + count - ARGV[1])
local oldest, last = now - ARGV[2], math.min(there, over + 1000)
while over < last do
  local head, stamp = redis.call('LINDEX', list, over), 0
  for byte = 9, 2, -1 do stamp = stamp * 256 + (string.byte(head, byte) or 0) end
  if stamp >= oldest then break end
  over = over + 1
end
redis.call('HSET', meta, 'base', base + over)
redis.call('RPUSH', list, unpack(ARGV, 3))
if over > 0 then redis.call('LTRIM', list, over, -1) end
return {1, base + there, there + count - over, 0}
"]),
            acquire: lua(&["
local meta = KEYS[1]
local owner, lease, epoch, base = unpack(redis.call('HMGET', meta, 'owner', 'lease', 'epoch', 'base'))
", NOW, "
if owner and owner ~= ARGV[1] and tonumber(lease or 0) > now then return {0} end
epoch = (epoch or 0) + 1
redis.call('HDEL', meta, 'lease')
redis.call('HDEL', meta, 'word')
redis.call('HSET', meta, 'owner', ARGV[1], 'epoch', epoch, 'lease', now + ARGV[2], 'base', base or 0)
return {1, tonumber(epoch), tonumber(base or 0)}
"]),
            renew: lua(&["
local meta = KEYS[1]
", OWNS, NOW, "
redis.call('HDEL', meta, 'lease')
redis.call('HSET', meta, 'lease', now + ARGV[3])
return {1}
"]),
            peek: lua(&["
local list, meta = KEYS[1], KEYS[2]
local base = tonumber(redis.call('HGET', meta, 'base') or 0)
local there = redis.call('LLEN', list)
local from, count, room = ARGV[1] - base, tonumber(ARGV[2]), tonumber(ARGV[3])
if from < 0 or from >= there then return {base, there} end
local bytes = tonumber(redis.call('HGET', meta, 'bytes') or 0)
count = math.max(1, math.min(count, math.floor(room * there / math.max(bytes, 1))))
return {base, there, redis.call('LRANGE', list, from, from + count - 1)}
"]),
            trim: lua(&["
local list, meta = KEYS[1], KEYS[2]
", OWNS, NOW, "
local base, bytes = unpack(redis.call('HMGET', meta, 'base', 'bytes'))
base, bytes = tonumber(base), tonumber(bytes or 0)
local count, there = ARGV[4] - base, redis.call('LLEN', list)
if count > there then return {0} end
if count > 0 then
  redis.call('LTRIM', list, count, -1)
  bytes = count == there and 0 or math.max(0, bytes - ARGV[5])
  redis.call('HSET', meta, 'base', ARGV[4], 'bytes', bytes)
end
redis.call('HDEL', meta, 'lease', 'word')
redis.call('HSET', meta, 'lease', now + ARGV[3])
if ARGV[6] ~= '' then redis.call('HSET', meta, 'word', ARGV[6]) end
return {1, math.max(base, tonumber(ARGV[4]))}
"]),
            release: lua(&["
local meta = KEYS[1]
", OWNS, "
redis.call('HDEL', meta, 'owner', 'lease', 'word')
return {1}
"]),
            alive: lua(&["
local members = KEYS[1]
", NOW, "
redis.call('ZREMRANGEBYSCORE', members, '-inf', now)
redis.call('ZADD', members, now + ARGV[2], ARGV[1])
return redis.call('ZRANGE', members, 0, -1)
"]),
            look: lua(&["
local list, meta = KEYS[1], KEYS[2]
local base, bytes, owner, lease, word = unpack(redis.call('HMGET', meta, 'base', 'bytes', 'owner', 'lease', 'word'))
", NOW, "
if tonumber(lease or 0) <= now then owner, word = false, false end
local head = redis.call('LINDEX', list, 0)
head = head and string.sub(head, 1, 9) or ''
return {tonumber(base or 0), redis.call('LLEN', list), tonumber(bytes or 0), head, owner or '', word or ''}
"]),
            members: lua(&["
local members = KEYS[1]
", NOW, "
return redis.call('ZCOUNT', members, '(' .. now, '+inf')
"]),
        }
    }
}

/// The whole numbers with which an answer begins.
pub(super) fn numbers<const N: usize>(answer: &Value) -> Option<[i64; N]> {
    let Value::Array(parts) = answer else { return None };
    let mut numbers = [0; N];
    for (number, part) in numbers.iter_mut().zip(parts.get(..N)?) {
        let Value::Int(found) = part else { return None };
        *number = *found;
    }
    Some(numbers)
}

/// The text at a place of an answer.
pub(super) fn text(answer: &Value, place: usize) -> Option<&[u8]> {
    match answer {
        Value::Array(parts) => match parts.get(place)? {
            Value::BulkString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// The texts of a list.
pub(super) fn texts(list: &Value) -> impl Iterator<Item = &[u8]> {
    let parts = match list {
        Value::Array(parts) => parts.as_slice(),
        _ => &[],
    };
    parts.iter().filter_map(|part| match part {
        Value::BulkString(text) => Some(text.as_slice()),
        _ => None,
    })
}

/// The list at a place of an answer.
pub(super) fn list(answer: &Value, place: usize) -> Option<&Value> {
    match answer {
        Value::Array(parts) => parts.get(place),
        _ => None,
    }
}
