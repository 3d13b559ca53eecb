//! Puts a finished Output under its final name, once, and never knowingly over something else.
//!
//! A local Output is written beside its target under `.NAME.recode-XXXX.part`, synced, and renamed without replacing. The
//! part file is locked while its process lives: parts that nobody locks were left by dead processes and are removed by
//! the next Output of the same name. An Output in S3 is written into scratch first and then uploaded, or uploaded while it is
//! written ([`Publication::follow`]): create-only, and compared afterwards with what was sent.

use crate::error::Error;
use crate::follow::{Ending, Follower, Layout};
use crate::local::{self, blocking};
use crate::objects::{Objects, Written};
use crate::retry::PATIENCE;
use crate::uploads::Ledger;
use crate::url::Location;
use crate::work::WorkStore;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Marks a part file between the Output's name and what makes it unique.
const MARK: &str = ".recode-";
/// Ends a part file.
const ENDING: &str = ".part";
/// The longest file name common file systems take.
const LONGEST_NAME: usize = 255;

/// An Output under construction. Dropping it removes what was written so far.
pub struct Publication {
    target: Target,
    part: Part,
    overwrite: bool,
    /// What is at the name already may be from an earlier try of this very Output: then it is the same, and as good.
    again: bool,
}

enum Target {
    File(PathBuf),
    Object {
        objects: Box<Objects>,
        key: String,
        ledger: Option<Ledger>,
    },
}

/// What lies at the Output's name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its name, as [`Location::to_url`] gives it.
    pub url: String,
    /// Its length.
    pub size_bytes: u64,
}

impl Publication {
    /// Checks that an Output may be put at `location` and opens a file to write it to. `scratch` is a directory for
    /// Outputs that do not stay on this machine.
    ///
    /// # Errors
    /// [`Error::Exists`] when something is there and `overwrite` is not set; [`Error::NotFound`] for a missing directory
    /// or bucket; [`Error::Forbidden`], [`Error::Invalid`] for a place that cannot hold a file.
    pub async fn begin(
        location: &Location,
        overwrite: bool,
        scratch: &Path,
    ) -> Result<Self, Error> {
        Self::open(location, overwrite, false, scratch).await
    }

    /// As [`Publication::begin`], where an earlier try may have come so far as to give the Output its name, and not so far as
    /// to say so. What is there is left alone until [`Publication::commit`] compares it with what was made now.
    ///
    /// # Errors
    /// As [`Publication::begin`], but for [`Error::Exists`].
    pub async fn begin_again(
        location: &Location,
        overwrite: bool,
        scratch: &Path,
    ) -> Result<Self, Error> {
        Self::open(location, overwrite, true, scratch).await
    }

    async fn open(
        location: &Location,
        overwrite: bool,
        again: bool,
        scratch: &Path,
    ) -> Result<Self, Error> {
        let may_exist = overwrite || again;
        match location {
            Location::File(path) => {
                let path = path.clone();
                blocking(move || {
                    let target = check_file(&path, may_exist)?;
                    remove_orphans(&target);
                    let part = Part::create(&target)?;
                    Ok(Self {
                        target: Target::File(target),
                        part,
                        overwrite,
                        again,
                    })
                })
                .await
            }
            Location::S3 { .. } | Location::Memory(_) => {
                let (objects, key) = check_object(location, may_exist).await?;
                let scratch = scratch.join(location.file_name().unwrap_or_default());
                let part = blocking(move || Part::create(&scratch)).await?;
                Ok(Self {
                    target: Target::Object {
                        objects: Box::new(objects),
                        key,
                        ledger: None,
                    },
                    part,
                    overwrite,
                    again,
                })
            }
            Location::Http(_) => Err(read_only(location)),
        }
    }

    /// Has an upload written down in `store` under keys that begin with `prefix`, for as long as it lasts: should this process
    /// die, [`crate::sweep::sweep`] finds it there.
    pub fn noted_in(mut self, store: &WorkStore, prefix: &str) -> Self {
        if let Target::Object { ledger, .. } = &mut self.target {
            *ledger = Some(Ledger::new(store, prefix));
        }
        self
    }

    /// Only the checks of [`Publication::begin`]: whether an Output could be put there now. Writes nothing.
    ///
    /// # Errors
    /// As [`Publication::begin`].
    pub async fn check(location: &Location, overwrite: bool) -> Result<(), Error> {
        match location {
            Location::File(path) => {
                let path = path.clone();
                blocking(move || {
                    let target = check_file(&path, overwrite)?;
                    let parent = local::parent_of(&target);
                    rustix::fs::access(parent, rustix::fs::Access::WRITE_OK)
                        .map_err(|e| Error::io("write to", parent, e.into()))
                })
                .await
            }
            Location::S3 { .. } | Location::Memory(_) => {
                check_object(location, overwrite).await.map(|_| ())
            }
            Location::Http(_) => Err(read_only(location)),
        }
    }

    /// The file to write. It exists and is empty; it may be replaced by truncating, not by renaming.
    pub fn path(&self) -> &Path {
        &self.part.path
    }

    /// Makes the bytes durable and gives them their name.
    ///
    /// # Errors
    /// [`Error::Exists`] when somebody else took the name: their file is untouched and ours is gone.
    pub async fn commit(self) -> Result<Published, Error> {
        let Self {
            target,
            part,
            overwrite,
            again,
        } = self;
        match target {
            Target::File(target) => {
                blocking(move || {
                    let path = &part.path;
                    // A fresh descriptor: the writer was another process, and its errors must reach us.
                    let synced = File::open(path).and_then(|f| {
                        f.sync_all()?;
                        f.metadata()
                    });
                    let size_bytes = synced.map_err(|e| Error::io("sync", path, e))?.len();
                    match part.rename(&target, overwrite) {
                        Err(Error::Exists { .. }) if again && part.is_same(&target)? => {}
                        renamed => renamed?,
                    }
                    local::sync_dir(local::parent_of(&target))?;
                    Ok(Published {
                        url: Location::File(target).to_url()?,
                        size_bytes,
                    })
                })
                .await
            }
            Target::Object {
                objects,
                key,
                ledger,
            } => {
                let path = part.path.clone();
                let (size, digest) = blocking(move || local::digest_of_file(&path)).await?;
                let written = objects
                    .put_file(&key, &part.path, &digest, !overwrite, ledger.as_ref())
                    .await?;
                published(&objects, &key, written, size)
            }
        }
    }

    /// Begins to upload the file while it is written: from now on it may only grow, but for what lies in the front of
    /// `layout`. `None`: it stays on this machine, or its file system makes no holes.
    ///
    /// # Errors
    /// The store does not begin the upload.
    pub async fn follow(&self, layout: Layout) -> Result<Option<Follower>, Error> {
        match &self.target {
            Target::File(_) => Ok(None),
            Target::Object {
                objects,
                key,
                ledger,
            } => Follower::begin(objects, key, &self.part.path, layout, ledger.as_ref()).await,
        }
    }

    /// [`Publication::commit`] of what a [`Follower`] has sent, and of the rest. Nothing has the name before.
    ///
    /// # Errors
    /// As [`Publication::commit`]; then nothing of the upload is left.
    pub async fn commit_followed(
        self,
        follower: Follower,
        ending: &Ending,
    ) -> Result<Published, Error> {
        let Target::Object { objects, key, .. } = &self.target else {
            unreachable!("only objects are followed");
        };
        let (written, size) = follower.finish(ending, !self.overwrite).await?;
        published(objects, key, written, size)
    }
}

fn published(
    objects: &Objects,
    key: &str,
    written: Written,
    size_bytes: u64,
) -> Result<Published, Error> {
    let url = objects.name(key);
    match written {
        // Nothing was there when we began, so bytes that are the same came from an earlier try of this very Output.
        Written::New | Written::SameAlready => Ok(Published { url, size_bytes }),
        Written::OtherAlready => Err(Error::Exists { what: url }),
    }
}

/// Writes a small file (a report, per-frame scores) as an Output is written.
///
/// # Errors
/// As [`Publication::begin`] and [`Publication::commit`].
pub async fn publish_bytes(
    location: &Location,
    bytes: &[u8],
    overwrite: bool,
    scratch: &Path,
) -> Result<Published, Error> {
    let publication = Publication::begin(location, overwrite, scratch).await?;
    tokio::fs::write(publication.path(), bytes)
        .await
        .map_err(|e| Error::io("write", publication.path(), e))?;
    publication.commit().await
}

fn read_only(location: &Location) -> Error {
    Error::Invalid(format!(
        "{location} can only be read; name a file or s3://bucket/key for the output"
    ))
}

/// Where the file really goes (links followed), when it may go there.
fn check_file(path: &Path, overwrite: bool) -> Result<PathBuf, Error> {
    let shown = path.display();
    if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::Invalid(format!(
            "\"{shown}\" is a directory name; add a file name for the output"
        )));
    }
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(Error::Invalid(format!(
            "\"{shown}\" is a directory; add a file name for the output"
        ))),
        Ok(meta) if !meta.is_file() => Err(Error::Invalid(format!(
            "\"{shown}\" is a device or pipe, not a file; name a file for the output"
        ))),
        Ok(_) if !overwrite => Err(Error::Exists {
            what: format!("\"{shown}\""),
        }),
        Ok(_) => fs::canonicalize(path).map_err(|e| Error::io("find", path, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // A dangling link is a taken name as well.
            if fs::symlink_metadata(path).is_ok() {
                return Err(Error::Exists {
                    what: format!("\"{shown}\" (a link to nothing)"),
                });
            }
            let parent = local::parent_of(path);
            match fs::metadata(parent) {
                Ok(meta) if meta.is_dir() => Ok(path.to_owned()),
                Ok(_) => Err(Error::Invalid(format!(
                    "\"{}\" is not a directory; choose another place for the output",
                    parent.display()
                ))),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NotFound {
                    what: format!("the directory \"{}\"", parent.display()),
                    remedy: "create it first".into(),
                }),
                Err(e) => Err(Error::io("write to", parent, e)),
            }
        }
        Err(e) => Err(Error::io("write", path, e)),
    }
}

async fn check_object(location: &Location, overwrite: bool) -> Result<(Objects, String), Error> {
    let (objects, key) = Objects::open(location)?;
    if key.is_empty() || key.ends_with('/') {
        return Err(Error::Invalid(format!(
            "{location} does not name an object; add a key for the output"
        )));
    }
    match objects.head(&key, PATIENCE).await {
        Ok(_) if !overwrite => Err(Error::Exists {
            what: objects.name(&key),
        }),
        Err(Error::NotFound { .. }) => {
            objects.expect_bucket().await?;
            Ok((objects, key))
        }
        Ok(_) => Ok((objects, key)),
        Err(e) => Err(e),
    }
}

/// A locked file beside its target.
struct Part {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl Part {
    fn create(target: &Path) -> Result<Self, Error> {
        let path = target.with_file_name(part_name(target, &local::unique_suffix()));
        let opened = || {
            let file = File::create_new(&path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive).ok();
            Ok(file)
        };
        let lock = opened().map_err(|e: io::Error| match e.kind() {
            // The sentence should name what the user named.
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::io("write to", local::parent_of(target), e)
            }
            _ => Error::io("create", &path, e),
        })?;
        Ok(Self { path, _lock: lock })
    }

    fn rename(&self, target: &Path, overwrite: bool) -> Result<(), Error> {
        let failed = |e| Error::io("create", target, e);
        if overwrite {
            return fs::rename(&self.path, target).map_err(failed);
        }
        match local::rename_new(&self.path, target).map_err(failed)? {
            true => Ok(()),
            false => Err(Error::Exists {
                what: format!("\"{}\"", target.display()),
            }),
        }
    }
}

impl Part {
    fn is_same(&self, target: &Path) -> Result<bool, Error> {
        Ok(local::digest_of_file(&self.path)? == local::digest_of_file(target)?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After a rename nothing has this name any more; names are never used twice.
        let _ = fs::remove_file(&self.path);
    }
}

/// `.NAME.recode-XXXX.part`, with NAME cut short when the whole would be too long for a file name.
fn part_name(target: &Path, unique: &str) -> String {
    let prefix = part_prefix(target, unique.len());
    format!("{prefix}{unique}{ENDING}")
}

fn part_prefix(target: &Path, unique: usize) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let room = LONGEST_NAME - 1 - MARK.len() - unique.max(48) - ENDING.len();
    let mut end = name.len().min(room);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}{MARK}", &name[..end])
}

/// Removes parts of the same target whose process is gone. What cannot be removed is left for somebody else.
fn remove_orphans(target: &Path) {
    let prefix = part_prefix(target, 0);
    let Ok(entries) = fs::read_dir(local::parent_of(target)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_some_and(|n| n.starts_with(&prefix) && n.ends_with(ENDING));
        if !ours {
            continue;
        }
        let free = File::open(entry.path())
            .is_ok_and(|f| flock(&f, FlockOperation::NonBlockingLockExclusive).is_ok());
        if free {
            tracing::debug!(path = %entry.path().display(), "removing what a dead process left");
            let _ = fs::remove_file(entry.path());
        }
    }
}
