//! Records of events, one JSON object a line.

mod file;
mod read;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rappel_core::record::Recorder;
use rappel_core::{
    CallbackHandler, Delivery, Event, EventContext, HandlerOptions, HandlerResult, Interest,
    RunKind,
};

use self::file::LogFile;
pub use self::read::{ReadError, Records};
use crate::Suited;

/// Writes each event as a line of JSON, an [`EventRecord`](rappel_core::record::EventRecord), to a
/// file or to any writer.
///
/// ```
/// use rappel_handlers::{JsonLines, With};
/// use rappel_threads::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("events.jsonl");
/// let callbacks = CallbackManager::new(Threads::new()).with(JsonLines::append(&path)?);
/// let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).wait()?;
/// run.end("Why not?").wait()?;
///
/// let records: Vec<_> = JsonLines::read(&path)?.collect::<Result<_, _>>()?;
/// assert_eq!(records[1].kind, "on_llm_end");
/// # Ok(())
/// # }
/// ```
///
/// [`read`](Self::read) gives the records back, and a
/// [`Replayer`](rappel_core::record::Replayer) feeds them to other handlers. Replayed into another
/// `JsonLines`, they give the same lines.
///
/// # When it writes
/// Lines are buffered, up to 64 KiB. The buffer is written when a trace ends, and when the handler
/// is dropped. So a process that is killed loses at most the buffer, of traces that were open. The
/// file is not synced to the disk.
///
/// # Rotation
/// [`rotate`](Self::rotate) begins a new file when the file would be larger than a limit. Old files
/// are `events.jsonl.1`, `events.jsonl.2` and so on. The latter are older. Each rotation renames the
/// old files up to the first number that is free. If a number is missing, the files behind it keep
/// their names. Rotation takes time for each file that is renamed, whatever the limit is.
///
/// If the file is removed, or renamed by another program that rotates logs, the next lines go to a new
/// file at the path. On systems other than Unix, a renamed file is written on.
///
/// # One writer for each file
/// The file is locked while it is open. A second writer, also of another process, gets an error.
/// File systems without locks are used without one. The path may be a device, which is not locked
/// and not rotated. A named pipe is an error, because opening it again could wait forever: open it,
/// and use [`to`](Self::to).
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it pipelined, with a queue of 1,024 events for each
/// run. If the disk is slow, emitters wait. No event is lost.
///
/// # Failures
/// If a write fails, as on a full disk, the lines that could not be written are lost. The handler
/// fails once for that, with a [`JsonLinesError`] that counts them. The file is opened again for the
/// next lines. If the file then ends in the middle of a line, a newline is written first. A line that
/// is torn is an error of [`read`](Self::read), or is skipped if it is the last one.
///
/// A limit on the size of files (`ulimit -f`) also sends `SIGXFSZ`, which ends a program that does
/// not ignore it.
pub struct JsonLines {
    out: Out,
    /// Whole lines.
    buffer: Vec<u8>,
    lines: usize,
    recorder: Recorder,
    token_times: bool,
}

enum Out {
    File(LogFile),
    Writer(Box<dyn Write + Send>),
}

/// The buffer is written when it has so many bytes.
const FULL: usize = 64 * 1024;

impl JsonLines {
    /// Appends to the file at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// If the file cannot be opened for writing, or has another writer.
    pub fn append(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut file = LogFile::new(path.as_ref());
        file.open()?;
        Ok(Self::new(Out::File(file)))
    }

    /// Writes to any writer. It is flushed at the end of each trace.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self::new(Out::Writer(Box::new(writer)))
    }

    fn new(out: Out) -> Self {
        Self {
            out,
            buffer: Vec::new(),
            lines: 0,
            recorder: Recorder::with_random_source(),
            token_times: false,
        }
    }

    /// Begins a new file when this one would have more than `bytes`, and keeps `files` old ones. It
    /// changes nothing for a writer.
    #[must_use]
    pub fn rotate(mut self, bytes: u64, files: usize) -> Self {
        if let Out::File(file) = &mut self.out {
            file.rotate(bytes, files);
        }
        self
    }

    /// Sets the source that the records name. It must be unique among the writers whose records are
    /// read together. The default is a new UUID.
    #[must_use]
    pub fn source(mut self, source: &str) -> Self {
        self.recorder = Recorder::new(source);
        self
    }

    /// Writes the time of each token, too. The clock is then read for every token of every handler.
    #[must_use]
    pub fn token_times(mut self) -> Self {
        self.token_times = true;
        self
    }

    /// Reads the records of a file.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Records<io::BufReader<std::fs::File>>> {
        Ok(Records::new(io::BufReader::new(std::fs::File::open(path)?)))
    }

    /// Reads the records of any reader.
    pub fn read_from<R: io::BufRead>(reader: R) -> Records<R> {
        Records::new(reader)
    }

    /// Writes the buffer. The lines that cannot be written are lost.
    fn flush(&mut self) -> Result<(), JsonLinesError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        // Taken, so that a writer that panics does not get the lines twice.
        let mut buffer = std::mem::take(&mut self.buffer);
        let lines = std::mem::take(&mut self.lines);
        let (result, path) = match &mut self.out {
            Out::File(file) => (file.write(&buffer), Some(file.path().to_owned())),
            Out::Writer(writer) => {
                let mut written = 0;
                let result = write_counted(writer, &buffer, &mut written);
                let result = result.and_then(|()| writer.flush());
                (result.map_err(|error| (written, error)), None)
            }
        };
        let result = result.map_err(|(written, source)| {
            let written = &buffer[..written.min(buffer.len())];
            let kept = written.iter().filter(|byte| **byte == b'\n').count();
            JsonLinesError { path, lost: lines.saturating_sub(kept), source }
        });
        buffer.clear();
        // A burst leaves no large buffer behind.
        buffer.shrink_to(2 * FULL);
        self.buffer = buffer;
        result
    }
}

/// Writes all bytes, and counts those that were written.
fn write_counted(out: &mut impl Write, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < bytes.len() {
        match out.write(&bytes[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => *written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lines could not be written, or the file could not be rotated.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", what(*lost, path.as_deref()))]
#[non_exhaustive]
pub struct JsonLinesError {
    /// The file. `None` for a writer.
    pub path: Option<PathBuf>,
    /// The number of records that are lost.
    pub lost: usize,
    /// Why.
    pub source: io::Error,
}

fn what(lost: usize, path: Option<&Path>) -> String {
    let path = path.map_or_else(String::new, |path| format!(" to {}", path.display()));
    match lost {
        0 => format!("all records were written{path}, but a later step failed"),
        lost => format!("{lost} records were not written{path}"),
    }
}

impl CallbackHandler for JsonLines {
    fn name(&self) -> &str {
        "JsonLines"
    }

    fn interest(&self) -> Interest {
        let all = Interest::all();
        if self.token_times { all.with_token_times() } else { all }
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let traces = self.recorder.open_traces();
        let record = self.recorder.record(event, cx);
        if let Some(record) = record {
            let before = self.buffer.len();
            if let Err(error) = serde_json::to_writer(&mut self.buffer, &record) {
                self.buffer.truncate(before);
                return Err(error.into());
            }
            self.buffer.push(b'\n');
            self.lines += 1;
        }
        // A replayed event keeps its number, and the recorder does not count its trace.
        let replayed_end = event.kind().is_end() && cx.recorded().is_some();
        let open = self.recorder.open_traces();
        let ended = open < traces || replayed_end || (open == 0 && cx.kind() == RunKind::None);
        let full = match &self.out {
            Out::File(file) => file.full(FULL),
            Out::Writer(_) => FULL,
        };
        if ended || self.buffer.len() >= full {
            self.flush()?;
        }
        Ok(())
    }
}

impl Drop for JsonLines {
    fn drop(&mut self) {
        // Nothing can be told of a failure here.
        let _ = self.flush();
    }
}

impl Suited for JsonLines {
    fn options(&self) -> HandlerOptions {
        Delivery::pipelined(1024).into()
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match &self.out {
            Out::File(file) => Some(file.path()),
            Out::Writer(_) => None,
        };
        f.debug_struct("JsonLines")
            .field("path", &path)
            .field("buffered", &self.lines)
            .finish_non_exhaustive()
    }
}
