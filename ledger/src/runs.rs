//! Distinct events in bounded memory: sorted runs, and their merge.
//!
//! An event may be in the log many times, and the copies may lie as far apart as the log is long. So what is found
//! of a partition is collected up to 500,000 records, sorted by event id, and put aside as a *run*, a file; when all
//! of the partition has been read its runs are merged, and the copies of one event meet. One entry takes 48 bytes in
//! memory, hence a run 24 MB, and 27 bytes in a file. Only events that will be named carry a note along: the key of
//! what is missing, the values of what differs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use floodgate_schemas::EventId;
use uuid::Uuid;

use crate::class::Class;

/// Notes of one run, in bytes.
const RUN_NOTE_BYTES: usize = 16 << 20;
/// In a file: no note. Notes are shorter.
const NO_NOTE: u16 = u16::MAX;

/// One copy of an event. Sorts copies of one event by what became of them, the first in the log first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) id: EventId,
    pub(crate) class: Class,
    pub(crate) offset: i64,
    pub(crate) note: Option<Box<[u8]>>,
}

/// A run that is being collected.
#[derive(Debug, Default)]
pub(crate) struct Run {
    entries: Vec<Entry>,
    note_bytes: usize,
}

impl Run {
    /// A note of an event that is not named is not kept.
    pub(crate) fn push(&mut self, id: EventId, class: Class, offset: i64, note: Option<&[u8]>) {
        let note = note.filter(|note| class.is_named() && note.len() < usize::from(NO_NOTE)).map(Box::from);
        self.note_bytes += note.as_deref().map_or(0, <[u8]>::len);
        self.entries.push(Entry { id, class, offset, note });
    }

    /// Whether it holds so many entries, or as much as it may of notes.
    pub(crate) fn is_full(&self, entries: usize) -> bool {
        self.entries.len() >= entries || self.note_bytes >= RUN_NOTE_BYTES
    }

    /// Sorted, one entry per event.
    pub(crate) fn sorted(mut self) -> Vec<Entry> {
        self.entries.sort_unstable();
        self.entries.dedup_by_key(|entry| entry.id);
        self.entries
    }
}

/// A new file, in the place of one before, that nobody but its owner reads: ids and reasons may be personal.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Writes a sorted run to a file, and to the disk.
pub(crate) fn write(entries: &[Entry], path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(create(path)?);
    for Entry { id, class, offset, note } in entries {
        file.write_all(id.as_uuid().as_bytes())?;
        file.write_all(&[class.number()])?;
        file.write_all(&offset.to_le_bytes())?;
        let length = note.as_ref().map_or(NO_NOTE, |note| note.len() as u16);
        file.write_all(&length.to_le_bytes())?;
        file.write_all(note.as_deref().unwrap_or_default())?;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()
}

/// A run as the merge reads it.
pub(crate) type Source = Box<dyn Iterator<Item = io::Result<Entry>>>;

/// Reads a run's file.
pub(crate) fn open(path: &Path) -> io::Result<Source> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    Ok(Box::new(std::iter::from_fn(move || read_entry(&mut file).transpose())))
}

fn read_entry(file: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut fixed = [0; 27];
    match file.read_exact(&mut fixed[..1]) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    file.read_exact(&mut fixed[1..])?;
    let [id @ .., class, o0, o1, o2, o3, o4, o5, o6, o7, l0, l1] = fixed;
    let class = Class::numbered(class).ok_or_else(|| io::Error::other("a run's file is damaged"))?;
    let note = match u16::from_le_bytes([l0, l1]) {
        NO_NOTE => None,
        length => {
            let mut note = vec![0; usize::from(length)];
            file.read_exact(&mut note)?;
            Some(note.into_boxed_slice())
        }
    };
    let offset = i64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
    Ok(Some(Entry { id: Uuid::from_bytes(id).into(), class, offset, note }))
}

/// Hands out every event of all runs once, with the best that became of any of its copies. The runs are sorted.
pub(crate) fn merge(mut sources: Vec<Source>, mut each: impl FnMut(Entry)) -> io::Result<()> {
    let mut heads = BinaryHeap::with_capacity(sources.len());
    for (number, source) in sources.iter_mut().enumerate() {
        heads.extend(source.next().transpose()?.map(|entry| Reverse((entry, number))));
    }
    let mut last = None;
    while let Some(Reverse((entry, number))) = heads.pop() {
        heads.extend(sources[number].next().transpose()?.map(|next| Reverse((next, number))));
        if last != Some(entry.id) {
            last = Some(entry.id);
            each(entry);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use floodgate_schemas::examples::event_id;
    use proptest::prelude::*;

    use super::*;
    use crate::finding::{KEY_BYTES_MAX, shown_key};

    fn entry(id: u64, class: u8, offset: i64) -> Entry {
        let class = Class::numbered(class).unwrap();
        let note = class.is_named().then(|| format!("key-{offset}").into_bytes().into_boxed_slice());
        Entry { id: event_id(id), class, offset, note }
    }

    #[test]
    fn a_full_run_is_noticed_by_entries_and_by_notes() {
        let mut run = Run::default();
        for offset in 0..RUN_NOTE_BYTES / KEY_BYTES_MAX {
            assert!(!run.is_full(usize::MAX));
            run.push(event_id(1), Class::Missing, offset as i64, Some(shown_key(&[b'k'; KEY_BYTES_MAX + 1])));
        }
        assert!(run.is_full(usize::MAX));
        let mut run = Run::default();
        for offset in 0..100 {
            assert!(!run.is_full(100));
            run.push(event_id(1), Class::Current, offset as i64, Some(b"k"));
        }
        assert!(run.is_full(100) && run.note_bytes == 0);
        assert_eq!(run.sorted().len(), 1);
    }

    #[test]
    fn a_file_that_is_cut_is_no_shorter_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.run");
        write(&[entry(1, 0, 1), entry(2, 4, 2)], &path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in [whole.len() - 1, 28] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(merge(vec![open(&path).unwrap()], |_| {}).is_err(), "{length} bytes");
        }
    }

    proptest! {
        /// However the copies are spread over runs, in files or not: every event counts once, as the best of its
        /// copies, and the first of these names its place.
        #[test]
        fn events_are_counted_once(
            runs in prop::collection::vec(prop::collection::vec((0u64..30, 0u8..8, 0i64..1000), 0..40), 0..6),
            last_stays_in_memory: bool,
        ) {
            let mut wanted: BTreeMap<EventId, Entry> = BTreeMap::new();
            let folder = tempfile::tempdir().unwrap();
            let mut sources = Vec::new();
            for (number, run) in runs.iter().enumerate() {
                let mut collected = Run::default();
                for (id, class, offset) in run {
                    let entry = entry(*id, *class, *offset);
                    collected.push(entry.id, entry.class, entry.offset, Some(format!("key-{offset}").as_bytes()));
                    wanted.entry(entry.id).and_modify(|best| *best = entry.clone().min(best.clone())).or_insert(entry);
                }
                let sorted = collected.sorted();
                if last_stays_in_memory && number + 1 == runs.len() {
                    sources.push(Box::new(sorted.into_iter().map(Ok)) as Source);
                } else {
                    let path = folder.path().join(format!("{number}.run"));
                    write(&sorted, &path).unwrap();
                    sources.push(open(&path).unwrap());
                }
            }
            let mut found = Vec::new();
            merge(sources, |entry| found.push(entry)).unwrap();
            prop_assert_eq!(found, wanted.into_values().collect::<Vec<_>>());
        }
    }
}
