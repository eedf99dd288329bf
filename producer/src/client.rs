//! What a client's connection is served by.

use std::sync::Arc;

use floodgate_listener::{Fault, Owner, Refusal};

use crate::ingress::Ingress;
use crate::problem::Problem;
use crate::room::Room;

/// Its share of the memory, and where it is told of what becomes no request.
pub(crate) struct Client {
    pub(crate) room: Room,
    pub(crate) ingress: Arc<Ingress>,
}

impl Owner for Client {
    fn has_grown(&self) -> bool {
        self.room.has_grown()
    }

    fn has_room(&mut self, bytes: usize, is_in_work: bool) -> bool {
        self.room.is_for(bytes, is_in_work)
    }

    fn refuse(&mut self, fault: Fault) -> Refusal {
        let mut problem = Problem::from(fault);
        self.ingress.http.problems.with_label_values(&[problem.name()]).inc();
        self.ingress.instances.tell(&mut problem);
        Refusal { status: problem.status(), body: serde_json::to_vec(&problem).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::{Log, World, config};

    /// What is ours leads to the log also where no request was read; what is the client's doing does not.
    #[tokio::test]
    async fn a_head_that_has_no_room_is_told_under_an_instance() {
        let log = Log::start();
        let ingress = World::new(&config()).ingress;
        let room = Room::new(&ingress.bodies, &Arc::default());
        let mut client = Client { room, ingress };
        let mut told = |fault| -> (u16, Value) {
            let refusal = client.refuse(fault);
            (refusal.status.as_u16(), serde_json::from_slice(&refusal.body).unwrap())
        };
        let (status, busy) = told(Fault::NoRoom);
        assert_eq!((status, &busy["type"]), (503, &"/problems/busy".into()));
        log.has(&busy, "http.bodies_max_bytes");
        let (status, large) = told(Fault::Size);
        assert_eq!((status, &large["instance"]), (431, &Value::Null));
        let counted = |name: &str| client.ingress.http.problems.with_label_values(&[name]).get();
        assert_eq!((counted("busy"), counted("head-too-large")), (1, 1));
    }
}
