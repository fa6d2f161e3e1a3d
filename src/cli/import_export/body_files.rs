//! Reads the bodies that a recording keeps in files next to it.

use std::fs;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

/// The folder of WireMock for bodies, next to its folder [`MAPPINGS`].
const FILES: &str = "__files";
const MAPPINGS: &str = "mappings";

/// Where the files of a recording are: the path of the recording, unless it was not read from a file.
#[derive(Clone, Copy)]
pub(super) struct BodyFiles<'a>(pub(super) Option<&'a Path>);

impl BodyFiles<'_> {
    /// Reads a file next to the recording.
    pub(super) fn beside(self, name: &str) -> Result<Bytes, String> {
        let folder = self.0.and_then(Path::parent);
        read(folder.map(Path::to_path_buf), name)
    }

    /// Reads a file of WireMock: of `__files` next to the folder `mappings` that has the recording, or next to the
    /// recording itself.
    pub(super) fn of_wiremock(self, name: &str) -> Result<Bytes, String> {
        let recording = self
            .0
            .map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
        let folders = recording.iter().flat_map(|path| path.ancestors()).skip(1);
        let parents = folders
            .filter(|folder| folder.file_name().is_some_and(|name| name == MAPPINGS))
            .filter_map(Path::parent);
        let beside = recording.as_deref().and_then(Path::parent);
        let mut candidates = parents.chain(beside).map(|folder| folder.join(FILES));
        read(candidates.find(|folder| folder.is_dir()), name)
    }
}

/// Whether a folder has the bodies of WireMock's mappings, which are read with these.
pub(crate) fn has_only_bodies(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == FILES)
}

/// Reads a file in the folder; the name cannot lead out of it.
fn read(folder: Option<PathBuf>, name: &str) -> Result<Bytes, String> {
    let missing = || format!("the response body is in the file {name:?}, which is not there");
    let is_inside = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_inside {
        return Err(format!(
            "the response body is in the file {name:?}, outside of the folder of the recording"
        ));
    }
    let folder = folder.ok_or_else(missing)?;
    let real = |path: &Path| {
        fs::canonicalize(if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        })
    };
    let (Ok(folder), Ok(file)) = (real(&folder), real(&folder.join(name))) else {
        return Err(missing());
    };
    if !file.starts_with(&folder) {
        return Err(format!(
            "the response body is in the file {name:?}, outside of the folder of the recording"
        ));
    }
    fs::read(&file).map(Bytes::from).map_err(|_| missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_in_the_folder_are_read() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["mappings/deep", "__files/deep"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("__files/deep/a.txt"), "body").unwrap();
        fs::write(at("secret"), "secret").unwrap();
        let mapping = at("mappings/deep/a.json");
        let files = BodyFiles(Some(&mapping));
        assert_eq!(files.of_wiremock("deep/a.txt").unwrap(), "body");
        assert_eq!(files.of_wiremock("./deep/a.txt").unwrap(), "body");
        for outside in ["../secret", "deep/../../secret", "/etc/hostname"] {
            assert!(files.of_wiremock(outside).unwrap_err().contains("outside"), "{outside}");
        }
        assert!(files.of_wiremock("b.txt").unwrap_err().contains("not there"));
        assert!(BodyFiles(None).beside("a").unwrap_err().contains("not there"));
        let recording = at("recording.yaml");
        assert_eq!(BodyFiles(Some(&recording)).beside("secret").unwrap(), "secret");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("secret"), at("__files/link")).unwrap();
            assert!(files.of_wiremock("link").unwrap_err().contains("outside"));
        }
    }
}
