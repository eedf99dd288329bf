//! Reading from whoever can be asked, in turn, until an answer says something.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::client::{Answer, Client, NoAnswer};

/// How long after an answer that says nothing the next address is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// Whoever answers a `GET`.
pub trait Ask: Sync {
    /// What is answered; a status is no error.
    fn get(&self, path: &str) -> impl Future<Output = Result<Answer, NoAnswer>> + Send;
}

impl Ask for Client {
    async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.ask("GET", path, None, "").await
    }
}

/// Several of them that know the same.
#[derive(Debug)]
pub(crate) struct Asked<'a, A> {
    addresses: &'a [A],
    next: AtomicUsize,
    /// Why somebody said nothing, the last time.
    trouble: Mutex<Option<String>>,
}

impl<'a, A: Ask> Asked<'a, A> {
    pub(crate) fn new(addresses: &'a [A]) -> Self {
        Self { addresses, next: AtomicUsize::new(0), trouble: Mutex::default() }
    }

    /// Why somebody said nothing that could be understood, the last time.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// What `understood` makes of the first answer of which it makes something. Until then the next is asked: one may be
    /// away, or busy. `None`: nobody said anything in time.
    pub(crate) async fn read<T>(
        &self,
        path: &str,
        until: Instant,
        understood: impl Fn(&Answer) -> Option<T>,
    ) -> Option<T> {
        while Instant::now() < until {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let address = self.addresses.get(turn % self.addresses.len().max(1))?;
            let answer = address.get(path).await;
            if let Some(said) = answer.as_ref().ok().and_then(&understood) {
                return Some(said);
            }
            *self.trouble.lock() = Some(match answer {
                Ok(answer) => format!("{path} answered {}", answer.status),
                Err(error) => error.to_string(),
            });
            sleep(PAUSE).await;
        }
        None
    }
}
