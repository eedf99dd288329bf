//! Temporary folders.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::guard::{guard, open_to_all};

/// A temporary folder: removed when dropped, and by the watchdog when this process dies before.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
}

impl ScratchDir {
    /// A new, empty folder that has `name` in its name.
    pub fn new(name: &str) -> Result<ScratchDir> {
        let guard = guard()?;
        let path = guard.root().join(format!("{name}-{}", guard.serial()));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        open_to_all(&path)?;
        Ok(ScratchDir { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be removed now, the watchdog removes at the end.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
