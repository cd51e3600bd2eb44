//! A trace that was written down as JSON Lines and is replayed gives the same lines again, in every
//! delivery: also if it starts in the middle, ends in the middle, or comes twice.

use std::sync::Arc;
use std::time::Duration;

use rappel_core::prelude::*;
use rappel_core::record::{EventRecord, Recorder, ReplayError, Replayer};
use rappel_core::result::{TokenLogprob, ToolCallChunk, TopLogprob};
use rappel_core::{HandlerFuture, Map, TraceParent, Value, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

/// Writes the record of each event as a line.
struct Lines {
    recorder: Recorder,
    log: Log,
}

impl Lines {
    fn new(source: &str, log: &Log) -> Self {
        Self { recorder: Recorder::new(source), log: log.clone() }
    }

    fn write(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        if let Some(record) = self.recorder.record(event, cx) {
            let line = serde_json::to_string(&record)?;
            let copy = serde_json::to_string(&record.to_record())?;
            assert_eq!(line, copy, "a borrowed record is written as another one");
            self.log.write(line);
        }
        Ok(())
    }
}

/// Asks for the time of every event.
impl CallbackHandler for Lines {
    fn interest(&self) -> Interest {
        Interest::all().with_token_times()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        self.write(event, cx)
    }
}

/// As a handler that is called side by side with others.
struct AsyncLines(std::sync::Mutex<Lines>);

impl AsyncCallbackHandler for AsyncLines {
    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        let result = self.0.lock().unwrap().write(event, cx);
        HandlerFuture::new(async move { result })
    }
}

/// A manager with a handler for each delivery that loses nothing, and the lines of each handler.
fn watched(rt: &Rt, source: &str) -> (CallbackManager, Vec<Log>) {
    let deliveries: [HandlerOptions; 5] = [
        Awaited::new().into(),
        Awaited::new().inline().into(),
        Pipelined::new(1).into(),
        Pipelined::new(64).into(),
        Background::new(64).overflow(Overflow::Wait).into(),
    ];
    let mut callbacks = rt.callbacks();
    let mut logs = Vec::new();
    for options in deliveries {
        let log = Log::new();
        callbacks = callbacks.with_handler_options(Lines::new(source, &log), options.clone());
        logs.push(log);
        let log = Log::new();
        let lines = AsyncLines(std::sync::Mutex::new(Lines::new(source, &log)));
        callbacks = callbacks.with_async_handler_options(lines, options);
        logs.push(log);
    }
    (callbacks, logs)
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

/// An agent's run with a model, a tool, a retriever, a run that fails, one that is closed by its
/// parent, one that outlives it, and events of the application's own.
async fn play(callbacks: &CallbackManager) {
    let callbacks = callbacks
        .clone()
        .with_tags(["top"])
        .with_inheritable_tags(["all"])
        .with_inheritable_metadata(map(json!({ "session": 7 })));
    let caller: TraceParent =
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let start =
        ChainStart::agent("agent").with_inputs(json!({ "q": 0.1 })).with_traceparent(caller);
    let mut agent = callbacks.on_chain_start(start).await.unwrap();
    let inside = agent.child();
    agent.on_text("thinking").await.unwrap();

    let start = ChatModelStart::new("m", [Message::human("What time is it?")])
        .with_provider("openai")
        .with_server("api.openai.com", 443);
    let mut model = inside.on_chat_model_start(start).await.unwrap();
    model.on_retry(Retry::new(1, "connection reset", Duration::from_millis(5))).await.unwrap();
    model.on_llm_new_token("I ").await.unwrap();
    model.on_llm_new_token("look").await.unwrap();
    let mut chunk = LlmChunk::new("");
    chunk.tool_calls.push(ToolCallChunk::new(0, "{}").with_id("call_1").with_name("clock"));
    model.on_llm_new_token(chunk).await.unwrap();
    model.child().on_custom_event(CustomEvent::new("inside", json!(1))).await.unwrap();
    model.end(LlmResult::from_text("I look").with_usage(TokenUsage::new(3, 4))).await.unwrap();

    agent.on_agent_action(AgentAction::new("clock", json!({}), "I look")).await.unwrap();
    let start = ToolStart::new("clock", "{}").with_tool_call_id("call_1");
    let mut tool = inside.on_tool_start(start).await.unwrap();
    tool.on_custom_event(CustomEvent::new("progress", json!({ "done": 0.5 }))).await.unwrap();
    let deeper =
        tool.child().on_retriever_start(RetrieverStart::new("zones", "CET")).await.unwrap();
    let deepest = deeper.child().on_chain_start(ChainStart::new("deep", json!({}))).await.unwrap();
    deepest.fail(std::fmt::Error).await.unwrap();
    deeper.end([Document::new("UTC+1").with_score(0.1 + 0.2)]).await.unwrap();
    tool.end(json!("noon")).await.unwrap();

    // It fails with what it has so far.
    let mut model = inside.on_llm_start(LlmStart::new("m", "again")).await.unwrap();
    model.on_llm_new_token("It").await.unwrap();
    model.fail(RunError::failed("no network")).await.unwrap();

    // One outlives the agent, one is closed with it.
    let detached = inside.clone().detached();
    let mut later = detached.on_chain_start(ChainStart::new("later", json!({}))).await.unwrap();
    let open = inside.on_tool_start(ToolStart::new("slow", "1")).await.unwrap();
    agent.on_agent_finish(AgentFinish::new(json!("noon"), "I know")).await.unwrap();
    agent.end(json!({ "answer": "noon" })).await.unwrap();
    drop(open);
    later.on_text("still here").await.unwrap();
    later.end(json!(null)).await.unwrap();

    // The parent is in another process.
    let start = ChainStart::new("worker", json!({}))
        .with_run_id(RunId::from_bytes([3; 16]))
        .with_remote_parent(RunId::from_bytes([2; 16]), RunId::from_bytes([1; 16]))
        .with_time(Duration::from_micros(1_700_000_000_000_001));
    let worker = callbacks.on_chain_start(start).await.unwrap();
    worker.child().group("step").await.unwrap().end(json!(1)).await.unwrap();
    worker.end(json!({})).await.unwrap();
    callbacks.on_custom_event(CustomEvent::new("alone", json!([]))).await.unwrap();
}

/// The lines of a trace, as one handler wrote them.
pub(crate) async fn recorded(rt: &Rt) -> Vec<String> {
    let log = Log::new();
    let callbacks = rt.callbacks().with_handler(Lines::new("here", &log));
    play(&callbacks).await;
    callbacks.flush().await.unwrap();
    log.lines()
}

fn read(line: &str) -> EventRecord {
    serde_json::from_str(line).unwrap()
}

/// Replays the lines, and asserts that every handler writes `expected`.
async fn assert_gives(rt: &Rt, lines: impl IntoIterator<Item = &String>, expected: &[String]) {
    let (callbacks, logs) = watched(rt, "there");
    let mut replayer = Replayer::new(&callbacks);
    for line in lines {
        replayer.replay(read(line)).await.unwrap();
    }
    replayer.close_open(RunError::TimedOut).await;
    assert_eq!(replayer.open_runs().count(), 0);
    callbacks.flush().await.unwrap();
    for log in logs {
        assert_eq!(log.lines(), expected);
    }
}

on_every_runtime! {
    async fn every_handler_writes_what_was_written_before(rt) {
        let (callbacks, logs) = watched(&rt, "here");
        play(&callbacks).await;
        callbacks.flush().await.unwrap();
        for log in logs {
            let lines = log.lines();
            assert_eq!(lines.len(), 32);
            assert_gives(&rt, &lines, &lines).await;
        }
    }

    async fn a_trace_that_starts_in_the_middle_gives_its_lines_again(rt) {
        let lines = recorded(&rt).await;
        for from in 0..lines.len() {
            assert_gives(&rt, &lines[from..], &lines[from..]).await;
        }
    }

    async fn a_trace_that_ends_in_the_middle_gives_its_lines_again(rt) {
        let lines = recorded(&rt).await;
        for to in 0..lines.len() {
            assert_gives(&rt, &lines[..to], &lines[..to]).await;
        }
    }

    async fn a_trace_that_comes_twice_gives_its_lines_once(rt) {
        let lines = recorded(&rt).await;
        for to in 0..=lines.len() {
            assert_gives(&rt, lines[..to].iter().chain(&lines), &lines).await;
        }
        // Also line by line.
        assert_gives(&rt, lines.iter().flat_map(|line| [line, line]), &lines).await;
    }

    async fn a_trace_with_gaps_gives_its_lines_again(rt) {
        let lines = recorded(&rt).await;
        for missing in 0..lines.len() {
            let mut rest = lines.clone();
            rest.remove(missing);
            assert_gives(&rt, &rest, &rest).await;
        }
    }

    async fn what_was_lost_is_kept(rt) {
        let mut lines = recorded(&rt).await;
        let mut record: Value = serde_json::from_str(&lines[3]).unwrap();
        record["lost"] = json!({ "dropped": 2, "coalesced": 1 });
        lines[3] = serde_json::to_string(&read(&record.to_string())).unwrap();
        assert!(lines[3].contains(r#""lost":{"dropped":2,"coalesced":1}"#));
        assert_gives(&rt, &lines, &lines).await;
    }

    async fn a_trace_can_be_given_up_and_begun_again(rt) {
        let lines = recorded(&rt).await;
        let half = &lines[..lines.len() / 2];
        let root = read(&half[0]).root;
        let (callbacks, logs) = watched(&rt, "there");
        let mut replayer = Replayer::new(&callbacks);
        for line in half {
            replayer.replay(read(line)).await.unwrap();
        }
        replayer.give_up(root).await;
        for line in half {
            replayer.replay(read(line)).await.unwrap();
        }
        assert_eq!(replayer.counts().replayed, lines.len() as u64 / 2 * 2);
        // Another one can go on after this one was dropped.
        drop(replayer);
        callbacks.flush().await.unwrap();
        let mut replayer = Replayer::new(&callbacks);
        for line in &lines {
            replayer.replay(read(line)).await.unwrap();
        }
        callbacks.flush().await.unwrap();
        let expected: Vec<&String> = half.iter().chain(half).chain(&lines).collect();
        for log in logs {
            assert_eq!(log.lines().iter().collect::<Vec<_>>(), expected);
        }
    }

    async fn runs_that_are_given_up_end_deepest_first(rt) {
        let lines = recorded(&rt).await;
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
            let made_up = if cx.is_made_up() { "made up" } else { "recorded" };
            seen.write(format!("{made_up} {} {}", cx.name(), event.kind()));
            Ok(())
        }));
        // Up to the innermost run's start.
        let deep = lines.iter().position(|line| line.contains(r#""name":"deep""#)).unwrap();
        for way in ["dropped", "closed", "given up"] {
            let mut replayer = Replayer::new(&callbacks);
            for line in &lines[..=deep] {
                replayer.replay(read(line)).await.unwrap();
            }
            match way {
                "dropped" => drop(replayer),
                "closed" => replayer.close_open(RunError::HandedOver).await,
                _ => replayer.give_up(read(&lines[0]).root).await,
            }
            callbacks.flush().await.unwrap();
            let all = log.lines();
            assert_eq!(all[all.len() - 4..], [
                "made up deep on_chain_error",
                "made up zones on_retriever_error",
                "made up clock on_tool_error",
                "made up agent on_chain_error",
            ], "{way}");
        }
    }

    async fn a_run_whose_start_is_missing_is_opened(rt) {
        let lines = recorded(&rt).await;
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
            seen.write(format!("{} `{}` {}", event.kind(), cx.name(), cx.is_made_up()));
            Ok(())
        }));
        let token = lines.iter().position(|line| line.contains("on_llm_new_token")).unwrap();
        let model = read(&lines[token]).run;
        let mut replayer = Replayer::new(&callbacks);
        for line in lines[token..].iter().filter(|line| read(line).run == model) {
            replayer.replay(read(line)).await.unwrap();
        }
        assert_eq!(replayer.counts().made_up_starts, 1);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), [
            "on_chat_model_start `` true",
            "on_llm_start `` true",
            "on_llm_new_token `` false",
            "on_llm_new_token `` false",
            "on_llm_new_token `` false",
            "on_custom_event `inside` false",
            "on_llm_end `m` false",
        ][..].iter().filter(|line| !line.starts_with("on_llm_start")).copied().collect::<Vec<_>>());
    }

    async fn an_id_of_an_open_run_is_an_error(rt) {
        let lines = recorded(&rt).await;
        let (callbacks, _) = watched(&rt, "there");
        let start = ChainStart::new("mine", json!({})).with_run_id(read(&lines[0]).run);
        let open = callbacks.on_chain_start(start).await.unwrap();
        let mut replayer = Replayer::new(&callbacks);
        let error = replayer.replay(read(&lines[0])).await.unwrap_err();
        assert!(matches!(error, ReplayError::Emit(EmitError::DuplicateRunId)), "{error}");
        open.end(json!({})).await.unwrap();
        // The other way round.
        let mut replayer = Replayer::new(&callbacks);
        replayer.replay(read(&lines[0])).await.unwrap();
        let start = ChainStart::new("mine", json!({})).with_run_id(read(&lines[0]).run);
        let error = callbacks.on_chain_start(start).await.unwrap_err();
        assert!(matches!(error, EmitError::DuplicateRunId), "{error}");
        // And with another replay that goes on.
        let error = Replayer::new(&callbacks).replay(read(&lines[0])).await.unwrap_err();
        assert!(matches!(error, ReplayError::Emit(EmitError::DuplicateRunId)), "{error}");
    }

    async fn a_handler_that_raises_does_not_end_a_replay(rt) {
        let lines = recorded(&rt).await;
        let log = Log::new();
        let raise = async_handler_fn(async |_, _| Err("no".into()));
        let callbacks = rt
            .callbacks()
            .with_async_handler_options(raise, Awaited::new().raise_error())
            .with_handler(Lines::new("there", &log));
        let mut replayer = Replayer::new(&callbacks);
        for line in &lines {
            let error = replayer.replay(read(line)).await.unwrap_err();
            assert!(matches!(error, ReplayError::Emit(EmitError::Raised(_))), "{error}");
        }
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), lines);
    }

    async fn malformed_records_are_errors_and_unknown_ones_are_counted(rt) {
        let lines = recorded(&rt).await;
        let (callbacks, logs) = watched(&rt, "there");
        let mut replayer = Replayer::new(&callbacks);
        let change = |field: &str, to: Value| {
            let mut record: Value = serde_json::from_str(&lines[0]).unwrap();
            record[field] = to;
            read(&record.to_string())
        };
        let error = replayer.replay(change("seq", Value::Null)).await.unwrap_err();
        assert!(error.to_string().contains("has no usable `seq`"), "{error}");
        let error = replayer.replay(change("run_kind", json!("tool"))).await.unwrap_err();
        assert!(error.to_string().contains("does not fit its `run_kind`"), "{error}");
        replayer.replay(change("kind", json!("on_dream"))).await.unwrap();
        replayer.replay(change("run_kind", json!("dream"))).await.unwrap();
        assert_eq!((replayer.counts().unknown, replayer.counts().replayed), (2, 0));
        callbacks.flush().await.unwrap();
        assert!(logs.iter().all(|log| log.lines().is_empty()));
    }

    async fn runs_that_are_each_others_parents_are_refused_and_no_run_stays_open(rt) {
        for (ring, way) in [1, 2, 3].into_iter().flat_map(|ring| [(ring, "closed"), (ring, "dropped")]) {
            let callbacks = rt.callbacks();
            let log = Log::new();
            let callbacks = callbacks.with_handler(Lines::new("there", &log));
            let mut replayer = Replayer::new(&callbacks);
            // Each run names the next one as its parent, and the last one names the first.
            let start = |run: u8| chain(run, Some(run % ring + 1), 0, "start", json!({}));
            for run in 1..ring {
                replayer.replay(read(&start(run))).await.unwrap();
            }
            let error = replayer.replay(read(&start(ring))).await.unwrap_err();
            assert!(
                matches!(error, ReplayError::ParentUnderRun(run, parent)
                    if (run, parent) == (id(ring), id(1))),
                "{error}"
            );
            // So are the run's other records, and no others.
            let text = chain(ring, Some(1), 1, "end", Value::Null);
            assert!(replayer.replay(read(&text)).await.is_err());
            replayer.replay(read(&chain(9, None, 0, "start", json!({})))).await.unwrap();
            assert_eq!(replayer.open_runs().count(), usize::from(ring));
            if way == "closed" {
                replayer.close_open(RunError::TimedOut).await;
                assert_eq!(replayer.open_runs().count(), 0);
            }
            drop(replayer);
            let report = callbacks.shutdown(Duration::from_secs(10)).await.unwrap();
            assert!(report.is_clean(), "{way} {ring}: {report:?}");
            assert_eq!(log.lines().len(), usize::from(ring), "the starts");
        }
        // A parent that comes after its child is not refused, nor one that has ended.
        let callbacks = rt.callbacks();
        let mut replayer = Replayer::new(&callbacks);
        for line in [
            chain(2, Some(1), 0, "start", json!({})),
            chain(1, Some(3), 0, "start", json!({})),
            chain(3, None, 0, "start", json!({})),
            chain(2, Some(1), 1, "end", Value::Null),
            chain(4, Some(2), 0, "start", json!({})),
        ] {
            replayer.replay(read(&line)).await.unwrap();
        }
        replayer.close_open(RunError::TimedOut).await;
        assert_eq!(replayer.open_runs().count(), 0);
    }

    async fn an_event_that_does_not_fit_its_run_is_refused(rt) {
        let (callbacks, logs) = watched(&rt, "there");
        let mut replayer = Replayer::new(&callbacks);
        let none = |kind: &str, data: Value, seq: Value| {
            let mut record: Value =
                serde_json::from_str(&chain(1, None, 0, "start", json!({}))).unwrap();
            (record["run_kind"], record["kind"]) = (json!("none"), json!(kind));
            (record["seq"], record["data"]) = (seq, data);
            read(&record.to_string())
        };
        for (kind, data) in [
            ("on_chain_start", json!({ "name": "c", "inputs": {} })),
            ("on_chain_end", json!({ "outputs": {} })),
            ("on_text", json!({ "text": "t" })),
            ("on_llm_new_token", json!({ "token": "t" })),
        ] {
            for seq in [json!(0), Value::Null] {
                let error = replayer.replay(none(kind, data.clone(), seq)).await.unwrap_err();
                assert!(matches!(error, ReplayError::WrongKind(..)), "{kind}: {error}");
            }
        }
        callbacks.flush().await.unwrap();
        assert!(logs.iter().all(|log| log.lines().is_empty()));
        // The run is of another kind than its record says.
        let start = chain(1, None, 0, "start", json!({}));
        replayer.replay(read(&start)).await.unwrap();
        let end = chain(1, None, 1, "end", Value::Null).replace("chain", "tool");
        let end = end.replace("outputs", "output");
        let error = replayer.replay(read(&end)).await.unwrap_err();
        assert!(matches!(error, ReplayError::WrongKind(..)), "{error}");
        assert_eq!(replayer.open_runs().count(), 1);
    }

    async fn custom_events_after_the_end_of_their_run_are_replayed_once(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(Lines::new("here", &log));
        let run = callbacks.on_chain_start(ChainStart::new("c", json!({}))).await.unwrap();
        let child = run.child();
        let custom = |data: i32| child.on_custom_event(CustomEvent::new("late", json!(data)));
        custom(0).await.unwrap();
        custom(1).await.unwrap();
        run.end(json!(1)).await.unwrap();
        for data in 0..3 {
            custom(data).await.unwrap();
        }
        // Another run under the same root.
        let tool = child.on_tool_start(ToolStart::new("clock", "{}")).await.unwrap();
        custom(0).await.unwrap();
        tool.child().on_custom_event(CustomEvent::new("inside", json!(1))).await.unwrap();
        tool.end(json!(1)).await.unwrap();
        custom(0).await.unwrap();
        callbacks.flush().await.unwrap();
        let lines = log.lines();
        assert_eq!(lines.len(), 12);
        assert_gives(&rt, &lines, &lines).await;
        for to in 0..=lines.len() {
            assert_gives(&rt, lines[..to].iter().chain(&lines), &lines).await;
        }
        // A record without that number is never taken for another.
        let old: Vec<_> = lines
            .iter()
            .map(|line| {
                let mut record: Value = serde_json::from_str(line).unwrap();
                record.as_object_mut().unwrap().remove("custom_seq");
                serde_json::to_string(&read(&record.to_string())).unwrap()
            })
            .collect();
        assert_gives(&rt, &old, &old).await;
    }

    async fn a_log_probability_that_is_no_number_does_not_lose_the_end(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(Lines::new("here", &log));
        let mut model = callbacks.on_llm_start(LlmStart::new("m", "Hi")).await.unwrap();
        let mut chunk = LlmChunk::new("No");
        for number in [f64::NEG_INFINITY, f64::NAN, f64::INFINITY] {
            let token = TokenLogprob::new("No", number);
            chunk.logprobs.push(token.with_top_logprobs([TopLogprob::new("No", number)]));
        }
        model.on_llm_new_token(chunk.clone()).await.unwrap();
        model.end([chunk].into_iter().collect::<LlmResult>()).await.unwrap();
        let rag =
            callbacks.on_retriever_start(RetrieverStart::new("r", "q")).await.unwrap();
        rag.end([Document::new("d").with_score(f64::NAN)]).await.unwrap();
        callbacks.flush().await.unwrap();
        let lines = log.lines();
        assert!(lines[2].contains(r#""logprob":null"#), "{}", lines[2]);
        assert_gives(&rt, &lines, &lines).await;
        let Some(Event::LlmEnd(end)) = read(&lines[2]).event else { panic!("{}", lines[2]) };
        let token = &end.result.generations[0].logprobs[0];
        assert_eq!((token.logprob, token.top_logprobs[0].logprob), (f64::NEG_INFINITY, f64::NEG_INFINITY));
    }
}

fn id(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}

/// The record of a chain's start or end.
fn chain(run: u8, parent: Option<u8>, seq: u64, what: &str, inputs: Value) -> String {
    let parents: Vec<RunId> = parent.map(id).into_iter().collect();
    json!({
        "v": 1, "kind": format!("on_chain_{what}"), "run_kind": "chain", "run": id(run),
        "parent": parent.map(id), "root": id(1), "seq": seq, "tseq": 0, "source": "here",
        "time": 1, "name": "c", "tags": [], "metadata": {}, "parents": parents,
        "data": { "name": "c", "inputs": inputs, "outputs": Value::Null },
    })
    .to_string()
}

#[test]
fn a_replay_can_be_a_task() {
    fn is_send<T: Send>(_: &T) {}
    fn check(mut replayer: Replayer, record: EventRecord) {
        is_send(&replayer);
        is_send(&replayer.replay(record));
        is_send(&replayer.close_open(RunError::TimedOut));
        is_send(&replayer.give_up(RunId::from_bytes([1; 16])));
    }
    let _ = check;
}

#[test]
fn what_is_remembered_is_bounded() {
    rappel_tests::runtimes::Flavour::TokioCurrentThread.run(async |rt: Rt| {
        let lines = recorded(&rt).await;
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(Lines::new("there", &log));
        let mut replayer = Replayer::new(&callbacks).remember(0);
        for line in lines.iter().chain(&lines) {
            replayer.replay(read(line)).await.unwrap();
        }
        // Nothing of the first time is known at the second.
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines().len(), 2 * lines.len());
        let _ = Arc::new(replayer);
    });
}
