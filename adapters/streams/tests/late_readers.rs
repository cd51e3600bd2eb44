//! Readers that come when runs are open, on tokio and smol.

#![allow(clippy::unwrap_used, reason = "tests")]

use futures_util::{FutureExt as _, StreamExt as _};
use rappel_core::{CallbackManager, ChainStart, ChatModelStart, Event, Message, ToolStart};
use rappel_smol::Smol;
use rappel_streams::{
    EventFeed, EventFilter, EventStream, SlowReader, Sse, check, ui_message_stream,
};
use rappel_tokio::Tokio;

fn chat() -> ChatModelStart {
    ChatModelStart::new("m", [Message::human("q")])
}

/// What has come so far: starts with the names of their runs, tokens, and other kinds.
fn so_far(stream: &mut EventStream) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(Some(record)) = stream.next().now_or_never() {
        let record = record.unwrap();
        lines.push(match (&record.event, &record.about) {
            (Some(Event::LlmNewToken(token)), _) => token.token.to_string(),
            (Some(event), Some(about)) if event.kind().is_start() => {
                format!("{}: {}", about.name, record.kind)
            }
            _ => record.kind.into_owned(),
        });
    }
    lines
}

async fn a_late_reader(callbacks: CallbackManager) {
    let feed = EventFeed::new();
    let mut early = feed.reader(EventFilter::new());
    let callbacks = feed.attach(&callbacks).unwrap();
    let chain = callbacks.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
    let before = chain.child().on_tool_start(ToolStart::new("search", "x")).await.unwrap();
    before.end("nothing").await.unwrap();
    let tool = chain.child().on_tool_start(ToolStart::new("ask", "y")).await.unwrap();
    let mut model = tool.child().on_chat_model_start(chat()).await.unwrap();
    model.on_llm_new_token("missed").await.unwrap();

    let mut late = feed.reader(EventFilter::new());
    let mut models = feed.reader(EventFilter::new().include_types(["chat_model"]));
    let starts = ["agent: on_chain_start", "ask: on_tool_start", "m: on_chat_model_start"];
    assert_eq!(so_far(&mut late), starts, "the starts of what is open, parents first");
    assert_eq!(so_far(&mut models), starts[2..], "its filter holds for the starts, too");

    model.on_llm_new_token("seen").await.unwrap();
    drop(models);
    model.end("missedseen").await.unwrap();
    tool.end("z").await.unwrap();
    chain.end("z").await.unwrap();
    let rest = ["seen", "on_llm_end", "on_tool_end", "on_chain_end"];
    assert_eq!(so_far(&mut late), rest);
    let early_lines = so_far(&mut early);
    assert_eq!(early_lines.len(), 9, "{early_lines:?}");
    assert!(early_lines.contains(&"missedseen".to_owned()), "{early_lines:?}");

    let mut after = feed.reader(EventFilter::new());
    assert_eq!(so_far(&mut after), [""; 0], "nothing is open");
    drop(callbacks);
    for mut stream in [early, late, after] {
        assert!(stream.next().await.is_none(), "the managers are gone");
    }
}

#[tokio::test]
async fn a_late_reader_first_gets_the_starts_of_open_runs_on_tokio() {
    a_late_reader(CallbackManager::new(Tokio::current())).await;
}

#[test]
fn a_late_reader_first_gets_the_starts_of_open_runs_on_smol() {
    smol::block_on(a_late_reader(CallbackManager::new(Smol::global())));
}

#[tokio::test]
async fn the_body_of_a_late_reader_keeps_its_grammar() {
    let feed = EventFeed::new();
    let callbacks = feed.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let chain = callbacks.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
    let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
    model.on_llm_new_token("a").await.unwrap();
    let body = Sse::new(feed.reader(EventFilter::new()), ui_message_stream());
    model.on_llm_new_token("b").await.unwrap();
    model.end("ab").await.unwrap();
    chain.end("ab").await.unwrap();
    drop(callbacks);
    let text: String = body.map(|frame| frame.unwrap()).collect().await;
    check::ui_message_stream(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
    assert!(text.contains(r#""delta":"b""#) && text.contains(r#""type":"finish""#), "{text}");
}

#[tokio::test]
async fn a_reader_of_a_feed_that_stops_reading_is_cut_off_and_delays_nobody() {
    for slow in [SlowReader::Disconnect, SlowReader::wait()] {
        let feed = EventFeed::new();
        let callbacks = feed.attach(&CallbackManager::new(Tokio::current())).unwrap();
        let stuck = feed.reader(EventFilter::new()).slow_reader(slow);
        let reader = feed.reader(EventFilter::new());
        let mut run = callbacks.on_chat_model_start(chat()).await.unwrap();
        for _ in 0..300 {
            run.on_llm_new_token("x").await.unwrap();
        }
        run.end("done").await.unwrap();
        drop(callbacks);
        let stuck: Vec<_> = stuck.collect().await;
        assert!(matches!(&stuck[..], [Err(_)]), "{slow:?}: {stuck:?}");
        let text: String = reader
            .filter_map(async |record| match record.unwrap().event {
                Some(Event::LlmNewToken(token)) => Some(token.token.to_string()),
                _ => None,
            })
            .collect()
            .await;
        assert_eq!(text.len(), 300, "{slow:?}");
    }
}

#[tokio::test]
async fn a_feed_without_events_keeps_no_reader_that_is_gone() {
    let feed = EventFeed::new();
    let callbacks = feed.attach(&CallbackManager::new(Tokio::current())).unwrap();
    for _ in 0..100 {
        drop(feed.reader(EventFilter::new()));
    }
    let stays = feed.reader(EventFilter::new());
    assert!(format!("{feed:?}").contains("readers: 1,"), "{feed:?}");
    let run = callbacks.on_chain_start(ChainStart::new("c", "in")).await.unwrap();
    run.end("out").await.unwrap();
    drop(callbacks);
    assert_eq!(stays.count().await, 2);
}
