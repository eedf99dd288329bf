//! What is remembered between two tries of one check: a folder with a progress file and the runs of the partition in
//! work.
//!
//! The progress file is replaced as a whole (written beside it, synced, renamed), and only after the runs it counts
//! are on the disk; whenever the process dies, what stands there is a moment of the check from which it can go on.
//! Runs that are not counted there are written anew. A check that comes to its end removes its files: the next one in
//! that folder begins anew.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use floodgate_buffer::GroupLag;
use floodgate_schemas::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::class::Tally;
use crate::error::VerifyError;
use crate::finding::Finding;
use crate::range::OffsetRange;
use crate::runs;

/// Of the progress file. Another format is another check.
const FORMAT: u32 = 4;
const PROGRESS: &str = "verify.json";
const PROGRESS_NEW: &str = "verify.json.new";
const LOCK: &str = "verify.lock";
const RUNS: &str = "runs";

/// How far a check is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Progress {
    format: u32,
    /// What is checked, so that it is not mistaken for something else.
    of: String,
    /// When the ends of the partitions were read.
    pub(crate) as_of: String,
    /// By type of event, in their usual order.
    pub(crate) types: Vec<Vec<PartitionProgress>>,
}

/// How far the check of one partition is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartitionProgress {
    pub(crate) partition: i32,
    /// Everything before is read, and in the runs or the counts.
    pub(crate) next: i64,
    /// Where the check ends, whatever was appended since; `None` as long as nobody tells of the partition.
    pub(crate) end: Option<i64>,
    /// The group's next offset, as it was when the partition was checked.
    pub(crate) committed: Option<i64>,
    /// How many runs are put aside.
    pub(crate) runs: usize,
    /// Whether its runs are merged and counted.
    pub(crate) is_counted: bool,
    /// Records read.
    pub(crate) records: u64,
    /// Records that are no events.
    pub(crate) unreadable: Tally,
    /// Records of schemas that this build does not know, before the committed offset and not among the dead letters.
    #[serde(default)]
    pub(crate) unknown_schema: u64,
    /// Distinct events, once they are counted.
    pub(crate) events: Tally,
    /// What had expired before it could be read.
    pub(crate) unchecked: Vec<OffsetRange>,
    /// What of this nothing tells whether it was applied.
    pub(crate) doubtful: Vec<OffsetRange>,
    /// What had certainly expired before its group read it.
    pub(crate) lost: Option<OffsetRange>,
    /// What is damaged, so that nobody can read it.
    pub(crate) damaged: Vec<Damage>,
    /// How many offsets hold no record, and the first of them.
    pub(crate) empty_offsets: u64,
    pub(crate) empty: Vec<OffsetRange>,
    /// The first that are missing, that differ, whose dead letter may have expired, and whose dead letter may be where it
    /// cannot be read.
    pub(crate) missing: Vec<Finding>,
    pub(crate) differing: Vec<Finding>,
    pub(crate) unknown: Vec<Finding>,
    pub(crate) unread: Vec<Finding>,
}

impl PartitionProgress {
    /// How many offsets are still to be read.
    pub(crate) fn left(&self) -> u64 {
        self.end.map_or(0, |end| (end - self.next).unsigned_abs())
    }
}

/// Offsets that hold something else than what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Damage {
    pub(crate) range: OffsetRange,
    /// In the words of who met it.
    pub(crate) reason: String,
}

/// The folder of one check. Nobody else uses it meanwhile.
pub(crate) struct State {
    folder: PathBuf,
    /// What another process cannot take as long as it is open.
    _lock: File,
    /// Removes the folder when it was only made for this process.
    _temporary: Option<TempDir>,
    pub(crate) progress: Progress,
}

impl State {
    /// The state of a check of `of` in `folder`, or in one of its own. A new one has no partitions.
    ///
    /// # Errors
    /// [`VerifyError::State`] when the folder is in use, or holds the state of another check.
    pub(crate) fn open(folder: Option<&Path>, of: String) -> Result<Self, VerifyError> {
        let temporary = match folder {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("floodgate-verify-").tempdir().map_err(cannot)?),
        };
        let folder = folder.or(temporary.as_ref().map(TempDir::path)).unwrap_or(Path::new(".")).to_owned();
        let refuse = |reason: &str| VerifyError::State(format!("--state {}: {reason}", folder.display()));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder.join(RUNS));
        made.map_err(|error| refuse(&error.to_string()))?;
        let lock = runs::create(&folder.join(LOCK)).map_err(|error| refuse(&error.to_string()))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => refuse("another process checks with it"),
            TryLockError::Error(error) => refuse(&error.to_string()),
        })?;
        let progress = match fs::read(folder.join(PROGRESS)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Progress { format: FORMAT, of, as_of: String::new(), types: Vec::new() }
            }
            Err(error) => return Err(refuse(&error.to_string())),
            Ok(bytes) => match serde_json::from_slice::<Progress>(&bytes) {
                Ok(progress) if progress.format != FORMAT => {
                    return Err(refuse("it was made by another version; give another folder"));
                }
                Ok(progress) if progress.of != of => {
                    let found = progress.of;
                    return Err(refuse(&format!(
                        "it belongs to {found}, and this is {of}; give another folder"
                    )));
                }
                Ok(progress) => progress,
                Err(error) => {
                    return Err(refuse(&format!("{PROGRESS} cannot be read ({error}); give another folder")));
                }
            },
        };
        Ok(Self { folder, _lock: lock, _temporary: temporary, progress })
    }

    /// Where a run is put aside.
    pub(crate) fn run_path(&self, number: usize) -> PathBuf {
        self.folder.join(RUNS).join(format!("{number}.run"))
    }

    /// Remembers the progress, once and for all.
    pub(crate) fn save(&self) -> Result<(), VerifyError> {
        let write = || -> io::Result<()> {
            let mut file = runs::create(&self.folder.join(PROGRESS_NEW))?;
            file.write_all(&serde_json::to_vec(&self.progress)?)?;
            file.sync_all()?;
            // what the progress counts is found again after a power cut
            File::open(self.folder.join(RUNS))?.sync_all()?;
            fs::rename(self.folder.join(PROGRESS_NEW), self.folder.join(PROGRESS))?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(cannot)
    }

    /// Forgets the first runs, which nobody needs any more.
    pub(crate) fn remove_runs(&self, count: usize) -> Result<(), VerifyError> {
        (0..count).try_for_each(|number| fs::remove_file(self.run_path(number))).map_err(cannot)
    }

    /// Leaves nothing behind but the folder.
    pub(crate) fn finish(self) -> Result<(), VerifyError> {
        let remove = || -> io::Result<()> {
            fs::remove_file(self.folder.join(PROGRESS))?;
            fs::remove_dir_all(self.folder.join(RUNS))?;
            fs::remove_file(self.folder.join(LOCK))
        };
        remove().map_err(cannot)
    }
}

/// Fixes the ends of a new check, or looks whether an old one can go on. Partitions that nobody told of then, and somebody
/// does now, are taken in: all looks are later ones for them.
pub(crate) fn begin(state: &mut State, as_of: Timestamp, lags: &[GroupLag]) -> Result<(), VerifyError> {
    let progress = &mut state.progress;
    if progress.types.is_empty() {
        progress.types = lags.iter().map(fresh).collect();
        progress.as_of = as_of.to_string();
        return state.save();
    }
    let other = || {
        let reason = "the state is of other topics: partitions were added, or the topics were made anew";
        VerifyError::State(reason.to_owned())
    };
    if progress.types.len() != lags.len() {
        return Err(other());
    }
    for (partitions, lag) in progress.types.iter_mut().zip(lags) {
        let now = fresh(lag);
        if partitions.len() != now.len() {
            return Err(other());
        }
        for (was, is) in partitions.iter_mut().zip(now) {
            match (was.end, is.end) {
                _ if was.partition != is.partition => return Err(other()),
                (Some(was), Some(is)) if was > is => return Err(other()),
                (None, end) => was.end = end,
                _ => {}
            }
        }
    }
    state.save()
}

/// Of every partition of a topic, in order, how far a check is that has not begun.
fn fresh(lag: &GroupLag) -> Vec<PartitionProgress> {
    let known = lag.partitions.iter().map(|bounds| (bounds.partition.0, Some(bounds.readable.0)));
    let all = known.chain(lag.unknown.iter().map(|(partition, _)| (partition.0, None)));
    let progress = |(partition, end)| PartitionProgress { partition, end, ..PartitionProgress::default() };
    let mut all: Vec<_> = all.map(progress).collect();
    all.sort_by_key(|progress| progress.partition);
    all
}

/// The disk is full, or the like.
pub(crate) fn cannot(error: io::Error) -> VerifyError {
    VerifyError::Unavailable(format!("the state cannot be kept: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn refusal(folder: &Path, of: &str) -> String {
        match State::open(Some(folder), of.to_owned()) {
            Err(VerifyError::State(reason)) => reason,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("not refused"),
        }
    }

    #[test]
    fn a_state_is_taken_up_by_its_own_check_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/on/demand");
        let mut state = State::open(Some(&path), "this".to_owned()).unwrap();
        assert!(refusal(&path, "this").contains("another process"));
        state.progress.types.push(vec![PartitionProgress { next: 7, ..PartitionProgress::default() }]);
        state.save().unwrap();
        let saved = state.progress.clone();
        drop(state);
        assert!(refusal(&path, "that").contains("belongs to this, and this is that"));
        let state = State::open(Some(&path), "this".to_owned()).unwrap();
        assert_eq!(state.progress, saved);
        state.finish().unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        assert!(State::open(Some(&path), "that".to_owned()).unwrap().progress.types.is_empty());
    }

    /// Ids and keys are in it.
    #[test]
    fn nobody_but_its_owner_reads_it() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/state");
        let state = State::open(Some(&path), "this".to_owned()).unwrap();
        state.save().unwrap();
        runs::write(&[], &state.run_path(0)).unwrap();
        for made in [folder.path().join("a"), path.clone(), path.join(RUNS)] {
            assert_eq!(mode(&made), 0o700, "{}", made.display());
        }
        for made in [path.join(LOCK), path.join(PROGRESS), state.run_path(0)] {
            assert_eq!(mode(&made), 0o600, "{}", made.display());
        }
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(PROGRESS), "{}").unwrap();
        assert!(refusal(folder.path(), "this").contains("cannot be read"));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(refusal(&file, "this").contains("--state"));
    }

    #[test]
    fn a_temporary_folder_goes_with_its_state() {
        let state = State::open(None, "this".to_owned()).unwrap();
        state.save().unwrap();
        let folder = state.folder.clone();
        assert!(folder.join(PROGRESS).exists());
        drop(state);
        assert!(!folder.exists());
    }
}
