//! Topics as Redis lists, by a client of the tests' own and as the product writes them.

use anyhow::{Context, Result};
use floodgate_schemas::Timestamp;
use redis::{Client, Connection};

use super::found::{DEADLINE, Found};

/// Appends as the product does: what a list holds is counted beside it.
const APPEND: &str = "
local list, meta = KEYS[1], KEYS[2]
local there, bytes = redis.call('LLEN', list), 0
for _, record in ipairs(ARGV) do bytes = bytes + #record end
redis.call('HSETNX', meta, 'base', 0)
redis.call('HINCRBY', meta, 'bytes', bytes)
local time = redis.call('TIME')
if there == 0 then redis.call('HSET', meta, 'since', time[1] * 1000 + math.floor(time[2] / 1000)) end
redis.call('RPUSH', list, unpack(ARGV))
return redis.call('HGET', meta, 'base') + there";

/// A part that is not there.
const ABSENT: u32 = u32::MAX;

fn connect(url: &str) -> Result<Connection> {
    let connection = Client::open(url)?.get_connection_with_timeout(DEADLINE)?;
    connection.set_read_timeout(Some(DEADLINE))?;
    Ok(connection)
}

/// The keys of a topic whose name may have a prefix: the tag by which they lie together has none.
fn key_of(topic: &str, rest: &str) -> Result<String> {
    let (prefix, base) = topic.split_at(topic.rfind("floodgate.").context("not a topic")?);
    Ok(format!("{prefix}{{{base}{rest}"))
}

/// Puts records of one key on a partition and says where they are.
pub(super) fn put(
    url: &str,
    topic: &str,
    partition: i32,
    key: &[u8],
    values: &[impl AsRef<[u8]>],
    header: Option<(&str, &str)>,
) -> Result<Vec<(i32, i64)>> {
    let mut connection = connect(url)?;
    let list = key_of(topic, &format!(":{partition}}}"))?;
    let mut places = Vec::new();
    // a script takes no more than some thousands
    for values in values.chunks(1000) {
        let mut append =
            redis::cmd("EVAL").arg(APPEND).arg(2).arg(&list).arg(format!("{list}:meta")).to_owned();
        for value in values {
            append.arg(element(key, value.as_ref(), header));
        }
        let first: i64 = append.query(&mut connection)?;
        places.extend((first..).take(values.len()).map(|offset| (partition, offset)));
    }
    Ok(places)
}

fn element(key: &[u8], value: &[u8], header: Option<(&str, &str)>) -> Vec<u8> {
    let mut element = vec![1];
    element.extend((Timestamp::now().as_micros() / 1000).to_le_bytes());
    let add = |part: &[u8], element: &mut Vec<u8>| {
        element.extend((part.len() as u32).to_le_bytes());
        element.extend(part);
    };
    add(key, &mut element);
    add(value, &mut element);
    element.extend(u16::from(header.is_some()).to_le_bytes());
    for part in header.into_iter().flat_map(|(name, content)| [name, content]) {
        add(part.as_bytes(), &mut element);
    }
    element
}

/// All records of a topic that are there now.
pub(super) fn read_all(url: &str, topic: &str) -> Result<Vec<Found>> {
    let mut connection = connect(url)?;
    let mut found = Vec::new();
    let lists: Vec<String> = redis::cmd("KEYS").arg(key_of(topic, ":*}")?).query(&mut connection)?;
    for list in lists {
        let partition = list.trim_end_matches('}').rsplit(':').next().context("no partition")?.parse()?;
        // both at one moment
        let (base, records): (Option<i64>, Vec<Vec<u8>>) = redis::pipe()
            .atomic()
            .hget(format!("{list}:meta"), "base")
            .lrange(&list, 0, -1)
            .query(&mut connection)?;
        for (record, offset) in records.iter().zip(base.unwrap_or_default()..) {
            let read = read(partition, offset, record);
            found.push(read.with_context(|| format!("no record: {}", record.escape_ascii()))?);
        }
    }
    Ok(found)
}

fn read(partition: i32, offset: i64, record: &[u8]) -> Option<Found> {
    let mut rest = record.strip_prefix(&[1])?.get(8..)?;
    let (key, value) = (part(&mut rest)?, part(&mut rest)?);
    let (count, after) = rest.split_first_chunk()?;
    rest = after;
    let mut headers = Vec::new();
    for _ in 0..u16::from_le_bytes(*count) {
        headers.push((String::from_utf8(part(&mut rest)??).ok()?, part(&mut rest)?));
    }
    Some(Found { partition, offset, key, value, headers })
}

fn part(rest: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let (length, after) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length);
    let (part, after) = match length {
        ABSENT => (None, after),
        _ => after.split_at_checked(length as usize).map(|(part, after)| (Some(part.to_vec()), after))?,
    };
    *rest = after;
    Some(part)
}
