//! What a client's connection is served by.

use floodgate_listener::{Fault, Owner, Refusal};
use floodgate_observe::HttpMetrics;

use crate::problem::Problem;
use crate::room::Room;

/// Its share of the memory, and what is counted of it.
pub(crate) struct Client {
    pub(crate) room: Room,
    pub(crate) metrics: HttpMetrics,
}

impl Owner for Client {
    fn has_grown(&self) -> bool {
        self.room.has_grown()
    }

    fn has_room(&mut self, bytes: usize, is_in_work: bool) -> bool {
        self.room.is_for(bytes, is_in_work)
    }

    fn refuse(&mut self, fault: Fault) -> Refusal {
        let problem = Problem::from(fault);
        self.metrics.problems.with_label_values(&[problem.name()]).inc();
        Refusal { status: problem.status(), body: serde_json::to_vec(&problem).unwrap_or_default() }
    }
}
