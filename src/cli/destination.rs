//! Where `record` writes its result.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::error::{Error, Exit};
use super::output::{note, print};
use crate::sink::escape::escape;

/// Where the result goes.
#[derive(Debug)]
pub enum Destination {
    /// The standard output.
    Stdout,
    /// A file, made beside its place and moved there when it is whole.
    File(PathBuf, NamedTempFile),
    /// Something that is no file and may not be replaced by one, such as a pipe.
    Device(PathBuf, File),
}

/// True for the word that means the standard output.
#[must_use]
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

impl Destination {
    /// Makes sure, before anything is gathered, that the result can be written.
    ///
    /// # Errors
    /// That it cannot.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if is_stdout(path) {
            return Ok(Self::Stdout);
        }
        Self::open_file(path).map_err(|error| unwritable(path, &error))
    }

    fn open_file(path: &Path) -> io::Result<Self> {
        let known = fs::metadata(path);
        if known.as_ref().is_ok_and(fs::Metadata::is_dir) {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if known.as_ref().is_ok_and(|known| !known.is_file()) {
            let device = OpenOptions::new().write(true).open(path)?;
            return Ok(Self::Device(path.to_owned(), device));
        }
        // Of a link, what it leads to is replaced.
        let place = match known {
            Ok(_) => fs::canonicalize(path)?,
            Err(_) => path.to_owned(),
        };
        let folder = place
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let file = Builder::new()
            .prefix(".asyncspy-")
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        Ok(Self::File(place, file))
    }

    /// Writes the result: all of it or, to a file, nothing.
    ///
    /// # Errors
    /// That it cannot be written.
    pub fn write(self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
        let path = match self {
            Self::Stdout => return print(write),
            Self::File(path, file) => {
                write_file(&path, file, write).map_err(|error| unwritable(&path, &error))?;
                path
            }
            Self::Device(path, device) => {
                let mut out = BufWriter::new(device);
                let written = write(&mut out).and_then(|()| out.flush());
                written.map_err(|error| unwritable(&path, &error))?;
                path
            }
        };
        note(&format!("wrote {}", escape(&path.to_string_lossy())));
        Ok(())
    }
}

/// Writes the whole file beside its place, then moves it there: it is whole or absent.
fn write_file(
    path: &Path,
    file: NamedTempFile,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    // A temporary file is for its owner alone; a result is for whom the folder is.
    let _ = fs::set_permissions(file.path(), Permissions::from_mode(0o644));
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::new(
        Exit::Other,
        format!("cannot write {}", escape(&path.to_string_lossy())),
        error.to_string(),
        "asyncspy record -o /tmp/asyncspy.svg, or another place that can be written",
    )
}
