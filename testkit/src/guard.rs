//! Our end of the watchdog described in the crate's documentation: it kills our servers and removes our folders when
//! this process is gone.

use std::io::{PipeWriter, Write, pipe};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// The one watchdog of this process.
pub(crate) struct Guard {
    to_watchdog: PipeWriter,
    root: PathBuf,
    next_serial: AtomicU64,
    /// Never waited for: it outlives us.
    _watchdog: Child,
}

/// The watchdog, started by the first caller.
pub(crate) fn guard() -> Result<&'static Guard> {
    static GUARD: Mutex<Option<&'static Guard>> = Mutex::new(None);
    let mut slot = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(guard) = *slot {
        return Ok(guard);
    }
    // Leaked so that nothing ever drops the pipe before the process ends.
    let guard: &'static Guard = Box::leak(Box::new(Guard::start().context("the watchdog did not start")?));
    *slot = Some(guard);
    Ok(guard)
}

impl Guard {
    fn start() -> Result<Guard> {
        let (from_us, to_watchdog) = pipe()?;
        let prefix = format!("testkit-{}-", std::process::id());
        let root = tempfile::Builder::new().prefix(&prefix).tempdir()?.keep();
        open_to_all(&root)?;
        let watchdog = Command::new("sh")
            .args(["-c", include_str!("watchdog.sh"), "testkit-watchdog"])
            .arg(&root)
            .stdin(from_us)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot run `sh`")?;
        Ok(Guard { to_watchdog, root, next_serial: AtomicU64::new(1), _watchdog: watchdog })
    }

    /// The folder that is removed at the end, with all that is in it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A number that no other caller gets.
    pub(crate) fn serial(&self) -> u64 {
        self.next_serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes the child register itself under `serial` before it becomes `command`'s program. To be followed by
    /// [`Guard::strike_off`], also when the child could not be started.
    pub(crate) fn register(&self, serial: u64, command: &mut Command) {
        let announcement = Announcement::new(serial);
        let fd = self.to_watchdog.as_raw_fd();
        // SAFETY: between fork and exec only async-signal-safe calls are made (getpid, write) and nothing is allocated;
        // the descriptor is never closed, the guard being leaked.
        unsafe {
            command.pre_exec(move || announcement.send(fd));
        }
    }

    /// Tells the watchdog that the child under `serial` is over. To be called before the child is reaped.
    pub(crate) fn strike_off(&self, serial: u64) {
        // One write of less than PIPE_BUF bytes is never mixed with another. Without a watchdog there is no one to tell.
        let _ = (&self.to_watchdog).write_all(format!("- {serial}\n").as_bytes());
    }
}

/// Lets servers that run as another user walk through a folder, whatever our umask.
pub(crate) fn open_to_all(folder: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755))
}

/// The line `+ <serial> <pid>`, all of it prepared before the fork but for the process id.
struct Announcement {
    line: [u8; 48],
    len: usize,
}

impl Announcement {
    fn new(serial: u64) -> Announcement {
        let start = format!("+ {serial} ");
        let mut line = [0; 48];
        line[..start.len()].copy_from_slice(start.as_bytes());
        Announcement { line, len: start.len() }
    }

    fn send(&self, fd: RawFd) -> std::io::Result<()> {
        let mut line = self.line;
        let mut len = self.len;
        let pid = std::process::id();
        let mut power = 1;
        while pid / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            line[len] = b'0' + (pid / power % 10) as u8;
            len += 1;
            power /= 10;
        }
        line[len] = b'\n';
        len += 1;
        // SAFETY: the buffer is ours and holds `len` bytes.
        let written = unsafe { libc::write(fd, line.as_ptr().cast(), len) };
        if written == len as isize { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}
