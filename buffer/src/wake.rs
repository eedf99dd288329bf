//! Waking many requests that wait on several threads.
//!
//! A task of a runtime of one thread is woken cheaply from that thread alone: from any other each wake-up is a lock and a
//! system call. So such a thread has a *mailbox*. The wakers of all its requests that one delivery report answers are put
//! there together; one wake-up makes the thread look, and it wakes them itself. Requests on threads without a mailbox are
//! woken one by one.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

thread_local! {
    static HERE: Cell<Option<&'static Mailbox>> = const { Cell::new(None) };
}

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Vec<Waker>>,
    reader: AtomicWaker,
}

impl Mailbox {
    /// That of the thread that asks.
    pub(crate) fn here() -> Option<&'static Self> {
        HERE.get()
    }

    fn is_here(&self) -> bool {
        Self::here().is_some_and(|here| std::ptr::eq(here, self))
    }

    /// Leaves `mail` empty.
    fn put(&self, mail: &mut Vec<Waker>) {
        let mut waiting = self.mail.lock();
        let was_empty = waiting.is_empty();
        waiting.append(mail);
        drop(waiting);
        // otherwise it was told by whoever came before, and has not looked yet
        if was_empty {
            self.reader.wake();
        }
    }
}

/// Takes the thread's mailbox away, so that no later request waits for mail that nobody reads.
struct Taken;

impl Drop for Taken {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

/// Gives the thread a mailbox and wakes whose wakers come, as long as it is polled there. The mailbox's memory is never
/// given back: this is for threads that live as long as the process, and for requests that end before it.
pub async fn read_mail() -> Infallible {
    let mailbox: &Mailbox = Box::leak(Box::default());
    HERE.set(Some(mailbox));
    let _taken = Taken;
    let mut mail = Vec::new();
    poll_fn(|context| {
        // before the look: what comes after it is told anew
        mailbox.reader.register(context.waker());
        std::mem::swap(&mut mail, &mut mailbox.mail.lock());
        mail.drain(..).for_each(Waker::wake);
        Poll::Pending
    })
    .await
}

// a panic among the reports must not leave those asleep that were answered before it
impl Drop for Wakes {
    fn drop(&mut self) {
        self.wake_all();
    }
}

/// A request that can go on.
#[must_use = "the request sleeps until it is woken"]
pub struct Wake {
    waker: Waker,
    mailbox: Option<&'static Mailbox>,
}

impl Wake {
    /// `mailbox` is that of the thread on which the request waits.
    pub(crate) fn new(waker: Waker, mailbox: Option<&'static Mailbox>) -> Self {
        Self { waker, mailbox }
    }

    /// Wakes it now.
    pub fn wake(self) {
        self.waker.wake();
    }
}

/// Requests that are to be woken together.
#[derive(Default)]
pub(crate) struct Wakes {
    here: Vec<Waker>,
    elsewhere: Vec<(&'static Mailbox, Vec<Waker>)>,
}

impl Wakes {
    pub(crate) fn add(&mut self, Wake { waker, mailbox }: Wake) {
        let Some(mailbox) = mailbox.filter(|mailbox| !mailbox.is_here()) else {
            self.here.push(waker);
            return;
        };
        match self.elsewhere.iter_mut().find(|(known, _)| std::ptr::eq(*known, mailbox)) {
            Some((_, mail)) => mail.push(waker),
            None => self.elsewhere.push((mailbox, vec![waker])),
        }
    }

    pub(crate) fn wake_all(&mut self) {
        // first those of others, who can begin meanwhile
        self.elsewhere.iter_mut().filter(|(_, mail)| !mail.is_empty()).for_each(|(to, mail)| to.put(mail));
        self.here.drain(..).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::mpsc::channel;
    use std::task::Context;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::{Outcome, Receipts};

    /// Requests on threads with mailboxes and on one without, answered together from any of them, again and again.
    #[test]
    fn requests_are_woken_wherever_they_wait() {
        const REQUESTS: usize = 200;
        let (offer, offered) = channel();
        let (answer, answered) = channel();
        for with_mailbox in [true, true, false] {
            let (offer, answer) = (offer.clone(), answer.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let client = async move {
                    for _ in 0..REQUESTS {
                        let receipts = Receipts::new(2);
                        (0..2).for_each(|index| offer.send(receipts.receipt(index)).unwrap());
                        receipts.all().await;
                        assert!((0..2).all(|index| receipts.outcome(index) == Outcome::Stored));
                    }
                    answer.send(Mailbox::here().is_some()).unwrap();
                };
                runtime.block_on(async {
                    // a task of its own: whoever reads the mail is woken for another reason
                    tokio::select! {
                        biased;
                        never = read_mail(), if with_mailbox => match never {},
                        ended = async { tokio::spawn(client).await } => ended.unwrap(),
                    }
                });
            });
        }
        drop((offer, answer));
        thread::spawn(move || {
            let mut wakes = Wakes::default();
            while let Ok(receipt) = offered.recv() {
                for receipt in std::iter::once(receipt).chain(offered.try_iter()) {
                    receipt.complete(Outcome::Stored).into_iter().for_each(|wake| wakes.add(wake));
                }
                wakes.wake_all();
            }
        });
        let mut mailboxes: Vec<_> =
            (0..3).map(|_| answered.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
        mailboxes.sort_unstable();
        assert_eq!(mailboxes, [false, true, true]);
    }

    /// One look for all that came together; those that wait where they are answered are woken without any.
    #[test]
    fn a_mailbox_is_told_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let elsewhere: &Mailbox = Box::leak(Box::default());
        runtime.block_on(async {
            let mut reading = std::pin::pin!(read_mail());
            assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let told = std::sync::Arc::new(Told::default());
            elsewhere.reader.register(&Waker::from(std::sync::Arc::clone(&told)));
            let request = std::sync::Arc::new(Told::default());
            let mut wakes = Wakes::default();
            for mailbox in [Some(elsewhere), None, Mailbox::here(), Some(elsewhere)] {
                wakes.add(Wake::new(Waker::from(std::sync::Arc::clone(&request)), mailbox));
            }
            assert_eq!(request.count(), 0, "all are woken together");
            wakes.wake_all();
            assert_eq!((told.count(), request.count()), (1, 2));
            assert_eq!(elsewhere.mail.lock().len(), 2);
            wakes.wake_all();
            assert_eq!((told.count(), request.count()), (1, 2), "nothing is left");
        });
    }

    #[derive(Default)]
    struct Told(std::sync::atomic::AtomicUsize);

    impl Told {
        fn count(&self) -> usize {
            self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    impl std::task::Wake for Told {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
