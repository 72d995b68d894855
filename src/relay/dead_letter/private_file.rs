//! Files that are ours alone: dead letters, and how far they were sent again. Records may be confidential, so such a
//! file is made readable by its owner only, and never written through a link that somebody else may have put there.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

/// How often a path is tried that changes between two looks.
const ATTEMPTS: u32 = 3;

const LINK: &str = "it is a symbolic link: name the file it leads to";
const DEVICE: &str = "it is no regular file (a device, a pipe or a socket): name a file";
const REPLACED: &str = "it was replaced by another file while it was opened";

/// Opens the file to be read and appended to, or makes it.
///
/// # Errors
/// It can't be made or opened, is a symbolic link, or no regular file.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    for _ in 0..ATTEMPTS {
        match create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
        match open(path) {
            // It was removed in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
    Err(io::Error::other(REPLACED))
}

/// Opens a file that is there, to be read and appended to.
///
/// # Errors
/// As of [`open_or_create`].
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let seen = regular(path)?;
    let file = OpenOptions::new().read(true).append(true).open(path)?;
    // What was looked at is what was opened, and no link led elsewhere.
    if is_same(&seen, &file.metadata()?) { Ok(file) } else { Err(io::Error::other(REPLACED)) }
}

/// Makes a file that is not there yet, also not as a link; readable by its owner alone.
///
/// # Errors
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists), or it can't be made.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What there is at the path, if it is a regular file and no link.
///
/// # Errors
/// It is something else, or can't be looked at.
pub(crate) fn regular(path: &Path) -> io::Result<Metadata> {
    let seen = std::fs::symlink_metadata(path)?;
    let kind = seen.file_type();
    let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    match () {
        () if kind.is_symlink() => Err(invalid(LINK)),
        () if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        () if !kind.is_file() => Err(invalid(DEVICE)),
        () => Ok(seen),
    }
}

/// Locks the file for this process.
///
/// # Errors
/// [`WouldBlock`](io::ErrorKind::WouldBlock): another process has it.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Puts a file with these contents in the place of another, whole or not at all, and locked.
///
/// # Errors
/// It can't be written; the old file is then still there.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<File> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    // What a crash left; of a link, the link.
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = create(new).and_then(|mut file| {
        lock(&file)?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(new, path)?;
        Ok(file)
    });
    if written.is_err() {
        // Best effort: it is removed before the next one is written.
        let _ = std::fs::remove_file(new);
    }
    let file = written?;
    sync_folder(path)?;
    Ok(file)
}

/// The folder that a path is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new name is durable only once its folder is.
///
/// # Errors
/// The folder can't be synced.
#[cfg(unix)]
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// Elsewhere a folder can't be opened as a file.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// What tells a file from all others while it is there; `None` where that isn't known.
#[cfg(unix)]
pub(crate) fn number(seen: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((seen.dev(), seen.ino()))
}

/// Elsewhere an open file can't be moved or removed.
#[cfg(not(unix))]
pub(crate) fn number(_seen: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Whether two files are one, as far as that is known.
pub(crate) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    number(one) == number(other)
}

/// Whether the open file is the one that the path names now.
///
/// # Errors
/// The path can't be looked at.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok(is_same(&there, &ours)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a person should know about who may read or write the file, if anything.
#[cfg(unix)]
pub fn exposure(seen: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    // Of our own process; where there is no such file, nothing is said of the owner.
    let us = std::fs::metadata("/proc/self").ok().map(|us| us.uid());
    let mode = seen.mode() & 0o777;
    match us {
        Some(us) if us != seen.uid() => {
            Some(format!("belongs to the user with number {}, not to this one ({us})", seen.uid()))
        }
        _ if mode & 0o077 != 0 => {
            Some(format!("can be read or written by others (mode {mode:o}): records may be confidential"))
        }
        _ => None,
    }
}

/// Elsewhere nothing is known of that.
#[cfg(not(unix))]
pub(crate) fn exposure(_seen: &Metadata) -> Option<String> {
    None
}
