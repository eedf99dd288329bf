//! When to stop.

use std::ffi::c_int;
use std::future::pending;
use std::mem::MaybeUninit;

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;

/// What asked the process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM: load balancers should notice first.
    Terminate,
    /// SIGINT: somebody at a terminal.
    Interrupt,
    /// SIGHUP: the terminal is closed, or the session has ended; or files are to be read again, where there are such.
    HangUp,
    /// SIGQUIT: how some supervisors ask for a stop in order.
    Quit,
}

/// All of them, listened to from here on.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    /// `None` where whoever started the process ignores it for it, as `nohup` does.
    hang_up: Option<tokio::signal::unix::Signal>,
    quit: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Exit> {
        let listen = |kind| signal(kind).map_err(|error| Exit::failed(format!("signals: {error}")));
        let hang_up = SignalKind::hangup();
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: if is_ignored(hang_up.as_raw_value()) { None } else { Some(listen(hang_up)?) },
            quit: listen(SignalKind::quit())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = hang_up => Signal::HangUp,
            _ = self.quit.recv() => Signal::Quit,
        }
    }

    /// Waits for one that somebody sent on purpose: a terminal that is closed sends SIGHUP, and so does the shell in it.
    pub(crate) async fn next_on_purpose(&mut self) -> Signal {
        self.next_to_stop(true).await
    }

    /// Waits for the next one that asks for a stop. SIGHUP does not where it has files read again, of which there are none in use yet.
    pub(crate) async fn next_to_stop(&mut self, hang_up_reloads: bool) -> Signal {
        loop {
            match self.next().await {
                Signal::HangUp if hang_up_reloads => {}
                signal => return signal,
            }
        }
    }
}

/// For commands that have nothing to put in order, and so listen to no signal. One ends them, but not the first process of a
/// container, which gets only those that it listens to.
pub(crate) fn end_the_first_process() {
    extern "C" fn end(signal: c_int) {
        // SAFETY: it ends the process on the spot, as a handler may.
        unsafe { libc::_exit(128 + signal) }
    }
    if std::process::id() != 1 {
        return;
    }
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        let end: extern "C" fn(c_int) = end;
        // SAFETY: the handler does nothing but what handlers may.
        unsafe { libc::signal(signal, end as libc::sighandler_t) };
    }
}

/// Whether a signal is ignored, which a process inherits from whoever started it.
fn is_ignored(signal: c_int) -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the one in force, for which there is room, and zeroes are one.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
