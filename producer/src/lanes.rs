//! The threads that serve connections.
//!
//! A *lane* is a thread with a runtime of its own. A connection stays on the lane it was given to, and so do the tasks its
//! requests start: threads of one runtime spend time on looking for work with each other (decision 17). What a lane pays
//! for it: a request that computes for long keeps the lane's other connections waiting, which is why large bodies are
//! worked off in turns.
//!
//! Lanes live as long as the process: whatever a request opened there, such as a connection to the database, is served by
//! the lane's runtime for good.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use floodgate_buffer::read_mail;
use tokio::runtime::{Builder, Handle};

/// Where connections are served; never empty.
pub struct Lanes(Vec<Lane>);

struct Lane {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Lane {
    fn new(runtime: Handle) -> Self {
        Self { runtime, connections: Arc::default() }
    }
}

/// Counts a connection of a lane.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends the process: without one of its lanes it would seem to work, and leave connections unanswered.
struct EndsTheProcess;

impl Drop for EndsTheProcess {
    fn drop(&mut self) {
        tracing::error!("a thread that serves connections has ended; ending the process");
        floodgate_observe::logs::flush();
        std::process::abort();
    }
}

impl Lanes {
    /// So many lanes, at least one. Not to be called on a runtime.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread or its files.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let lane = |number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let lane = Lane::new(runtime.handle().clone());
            let serve = move || {
                let _at_the_end = EndsTheProcess;
                match runtime.block_on(read_mail()) {}
            };
            thread::Builder::new().name(format!("lane-{number}")).spawn(serve)?;
            Ok(lane)
        };
        (0..count.max(1)).map(lane).collect::<Result<_, _>>().map(Self)
    }

    /// The runtime that calls, as the only lane. Panics outside of one.
    pub fn here() -> Self {
        Self(vec![Lane::new(Handle::current())])
    }

    /// The lane that gets the first connection, and so those of a client that has only one: who answers requests does it
    /// best from there.
    pub fn first(&self) -> &Handle {
        &self.0[0].runtime
    }

    /// Runs a connection on the lane that has the fewest; the first of several.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let open = |lane: &&Lane| lane.connections.load(Ordering::Relaxed);
        let Some(lane) = self.0.iter().min_by_key(open) else { return };
        lane.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&lane.connections));
        lane.runtime.spawn(async move {
            connection.await;
            drop(counted);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_connection_goes_where_fewest_are_and_stays_there() {
        let lanes = Lanes::start(2).unwrap();
        let (told, tell) = channel();
        let open = |lanes: &Lanes| {
            let (told, (close, closed)) = (told.clone(), tokio::sync::oneshot::channel::<()>());
            lanes.spawn(async move {
                let name = || thread::current().name().unwrap_or_default().to_owned();
                let _ = told.send(name());
                let _ = closed.await;
                let _ = told.send(name());
            });
            (tell.recv_timeout(Duration::from_secs(20)).unwrap(), close)
        };
        let (first, second) = (open(&lanes), open(&lanes));
        assert_eq!([first.0.as_str(), second.0.as_str()], ["lane-0", "lane-1"]);
        drop(second.1);
        assert_eq!(tell.recv_timeout(Duration::from_secs(20)).unwrap(), "lane-1");
        let left = || lanes.0[1].connections.load(Ordering::Relaxed);
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while left() > 0 && std::time::Instant::now() < until {
            thread::yield_now();
        }
        assert_eq!(open(&lanes).0, "lane-1");
        drop(first.1);
    }
}
