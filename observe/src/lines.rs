//! Lines on their way to stderr, so that nobody who logs waits for whoever reads.
//!
//! # The hard idea
//!
//! Stderr is often a pipe, and a pipe whose reader stands still takes 64 KiB and then makes every writer wait. A thread
//! that waits there while it serves connections serves none; one that stops the process does not get there. So lines go
//! into a queue in memory, bounded in bytes, and a thread of its own, which alone may wait, writes them. What does not
//! fit is left out and counted: the count is a metric at once, and a line of its own once lines flow again. A reader
//! that is gone, or a terminal that was closed, fails each write at once, and what was in it counts as left out, too.
//!
//! The thread writes to a copy of the descriptor and not through the standard library's handle: whoever else prints
//! there, a panic among them, would wait for that handle's lock.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::metrics::LOG_LINES_LEFT_OUT;

/// Between tries of a descriptor that does not block.
const RETRY: Duration = Duration::from_millis(20);

thread_local! {
    /// Whether this is the thread that writes: what it tells of lines that were left out is not left out, too.
    static WRITES_LINES: Cell<bool> = const { Cell::new(false) };
}

/// The queue. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    /// Lines have come.
    came: Condvar,
    /// All lines are written, or given up.
    written: Condvar,
    max_bytes: usize,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// Whether the thread has some of them in hand.
    in_work: bool,
    /// Since the last time it was told.
    left_out: u64,
}

impl Lines {
    /// A queue that holds at most `max_bytes`, and as many again while they are written, and the thread that writes them
    /// to stderr. `tell` is called there, whenever lines flow again, with how many were left out.
    ///
    /// # Errors
    /// The system's, when it gives neither a copy of stderr nor a thread.
    pub(crate) fn to_stderr(max_bytes: usize, tell: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::to(stderr, max_bytes, tell)
    }

    fn to(
        out: impl Write + Send + 'static,
        max_bytes: usize,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared =
            Shared { waiting: Mutex::default(), came: Condvar::new(), written: Condvar::new(), max_bytes };
        let lines = Self(Arc::new(shared));
        let shared = Arc::clone(&lines.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write(out, tell))?;
        Ok(lines)
    }

    /// Puts one line in, its line break included, or counts it as left out.
    pub(crate) fn put(&self, line: &[u8]) {
        let mut waiting = self.0.waiting.lock();
        let fits = waiting.bytes.len() + line.len() <= self.0.max_bytes;
        if !fits && !WRITES_LINES.get() {
            waiting.leave_out(1);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        drop(waiting);
        self.0.came.notify_one();
    }

    /// Waits until all lines are written, at most `within`.
    pub(crate) fn flush(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut waiting = self.0.waiting.lock();
        while waiting.in_work || waiting.lines > 0 {
            if self.0.written.wait_until(&mut waiting, until).timed_out() {
                return;
            }
        }
    }
}

impl Waiting {
    fn leave_out(&mut self, lines: u64) {
        self.left_out += lines;
        if let Some(counter) = &*LOG_LINES_LEFT_OUT {
            counter.inc_by(lines);
        }
    }
}

impl Shared {
    fn write(&self, mut out: impl Write, tell: impl Fn(u64)) {
        WRITES_LINES.set(true);
        let mut in_hand = Vec::new();
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.lines == 0 {
                self.came.wait(&mut waiting);
            }
            std::mem::swap(&mut waiting.bytes, &mut in_hand);
            let lines = std::mem::take(&mut waiting.lines);
            waiting.in_work = true;
            drop(waiting);

            let written = write_all(&mut out, &in_hand);
            in_hand.clear();

            let mut waiting = self.waiting.lock();
            let left_out = match written {
                Ok(()) => std::mem::take(&mut waiting.left_out),
                Err(_) => {
                    waiting.leave_out(lines);
                    0
                }
            };
            drop(waiting);
            // this puts a line in, which whoever flushes waits for as well
            if left_out > 0 {
                tell(left_out);
            }
            self.waiting.lock().in_work = false;
            self.written.notify_all();
        }
    }
}

/// Writes all, also to a descriptor that whoever made it set not to block.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A reader that takes a piece only when it is told what becomes of it.
    struct Gate {
        verdicts: Receiver<io::Result<()>>,
        seen: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.seen.send(bytes.to_vec()).unwrap();
            self.verdicts.recv().unwrap().map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Gated {
        lines: Lines,
        verdict: Sender<io::Result<()>>,
        seen: Receiver<Vec<u8>>,
        told: Receiver<u64>,
    }

    impl Gated {
        fn new(max_bytes: usize) -> Self {
            let ((verdict, verdicts), (see, seen), (tell, told)) = (channel(), channel(), channel());
            let out = Gate { verdicts, seen: see };
            let lines = Lines::to(out, max_bytes, move |count| tell.send(count).unwrap()).unwrap();
            Self { lines, verdict, seen, told }
        }

        fn seen(&self) -> Vec<u8> {
            self.seen.recv_timeout(LONG).unwrap()
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stands_still_and_what_was_left_out_is_told() {
        let gated = Gated::new(10);
        gated.lines.put(b"first\n");
        assert_eq!(gated.seen(), b"first\n");
        // the thread waits now, and the queue takes two more
        ["12345\n", "678\n", "9\n", "much too long a line\n"]
            .iter()
            .for_each(|line| gated.lines.put(line.as_bytes()));
        let before = Instant::now();
        gated.lines.flush(Duration::from_millis(50));
        assert!(before.elapsed() < LONG, "a flush has a bound");
        gated.verdict.send(Ok(())).unwrap();
        assert_eq!(gated.told.recv_timeout(LONG), Ok(2));
        assert_eq!(gated.seen(), b"12345\n678\n");
        gated.verdict.send(Ok(())).unwrap();
        gated.lines.flush(LONG);
        assert!(gated.told.try_recv().is_err(), "told once");
    }

    /// Also while the queue is as full as it was.
    #[test]
    fn what_is_told_has_room() {
        let ((verdict, verdicts), (see, seen)) = (channel(), channel());
        let (own, told) = channel::<Lines>();
        let lines = Lines::to(Gate { verdicts, seen: see }, 10, move |left_out| {
            if let Ok(lines) = told.recv() {
                lines.put(b"12345678\n");
                lines.put(format!("{left_out} left out\n").as_bytes());
            }
        });
        let lines = lines.unwrap();
        own.send(lines.clone()).unwrap();
        lines.put(b"first\n");
        assert_eq!(seen.recv_timeout(LONG).unwrap(), b"first\n");
        (0..3).for_each(|_| lines.put(b"12345678\n"));
        (0..3).for_each(|_| verdict.send(Ok(())).unwrap());
        assert_eq!(seen.recv_timeout(LONG).unwrap(), b"12345678\n12345678\n2 left out\n");
    }

    #[test]
    fn a_reader_that_is_gone_costs_one_write_each_time_lines_come() {
        let gated = Gated::new(100);
        for _ in 0..3 {
            gated.lines.put(b"a\n");
            assert_eq!(gated.seen(), b"a\n");
            gated.verdict.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
            gated.lines.flush(LONG);
        }
        assert!(gated.seen.try_recv().is_err() && gated.told.try_recv().is_err());
        gated.lines.put(b"b\n");
        gated.verdict.send(Ok(())).unwrap();
        assert_eq!(gated.told.recv_timeout(LONG), Ok(3));
    }

    #[test]
    fn a_pipe_gets_all_lines_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::to(writer, 1 << 20, |_| {}).unwrap();
        let wanted: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
        wanted.split_inclusive('\n').for_each(|line| lines.put(line.as_bytes()));
        let mut read = vec![0; wanted.len()];
        reader.read_exact(&mut read).unwrap();
        assert!(read == wanted.as_bytes());
        lines.flush(LONG);
    }
}
