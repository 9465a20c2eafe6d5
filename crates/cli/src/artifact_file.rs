//! Writing the compiler's output where the command line says.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Writes `contents` to what is called `path`, or will be.
///
/// A regular file, one that a symbolic link leads to included, is replaced: others see either
/// the old one or all of the new one, which has the permissions and the owner of the old one.
/// Where its folder, or who owns it, does not allow that, it is written in place, as everything
/// is that is no regular file: a device, a FIFO.
///
/// # Errors
///
/// If it can't be written. Then a file has its old contents, or none at all if it was to be
/// written in place: never a part of the new ones.
pub(crate) fn write(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    // Not truncated, and not made: only who may write it may replace it.
    let in_place = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        // It may be a link to where nothing is yet.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let target = followed(path)?;
            // What an ordinary new file gets; the process's mask still applies.
            let file = temporary_beside(&target, 0o666)?;
            return Ok(replace(file, &target, contents)?);
        }
        Err(error) => return Err(error.into()),
    };
    let there = in_place.metadata()?;
    if !there.is_file() {
        return write_in_place(in_place, contents, false);
    }
    let target = followed(path)?;
    // A link of the kernel's (`/proc/self/fd`) may have a text that leads elsewhere.
    let is_there = fs::metadata(&target)
        .is_ok_and(|target| (target.dev(), target.ino()) == (there.dev(), there.ino()));
    if is_there {
        let replaced = temporary_beside(&target, PRIVATE).and_then(|file| {
            if (there.uid(), there.gid()) != owner(file.as_file())? {
                fchown(file.as_file(), Some(there.uid()), Some(there.gid()))?;
            }
            file.as_file().set_permissions(there.permissions())?;
            replace(file, &target, contents)
        });
        match replaced {
            // Not here, or not so: in a folder of somebody else's; a file that is mounted.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied
                        | ErrorKind::ReadOnlyFilesystem
                        | ErrorKind::ResourceBusy
                ) => {}
            other => return Ok(other?),
        }
    }
    write_in_place(in_place, contents, true)
}

/// What `path` stands for when all symbolic links at its end are followed, whether it is there
/// or not.
fn followed(path: &Path) -> io::Result<PathBuf> {
    /// As many as the kernel follows (`man 7 path_resolution`).
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(link) => path = folder_of(&path).join(link),
            // No link, or nothing at all.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        "too many symbolic links",
    ))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The permissions of what has no others yet: who opens a file keeps what was allowed then.
const PRIVATE: u32 = 0o600;

/// A new file in the folder of `path`, which goes away again if it does not get that name.
fn temporary_beside(path: &Path, permissions: u32) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(permissions))
        .tempfile_in(folder_of(path))
}

fn owner(file: &File) -> io::Result<(u32, u32)> {
    let file = file.metadata()?;
    Ok((file.uid(), file.gid()))
}

/// Gives a file its name when it is complete.
fn replace(mut file: tempfile::NamedTempFile, path: &Path, contents: &[u8]) -> io::Result<()> {
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn write_in_place(mut file: File, contents: &[u8], is_regular: bool) -> anyhow::Result<()> {
    if !is_regular {
        return Ok(file.write_all(contents)?);
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(contents))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // A part of an artifact is of no use to anybody.
        let _ = file.set_len(0);
    }
    written.context("the file was to be written in place, and is empty now")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_to_replace_another_is_nobody_elses_before_it_has_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let file = temporary_beside(&path, PRIVATE).unwrap();
        let mode = file.as_file().metadata().unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}
