//! What rappel-testkit offers to those who test: a recorder, a model by script, faults. It runs on every runtime, as what it tests does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::future::{block_on, poll_once};
use futures_util::StreamExt;
use rappel_core::runtime::BoxFuture;
use rappel_core::{CustomEvent, FinishReason, RunId, Timer, TokenUsage, ToolCall, json};
use rappel_openai::ChatOpenAi;
use rappel_testkit::{Answer, EndOfScript, Expected, Fault, FaultyChatModel, Recorder, ScriptedChatModel, expect};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Script, Server};
use rappel_tests::runtimes::Rt;
use rappel_tokio::prelude::*;

fn recorded(rt: &Rt) -> (CallbackManager, Recorder) {
    let recorder = Recorder::new();
    (rt.callbacks().with_handler(recorder.clone()), recorder)
}

fn hi() -> Vec<Vec<Message>> {
    vec![vec![Message::human("hi")]]
}

/// A chain with a model and a tool inside.
async fn scene(callbacks: &CallbackManager) {
    let chain = callbacks.on_chain_start(ChainStart::new("chain", json!({"a": 1}))).await.unwrap();
    let inside = chain.child("inner");
    let model = inside.on_llm_start(LlmStart::new("model", "prompt")).await.unwrap();
    for token in ["a", "b", "c"] {
        model.on_llm_new_token(token).await.unwrap();
    }
    model.end(LlmResult::from_text("abc")).await.unwrap();
    let tool = inside.on_tool_start(ToolStart::new("tool", "in")).await.unwrap();
    tool.error("broken").await.unwrap();
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
    let chain = expect()
        .chain_start()
        .saying("{\"a\":1}")
        .text()
        .saying("text")
        .end()
        .saying("\"out\"");
    chain.inside(model).inside(tool)
}

/// The difference, as the reader sees it.
fn difference(recorder: &Recorder, expected: impl IntoIterator<Item = Expected>) -> String {
    let expected: Vec<Expected> = expected.into_iter().collect();
    recorder.check_runs(&expected).unwrap_err().to_string()
}

/// Sleeps for no time, and notes for how long it should have.
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
    async fn a_recorder_hears_everything_in_every_delivery(rt) {
        let recorders: [Recorder; 4] = Default::default();
        let background = || HandlerOptions::new().delivery(Background { capacity: 64, open_runs: 10 });
        let callbacks = rt.callbacks()
            .with_handler(recorders[0].clone())
            .with_async_handler(recorders[1].clone())
            .with_handler_options(recorders[2].clone(), background())
            .with_async_handler_options(recorders[3].clone(), background());
        scene(&callbacks).await;
        callbacks.flush().await;
        for recorder in &recorders[..2] {
            recorder.assert(of_the_scene());
        }
        for recorder in &recorders[2..] {
            // In the background one run may pass another.
            recorder.assert_has(expect().llm_start().tokens(["a", "b", "c"]).end());
            recorder.assert_has(expect().tool_start().failed());
            assert_eq!(recorder.events().len(), 10);
        }
        recorders[0].clear();
        recorders[0].assert_runs([]);
    }

    async fn a_script_is_told_as_a_servers_answers_are(rt) {
        let tokens = ["Why", " not", "?"];
        let server = Server::start(Script::tokens(tokens)).unwrap();
        let (callbacks, server_s) = recorded(&rt);
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).streaming(true).callbacks(callbacks).build().unwrap();
        let (callbacks, script_s) = recorded(&rt);
        let script = ScriptedChatModel::new([Answer::tokens(tokens), Answer::tokens(tokens)]).callbacks(callbacks);
        for model in [&chat as &dyn ChatModel, &script] {
            assert_eq!(model.generate(hi()).await.remove(0).unwrap().text(), "Why not?");
            let mut stream = model.stream(vec![Message::human("hi")]).await.unwrap();
            stream.next().await.unwrap().unwrap();
            drop(stream);
        }
        for recorder in [&server_s, &script_s] {
            while recorder.events().last().is_none_or(|last| !matches!(last.event, Event::LlmError(_))) {
                futures_lite::future::yield_now().await;
            }
        }
        // A server sends chunks without text, too.
        for recorder in [&server_s, &script_s] {
            let run = || expect().chat_model_start().saying("Human: hi");
            recorder.assert_runs([run().tokens_making("Why not?").anything().end().saying("Why not?"), run().anything().cancelled()]);
        }
    }

    async fn a_script_has_tools_usage_and_an_end(rt) {
        let (callbacks, recorder) = recorded(&rt);
        let usage = TokenUsage::new(3, 4);
        let script = ScriptedChatModel::new([
            Answer::tokens(["Let", " me"]).tool_calls([ToolCall::new("weather", "{}").with_id("1"), ToolCall::new("time", "[]")]).usage(usage.clone()),
            Answer::tokens(["a"]).breaking_off("cable cut"),
        ]).name("m").callbacks(callbacks);
        let result = script.generate(hi()).await.remove(0).unwrap();
        assert_eq!((result.text(), result.usage.clone(), result.generations[0].tool_calls.len()), ("Let me", Some(usage), 2));
        assert_eq!(result.generations[0].tool_calls[0], ToolCall::new("weather", "{}").with_id("1"));
        assert_eq!(result.generations[0].finish_reason, Some(FinishReason::ToolCalls));

        let options = CallOptions::new().run_name("mine").run_id(RunId::from_bytes([7; 16]));
        let batch = script.generate_with(vec![vec![Message::human("one")], vec![Message::human("two")]], options).await;
        assert_eq!(batch[0].as_ref().unwrap_err().to_string(), "cable cut");
        assert!(batch[1].as_ref().unwrap_err().cause::<EndOfScript>().is_some());
        recorder.assert_runs([
            expect().named("m").chat_model_start().tokens(["Let", " me", "", ""]).end().such_that("it asks for tools", |event| match event {
                Event::LlmEnd(end) => end.result.finish_reason() == Some(&FinishReason::ToolCalls),
                _ => false,
            }),
            expect().named("mine").chat_model_start().saying("Human: one").token("a").failed().with_partial("a"),
            expect().named("mine").chat_model_start().saying("Human: two").failed().saying("the script has no more answers"),
        ]);
        assert!(recorder.events().iter().any(|recorded| recorded.run.id() == RunId::from_bytes([7; 16])));
        let asked: Vec<_> = script.requests().iter().map(|request| request.messages[0].text().into_owned()).collect();
        assert_eq!(asked, ["hi", "one", "two"]);

        script.then(Answer::text("late"));
        assert_eq!(script.answers_left(), 1);
        recorder.clear();
        assert_eq!(script.clone().streaming(false).generate(hi()).await.remove(0).unwrap().text(), "late");
        recorder.assert(expect().chat_model_start().end().saying("late"));
    }

    async fn faults_come_where_they_are_told(rt) {
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
        let model = FaultyChatModel::new(ScriptedChatModel::new(answers()), faults).callbacks(callbacks);
        let mut texts = Vec::new();
        for _ in 0..8 {
            texts.push(model.generate(hi()).await.remove(0).map_or_else(|error| error.to_string(), |answer| answer.text().to_owned()));
        }
        assert_eq!(texts, ["refused", "reset", "reset", "reset", "a", "abc", "abc", "abc"]);
        assert_eq!(*sleeps.0.lock().unwrap(), [Duration::from_secs(3600); 4]);
        assert_eq!(model.model().answers_left(), 1, "who is refused was not asked");
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
        let model = Arc::new(FaultyChatModel::new(ScriptedChatModel::new(answers), [fault, other]).callbacks(callbacks.clone()));

        let mut stream = model.stream(vec![Message::human("hi")]).await.unwrap();
        assert_eq!(&*stream.next().await.unwrap().unwrap().text, "a");
        assert!(poll_once(stream.next()).await.is_none());
        hang.reached().await;
        drop(stream);
        hang.dropped().await;
        callbacks.flush().await;

        let asked = model.clone();
        let answer = rt.go(async move { asked.generate(hi()).await.remove(0) });
        goes_on.reached().await;
        goes_on.let_go();
        assert_eq!(answer.await.unwrap().text(), "ab");
        recorder.assert_runs([
            expect().chat_model_start().token("a").cancelled().with_partial("a"),
            expect().chat_model_start().tokens(["a", "b"]).end(),
        ]);
    }

    /// Inside a chain, the models' runs hang under it, and have its handlers.
    async fn models_find_the_run_that_they_are_in(rt) {
        let (callbacks, recorder) = recorded(&rt);
        let inner = ScriptedChatModel::new([Answer::text("a"), Answer::text("b")]);
        let faulty = FaultyChatModel::new(inner.clone(), [Fault::none()]);
        let chain = async {
            faulty.generate(hi()).await.remove(0)?;
            inner.generate(hi()).await.remove(0)?;
            Ok::<_, RunError>(0)
        };
        chain.in_chain(&callbacks, "chain", 0).await.unwrap();
        let inside = |name: &str| expect().named(name).chat_model_start().anything().end();
        recorder.assert(expect().chain_start().end().inside(inside("faulty")).inside(inside("scripted")));
    }
}

fn heard() -> Recorder {
    let recorder = Recorder::new();
    let threads = rappel_core::Threads::new();
    let callbacks = CallbackManager::new(threads).with_handler(recorder.clone()).erase();
    block_on(scene(&callbacks));
    recorder
}

#[test]
fn what_does_not_matter_is_left_out() {
    let recorder = heard();
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
    recorder.assert_has(expect().event(EventKind::LlmStart).anything().tokens_making("bc").anything());
}

/// Whatever is asked for and is not so makes a difference.
#[test]
fn each_difference_is_found() {
    let recorder = heard();
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
#[should_panic = "not the runs that were expected"]
fn an_assertion_panics() {
    heard().assert(expect().chain_start());
}

#[test]
#[should_panic = "-   token \"d\""]
fn an_assertion_of_one_among_many_panics() {
    heard().assert_has(expect().token("d"));
}

#[test]
fn a_difference_reads_like_the_log() {
    let recorder = heard();
    let model = expect().named("model").llm_start().tokens(["a", "x", "c"]).end().saying("abc");
    let expected = expect()
        .chain_start()
        .text()
        .end()
        .inside(model)
        .inside(expect().named("other").tool_start().cancelled());
    let text = difference(&recorder, [expected]);
    let lines = [
        "these are not the runs that were expected (- expected, + heard)",
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

/// Of long runs with one difference, only what is around it is shown, and it is found at once.
#[test]
fn a_difference_in_a_long_run_is_short() {
    let recorder = Recorder::new();
    let callbacks = CallbackManager::new(rappel_core::Threads::new()).with_handler(recorder.clone());
    block_on(async {
        let run = callbacks.on_llm_start(LlmStart::new("model", "prompt")).await.unwrap();
        for number in 0..2_000 {
            run.on_llm_new_token(number.to_string()).await.unwrap();
        }
        run.end(LlmResult::from_text("all")).await.unwrap();
        callbacks.on_custom_event(CustomEvent::new("mine", json!(1))).await.unwrap();
    });
    let tokens = (0..2_000).map(|number| if number == 1_000 { "x".to_owned() } else { number.to_string() });
    let expected = [expect().llm_start().tokens(tokens).end(), expect().custom_event().saying("mine")];
    let text = difference(&recorder, expected);
    let lines = [
        "these are not the runs that were expected (- expected, + heard)",
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
