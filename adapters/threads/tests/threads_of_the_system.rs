//! What is left of 200 runtimes, as the system sees it. It is alone in its binary, because it looks
//! at all threads of the process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rappel_threads::Timer;
use rappel_threads::prelude::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Names of this crate's threads in this process.
fn names() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may end between the two calls.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("rappel-")).collect()
}

#[test]
fn runtimes_with_handlers_that_have_a_long_time_out_leave_no_thread_behind() {
    let mut timer_threads = 0;
    for number in 0..200 {
        let threads = Threads::new();
        // It answers when the timer thread has begun to wait for the time-out.
        let clone = threads.clone();
        let handler = async_handler_fn(async move |_, _| {
            clone.sleep(Duration::from_millis(1)).await;
            Ok(())
        });
        let options = HandlerOptions::new().timeout(HOUR);
        let callbacks =
            CallbackManager::new(threads.clone()).with_async_handler_options(handler, options);
        let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).wait().unwrap();
        run.end("answer").wait().unwrap();
        timer_threads += usize::from(format!("{threads:?}").contains("timer_threads: 1"));
        if number % 2 == 0 {
            threads.shut_down();
        }
    }
    assert!(timer_threads > 0, "no time-out was set, so this test shows nothing");
    let start = Instant::now();
    while !names().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "left behind: {:?}", names());
        thread::yield_now();
    }
}
