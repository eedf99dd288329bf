//! Reading a topic past its group: what waits, and the dead letters kept.

use std::ops::Range;
use std::sync::Arc;

use super::state::State;
use crate::{Batch, Chunk, Log, LogBounds, LogError, Offset, Partition, Topic};

/// See the [module's documentation](self).
pub(super) struct MemoryLog {
    pub(super) state: Arc<State>,
    pub(super) topic: Topic,
}

impl Log for MemoryLog {
    fn bounds(&mut self) -> Result<LogBounds, LogError> {
        let log = self.state.topics[self.topic.index()].lock();
        let partitions = (0..).zip(&log.partitions);
        let known = partitions.map(|(number, partition)| (Partition(number), partition.bounds())).collect();
        Ok(LogBounds { log: Some(self.state.id.clone()), known, unknown: Vec::new() })
    }

    fn is_compacted(&mut self) -> Result<bool, LogError> {
        Ok(false)
    }

    fn read(&mut self, partition: Partition, range: Range<Offset>, events: usize) -> Result<Chunk, LogError> {
        let log = self.state.topics[self.topic.index()].lock();
        let kept = usize::try_from(partition.0).ok().and_then(|number| log.partitions.get(number));
        let kept = kept.ok_or_else(|| LogError::Unavailable(format!("there is no partition {partition}")))?;
        if range.start < kept.bounds().start {
            return Err(LogError::Gone(partition, range.start));
        }
        let mut batch = Batch::new(self.topic);
        batch.set_log(Some(self.state.id.clone()));
        let next = kept.copy_into(&mut batch, partition, range, events);
        Ok(Chunk { batch, next })
    }
}
