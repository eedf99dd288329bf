//! A topic as it stands, read past all groups: for tools that look at what it holds, and change nothing by it.

use std::ops::Range;

use crate::{Batch, Offset, Partition};

/// What one topic holds. Reading it joins no group and commits nothing. Blocks on the network: not for async threads.
pub trait Log: Send {
    /// Every partition, in order, with the offsets from its oldest record up to where the next one will go, or to where
    /// records cannot be read yet. Offsets before it have expired.
    ///
    /// # Errors
    /// [`LogError`] when they cannot be read now.
    fn bounds(&mut self) -> Result<Vec<(Partition, Range<Offset>)>, LogError>;

    /// The next records of one partition from `range`, `events` at most, fewer where they are large. Reading on where the last call ended is fast;
    /// anything else begins anew.
    ///
    /// # Errors
    /// [`LogError`] when they cannot be read now, or are not there any more.
    fn read(&mut self, partition: Partition, range: Range<Offset>, events: usize) -> Result<Chunk, LogError>;

    /// The oldest offset that is left, after [`LogError::Gone`] said that `gone` is not.
    ///
    /// # Errors
    /// [`LogError::Gone`] when nothing later is there: the topic was made anew, and reading has to begin anew as well.
    fn oldest_after(&mut self, partition: Partition, gone: Offset) -> Result<Offset, LogError> {
        let bounds = self.bounds()?;
        let left = bounds.into_iter().find(|(found, range)| *found == partition && range.start > gone);
        left.map(|(_, range)| range.start).ok_or(LogError::Gone(partition, gone))
    }
}

/// Part of a partition.
#[derive(Debug)]
pub struct Chunk {
    /// Its records, in order. Not every offset need have one.
    pub batch: Batch,
    /// Where reading goes on: everything of the range before it was read. The range's end when nothing is left.
    pub next: Offset,
}

/// Records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// They expired, or the topic was made anew: see [`Log::oldest_after`].
    #[error("offset {1} of partition {0} is not there any more (was its topic made anew?)")]
    Gone(Partition, Offset),
    /// What is there from this offset on is not what was written: the words are the client library's. Trying again helps only
    /// once the log was mended.
    #[error("partition {0} is damaged at offset {1}: {2}")]
    Damaged(Partition, Offset, String),
    /// Whoever holds them does not answer, or refuses: try again later.
    #[error("{0}")]
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two partitions, of which nothing can be read.
    struct Expired;

    impl Log for Expired {
        fn bounds(&mut self) -> Result<Vec<(Partition, Range<Offset>)>, LogError> {
            Ok(vec![(Partition(0), Offset(90)..Offset(99)), (Partition(1), Offset(7)..Offset(9))])
        }

        fn read(&mut self, partition: Partition, range: Range<Offset>, _: usize) -> Result<Chunk, LogError> {
            Err(LogError::Gone(partition, range.start))
        }
    }

    #[test]
    fn what_is_left_begins_behind_what_is_gone() {
        let left = |partition, gone| Expired.oldest_after(Partition(partition), Offset(gone)).ok();
        assert_eq!(
            [left(1, 3), left(1, 6), left(0, 7)],
            [Some(Offset(7)), Some(Offset(7)), Some(Offset(90))]
        );
        // reading on there would meet the same for ever
        assert_eq!([left(1, 7), left(1, 8), left(2, 0)], [None, None, None]);
    }
}
