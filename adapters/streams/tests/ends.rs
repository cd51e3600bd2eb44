//! Ends that are not the work's own: lag, a shutdown, a reader that is gone. And heartbeats.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use rappel_core::{CallbackManager, ChainStart, ChatModelStart, EmitError, Message};
use rappel_streams::{
    Encoder, EventFilter, HEARTBEAT, Heartbeat, SlowReader, Sse, ag_ui, check, event_stream,
    langchain, ui_message_stream,
};
use rappel_tokio::Tokio;

fn chat() -> ChatModelStart {
    ChatModelStart::new("m", [Message::human("q")])
}

/// The body of a reader that gets the begin of a text, and is cut off.
async fn lagged_body(encoder: impl Encoder + Unpin) -> String {
    let stream = event_stream(EventFilter::new()).slow_reader(SlowReader::Disconnect);
    let callbacks = stream.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let mut body = Sse::new(stream, encoder);
    let chain = callbacks.on_chain_start(ChainStart::new("chain", "q")).await.unwrap();
    let mut run = chain.child().on_chat_model_start(chat()).await.unwrap();
    run.on_llm_new_token("text").await.unwrap();
    let mut text = String::new();
    while let Some(Some(frame)) = body.next().now_or_never() {
        text.push_str(&frame.unwrap());
    }
    for _ in 0..300 {
        run.on_llm_new_token("more").await.unwrap();
    }
    run.end("done").await.unwrap();
    chain.end("done").await.unwrap();
    let rest: String = body.map(|frame| frame.unwrap()).collect().await;
    text + &rest
}

#[tokio::test]
async fn a_reader_that_is_cut_off_gets_an_error_and_closed_parts() {
    let text = lagged_body(ui_message_stream()).await;
    check::ui_message_stream(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
    assert!(text.contains("\"text-end\"") && text.contains("\"type\":\"error\""), "{text}");
    let text = lagged_body(ag_ui("thread", "run")).await;
    check::ag_ui(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
    assert!(text.contains("RUN_ERROR"), "{text}");
    let text = lagged_body(langchain()).await;
    assert!(text.contains("too slow"), "{text}");
}

/// The body of a request that a shutdown closes in the middle of a text.
async fn shut_down_body(encoder: impl Encoder + Unpin) -> String {
    let callbacks = CallbackManager::new(Tokio::current());
    let stream = event_stream(EventFilter::new());
    let attached = stream.attach(&callbacks).unwrap();
    let body = Sse::new(stream, encoder);
    let chain = attached.on_chain_start(ChainStart::new("chain", "q")).await.unwrap();
    let mut run = chain.child().on_chat_model_start(chat()).await.unwrap();
    run.on_llm_new_token("text").await.unwrap();
    let report = callbacks.shutdown(Duration::ZERO).await.unwrap();
    assert_eq!(report.closed_runs, 2);
    assert!(matches!(run.on_llm_new_token("late").await, Err(EmitError::ShutDown)));
    drop((run, chain, attached, callbacks));
    body.map(|frame| frame.unwrap()).collect().await
}

#[tokio::test]
async fn a_shutdown_in_the_middle_of_a_text_closes_all_parts() {
    let text = shut_down_body(ui_message_stream()).await;
    check::ui_message_stream(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
    assert!(text.contains("\"text-end\"") && text.contains("\"type\":\"abort\""), "{text}");
    let text = shut_down_body(ag_ui("thread", "run")).await;
    check::ag_ui(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
    assert!(text.contains("TEXT_MESSAGE_END") && text.contains("\"cancelled\""), "{text}");
    let text = shut_down_body(langchain()).await;
    assert!(text.contains("on_chain_error"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_body_has_heartbeats() {
    let stream = event_stream(EventFilter::new());
    let callbacks = stream.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let timer = Heartbeat::new(Tokio::current());
    let mut body = Sse::new(stream, ui_message_stream()).heartbeat(timer);
    let begin = tokio::time::Instant::now();
    assert_eq!(body.next().await.unwrap().unwrap(), ": heartbeat\n\n");
    assert_eq!(begin.elapsed().as_secs(), HEARTBEAT.as_secs());
    // A frame puts the next one off.
    tokio::time::advance(Duration::from_secs(10)).await;
    let run = callbacks.on_chat_model_start(chat()).await.unwrap();
    assert!(body.next().await.unwrap().unwrap().starts_with("data: "));
    let begin = tokio::time::Instant::now();
    while !body.next().await.unwrap().unwrap().starts_with(": heartbeat") {}
    assert_eq!(begin.elapsed().as_secs(), HEARTBEAT.as_secs());
    run.end("done").await.unwrap();
}

#[tokio::test]
async fn a_reader_that_goes_away_costs_no_other_reader_an_event() {
    let gone = event_stream(EventFilter::new());
    let reader = event_stream(EventFilter::new());
    let callbacks = gone.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let callbacks = reader.attach(&callbacks).unwrap();
    let mut run = callbacks.on_chat_model_start(chat()).await.unwrap();
    run.on_llm_new_token("a").await.unwrap();
    drop(gone);
    run.on_llm_new_token("b").await.unwrap();
    run.end("ab").await.unwrap();
    drop(callbacks);
    let records: Vec<_> = reader.collect().await;
    assert_eq!(records.iter().filter(|record| record.is_ok()).count(), 4, "{records:?}");
}

#[tokio::test]
async fn a_reader_that_goes_away_stops_the_runs_if_it_is_asked_to() {
    let stream = event_stream(EventFilter::new()).stop_runs();
    let callbacks = stream.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let mut run = callbacks.on_chat_model_start(chat()).await.unwrap();
    run.on_llm_new_token("a").await.unwrap();
    drop(stream);
    assert!(matches!(run.on_llm_new_token("b").await, Err(EmitError::Raised(_))));
}
