//! What reads bytes of clients, for those who try all kinds of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use ipnet::IpNet;
use tokio::time::Instant;

use crate::admission::{self, Admission, Proxies};
use crate::bodies::Bodies;
use crate::coding::Coding;
use crate::heavy::Heavy;
use crate::inflate::Inflater;
use crate::paths;
pub use crate::routes::fuzzing::{array, cloud_event, lines, new_coupon};

/// Who asks, as a request from `peer` tells it.
pub fn client(trusted: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    Proxies::new(trusted).client(peer, headers)
}

/// The token that a request carries.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    admission::bearer(headers).ok()
}

/// Whether a request of this head is let in; the name of the problem where it is not.
pub async fn admit(admission: &Admission, headers: &HeaderMap, peer: IpAddr) -> Result<(), &'static str> {
    admission
        .admit(paths::API, headers, &admission.peer(peer))
        .await
        .map(drop)
        .map_err(|problem| problem.name())
}

/// Inflates bodies, and counts what they hold.
pub struct Inflation {
    bodies: Arc<Bodies>,
    heavy: Heavy,
    max_bytes: usize,
}

impl Inflation {
    /// Of bodies of so many bytes each, and so many together.
    pub fn new(max_bytes: usize, all_max_bytes: usize) -> Self {
        let heavy = Heavy::new(Duration::from_secs(10));
        Self { bodies: Bodies::new(all_max_bytes), heavy, max_bytes }
    }

    /// What a body of this content coding becomes; the name of a problem where it is refused.
    pub async fn inflate(&self, coding: &str, body: Body) -> Result<Bytes, &'static str> {
        let coding = Coding::named(coding).flatten().ok_or("no coding")?;
        let (bodies, heavy, holder) = (&self.bodies, &self.heavy, &Arc::default());
        let (max_bytes, inflated_bytes) = (self.max_bytes, &AtomicUsize::new(0));
        let inflater = Inflater { bodies, holder, heavy, max_bytes, inflated_bytes };
        let until = Instant::now() + Duration::from_secs(10);
        let whole = inflater.collect(body, coding, until).await;
        whole.map_err(|problem| problem.name())?.ok_or("too late")
    }

    /// What is held now.
    pub fn held_bytes(&self) -> usize {
        self.bodies.held_bytes()
    }
}
