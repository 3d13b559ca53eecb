//! A small disk that can be filled up: an ext4 file system in a file, mounted through a loop device.

use anyhow::{Context as _, Result, ensure};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Room on it, less what ext4 takes for itself.
const BYTES: u64 = 24 << 20;

/// See the module. Unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts a new one at `at`, which is made.
    /// # Errors
    /// It takes root, `mkfs.ext4` and a free loop device.
    pub fn new(at: &Path) -> Result<Self> {
        let image = at.with_extension("img");
        File::create(&image)?.set_len(BYTES)?;
        fs::create_dir(at)?;
        let run = |program: &str, options: &[&str], paths: &[&Path]| -> Result<()> {
            let done = Command::new(program)
                .args(options)
                .args(paths)
                .stdin(Stdio::null())
                .output()
                .with_context(|| format!("cannot run {program}"))?;
            let said = String::from_utf8_lossy(&done.stderr);
            ensure!(done.status.success(), "{program}: {}", said.trim());
            Ok(())
        };
        run("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&image])?;
        run("mount", &["-o", "loop"], &[&image, at])?;
        // The mount keeps it.
        fs::remove_file(&image)?;
        Ok(Self { at: at.to_owned() })
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Fills it to the last block.
    /// # Errors
    /// What the disk said, other than that it is full.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::create(self.ballast())?;
        let mut size = 1 << 20;
        let block = vec![1u8; size];
        while size > 0 {
            match file.write(&block[..size]) {
                Ok(_) => {}
                // Smaller and smaller, so that not a block is left.
                Err(error) if error.kind() == ErrorKind::StorageFull => size /= 4,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Frees what was filled.
    /// # Errors
    /// What the disk said.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(&self.at)
            .stderr(Stdio::null())
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("recode-bench: {} stays mounted", self.at.display());
        }
    }
}
