//! Connections without a socket.

use std::net::Ipv4Addr;

use tokio::io::DuplexStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Peer, Server};
use crate::connection::FirstBytes;
use crate::stream::Stream;

impl Server {
    /// Serves a client at the other end of `stream`, as one that connected.
    pub async fn serve_in_memory(&self, stream: DuplexStream) {
        let mut stream = Stream::Memory(stream);
        let said = FirstBytes::read(&mut stream);
        let Ok(Some((first, protocol))) = timeout(self.served.limits.silence.send, said).await else {
            return;
        };
        let peer = Peer { address: (Ipv4Addr::LOCALHOST, 1).into() };
        self.served.speak((stream, first, protocol), peer, CancellationToken::new()).await;
    }
}
