//! Connections without a socket.

use std::net::Ipv4Addr;

use floodgate_listener::FirstBytes;
use tokio::io::DuplexStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Open, Routes, Server};
use crate::stream::Stream;
use crate::yielding::Guest;

impl Server {
    /// Serves a client at the other end of `stream`, as one that connected.
    pub async fn serve_in_memory(&self, stream: DuplexStream) {
        let mut stream = Stream::Memory(stream);
        let said = FirstBytes::read(&mut stream);
        let Ok(Some((first, protocol))) = timeout(self.served.limits.silence.send, said).await else {
            return;
        };
        let Routes { ingress, seats, metrics, .. } = &*self.served.routes;
        let peer = ingress.admission.peer(Ipv4Addr::LOCALHOST.into());
        let guest = Guest::new(&CancellationToken::new());
        let Some(seat) = seats.take(&peer, true, &guest) else { return };
        let open = Open::new(peer, seat, guest, metrics.connections.clone());
        self.served.speak((stream, first, protocol), open).await;
    }
}
