//! Handlers that pass some events to another: `Filter`, `Sample` and `PerTrace`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rappel_core::RunKind;
use rappel_core::prelude::*;
use rappel_handlers::{Console, Filter, FinalAnswer, PerTrace, Sample, With};

use crate::support::{Lines, callbacks, handed_over, id, on_runtimes, with_failures};

/// A chain with one model inside, which fails if it is told to.
async fn trace(callbacks: &CallbackManager, name: &str, fails: bool) {
    let start = ChainStart::new(name.to_owned(), "");
    let chain = callbacks.on_chain_start(start).await.unwrap();
    let start = LlmStart::new(format!("{name}.model"), "");
    let mut model = chain.child().on_llm_start(start).await.unwrap();
    model.on_llm_new_token("Why").await.unwrap();
    model.on_llm_new_token(" not?").await.unwrap();
    if fails {
        model.fail("reset").await.unwrap();
    } else {
        model.end("Why not?").await.unwrap();
    }
    chain.end("").await.unwrap();
}

const WHOLE: [&str; 6] = [
    "on_chain_start",
    "on_llm_start",
    "on_llm_new_token",
    "on_llm_new_token",
    "on_llm_end",
    "on_chain_end",
];

fn kinds(lines: &Lines) -> Vec<String> {
    lines.get().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

on_runtimes! {
    async fn a_filter_passes_kinds_names_tags_and_run_kinds(callbacks) {
        let [by_kind, by_name, by_tag, by_run, by_all] = std::array::from_fn(|_| Lines::default());
        let callbacks = callbacks
            .with_handler(
                Filter::new(by_kind.clone()).kinds([EventKind::LlmNewToken, EventKind::LlmEnd]),
            )
            .with_handler(Filter::new(by_name.clone()).names(["b.model"]))
            .with_handler(Filter::new(by_tag.clone()).tags(["quiet", "loud"]))
            .with_async_handler(Filter::new(counted(&by_run)).run_kinds([RunKind::Chain]))
            .with_handler(Filter::new(by_all.clone()).without_kinds([EventKind::ChainStart]));
        trace(&callbacks.clone().with_inheritable_tags(["loud"]), "a", false).await;
        trace(&callbacks, "b", false).await;
        assert_eq!(kinds(&by_kind), [&WHOLE[2..5], &WHOLE[2..5]].concat());
        assert_eq!(kinds(&by_name), WHOLE[1..5]);
        assert!(by_name.get().iter().all(|line| line.starts_with("b.model")));
        assert_eq!(kinds(&by_tag), WHOLE);
        assert!(by_tag.get().iter().all(|line| line.starts_with('a')));
        assert_eq!(kinds(&by_run), [WHOLE[0], WHOLE[5], WHOLE[0], WHOLE[5]]);
        assert_eq!(kinds(&by_all).len(), 10);
    }

    async fn a_handler_is_made_for_each_trace_and_dropped_with_it(callbacks) {
        let open = Arc::new(AtomicUsize::new(0));
        let made = Arc::new(AtomicUsize::new(0));
        let (open_now, all) = (open.clone(), made.clone());
        let lines = Lines::default();
        let shared = lines.clone();
        let callbacks = callbacks.with(PerTrace::new(move |_root: &RunInfo| {
            all.fetch_add(1, Ordering::SeqCst);
            Counted::new(&open_now, shared.clone())
        }));
        trace(&callbacks, "a", false).await;
        assert_eq!((made.load(Ordering::SeqCst), open.load(Ordering::SeqCst)), (1, 0));
        let one = callbacks.on_chain_start(ChainStart::new("one", "")).await.unwrap();
        let two = callbacks.on_chain_start(ChainStart::new("two", "")).await.unwrap();
        trace(&one.child(), "b", true).await;
        assert_eq!(made.load(Ordering::SeqCst), 3);
        assert_eq!(open.load(Ordering::SeqCst), 2);
        one.end("").await.unwrap();
        two.end("").await.unwrap();
        assert_eq!(open.load(Ordering::SeqCst), 0);
        assert_eq!(&kinds(&lines)[..6], WHOLE);
    }

    async fn tail_sampling_passes_whole_traces_with_errors_in_order(callbacks) {
        let lines = Lines::default();
        let callbacks = callbacks.with_handler(Sample::new(lines.clone(), 0.0).with_errors(1000));
        trace(&callbacks, "well", false).await;
        assert_eq!(lines.get(), [""; 0]);
        trace(&callbacks, "badly", true).await;
        let mut expected = WHOLE;
        expected[4] = "on_llm_error";
        assert_eq!(kinds(&lines), expected);
        assert!(lines.get().iter().all(|line| line.starts_with("badly")));
    }

    async fn a_run_that_another_process_goes_on_with_is_no_error_of_its_trace(callbacks) {
        let lines = Lines::default();
        let callbacks = callbacks.with_handler(Sample::new(lines.clone(), 0.0).with_errors(1000));
        handed_over(&callbacks, TokenUsage::new(10, 5)).await;
        callbacks.flush().await.unwrap();
        assert_eq!(lines.get(), [""; 0]);
    }
}

/// An async handler that writes lines.
fn counted(lines: &Lines) -> impl AsyncCallbackHandler {
    let lines = lines.clone();
    async_handler_fn(async move |event, cx| lines.clone().on_event(event, cx))
}

struct Counted(Arc<AtomicUsize>, Lines);

impl Counted {
    fn new(open: &Arc<AtomicUsize>, lines: Lines) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open.clone(), lines)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl CallbackHandler for Counted {
    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        self.1.on_event(event, cx)
    }
}

#[test]
fn a_share_of_the_traces_is_passed_as_a_whole_and_the_same_everywhere() {
    let (one, two) = (Lines::default(), Lines::default());
    let callbacks = callbacks()
        .with_handler(Sample::new(one.clone(), 0.25))
        .with_handler(Sample::new(two.clone(), 0.25));
    futures_executor::block_on(async {
        for number in 0..200_u32 {
            trace(&callbacks, &number.to_string(), false).await;
        }
    });
    let traces = kinds(&one).iter().filter(|kind| *kind == "on_chain_start").count();
    assert!((20..90).contains(&traces), "{traces}");
    assert_eq!(one.get().len(), traces * WHOLE.len());
    assert_eq!(one.get(), two.get());
}

#[test]
fn a_share_of_one_is_everything_and_zero_is_nothing() {
    let (all, none) = (Lines::default(), Lines::default());
    let callbacks = callbacks()
        .with_handler(Sample::new(all.clone(), 1.0))
        .with_handler(Sample::new(none.clone(), 0.0));
    futures_executor::block_on(trace(&callbacks, "a", true));
    assert_eq!((all.get().len(), none.get().len()), (6, 0));
}

#[test]
fn a_full_buffer_drops_tokens_first_and_then_gives_the_trace_up() {
    let lines = Lines::default();
    let (callbacks, failures) = with_failures(callbacks());
    let callbacks = callbacks.with_handler(Sample::new(lines.clone(), 0.0).with_errors(3));
    futures_executor::block_on(async {
        // Two starts and a token fit. The second token does not, so no token is kept.
        trace(&callbacks, "a", true).await;
        let kept = ["on_chain_start", "on_llm_start", "on_llm_error", "on_chain_end"];
        assert_eq!(kinds(&lines), kept);
        assert_eq!(failures.get(), [""; 0]);
        // Four starts do not fit.
        let chain = callbacks.on_chain_start(ChainStart::new("b", "")).await.unwrap();
        let mut children = Vec::new();
        for _ in 0..3 {
            let start = ToolStart::new("t", "");
            children.push(chain.child().on_tool_start(start).await.unwrap());
        }
        for child in children {
            child.fail("broken").await.unwrap();
        }
        chain.end("").await.unwrap();
        assert_eq!(failures.get().len(), 1, "{:?}", failures.get());
        assert_eq!(lines.get().len(), 4);
        // The buffer is empty again.
        trace(&callbacks, "c", true).await;
        assert_eq!(lines.get().len(), 8);
    });
}

#[test]
fn tokens_make_room_for_other_events() {
    let lines = Lines::default();
    let (callbacks, failures) = with_failures(callbacks());
    let callbacks = callbacks.with_handler(Sample::new(lines.clone(), 0.0).with_errors(4));
    futures_executor::block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        for _ in 0..3 {
            run.on_llm_new_token("x").await.unwrap();
        }
        run.on_retry(Retry::new(1, "busy", std::time::Duration::ZERO)).await.unwrap();
        run.fail("reset").await.unwrap();
    });
    assert_eq!(failures.get(), [""; 0]);
    assert_eq!(kinds(&lines), ["on_llm_start", "on_retry", "on_llm_error"]);
}

#[test]
fn a_handler_of_tokens_only_is_made_and_dropped_all_the_same() {
    struct Tokens(Counted);
    impl CallbackHandler for Tokens {
        fn on_llm_new_token(&mut self, token: &LlmNewToken, cx: &EventContext) -> HandlerResult {
            self.0.on_event(&token.clone().into(), cx)
        }
    }
    let (open, lines) = (Arc::new(AtomicUsize::new(0)), Lines::default());
    let (open_now, shared) = (open.clone(), lines.clone());
    let (sampled, answers) = (Lines::default(), Lines::default());
    let only = |lines: &Lines| Tokens(Counted::new(&Arc::default(), lines.clone()));
    let callbacks = callbacks()
        .with_handler(PerTrace::new(move |_: &RunInfo| {
            Tokens(Counted::new(&open_now, shared.clone()))
        }))
        .with_handler(Sample::new(only(&sampled), 0.0).with_errors(100))
        .with_handler(FinalAnswer::new(only(&answers)).marker(""));
    futures_executor::block_on(async {
        for name in ["a", "b", "c"] {
            trace(&callbacks, name, true).await;
            assert_eq!(open.load(Ordering::SeqCst), 0);
        }
    });
    for lines in [lines, sampled, answers] {
        assert_eq!(kinds(&lines), ["on_llm_new_token"; 6]);
    }
}

#[test]
fn a_chat_model_start_goes_to_on_llm_start_behind_every_wrapper() {
    struct Prompts(Arc<AtomicUsize>);
    impl CallbackHandler for Prompts {
        fn on_llm_start(&mut self, start: &LlmStart, _: &EventContext) -> HandlerResult {
            assert_eq!(start.prompt, "Human: Hi");
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    let shared = count.clone();
    let callbacks = callbacks()
        .with_handler(Filter::new(Prompts(count.clone())).names(["m"]))
        .with_handler(Sample::new(Prompts(count.clone()), 1.0))
        .with_handler(PerTrace::new(move |_: &RunInfo| Prompts(shared.clone())));
    futures_executor::block_on(async {
        for _ in 0..2 {
            let start = ChatModelStart::new("m", vec![Message::human("Hi")]);
            callbacks.on_chat_model_start(start).await.unwrap().end("").await.unwrap();
        }
    });
    assert_eq!(count.load(Ordering::SeqCst), 6);
}

#[test]
fn a_handler_that_panics_while_it_is_made_or_dropped_harms_no_other_trace() {
    let (callbacks, failures) = with_failures(callbacks());
    let lines = Lines::default();
    let shared = lines.clone();
    let callbacks = callbacks.with(PerTrace::new(move |root: &RunInfo| {
        assert!(root.id() != id(1), "not this one");
        shared.clone()
    }));
    futures_executor::block_on(async {
        let start = ChainStart::new("bad", "").with_run_id(id(1));
        callbacks.on_chain_start(start).await.unwrap().end("").await.unwrap();
        trace(&callbacks, "good", false).await;
    });
    assert_eq!(failures.get().len(), 1, "{:?}", failures.get());
    assert_eq!(kinds(&lines), WHOLE);
}

#[test]
fn a_share_that_is_none_is_a_panic_that_says_so() {
    for share in [f64::NAN, -0.1, 1.5, 25.0] {
        let new = || Sample::new(Console::stdout(), share);
        let panic = std::panic::catch_unwind(new).expect_err("it is refused at once");
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("write 0.0 to 1.0"), "{text}");
    }
}
