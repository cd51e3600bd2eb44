//! Crashes: a server that closes the connection in mid-stream, Ctrl-C, and a runtime that is shut
//! down under open runs. Handlers see what the documentation says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::future::block_on;
use rappel_core::prelude::*;
use rappel_core::{FailureCause, HandlerStats};
use rappel_tests::held::{held, held_async};
use rappel_tests::openai_server::{Fault, Script, Server};
use rappel_tests::runtimes::Watchdog;
use rappel_tokio::Tokio;

use crate::examples::example;

const RUNTIMES: [&str; 4] = ["tokio", "tokio-current-thread", "async-std", "smol"];

#[test]
fn the_quickstart_reports_a_server_that_closes_the_connection() {
    for runtime in RUNTIMES {
        let server = Server::start(Script::joke().fault(Fault::Cut(4))).unwrap();
        let output = example("quickstart")
            .args(["--runtime", runtime, "--base-url", &server.base_url()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let last = stdout.lines().last().unwrap();
        assert!(
            last.starts_with("Your llm failed (")
                && last.ends_with("Its partial answer: Why don't"),
            "{stdout}"
        );
        let token = |line: &&str| line.starts_with("Sync handler being called on thread");
        assert_eq!(stdout.lines().filter(token).count(), 4, "{stdout}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("quickstart: "));
    }
}

/// Reads the child's output up to and including that line.
fn read_until(out: &mut impl BufRead, line: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(line) {
        assert_ne!(out.read_line(&mut text).unwrap(), 0, "it ended early: {text}");
    }
    text
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

/// The answer is dropped, its connection is closed, and the handlers get the end of the run before
/// the program ends.
#[cfg(unix)]
#[test]
fn the_quickstart_cancels_its_run_on_ctrl_c() {
    for runtime in RUNTIMES {
        let server = Server::start(Script::joke().gated()).unwrap();
        let mut child = example("quickstart")
            .args(["--runtime", runtime, "--base-url", &server.base_url()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        server.release(4);
        read_until(&mut out, ": token: 't\n");
        interrupt(&child);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(
            rest, "Your llm failed (cancelled). Its partial answer: Why don't\n",
            "{runtime}"
        );
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(130), &b""[..]), "{runtime}");
        assert!(server.wait_broken_off(1, Duration::from_secs(60)), "{runtime}");
    }
}

/// Events wait for both kinds of handler. Each event is handled once, or reported as lost and
/// counted once. Nothing hangs.
#[test]
fn a_runtime_that_is_shut_down_loses_no_event_without_a_report() {
    let _watchdog = Watchdog::start("tokio");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ((sync, mut sync_grip), (asynchronous, mut grip)) = (held(), held_async());
    let lost = Arc::new(Mutex::new(BTreeMap::<(String, String), usize>::new()));
    let (counts, options) =
        (lost.clone(), |name| HandlerOptions::new().name(name).delivery(Pipelined::new(16)));
    let (report, reports) = channel();
    let callbacks = CallbackManager::new(Tokio::new(runtime.handle().clone()).unwrap())
        .on_handler_failure(move |failure| {
            assert!(matches!(failure.cause, FailureCause::RuntimeGone), "{failure}");
            let key = (failure.handler.to_string(), failure.event.to_string());
            *counts.lock().unwrap().entry(key).or_default() += 1;
            let _ = report.send(failure.handler.to_string());
        })
        .with_handler_options(sync, options("sync"))
        .with_async_handler_options(asynchronous, options("async"));
    let mut run = runtime.block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
        // Both handlers stay in the call for the start.
        sync_grip.entered().await;
        grip.entered().await;
        for token in ["a", "b", "c"] {
            run.on_llm_new_token(token).await.unwrap();
        }
        run
    });
    runtime.shutdown_background();
    drop(sync_grip);
    // tokio drops its tasks later. The async handler's task has the start and three tokens.
    assert_eq!(reports.iter().filter(|handler| handler == "async").take(4).count(), 4);
    // The tasks are gone, so that no handler is left for the next event.
    let error = block_on(run.on_llm_new_token("d")).unwrap_err();
    // On a slow machine the sync handler's thread may be gone too.
    assert!(matches!(error, EmitError::RuntimeGone(_)), "{error}");
    drop(run);
    block_on(callbacks.flush()).unwrap();
    let stats = callbacks.stats();
    let check = |name: &str, stats: &HandlerStats| {
        let lost = lost.lock().unwrap();
        let reported: usize =
            lost.iter().filter(|((handler, _), _)| handler == name).map(|(_, count)| count).sum();
        assert_eq!(
            (stats.handled + stats.failed, stats.failed, stats.pending),
            (6, reported, 0),
            "{name}: {lost:?}"
        );
    };
    check("sync", &stats[0]);
    check("async", &stats[1]);
    assert_eq!(
        (
            stats[1].handled,
            lost.lock().unwrap().get(&("async".to_owned(), "on_llm_new_token".to_owned()))
        ),
        (0, Some(&4))
    );
    drop(grip);
}
