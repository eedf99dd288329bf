//! Files that are for their owner alone: keys, and rows. What is made here is made so; what an earlier build made, or somebody else, may
//! be open to everybody on the machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use floodgate_buffer::Strategy;
use floodgate_store::Store;

use crate::settings::Settings;

/// Bits of a mode.
const OTHERS_READ_OR_WRITE: u32 = 0o006;

/// What is worth a word.
pub(crate) fn warnings(settings: &Settings, strategy: &dyn Strategy, store: &dyn Store) -> Vec<String> {
    let key = settings.http.tls.is_on().then(|| settings.http.tls.key_file.clone());
    let files = key.into_iter().chain(strategy.private_files()).chain(store.private_files());
    files.filter_map(|file| open_to_all(&file)).collect()
}

fn open_to_all(file: &Path) -> Option<String> {
    let mode = fs::metadata(file).ok()?.permissions().mode();
    let shown = file.display();
    (mode & OTHERS_READ_OR_WRITE != 0).then(|| {
        format!(
            "{shown} is for its owner alone, and its mode is open to everybody on this machine: chmod o-rw {shown}"
        )
    })
}
