//! Reading records back.

use std::io::{self, BufRead};

use rappel_core::record::EventRecord;

/// The records of a file or a reader, in order: see [`JsonLines::read`](crate::JsonLines::read).
///
/// Empty lines are skipped. So is the last line if it has no newline and is not a record, because
/// its writer was interrupted. Any other line that is not a record is an error, and the next call
/// goes on behind it. Records of unknown kinds are given as they are: see
/// [`EventRecord`].
#[derive(Debug)]
pub struct Records<R> {
    reader: R,
    line: u64,
    failed: bool,
}

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The reader failed. There are no more records.
    #[error("the records cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The line is not a record.
    #[error("line {line} is not a record: {source}")]
    Line {
        /// The number of the line, from 1.
        line: u64,
        /// Why.
        source: serde_json::Error,
    },
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: 0, failed: false }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<EventRecord, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let mut bytes = Vec::new();
            match self.reader.read_until(b'\n', &mut bytes) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error.into()));
                }
            }
            self.line += 1;
            let is_whole = bytes.ends_with(b"\n");
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice(&bytes) {
                Ok(record) => return Some(Ok(record)),
                Err(_) if !is_whole => return None,
                Err(source) => return Some(Err(ReadError::Line { line: self.line, source })),
            }
        }
        None
    }
}
