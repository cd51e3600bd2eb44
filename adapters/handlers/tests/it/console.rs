//! The tree of runs on a terminal.

use std::time::Duration;

use rappel_core::json;
use rappel_core::prelude::*;
use rappel_handlers::{Console, Price, Prices, With};

use crate::support::{TestClock, Text, callbacks, callbacks_with_clock, handed_over};

/// A chain with a model, a tool that fails, and notes.
async fn scene(callbacks: &CallbackManager, clock: &TestClock) {
    let mut chain = callbacks.on_chain_start(ChainStart::new("agent", "6 x 9?")).await.unwrap();
    let start = ChatModelStart::new("gpt", vec![Message::human("6 x 9?")]);
    let mut model = chain.child().on_chat_model_start(start).await.unwrap();
    model.on_retry(Retry::new(1, "busy", Duration::from_secs(1))).await.unwrap();
    clock.advance(Duration::from_millis(1200));
    let usage = TokenUsage::new(100, 20).with_cached_tokens(50);
    model.end(LlmResult::from_text("42").with_usage(usage)).await.unwrap();
    chain.on_agent_action(AgentAction::new("calculator", json!({"x": 6}), "")).await.unwrap();
    let tool = chain.child().on_tool_start(ToolStart::new("calculator", "6*9")).await.unwrap();
    tool.fail("overflow\n\u{1b}[31m").await.unwrap();
    chain.on_custom_event(CustomEvent::new("score", json!(1))).await.unwrap();
    clock.advance(Duration::from_secs(90));
    chain.end("42").await.unwrap();
}

fn printed(make: impl FnOnce(Console) -> Console) -> String {
    let out = Text::default();
    let (callbacks, clock) = callbacks_with_clock();
    let callbacks = callbacks.with(make(Console::to(out.clone())));
    futures_executor::block_on(scene(&callbacks, &clock));
    out.get()
}

#[test]
fn each_run_has_a_line_for_its_start_and_one_for_its_end() {
    let prices = Prices::new().with("gpt", Price::per_million(1.0, 2.0));
    let expected = "\
▶ agent chain
  ▶ gpt chat model
    ↻ attempt 1 failed, again in 1.00 s: busy
  ✓ gpt 1.21 s, 100 (50 cached) → 20 tokens, $0.00014
  → calculator
  ▶ calculator tool
  ✗ calculator 10 ms overflow \u{fffd}[31m
  • score
✓ agent 1 min 31 s
";
    assert_eq!(printed(|console| console.prices(prices)), expected);
}

#[test]
fn a_grouped_trace_is_one_tree() {
    let expected = "\
✓ agent chain 1 min 31 s
├─ ✓ gpt chat model 1.21 s, 100 (50 cached) → 20 tokens
│  └─ ↻ attempt 1 failed, again in 1.00 s: busy
├─ → calculator
├─ ✗ calculator tool 10 ms overflow \u{fffd}[31m
└─ • score
";
    assert_eq!(printed(Console::grouped), expected);
}

#[test]
fn contents_are_printed_on_demand_and_cut() {
    let text = printed(|console| console.contents(5));
    assert!(text.contains("▶ agent chain\n  6 x 9…\n"), "{text}");
    assert!(text.contains("→ calculator {\"x\":…"), "{text}");
    assert!(text.ends_with("✓ agent 1 min 31 s\n  42\n"), "{text}");
    let grouped = printed(|console| console.grouped().contents(5));
    assert!(grouped.starts_with("✓ agent chain 1 min 31 s\n│ 42\n├─ "), "{grouped}");
}

#[test]
fn colours_are_escape_sequences_and_only_on_demand() {
    let plain = printed(|console| console);
    let coloured = printed(|console| console.colors(true));
    assert!(coloured.contains("\u{1b}["));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
}

#[test]
fn lines_have_the_id_of_their_trace_while_several_are_open() {
    let out = Text::default();
    let (callbacks, _clock) = callbacks_with_clock();
    let callbacks = callbacks.with_handler(Console::to(out.clone()));
    futures_executor::block_on(async {
        let one = callbacks.on_chain_start(ChainStart::new("one", "")).await.unwrap();
        let two = callbacks.on_chain_start(ChainStart::new("two", "")).await.unwrap();
        let tool = one.child().on_tool_start(ToolStart::new("tool", "")).await.unwrap();
        tool.end("").await.unwrap();
        two.end("").await.unwrap();
        one.end("").await.unwrap();
        let three = callbacks.on_chain_start(ChainStart::new("three", "")).await.unwrap();
        three.end("").await.unwrap();
    });
    let expected = "\
▶ one chain
0202 ▶ two chain
0101   ▶ tool tool
0101   ✓ tool 10 ms
0202 ✓ two 40 ms
0101 ✓ one 70 ms
▶ three chain
✓ three 10 ms
";
    assert_eq!(out.get(), expected);
}

#[test]
fn ids_of_open_traces_are_told_apart() {
    let out = Text::default();
    let callbacks = callbacks().with_handler(Console::to(out.clone()));
    futures_executor::block_on(async {
        let mut runs = Vec::new();
        for first in [1, 2, 3] {
            let mut bytes = [0xab; 16];
            bytes[13] = first;
            let start = ChainStart::new("c", "").with_run_id(RunId::from_bytes(bytes));
            runs.push(callbacks.on_chain_start(start).await.unwrap());
        }
    });
    let text = out.get();
    let starts: Vec<&str> = text.lines().take(3).collect();
    assert_eq!(starts, ["▶ c chain", "2abab ▶ c chain", "3abab ▶ c chain"]);
}

#[test]
fn a_deep_tree_is_printed() {
    let out = Text::default();
    let callbacks = callbacks().with(Console::to(out.clone()).grouped());
    futures_executor::block_on(async {
        let mut runs = vec![callbacks.on_chain_start(ChainStart::new("c", "")).await.unwrap()];
        for _ in 0..1_500 {
            let child = runs.last().unwrap().child();
            runs.push(child.on_chain_start(ChainStart::new("c", "")).await.unwrap());
        }
        while let Some(run) = runs.pop() {
            run.end("").await.unwrap();
        }
    });
    assert_eq!(out.get().lines().count(), 1001);
    assert!(out.get().ends_with("… and 501 more lines\n"));
}

#[test]
fn a_run_that_another_process_goes_on_with_is_no_failure() {
    let out = Text::default();
    let (callbacks, _clock) = callbacks_with_clock();
    let callbacks = callbacks.with_handler(Console::to(out.clone()).colors(true));
    futures_executor::block_on(async {
        handed_over(&callbacks, TokenUsage::new(10, 5)).await;
    });
    let red = "\u{1b}[31m";
    assert!(!out.get().contains(red), "{:?}", out.get());
    let plain = anstream::adapter::strip_str(&out.get()).to_string();
    let expected = "\
▶ asked model
→ asked 10 ms, 10 → 5 tokens handed over to another process
";
    assert_eq!(plain, expected);
}
