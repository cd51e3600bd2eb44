//! Bars on a terminal.

use indicatif::{InMemoryTerm, MultiProgress, ProgressDrawTarget};
use rappel_core::prelude::*;
use rappel_handlers::{Console, Progress, With};

use crate::support::{callbacks, on_runtimes};

fn terminal() -> (InMemoryTerm, MultiProgress) {
    let terminal = InMemoryTerm::new(20, 100);
    let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
    (terminal, MultiProgress::with_draw_target(target))
}

async fn batch(callbacks: &CallbackManager, size: usize) -> Vec<LlmRun> {
    let starts = (0..size).map(|_| LlmStart::new("small", ""));
    let runs = callbacks.on_llm_starts(starts).await;
    runs.into_iter().map(Result::unwrap).collect()
}

on_runtimes! {
    async fn a_batch_has_one_bar_which_becomes_a_line(callbacks) {
        let (terminal, bars) = terminal();
        let callbacks = callbacks.with(Progress::on(bars));
        let mut runs = batch(&callbacks, 3).await;
        callbacks.flush().await.unwrap();
        let text = terminal.contents();
        assert!(text.contains("small [") && text.contains("0/3"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        for run in &mut runs {
            run.on_llm_new_token("x").await.unwrap();
        }
        let last = runs.pop().unwrap();
        last.fail("broken").await.unwrap();
        for run in runs {
            run.end("").await.unwrap();
        }
        let text = terminal.contents();
        assert!(text.starts_with("small 3/3") && text.ends_with("1 error"), "{text}");
        assert!(text.contains("tokens/s"), "{text}");
    }

    async fn the_bar_of_a_single_run_is_cleared(callbacks) {
        let (terminal, bars) = terminal();
        let callbacks = callbacks.with(Progress::on(bars));
        let one = callbacks.on_llm_start(LlmStart::new("small", "")).await.unwrap();
        callbacks.flush().await.unwrap();
        assert!(terminal.contents().contains("0/1"));
        one.end("").await.unwrap();
        assert_eq!(terminal.contents(), "");
    }
}

#[test]
fn without_a_terminal_nothing_is_shown_and_nothing_fails() {
    let progress = Progress::on(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()));
    let writer = progress.writer();
    let callbacks = callbacks().with(Console::to(writer)).with(progress);
    futures_executor::block_on(async {
        for run in batch(&callbacks, 2).await {
            run.end("").await.unwrap();
        }
    });
    assert!(callbacks.stats().iter().all(|stats| stats.failed == 0));
}

#[test]
fn batches_that_never_come_are_given_up() {
    let (terminal, bars) = terminal();
    let callbacks = callbacks().with(Progress::on(bars));
    futures_executor::block_on(async {
        for number in 0..100 {
            let start = LlmStart::new(format!("m{number}"), "").with_batch_size(2);
            callbacks.on_llm_start(start).await.unwrap().end("").await.unwrap();
        }
    });
    let text = terminal.contents();
    // Bars that do not fit are not shown, and the lines of the oldest have moved up.
    assert!(text.contains("1/2"), "{text}");
}
