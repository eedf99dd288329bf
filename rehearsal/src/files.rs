//! Reports in files: read for comparison, and written so that whoever reads one has it whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::report::Report;

/// Why a report cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none, or not for us.
    #[error("{}: {source}; it has to be a file that `--json` wrote", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error(
        "{}: this is no report of a rehearsal ({source}); it has to be a file that `--json` wrote, and if an older version wrote it, do that run again",
        file.display()
    )]
    NoReport {
        /// Which.
        file: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Nothing was written, and what was there before is still there.
    #[error("{}: {source}; what was there before is still there", file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The report of an earlier run.
///
/// # Errors
/// [`FileError`], which says what to do.
pub fn read(file: &Path) -> Result<Report, FileError> {
    let text = fs::read(file).map_err(|source| FileError::Read { file: file.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| FileError::NoReport { file: file.to_owned(), source })
}

/// Looks whether a file can be written, before there is anything to write.
///
/// # Errors
/// [`FileError::Write`].
pub fn check(file: &Path) -> Result<(), FileError> {
    let looked = match fs::metadata(file) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        // a pipe is somebody's, who would take a look for the end of it
        Ok(found) if !found.is_file() => Ok(()),
        _ => beside(file).map(drop),
    };
    looked.map_err(|source| FileError::Write { file: file.to_owned(), source })
}

/// Writes a report as JSON, for programs and for comparison.
///
/// # Errors
/// [`FileError::Write`].
pub fn write_json(file: &Path, report: &Report) -> Result<(), FileError> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|source| FileError::Write { file: file.to_owned(), source: source.into() })?;
    write(file, &(text + "\n"))
}

/// Writes a text, a page or whatever: all of it, or nothing.
///
/// # Errors
/// [`FileError::Write`].
pub fn write(file: &Path, text: &str) -> Result<(), FileError> {
    let written = if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        // a pipe or a terminal is there to be written to, and not to be replaced
        File::options().write(true).open(file).and_then(|mut open| open.write_all(text.as_bytes()))
    } else {
        replace(file, text)
    };
    written.map_err(|source| FileError::Write { file: file.to_owned(), source })
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let (file, mut new) = beside(file)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(&file)?;
    Ok(())
}

/// What is going to be a file, with where that is.
fn beside(file: &Path) -> io::Result<(PathBuf, NamedTempFile)> {
    // a link stays one
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".report-").suffix(".new");
    // readable by whom other new files are
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let new = builder.tempfile_in(folder)?;
    Ok((file, new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        write(&file, "what was there before").unwrap();
        write_json(&file, &example::report()).unwrap();
        assert_eq!(read(&file).unwrap(), example::report());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\n  \"latencyMs\": {\n    \"p50\": 2.4,"), "{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something else is left");
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let told = write(&folder.path().join("none/report.html"), "").unwrap_err().to_string();
        assert!(told.contains("none/report.html"), "{told}");
        assert!(check(&folder.path().join("none/report.html")).is_err() && check(folder.path()).is_err());
        check(&folder.path().join("report.html")).unwrap();
        let told = write(folder.path(), "").unwrap_err().to_string();
        assert!(told.contains("is still there"), "{told}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_report_is_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        assert!(read(&file).unwrap_err().to_string().contains("`--json` wrote"));
        for text in ["", "{}", "[1]", "\u{0}"] {
            write(&file, text).unwrap();
            let told = read(&file).unwrap_err().to_string();
            assert!(told.contains("no report of a rehearsal") && told.contains("run again"), "{told}");
        }
    }

    /// A later version may say more.
    #[test]
    fn a_report_may_have_grown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        let mut grown = serde_json::to_value(example::report()).unwrap();
        grown["somethingNew"] = 1.into();
        write(&file, &grown.to_string()).unwrap();
        assert_eq!(read(&file).unwrap(), example::report());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_others_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("report.html"), folder.path().join("latest.html"));
        write(&file, "one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, "two").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode(&file), mode(&plain));
        write(Path::new("/dev/null"), "gone").unwrap();
    }
}
