//! The file of `--config`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Bits of a mode.
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Its text, and what is worth a word of it.
pub(crate) struct ConfigFile {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) warnings: Vec<String>,
}

impl ConfigFile {
    /// # Errors
    /// It cannot be read, with its name.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| format!("--config {name}: {error}"))?;
        Ok(Self { warnings: writers(path).into_iter().collect(), name, text })
    }
}

/// Whoever may change what is configured decides what runs, and where events go.
fn writers(path: &Path) -> Option<String> {
    let mode = |path: &Path| Some(fs::metadata(path).ok()?.permissions().mode());
    let shown = path.display();
    if mode(path)? & OTHERS_WRITE != 0 {
        return Some(format!(
            "--config {shown} can be changed by everybody on this machine: chmod o-w {shown}"
        ));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = mode(folder)?;
    (mode & OTHERS_WRITE != 0 && mode & STICKY == 0).then(|| {
        let folder = folder.display();
        format!("--config {shown} can be replaced by everybody on this machine: chmod o-w {folder}")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_file_that_others_may_change_is_told() {
        let folder = std::env::temp_dir().join(format!("floodgate-config-{}", std::process::id()));
        let file = folder.join("floodgate.toml");
        fs::create_dir_all(&folder).unwrap();
        fs::write(&file, "").unwrap();
        let told = |of_folder, of_file| {
            fs::set_permissions(&folder, Permissions::from_mode(of_folder)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(of_file)).unwrap();
            ConfigFile::read(&file).unwrap().warnings.concat()
        };
        assert_eq!((told(0o755, 0o644), told(0o1777, 0o664)), (String::new(), String::new()));
        assert!(told(0o755, 0o646).contains("can be changed"));
        assert!(told(0o777, 0o644).contains("can be replaced"));
        fs::remove_dir_all(&folder).unwrap();
        assert!(ConfigFile::read(&file).is_err_and(|told| told.contains("floodgate.toml")));
    }
}
