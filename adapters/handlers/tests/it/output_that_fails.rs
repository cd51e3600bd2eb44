//! Closed pipes, full disks, and writers that fail: no handler panics or hangs.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::net::UnixStream;

use rappel_core::prelude::*;
use rappel_handlers::{Console, JsonLines, StreamingStdout, With};

use crate::support::{Failing, Text, callbacks, on_runtimes, with_failures};

async fn run(callbacks: &CallbackManager) {
    let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
    for token in ["Why", " ", "not", "?"] {
        run.on_llm_new_token(token).await.unwrap();
    }
    run.end("Why not?").await.unwrap();
}

on_runtimes! {
    async fn tokens_are_written_as_they_come(callbacks) {
        let out = Text::default();
        let callbacks = callbacks.with(StreamingStdout::to(out.clone()).closing("\n"));
        run(&callbacks).await;
        run(&callbacks).await;
        assert_eq!(out.get(), "Why not?\nWhy not?\n");
    }

    async fn a_closed_pipe_ends_the_output_quietly_and_once(callbacks) {
        let (callbacks, failures) = with_failures(callbacks);
        let failing = Failing::new(io::ErrorKind::BrokenPipe);
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        let callbacks = callbacks
            .with(StreamingStdout::to(failing.clone()).closing("\n"))
            .with(StreamingStdout::to(writer))
            .with(Console::to(failing.clone()));
        run(&callbacks).await;
        run(&callbacks).await;
        assert_eq!(failures.get(), [""; 0]);
        assert_eq!(failing.tries(), 2);
    }

    async fn a_full_disk_is_a_counted_failure(callbacks) {
        let (callbacks, failures) = with_failures(callbacks);
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let other = CallbackManager::clone(&callbacks);
        let out = Text::default();
        let callbacks = other
            .with(StreamingStdout::to(full()))
            .with(Console::to(full()))
            .with(StreamingStdout::to(out.clone()));
        run(&callbacks).await;
        callbacks.flush().await.unwrap();
        let stats = callbacks.stats();
        // Tokens may have been joined.
        assert!((1..=4).contains(&stats[0].failed), "{stats:?}");
        assert_eq!(stats[1].failed, 2, "a start and an end: {stats:?}");
        assert_eq!(out.get(), "Why not?");
        assert!(failures.get().iter().all(|failure| failure.contains("No space left")));
    }
}

#[test]
fn a_writer_that_is_interrupted_is_tried_again() {
    struct Interrupted(Text, bool);
    impl io::Write for Interrupted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.write(&bytes[..1]) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let out = Text::default();
    let callbacks = callbacks().with(StreamingStdout::to(Interrupted(out.clone(), false)));
    futures_executor::block_on(run(&callbacks));
    assert_eq!(out.get(), "Why not?");
}

#[test]
fn a_writer_that_panics_is_a_failure_and_no_more() {
    struct Broken;
    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("broken")
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (callbacks, failures) = with_failures(callbacks());
    let callbacks = callbacks
        .with(Console::to(Broken))
        .with(Console::to(Broken).grouped())
        .with(StreamingStdout::to(Broken))
        .with(JsonLines::to(Broken));
    futures_executor::block_on(async {
        run(&callbacks).await;
        run(&callbacks).await;
        callbacks.flush().await.unwrap();
    });
    let failed: Vec<usize> = callbacks.stats().iter().map(|stats| stats.failed).collect();
    // A line for a start and an end, a trace, tokens that may be joined, and a trace.
    assert_eq!((failed[0], failed[1], failed[3]), (4, 2, 2), "{:?}", failures.get());
    assert!((2..=8).contains(&failed[2]), "{failed:?}");
}
