//! A file that is appended to, rotated, and opened again after an error.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::write_counted;

pub(super) struct LogFile {
    path: PathBuf,
    file: Option<Open>,
    rotation: Option<Rotation>,
}

struct Open {
    file: File,
    /// The size, if it is a file that can be rotated.
    size: Option<u64>,
}

struct Rotation {
    bytes: u64,
    files: usize,
}

impl LogFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, rotation: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn rotate(&mut self, bytes: u64, files: usize) {
        self.rotation = Some(Rotation { bytes: bytes.max(1), files });
    }

    /// How many bytes may be buffered, so that a buffer fits into a file.
    pub(super) fn full(&self, most: usize) -> usize {
        let bytes = self.rotation.as_ref().map(|rotation| rotation.bytes / 4);
        bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(most).min(most)
    }

    pub(super) fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(open(&self.path)?);
        }
        Ok(())
    }

    /// Writes lines. An error has the number of bytes that were written.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.is_gone() {
            self.file = None;
        }
        let rotated = self.rotate_for(lines.len() as u64);
        let mut written = 0;
        let result = self.open().and_then(|()| match &mut self.file {
            Some(open) => {
                let result = write_counted(&mut open.file, lines, &mut written);
                open.size = open.size.map(|size| size + written as u64);
                result
            }
            None => Ok(()),
        });
        if result.is_err() {
            // The file is opened again for the next lines.
            self.file = None;
        }
        result.and(rotated).map_err(|error| (written, error))
    }

    /// Whether the open file is not at the path any more: it was removed, or renamed by a program that
    /// rotates logs.
    fn is_gone(&self) -> bool {
        let Some(Open { file, size: Some(_) }) = &self.file else { return false };
        match (fs::metadata(&self.path), file.metadata()) {
            (Ok(there), Ok(open)) => !is_same(&there, &open),
            (Err(error), _) => error.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Begins a new file if there is no room for so many bytes.
    fn rotate_for(&mut self, bytes: u64) -> io::Result<()> {
        let Some(rotation) = &self.rotation else { return Ok(()) };
        // The size is known when the file is open. If it cannot be opened, writing says so.
        if self.file.is_none() {
            self.file = open(&self.path).ok();
        }
        let size = self.file.as_ref().and_then(|open| open.size).unwrap_or_default();
        if size == 0 || size + bytes <= rotation.bytes {
            return Ok(());
        }
        // Files behind the first free number stay. So the time depends on the files that there are, and
        // not on the limit.
        let mut last = 0;
        while last < rotation.files && self.is_taken(last + 1)? {
            last += 1;
        }
        for number in (0..=last).rev() {
            let from = self.numbered(number);
            let moved = if number == rotation.files {
                fs::remove_file(&from)
            } else {
                fs::rename(&from, self.numbered(number + 1))
            };
            match moved {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = None;
        Ok(())
    }

    fn is_taken(&self, number: usize) -> io::Result<bool> {
        match fs::symlink_metadata(self.numbered(number)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The path of an old file. 0 is the current one.
    fn numbered(&self, number: usize) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut path = OsString::from(&self.path);
        path.push(format!(".{number}"));
        path.into()
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let metadata = fs::metadata(path);
    if metadata.as_ref().is_ok_and(|metadata| is_pipe(metadata.file_type())) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "opening a pipe may wait for its reader forever: open it, and use `JsonLines::to`",
        ));
    }
    if metadata.is_ok_and(|metadata| !metadata.is_file()) {
        // A device. A directory is an error here.
        let file = OpenOptions::new().write(true).open(path)?;
        return Ok(Open { file, size: None });
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    // Reading is needed for the last byte only. A file may be for writing only.
    let (mut file, is_read) = match options.clone().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            (options.open(path)?, false)
        }
        file => (file?, true),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "the file has another writer: give each its own file",
            ));
        }
        // A file system without locks.
        Err(TryLockError::Error(_)) => {}
    }
    let mut size = file.metadata()?.len();
    if size > 0 && !(is_read && ends_in_newline(&mut file)?) {
        file.write_all(b"\n")?;
        size += 1;
    }
    Ok(Open { file, size: Some(size) })
}

#[cfg(unix)]
fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

#[cfg(unix)]
fn is_pipe(file_type: fs::FileType) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    file_type.is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: fs::FileType) -> bool {
    false
}

fn ends_in_newline(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
