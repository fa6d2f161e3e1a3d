//! A small file system for one test, which can be filled or made read-only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip::skip;

/// It is unmounted when this is dropped.
pub struct Mount {
    folder: PathBuf,
}

impl Mount {
    /// In this folder, with this size in bytes. `None`, and the test is reported as skipped, where mounting is not
    /// allowed.
    pub fn of(folder: &Path, bytes: usize) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        if !mount(&format!("size={bytes}"), folder) {
            skip("no file system can be mounted", "run the tests as root, with `mount`");
            return None;
        }
        Some(Self {
            folder: folder.to_owned(),
        })
    }

    /// Makes it read-only, for root as well.
    pub fn make_read_only(&self) {
        assert!(mount("remount,ro", &self.folder));
    }
}

fn mount(options: &str, folder: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder);
    mount.output().is_ok_and(|output| output.status.success())
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        assert!(unmounted.unwrap().success());
    }
}
