//! Only what follows a marker.

use rappel_core::prelude::*;
use rappel_handlers::{FinalAnswer, StreamingStdout, With};

use crate::support::{Lines, Text, callbacks, id, on_runtimes};

const ANSWER: &str = "Thought: easy. Final Answer:  42 – Final Answer: of course";

on_runtimes! {
    async fn the_answer_is_the_same_however_the_text_is_split(callbacks) {
        for split in 0..=ANSWER.len() {
            if !ANSWER.is_char_boundary(split) {
                continue;
            }
            let out = Text::default();
            let answers = FinalAnswer::new(StreamingStdout::to(out.clone()));
            let callbacks = callbacks.clone().with(answers);
            let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
            run.on_llm_new_token(&ANSWER[..split]).await.unwrap();
            run.on_llm_new_token(&ANSWER[split..]).await.unwrap();
            run.end(ANSWER).await.unwrap();
            assert_eq!(out.get(), "42 – Final Answer: of course", "split at {split}");
        }
    }
}

#[test]
fn single_characters_and_parallel_runs_do_not_confuse_it() {
    let lines = Lines::default();
    let callbacks = callbacks().with_handler(FinalAnswer::new(lines.clone()).marker("=>"));
    futures_executor::block_on(async {
        let start = || LlmStart::new("one", "").with_run_id(id(1));
        let mut one = callbacks.on_llm_start(start()).await.unwrap();
        let mut two = callbacks.on_llm_start(LlmStart::new("two", "")).await.unwrap();
        for (a, b) in "x = y => 1".chars().zip("ü => ==> 2".chars()) {
            one.on_llm_new_token(a.to_string()).await.unwrap();
            two.on_llm_new_token(b.to_string()).await.unwrap();
        }
        one.end("").await.unwrap();
        two.end("").await.unwrap();
        // The state of a run is gone with it.
        let mut one = callbacks.on_llm_start(start()).await.unwrap();
        one.on_llm_new_token("no marker").await.unwrap();
    });
    let text = |name: &str| -> String {
        let prefix = format!("{name} on_llm_new_token ");
        lines.get().iter().filter_map(|line| line.strip_prefix(&prefix)).collect()
    };
    assert_eq!((text("one"), text("two")), ("1".into(), "==> 2".into()));
}

#[test]
fn choices_are_searched_by_themselves_and_chunks_keep_what_is_theirs() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let known = seen.clone();
    let tokens = handler_fn(move |event, _cx| {
        if let Event::LlmNewToken(token) = event {
            let chunk = token.chunk.as_ref().unwrap();
            assert_eq!(token.token, *chunk.text);
            known.lock().unwrap().push((token.choice(), token.token.to_string()));
        }
        Ok(())
    });
    let callbacks = callbacks().with_handler(FinalAnswer::new(tokens));
    futures_executor::block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        for (choice, text) in [(0, "Final "), (1, "Answer:"), (0, "Answer: a"), (1, "b"), (0, "c")]
        {
            // With a model's name, because plain text of the first choice has no chunk.
            let chunk = LlmChunk::new(text).with_index(choice).with_model_name("m");
            run.on_llm_new_token(chunk).await.unwrap();
        }
        run.on_llm_new_token(LlmChunk::new("").with_finish_reason("stop")).await.unwrap();
        run.end("").await.unwrap();
    });
    let expected = [(0, "a".to_owned()), (0, "c".into()), (0, String::new())];
    assert_eq!(*seen.lock().unwrap(), expected);
}

on_runtimes! {
    async fn async_handlers_get_the_answer_of_each_parallel_run(callbacks) {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(std::collections::HashMap::new()));
        let answers = seen.clone();
        let handler = async_handler_fn(async move |event: &Event, cx: &EventContext| {
            // The other run goes on in between.
            yield_once().await;
            if let Event::LlmNewToken(token) = event {
                let mut answers = answers.lock().unwrap();
                let answer: &mut String = answers.entry(cx.name().to_owned()).or_default();
                answer.push_str(&token.token);
            }
            Ok(())
        });
        let callbacks = callbacks.with_async_handler(FinalAnswer::new(handler));
        let run = async |name: &'static str, text: &str| {
            let mut run = callbacks.on_llm_start(LlmStart::new(name, "")).await.unwrap();
            for piece in text.chars() {
                run.on_llm_new_token(piece.to_string()).await.unwrap();
            }
            run.end("").await.unwrap();
        };
        let both = futures_util::future::join(run("a", ANSWER), run("b", "Final Answer: 7"));
        both.await;
        let seen = seen.lock().unwrap();
        assert_eq!(seen["a"], "42 – Final Answer: of course");
        assert_eq!(seen["b"], "7");
    }
}

/// Is pending once, so that others are polled.
async fn yield_once() {
    let mut is_ready = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut is_ready, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
