//! Records of events, one JSON object a line.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::{fs, io};

use rappel_core::prelude::*;
use rappel_core::record::{EventRecord, Replayer};
use rappel_core::{Map, json};
use rappel_handlers::{Filter, JsonLines, ReadError, With};

use crate::support::{Text, callbacks, on_runtimes, with_failures};

async fn trace(callbacks: &CallbackManager, name: &str) {
    let chain = callbacks.on_chain_start(ChainStart::new(name.to_owned(), json!({"q": 1.1}))).await;
    let chain = chain.unwrap();
    let messages = vec![Message::human("Hi")];
    let start = ChatModelStart::new("m", messages);
    let mut model = chain.child().on_chat_model_start(start).await.unwrap();
    model.on_llm_new_token("Hel").await.unwrap();
    model.on_llm_new_token("lo").await.unwrap();
    model.end("Hello").await.unwrap();
    let tool = chain.child().on_tool_start(ToolStart::new("t", "")).await.unwrap();
    tool.fail("broken").await.unwrap();
    chain.end("done").await.unwrap();
}

/// The events of a trace.
const EVENTS: usize = 8;

fn read(path: &Path) -> Vec<EventRecord> {
    JsonLines::read(path).unwrap().collect::<Result<_, _>>().unwrap()
}

fn kinds(records: &[EventRecord]) -> Vec<&str> {
    records.iter().map(|record| &*record.kind).collect()
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("events.jsonl")
    }
}

on_runtimes! {
    async fn every_event_is_a_line_when_its_trace_has_ended(callbacks) {
        let directory = Directory::new();
        let lines = JsonLines::append(directory.file()).unwrap().source("me");
        let callbacks = callbacks
            .with_inheritable_metadata(Map::from_iter([("user".into(), json!("u1"))]))
            .with(lines);
        trace(&callbacks, "one").await;
        let records = read(&directory.file());
        assert_eq!(
            kinds(&records),
            [
                "on_chain_start",
                "on_chat_model_start",
                "on_llm_new_token",
                "on_llm_new_token",
                "on_llm_end",
                "on_tool_start",
                "on_tool_error",
                "on_chain_end",
            ]
        );
        for (number, record) in records.iter().enumerate() {
            assert_eq!((record.tseq, &*record.source), (number as u64, "me"));
            assert_eq!(record.root, records[0].run);
        }
        let about = records[1].about.as_ref().unwrap();
        assert_eq!(about.metadata["user"], json!("u1"));
        trace(&callbacks, "two").await;
        assert_eq!(read(&directory.file()).len(), 2 * EVENTS);
    }
}

#[test]
fn what_is_read_and_written_again_is_the_same_line() {
    let out = Text::default();
    let callbacks = callbacks().with(JsonLines::to(out.clone()).token_times());
    futures_executor::block_on(trace(&callbacks, "one"));
    let text = out.get();
    let mut again = String::new();
    for record in JsonLines::read_from(text.as_bytes()) {
        again += &serde_json::to_string(&record.unwrap()).unwrap();
        again.push('\n');
    }
    assert_eq!(again, text);
    assert!(!text.contains("\"time\":null"), "{text}");
}

on_runtimes! {
    async fn a_replay_gives_the_same_lines(callbacks) {
        for token_times in [false, true] {
            let lines = |out: &Text| {
                let lines = JsonLines::to(out.clone()).source("me");
                if token_times { lines.token_times() } else { lines }
            };
            let (first, second) = (Text::default(), Text::default());
            let tagged = callbacks.clone().with_inheritable_tags(["t"]).with(lines(&first));
            trace(&tagged, "one").await;
            let open = tagged.on_chain_start(ChainStart::new("cut off", "")).await.unwrap();
            trace(&open.child(), "two").await;
            drop(open);
            tagged.flush().await.unwrap();

            let again = callbacks.clone().with(lines(&second));
            let mut replayer = Replayer::new(&again);
            for record in JsonLines::read_from(first.get().as_bytes()) {
                replayer.replay(record.unwrap()).await.unwrap();
            }
            again.flush().await.unwrap();
            assert_eq!(first.get().lines().count(), 2 * EVENTS + 2);
            assert_eq!(second.get(), first.get());
        }
    }
}

#[test]
fn files_are_rotated_by_size_and_kept_by_count() {
    let directory = Directory::new();
    let lines = JsonLines::append(directory.file()).unwrap().rotate(8_000, 2);
    let callbacks = callbacks().with(lines);
    futures_executor::block_on(async {
        for _ in 0..20 {
            trace(&callbacks, "one").await;
        }
    });
    let mut names: Vec<_> = fs::read_dir(directory.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]);
    let mut sequence = Vec::new();
    for name in names.iter().rev() {
        let path = directory.0.path().join(name);
        assert!(fs::metadata(&path).unwrap().len() <= 8_000, "{name}");
        sequence.extend(read(&path).iter().map(|record| record.tseq));
    }
    // The oldest is first, and no line is missing between the files.
    let first = sequence[0];
    let expected = (first..).map(|number| number % EVENTS as u64).take(sequence.len());
    assert_eq!(sequence, expected.collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn a_file_that_is_removed_or_moved_away_is_made_again() {
    let directory = Directory::new();
    let moved = directory.0.path().join("moved.jsonl");
    let lines = JsonLines::append(directory.file()).unwrap();
    let (callbacks, failures) = with_failures(callbacks());
    let callbacks = callbacks.with(lines);
    futures_executor::block_on(async {
        trace(&callbacks, "one").await;
        // As `logrotate` does it. Another writer may have the file that it made.
        fs::rename(directory.file(), &moved).unwrap();
        trace(&callbacks, "two").await;
        fs::remove_file(directory.file()).unwrap();
        fs::write(directory.file(), "").unwrap();
        trace(&callbacks, "three").await;
        fs::remove_file(directory.file()).unwrap();
        trace(&callbacks, "four").await;
        trace(&callbacks, "five").await;
    });
    let names = |path: &Path| -> Vec<String> {
        let records = read(path);
        assert_eq!(records.len() % EVENTS, 0);
        let roots =
            records.iter().filter(|record| record.parent.is_none() && record.seq == Some(0));
        roots.map(|record| record.about.as_ref().unwrap().name.to_string()).collect()
    };
    assert_eq!(names(&moved), ["one"]);
    assert_eq!(names(&directory.file()), ["four", "five"]);
    // A directory that is gone is a failure that is counted.
    drop(directory);
    futures_executor::block_on(trace(&callbacks, "six"));
    assert_eq!(failures.get().len(), 1, "{:?}", failures.get());
    assert!(failures.get()[0].contains("8 records were not written"), "{:?}", failures.get());
}

#[test]
fn a_large_number_of_old_files_to_keep_takes_no_time() {
    let directory = Directory::new();
    let lines = JsonLines::append(directory.file()).unwrap().rotate(1, usize::MAX);
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let callbacks = callbacks().with(lines);
        futures_executor::block_on(trace(&callbacks, "one"));
        done.send(()).unwrap();
    });
    is_done.recv_timeout(crate::support::LIMIT / 4).expect("rotation is quick");
    // One line fits into a file, at the size of one byte.
    let whole = fs::read_dir(directory.0.path()).unwrap().count();
    assert!((2..=EVENTS).contains(&whole), "{whole} files");
}

#[test]
fn a_rotation_fills_a_gap_and_leaves_the_files_behind_it() {
    let directory = Directory::new();
    let old = |number: usize| directory.0.path().join(format!("events.jsonl.{number}"));
    for number in [1, 3, 4] {
        fs::write(old(number), format!("old {number}\n")).unwrap();
    }
    fs::write(directory.file(), "newest\n").unwrap();
    let lines = JsonLines::append(directory.file()).unwrap().rotate(4_000, 4);
    let callbacks = callbacks().with(lines);
    let content = |number: usize| fs::read_to_string(old(number)).unwrap();
    // The file is full with one trace and what is in it.
    futures_executor::block_on(async {
        while fs::metadata(old(2)).is_err() {
            trace(&callbacks, "one").await;
        }
    });
    assert!(content(1).starts_with("newest\n"));
    assert_eq!([2, 3, 4].map(content), ["old 1\n", "old 3\n", "old 4\n"]);
}

#[test]
fn a_file_without_a_newline_at_its_end_gets_one_first() {
    let directory = Directory::new();
    fs::write(directory.file(), "{\"v\":1,\"to").unwrap();
    let callbacks = callbacks().with(JsonLines::append(directory.file()).unwrap());
    futures_executor::block_on(trace(&callbacks, "one"));
    let records: Vec<_> = JsonLines::read(directory.file()).unwrap().collect();
    assert!(matches!(records[0], Err(ReadError::Line { line: 1, .. })));
    assert_eq!(records.iter().filter(|record| record.is_ok()).count(), EVENTS);
}

#[test]
fn a_torn_last_line_is_skipped_wherever_it_is_torn() {
    let out = Text::default();
    let callbacks = callbacks().with(JsonLines::to(out.clone()));
    futures_executor::block_on(trace(&callbacks, "one"));
    let text = out.get();
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    for end in last..text.len() - 1 {
        let records: Vec<_> = JsonLines::read_from(&text.as_bytes()[..end]).collect();
        assert_eq!(records.len(), EVENTS - 1, "torn at {end}");
        assert!(records.iter().all(Result::is_ok));
    }
    let whole = JsonLines::read_from(&text.as_bytes()[..text.len() - 1]).count();
    assert_eq!(whole, EVENTS);
}

#[test]
fn kinds_and_fields_of_later_versions_are_read() {
    let later = r#"{"v":9,"kind":"on_dream","run_kind":"sleep","run":"01010101-0101-0101-0101-010101010101","root":"01010101-0101-0101-0101-010101010101","tseq":0,"source":"s","new":1}"#;
    let text = format!("\n{later}\n  \n");
    let records: Vec<_> = JsonLines::read_from(text.as_bytes()).collect();
    let [Ok(record)] = &records[..] else { panic!("{records:?}") };
    assert!(record.event.is_none());
}

#[test]
fn a_file_has_one_writer() {
    let directory = Directory::new();
    let first = JsonLines::append(directory.file()).unwrap();
    let second = JsonLines::append(directory.file()).unwrap_err();
    assert!(second.to_string().contains("another writer"), "{second}");
    drop(first);
    assert!(JsonLines::append(directory.file()).is_ok());
}

/// Says when it is dropped.
struct Watched(Text, #[allow(dead_code, reason = "its drop is the signal")] mpsc::Sender<()>);

impl io::Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_trace_that_never_ends_is_written_when_the_handler_is_dropped() {
    let out = Text::default();
    let (alive, dropped) = mpsc::channel();
    let lines = JsonLines::to(Watched(out.clone(), alive));
    let callbacks = callbacks().with_handler(Filter::new(lines).kinds([EventKind::LlmStart]));
    futures_executor::block_on(async {
        callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap().end("").await.unwrap();
    });
    assert_eq!(out.get(), "");
    drop(callbacks);
    assert!(dropped.recv().is_err());
    assert_eq!(out.get().lines().count(), 1);
}

#[cfg(unix)]
mod failures {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use super::*;
    use crate::support::Failing;

    on_runtimes! {
        async fn a_full_disk_is_a_failure_that_counts_the_lost_records(callbacks) {
            let (callbacks, failures) = with_failures(callbacks);
            let callbacks = callbacks
                .with(JsonLines::append("/dev/full").unwrap())
                .with(JsonLines::to(Failing::new(io::ErrorKind::StorageFull)));
            trace(&callbacks, "one").await;
            trace(&callbacks, "two").await;
            let failures = failures.get();
            assert_eq!(failures.len(), 4, "{failures:?}");
            let told = |what: &str| failures.iter().filter(|text| text.contains(what)).count();
            assert_eq!(told("8 records were not written"), 4);
            assert_eq!(told("to /dev/full: No space left"), 2);
            assert_eq!(callbacks.stats()[0].failed, 2);
        }

        async fn a_dropped_reader_is_a_failure_and_no_hang(callbacks) {
            let (callbacks, failures) = with_failures(callbacks);
            let (reader, writer) = UnixStream::pair().unwrap();
            drop(reader);
            let callbacks = callbacks.with(JsonLines::to(writer));
            trace(&callbacks, "one").await;
            assert_eq!(failures.get().len(), 1, "{:?}", failures.get());
        }
    }

    #[test]
    fn a_directory_is_an_error_at_once() {
        let directory = Directory::new();
        assert!(JsonLines::append(directory.0.path()).is_err());
        assert!(JsonLines::append(directory.0.path().join("no/such/directory")).is_err());
    }

    #[test]
    fn a_named_pipe_is_an_error_at_once() {
        let directory = Directory::new();
        let made = Command::new("mkfifo").arg(directory.file()).status().unwrap();
        assert!(made.success());
        let error = JsonLines::append(directory.file()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_file_that_becomes_a_directory_is_a_failure_until_it_is_gone() {
        let directory = Directory::new();
        let (callbacks, failures) = with_failures(callbacks());
        let lines = JsonLines::append(directory.file()).unwrap().rotate(1, 0);
        let callbacks = callbacks.with(lines);
        futures_executor::block_on(async {
            trace(&callbacks, "one").await;
            fs::remove_file(directory.file()).unwrap();
            fs::create_dir(directory.file()).unwrap();
            trace(&callbacks, "two").await;
            let failed = failures.get().len();
            assert!(failed > 0);
            fs::remove_dir(directory.file()).unwrap();
            trace(&callbacks, "three").await;
            assert_eq!(failures.get().len(), failed);
        });
        // One line fits into a file, at the size of one byte.
        assert_eq!(kinds(&read(&directory.file())), ["on_chain_end"]);
    }

    #[test]
    fn a_file_that_is_read_only_is_an_error() {
        let directory = Directory::new();
        fs::write(directory.file(), "").unwrap();
        fs::set_permissions(directory.file(), fs::Permissions::from_mode(0o444)).unwrap();
        let may_write = fs::OpenOptions::new().append(true).open(directory.file()).is_ok();
        // The superuser may write to it.
        assert_eq!(JsonLines::append(directory.file()).is_ok(), may_write);
    }

    #[test]
    fn a_file_that_may_only_be_written_is_appended_to() {
        let directory = Directory::new();
        fs::write(directory.file(), "").unwrap();
        fs::set_permissions(directory.file(), fs::Permissions::from_mode(0o222)).unwrap();
        let callbacks = callbacks().with(JsonLines::append(directory.file()).unwrap());
        futures_executor::block_on(trace(&callbacks, "one"));
        fs::set_permissions(directory.file(), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read(&directory.file()).len(), EVENTS);
    }

    /// A writer that has room for so many bytes, and then for more.
    struct Disk(Text, usize);

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = bytes.len().min(self.1);
            if room == 0 {
                self.1 = usize::MAX;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1 -= room;
            self.0.write(&bytes[..room])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_lines_before_the_disk_was_full_are_not_counted_as_lost() {
        let out = Text::default();
        let (callbacks, failures) = with_failures(callbacks());
        let callbacks = callbacks.with(JsonLines::to(Disk(out.clone(), 700)));
        futures_executor::block_on(trace(&callbacks, "one"));
        let whole = out.get().matches('\n').count();
        let lost = format!("{} records were not written", EVENTS - whole);
        assert!(whole > 0 && failures.get()[0].contains(&lost), "{:?}", failures.get());
    }

    /// Runs in a process of its own, with a limit on the size of files.
    #[test]
    #[ignore = "a_limit_on_the_size_of_files_is_a_failure runs it"]
    fn under_a_limit_on_the_size_of_files() {
        let directory = Directory::new();
        let (callbacks, failures) = with_failures(callbacks());
        let callbacks = callbacks.with(JsonLines::append(directory.file()).unwrap());
        futures_executor::block_on(async {
            for _ in 0..20 {
                trace(&callbacks, "one").await;
            }
            assert!(fs::metadata(directory.file()).unwrap().len() <= 16 * 1024);
            let failures = failures.get();
            assert!(!failures.is_empty());
            assert!(failures.iter().all(|text| text.contains("File too large")), "{failures:?}");
            // There is room again, behind a line that is torn.
            let file = fs::OpenOptions::new().write(true).open(directory.file()).unwrap();
            file.set_len(5_000).unwrap();
            trace(&callbacks, "again").await;
        });
        let records: Vec<_> = JsonLines::read(directory.file()).unwrap().collect();
        let last = &records[records.len() - EVENTS..];
        assert!(last.iter().all(Result::is_ok), "{last:?}");
        assert_eq!(records.iter().filter(|record| record.is_err()).count(), 1);
    }

    #[test]
    fn a_limit_on_the_size_of_files_is_a_failure() {
        let script = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
        let test = "json_lines::failures::under_a_limit_on_the_size_of_files";
        let output = Command::new("bash")
            .args(["-c", script, "bash"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    }
}
