//! rappel-testkit on every runtime: the recorder, the scripted model and its faults.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::future::{block_on, poll_once, yield_now};
use futures_util::StreamExt;
use rappel_core::runtime::BoxFuture;
use rappel_core::{CustomEvent, FinishReason, RunId, Timer, TokenUsage, ToolCall, json};
use rappel_openai::ChatOpenAi;
use rappel_testkit::{
    Answer, EndOfScript, Expected, Fault, FaultyChatModel, Recorder, ScriptedChatModel, expect,
};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Script, Server};
use rappel_tests::runtimes::Rt;
use rappel_threads::Threads;
use rappel_tokio::prelude::*;

fn recorded(rt: &Rt) -> (CallbackManager, Recorder) {
    let recorder = Recorder::new();
    (rt.callbacks().with_handler(recorder.clone()), recorder)
}

/// A chain with a model and a tool inside.
async fn scene(callbacks: &CallbackManager) {
    let start = ChainStart::new("chain", json!({"a": 1}));
    let mut chain = callbacks.on_chain_start(start).await.unwrap();
    let inside = chain.child().with_tags(["inner"]);
    let model = inside.on_llm_start(LlmStart::new("model", "prompt"));
    let mut model = model.await.unwrap();
    for token in ["a", "b", "c"] {
        model.on_llm_new_token(token).await.unwrap();
    }
    model.end("abc").await.unwrap();
    let tool = inside.on_tool_start(ToolStart::new("tool", "in"));
    tool.await.unwrap().fail("broken").await.unwrap();
    chain.on_text("text").await.unwrap();
    chain.end(json!("out")).await.unwrap();
}

fn of_the_scene() -> Expected {
    let model = expect()
        .named("model")
        .tagged("inner")
        .llm_start()
        .saying("prompt")
        .tokens(["a", "b", "c"])
        .end()
        .saying("abc");
    let tool = expect().tool_start().saying("in").failed().saying("broken");
    let chain =
        expect().chain_start().saying("{\"a\":1}").text().saying("text").end().saying("\"out\"");
    chain.inside(model).inside(tool)
}

/// The report of the difference.
fn difference(recorder: &Recorder, expected: impl IntoIterator<Item = Expected>) -> String {
    let expected: Vec<Expected> = expected.into_iter().collect();
    recorder.check_runs(&expected).unwrap_err().to_string()
}

/// Does not sleep, and records for how long it should have.
#[derive(Clone, Default)]
struct Sleeps(Arc<Mutex<Vec<Duration>>>);

impl Timer for Sleeps {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.lock().unwrap().push(duration);
        Box::pin(async {})
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

on_every_runtime! {
    async fn a_recorder_records_all_events_in_each_delivery(rt) {
        let recorders: [Recorder; 4] = Default::default();
        let background = Background::new(64).open_traces(10);
        let callbacks = rt.callbacks()
            .with_handler(recorders[0].clone())
            .with_async_handler(recorders[1].clone())
            .with_handler_options(recorders[2].clone(), background)
            .with_async_handler_options(recorders[3].clone(), background);
        scene(&callbacks).await;
        callbacks.flush().await.unwrap();
        for recorder in &recorders {
            recorder.assert(of_the_scene());
            assert_eq!(recorder.events().len(), 10);
            let numbers: Vec<_> = recorder.events().iter().map(|recorded| recorded.cx.sequence()).collect();
            assert_eq!(numbers[..3], [Some(0), Some(0), Some(1)], "the starts of both runs, and a token");
        }
        recorders[0].clear();
        recorders[0].assert_runs([]);
    }

    async fn a_script_has_the_events_of_a_server(rt) {
        let tokens = ["Why", " not", "?"];
        let server = Server::start(Script::tokens(tokens)).unwrap();
        let (callbacks, server_s) = recorded(&rt);
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).streaming(true);
        let chat = chat.callbacks(callbacks).build().unwrap();
        let (callbacks, script_s) = recorded(&rt);
        let answers = [Answer::tokens(tokens), Answer::tokens(tokens)];
        let script = ScriptedChatModel::new(answers).callbacks(callbacks);
        for model in [&chat as &dyn ChatModel, &script] {
            assert_eq!(model.invoke("hi").await.unwrap().text(), "Why not?");
            let mut stream = model.stream(vec![Message::human("hi")]).await.unwrap();
            stream.next().await.unwrap().unwrap();
            drop(stream);
        }
        let is_cancelled = |recorder: &Recorder| {
            recorder.events().last().is_some_and(|last| matches!(last.event, Event::LlmError(_)))
        };
        while ![&server_s, &script_s].into_iter().all(is_cancelled) {
            yield_now().await;
        }
        for recorder in [&server_s, &script_s] {
            let run = || expect().chat_model_start().saying("Human: hi");
            // A server also sends chunks without text.
            let whole = run().tokens_making("Why not?").anything().end().saying("Why not?");
            recorder.assert_runs([whole, run().anything().cancelled()]);
        }
    }

    async fn a_script_has_tool_calls_usage_and_an_end(rt) {
        let (callbacks, recorder) = recorded(&rt);
        let usage = TokenUsage::new(3, 4);
        let weather = ToolCall::new("weather", "{}").with_id("1");
        let calls = [weather.clone(), ToolCall::new("time", "[]")];
        let script = ScriptedChatModel::new([
            Answer::tokens(["Let", " me"]).tool_calls(calls).usage(usage.clone()),
            Answer::tokens(["a"]).breaking_off("cable cut"),
        ]).name("m").callbacks(callbacks);
        let result = script.invoke("hi").await.unwrap();
        assert_eq!((result.text(), &result.usage), ("Let me", &Some(usage)));
        let generation = &result.generations[0];
        assert_eq!((generation.tool_calls.len(), &generation.tool_calls[0]), (2, &weather));
        assert_eq!(generation.finish_reason, Some(FinishReason::ToolCalls));

        let id = RunId::from_bytes([7; 16]);
        let options = CallOptions::new().run_name("mine").run_id(id);
        let messages = vec![vec![Message::human("one")], vec![Message::human("two")]];
        let batch = script.generate_with(messages, options).await;
        assert_eq!(batch[0].as_ref().unwrap_err().to_string(), "cable cut");
        assert!(batch[1].as_ref().unwrap_err().cause::<EndOfScript>().is_some());
        let asks_for_tools = |event: &Event| match event {
            Event::LlmEnd(end) => end.result.finish_reason() == Some(&FinishReason::ToolCalls),
            _ => false,
        };
        let mine = || expect().named("mine").chat_model_start();
        recorder.assert_runs([
            expect().named("m").chat_model_start().tokens(["Let", " me", "", ""]).end()
                .such_that("it asks for tools", asks_for_tools),
            mine().saying("Human: one").token("a").failed().with_partial("a"),
            mine().saying("Human: two").failed().saying("the script has no more answers"),
        ]);
        assert!(recorder.events().iter().any(|recorded| recorded.cx.id() == id));
        let requests = script.requests();
        let asked = requests.iter().map(|request| request.messages[0].text());
        assert_eq!(asked.collect::<Vec<_>>(), ["hi", "one", "two"]);

        script.then(Answer::text("late"));
        assert_eq!(script.answers_left(), 1);
        recorder.clear();
        let whole = script.clone().streaming(false);
        assert_eq!(whole.invoke("hi").await.unwrap().text(), "late");
        recorder.assert(expect().chat_model_start().end().saying("late"));
    }

    async fn faults_come_in_their_place(rt) {
        let (callbacks, recorder) = recorded(&rt);
        let answers = || (0..8).map(|_| Answer::tokens(["a", "b", "c"]));
        let sleeps = Sleeps::default();
        let faults = [
            Fault::fail("refused"),
            Fault::error_after(0, "reset"),
            Fault::error_after(2, "reset"),
            Fault::error_after(9, "reset"),
            Fault::cut_after(1),
            Fault::slow(Duration::from_secs(3600), sleeps.clone()),
            Fault::none(),
        ];
        let script = ScriptedChatModel::new(answers());
        let model = FaultyChatModel::new(script, faults).callbacks(callbacks);
        let mut texts = Vec::new();
        for _ in 0..8 {
            let answer = model.invoke("hi").await;
            texts.push(answer.map_or_else(|error| error.to_string(), |answer| answer.text().to_owned()));
        }
        assert_eq!(texts, ["refused", "reset", "reset", "reset", "a", "abc", "abc", "abc"]);
        assert_eq!(*sleeps.0.lock().unwrap(), [Duration::from_secs(3600); 4]);
        assert_eq!(model.model().answers_left(), 1, "a request that fails does not reach the inner model");
        let run = || expect().chat_model_start();
        recorder.assert_runs([
            run().failed().saying("refused"),
            run().failed().saying("reset"),
            run().tokens(["a", "b"]).failed().with_partial("ab"),
            run().tokens(["a", "b", "c"]).failed().with_partial("abc"),
            run().token("a").end().saying("a"),
            run().tokens(["a", "b", "c"]).end(),
            run().tokens(["a", "b", "c"]).end(),
            run().tokens(["a", "b", "c"]).end(),
        ]);
    }

    async fn an_answer_hangs_until_it_is_let_go_or_dropped(rt) {
        let (callbacks, recorder) = recorded(&rt);
        let (fault, mut hang) = Fault::hang_after(1);
        let (other, mut goes_on) = Fault::hang_after(9);
        let answers = [Answer::tokens(["a", "b"]), Answer::tokens(["a", "b"])];
        let model = FaultyChatModel::new(ScriptedChatModel::new(answers), [fault, other]);
        let model = Arc::new(model.callbacks(callbacks.clone()));

        let mut stream = model.stream(vec![Message::human("hi")]).await.unwrap();
        assert_eq!(&*stream.next().await.unwrap().unwrap().text, "a");
        assert!(poll_once(stream.next()).await.is_none());
        hang.reached().await;
        drop(stream);
        hang.dropped().await;
        callbacks.flush().await.unwrap();

        let asked = model.clone();
        let answer = rt.go(async move { asked.invoke("hi").await });
        goes_on.reached().await;
        goes_on.let_go();
        assert_eq!(answer.await.unwrap().text(), "ab");
        recorder.assert_runs([
            expect().chat_model_start().token("a").cancelled().with_partial("a"),
            expect().chat_model_start().tokens(["a", "b"]).end(),
        ]);
    }

    async fn a_shutdown_resolves_a_call_that_hangs(rt) {
        for streaming in [true, false] {
            let (callbacks, recorder) = recorded(&rt);
            let (fault, mut hang) = Fault::hang_after(1);
            let script = ScriptedChatModel::new([Answer::tokens(["a", "b"])]);
            let model = FaultyChatModel::new(script, [fault]);
            let model = model.streaming(streaming).callbacks(callbacks.clone());
            let answer = rt.go(async move { model.invoke("hi").await });
            hang.reached().await;
            let report = callbacks.shutdown(Duration::ZERO).await.unwrap();
            assert_eq!(report.closed_runs, 1);
            // The deadline of the first shutdown has passed, so only the second waits for delivery.
            callbacks.shutdown(Duration::from_secs(60)).await.unwrap();
            assert!(matches!(answer.await, Err(RunError::Cancelled)));
            hang.dropped().await;
            let run = expect().chat_model_start();
            let run = if streaming { run.token("a").cancelled().with_partial("a") } else { run.cancelled() };
            recorder.assert(run);
        }
    }

    async fn a_model_is_a_child_of_the_current_run(rt) {
        let (callbacks, recorder) = recorded(&rt);
        let inner = ScriptedChatModel::new([Answer::text("a"), Answer::text("b")]);
        let faulty = FaultyChatModel::new(inner.clone(), [Fault::none()]);
        let chain = async {
            faulty.invoke("hi").await?;
            inner.invoke("hi").await?;
            Ok::<_, RunError>(0)
        };
        chain.in_chain(&callbacks, "chain", 0).await.unwrap();
        let model = |name: &str| expect().named(name).chat_model_start().anything().end();
        let chain = expect().chain_start().end();
        recorder.assert(chain.inside(model("faulty")).inside(model("scripted")));
    }
}

fn recorded_scene() -> Recorder {
    let recorder = Recorder::new();
    let callbacks = CallbackManager::new(Threads::new()).with_handler(recorder.clone());
    block_on(scene(&callbacks));
    recorder
}

#[test]
fn an_expectation_can_leave_out_what_does_not_matter() {
    let recorder = recorded_scene();
    recorder.assert(expect().anything().others_inside());
    let tool = || expect().anything().error();
    recorder.assert(expect().chain_start().anything().end().others_inside().inside(tool()));
    recorder.assert_has(tool());
    recorder.assert_has(expect().anything().token("b").anything());
    for text in ["abc", "ab"] {
        let rest = if text == "ab" {
            expect().llm_start().tokens_making(text).token("c")
        } else {
            expect().llm_start().tokens_making(text)
        };
        recorder.assert_has(rest.end());
    }
    let start = expect().event(EventKind::LlmStart);
    recorder.assert_has(start.anything().tokens_making("bc").anything());
}

#[test]
fn each_kind_of_difference_is_found() {
    let recorder = recorded_scene();
    let model = || expect().llm_start().tokens(["a", "b", "c"]).end();
    recorder.assert_has(model());
    let others = [
        model().named("other"),
        model().tagged("outer"),
        model().saying("ab"),
        model().such_that("never", |_| false),
        model().inside(expect().anything()),
        model().end(),
        expect().chat_model_start().tokens(["a", "b", "c"]).end(),
        expect().llm_start().tokens(["a", "b"]).end(),
        expect().llm_start().tokens(["a", "b", "c", "d"]).end(),
        expect().llm_start().tokens(["b", "a", "c"]).end(),
        expect().llm_start().tokens_making("ab").end(),
        expect().llm_start().tokens(["a", "b", "c"]).error(),
        expect().llm_start().tokens(["a", "b", "c"]),
        expect().llm_start().anything().token("d").anything(),
        expect().tool_start().cancelled(),
        expect().tool_start().panicked(),
        expect().tool_start().stopped(),
        expect().tool_start().failed().with_partial(""),
        expect().tool_start().end(),
        expect().chain_start().text().end(),
        expect().chain_start().text().end().inside(model()),
        expect()
            .chain_start()
            .text()
            .end()
            .others_inside()
            .inside(expect().tool_start().failed())
            .inside(model()),
    ];
    for other in others {
        assert!(recorder.check_has(&other).is_err(), "{other:?}");
    }
    assert!(recorder.check_runs(&[]).is_err());
    assert!(recorder.check_runs(&[of_the_scene(), of_the_scene()]).is_err());
}

#[test]
#[should_panic = "the runs are not the expected ones"]
fn an_assertion_panics() {
    recorded_scene().assert(expect().chain_start());
}

#[test]
#[should_panic = "-   token \"d\""]
fn an_assertion_of_one_run_among_others_panics() {
    recorded_scene().assert_has(expect().token("d"));
}

#[test]
fn a_difference_is_printed_as_a_log_of_the_runs() {
    let recorder = recorded_scene();
    let model = expect().named("model").llm_start().tokens(["a", "x", "c"]).end().saying("abc");
    let expected = expect()
        .chain_start()
        .text()
        .end()
        .inside(model)
        .inside(expect().named("other").tool_start().cancelled());
    let text = difference(&recorder, [expected]);
    let lines = [
        "the runs are not the expected ones (- expected, + recorded)",
        "  run chain",
        "    … 3 more as expected",
        "    run model, tagged inner",
        "      llm_start \"prompt\"",
        "      token \"a\"",
        "-     token \"x\"",
        "+     token \"b\"",
        "      token \"c\"",
        "      llm_end \"abc\"",
        "-   run other",
        "+   run tool, tagged inner",
        "      tool_start \"in\"",
        "-     error, cancelled",
        "+     tool_error \"broken\", failed",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn a_difference_in_a_long_run_is_printed_with_the_lines_around_it_only() {
    let recorder = Recorder::new();
    let callbacks = CallbackManager::new(Threads::new()).with_handler(recorder.clone());
    block_on(async {
        let start = callbacks.on_llm_start(LlmStart::new("model", "prompt"));
        let mut run = start.await.unwrap();
        for number in 0..2_000 {
            run.on_llm_new_token(number.to_string()).await.unwrap();
        }
        run.end("all").await.unwrap();
        let custom = CustomEvent::new("mine", json!(1));
        callbacks.on_custom_event(custom).await.unwrap();
    });
    let mut tokens: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
    tokens[1_000] = "x".to_owned();
    let expected =
        [expect().llm_start().tokens(tokens).end(), expect().custom_event().saying("mine")];
    let text = difference(&recorder, expected);
    let lines = [
        "the runs are not the expected ones (- expected, + recorded)",
        "  run model",
        "    … 998 more as expected",
        "    token \"997\"",
        "    token \"998\"",
        "    token \"999\"",
        "-   token \"x\"",
        "+   token \"1000\"",
        "    token \"1001\"",
        "    token \"1002\"",
        "    token \"1003\"",
        "    … 997 more as expected",
        "  run mine",
        "    … 1 more as expected",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
}
