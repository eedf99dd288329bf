//! What requests are refused for before anybody has looked at what they ask.

use std::net::Ipv4Addr;

use super::*;
use crate::routes::OPERATIONS;
use crate::testing::{World, config};

/// A connection, and its seat.
fn come(served: &Routes) -> Arc<Open> {
    let peer = served.ingress.admission.peer(Ipv4Addr::LOCALHOST.into());
    let guest = Guest::new(&CancellationToken::new());
    let seat = served.seats.take(&peer, false, &guest).unwrap();
    Open::new(peer, seat, guest, served.metrics.connections.clone())
}

/// Of each operation, whether it is a probe: those are let in always.
async fn each_is_told_as_documented(served: &Routes, open: &Open) {
    for operation in &OPERATIONS {
        let admitted = served.admit(open, operation.path, BESIDE_OTHERS_BYTES).await.map(drop);
        let Err(problem) = admitted else {
            assert!(PROBES.contains(&operation.path), "{}", operation.name);
            continue;
        };
        let is_documented = operation.kinds().any(|kind| kind.name == problem.name());
        assert!(is_documented, "{} is not told to be answered {}", operation.name, problem.name());
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_let_in_is_told_what_the_document_says() {
    let config = config();
    let world = World::new(&config);
    let server = Server::bind(&config, &world.ingress).unwrap();
    let served = &server.served.routes;
    let mut seated: Vec<_> = (0..config.connections_max).map(|_| come(served)).collect();
    let _busy: Vec<_> = seated.iter().map(|open| open.guest.exchange.begin(Some(0))).collect();
    let stands = come(served);
    assert!(stands.seat.stands());
    each_is_told_as_documented(served, &stands).await;
    let open = seated.pop().unwrap();
    let all = world.ingress.bodies.hold(&open.peer.holder, config.bodies_max_bytes);
    each_is_told_as_documented(served, &open).await;
    assert!(all.is_ok());
}
