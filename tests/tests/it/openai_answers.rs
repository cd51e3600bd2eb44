//! The events of `ChatOpenAi` over real HTTP: the order of LangChain's page, however the server
//! sends its answer.

use futures_util::StreamExt;
use rappel_core::FinishReason;
use rappel_core::prelude::*;
use rappel_openai::{ChatOpenAi, ChatOpenAiBuilder};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{JOKE, Packets, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

fn model(server: &Server) -> ChatOpenAiBuilder {
    ChatOpenAi::builder().model("gpt-4o-mini").base_url(server.base_url())
}

const QUESTION: &str = "Tell me a joke";

fn question() -> Vec<Message> {
    vec![Message::human(QUESTION)]
}

/// Callbacks with a sync and an async handler, and the log of each.
fn logged(rt: &Rt) -> (CallbackManager, Log, Log) {
    let (sync, asynchronous) = (Log::new(), Log::new());
    let callbacks = rt
        .callbacks()
        .with_handler(sync.handler())
        .with_async_handler(asynchronous.async_handler());
    (callbacks, sync, asynchronous)
}

/// The page's order: the start, a token for every chunk (also for the empty ones around the text,
/// and for the one with the usage), the end.
fn page() -> Vec<String> {
    let mut lines =
        vec!["chat_model_start: Human: Tell me a joke".to_owned(), "token: ".to_owned()];
    lines.extend(JOKE.iter().map(|token| format!("token: {token}")));
    lines.extend([
        "token: ".to_owned(),
        "token: ".to_owned(),
        format!("llm_end: {}", JOKE.concat()),
    ]);
    lines
}

on_every_runtime! {
    async fn every_streamed_chunk_is_a_token(rt) {
        let server = Server::start(Script::joke()).unwrap();
        let (callbacks, sync, asynchronous) = logged(&rt);
        let chat =
            model(&server).max_tokens(25).streaming(true).callbacks(callbacks).build().unwrap();
        let result = chat.invoke(QUESTION).await.unwrap();
        assert_eq!(result.text(), JOKE.concat());
        assert_eq!(result.finish_reason(), Some(&FinishReason::Stop));
        assert_eq!(result.model_name.as_deref(), Some("gpt-4o-mini"));
        assert_eq!(result.usage, Some(TokenUsage::new(4, 14)));
        assert_eq!(sync.lines(), page());
        assert_eq!(asynchronous.lines(), page());

        let body = &server.requests()[0].body;
        assert_eq!(
            body["messages"],
            rappel_core::json!([{"role": "user", "content": "Tell me a joke"}])
        );
        assert_eq!((&body["max_tokens"], &body["stream"]), (&25.into(), &true.into()));
    }

    async fn without_streaming_there_are_no_tokens(rt) {
        let server = Server::start(Script::joke()).unwrap();
        let (callbacks, sync, asynchronous) = logged(&rt);
        let chat = model(&server).callbacks(callbacks).build().unwrap();
        let result = chat.invoke(QUESTION).await.unwrap();
        assert_eq!(
            (result.text(), &result.usage),
            (JOKE.concat().as_str(), &Some(TokenUsage::new(4, 14)))
        );
        let expected = [page().first().unwrap().clone(), page().last().unwrap().clone()];
        assert_eq!(sync.lines(), expected);
        assert_eq!(asynchronous.lines(), expected);
    }

    async fn a_chunk_is_returned_after_its_event(rt) {
        let server = Server::start(Script::joke()).unwrap();
        let (callbacks, sync, asynchronous) = logged(&rt);
        let chat: Box<dyn ChatModel> =
            Box::new(model(&server).callbacks(callbacks).build().unwrap());
        let mut stream = chat.stream(question()).await.unwrap();
        let mut chunks = 0;
        while let Some(chunk) = stream.next().await {
            chunks += 1;
            assert_eq!(sync.lines()[chunks], format!("token: {}", chunk.unwrap().text));
            assert_eq!(asynchronous.lines().len(), chunks + 1);
        }
        assert_eq!(sync.lines(), page());
        assert_eq!(asynchronous.lines(), page());
    }

    async fn an_answer_cut_by_max_tokens_has_the_finish_reason_length(rt) {
        let server = Server::start(Script::joke()).unwrap();
        for streaming in [true, false] {
            let chat = model(&server)
                .max_tokens(3)
                .streaming(streaming)
                .callbacks(rt.callbacks())
                .build()
                .unwrap();
            let result = chat.invoke(QUESTION).await.unwrap();
            assert_eq!(
                (result.text(), result.finish_reason()),
                ("Why don't", Some(&FinishReason::Length))
            );
        }
    }

    /// Numbers have exactly the digits that were set.
    async fn the_start_has_the_parameters(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            if let Event::ChatModelStart(start) = event {
                seen.write(rappel_core::Value::from(start.invocation_params.clone()).to_string());
            }
            Ok(())
        }));
        let chat = model(&server)
            .temperature(0.7)
            .top_p(0.1)
            .stop(["\n"])
            .seed(7)
            .callbacks(callbacks)
            .build()
            .unwrap();
        chat.invoke(QUESTION).await.unwrap();
        let params = r#"{"model":"gpt-4o-mini","seed":7,"stop":["\n"],"stream":false,"temperature":0.7,"top_p":0.1}"#;
        assert_eq!(log.lines(), [params]);
        assert_eq!(server.requests()[0].body["temperature"], 0.7);
    }

    /// Several events in a packet, several packets for an event, other line ends, comments, and
    /// missing fields.
    async fn the_servers_framing_makes_no_difference(rt) {
        let framings = [
            Script::joke().packets(Packets::of_events(2)),
            Script::joke().packets(Packets::of_events(100)),
            Script::joke().packets(Packets::of_bytes(1)),
            Script::joke().packets(Packets::of_bytes(7)).crlf().comments(),
            Script::joke().crlf(),
            Script::joke().comments(),
        ];
        for script in framings {
            let server = Server::start(script.clone()).unwrap();
            let (callbacks, sync, asynchronous) = logged(&rt);
            let chat = model(&server).streaming(true).callbacks(callbacks).build().unwrap();
            chat.invoke(QUESTION).await.unwrap();
            assert_eq!(sync.lines(), page(), "{script:?}");
            assert_eq!(asynchronous.lines(), page(), "{script:?}");
        }
        for streaming in [true, false] {
            let server = Server::start(Script::joke().bare()).unwrap();
            let chat = model(&server).streaming(streaming).stream_usage(false).build().unwrap();
            let result = chat.invoke(QUESTION).await.unwrap();
            assert_eq!(
                (result.text(), result.model_name.as_deref()),
                (JOKE.concat().as_str(), None)
            );
        }
    }

    async fn a_hundred_generations_at_once_are_not_mixed_up(rt) {
        let server = Server::start(Script::echo()).unwrap();
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
            seen.write(format!("{} {}", cx.id(), rappel_tests::record::line(event)));
            Ok(())
        }));
        let chat = model(&server).streaming(true).callbacks(callbacks).build().unwrap();
        let prompt = |number: usize| format!("this is conversation number {number} of many");
        let conversations = (0..100).map(|number| vec![Message::human(prompt(number))]).collect();
        let results = chat.generate(conversations).await;
        for (number, result) in results.iter().enumerate() {
            assert_eq!(result.as_ref().unwrap().text(), prompt(number));
        }

        let mut runs = std::collections::BTreeMap::<String, Vec<String>>::new();
        for line in log.lines() {
            let (run, event) = line.split_once(' ').unwrap();
            runs.entry(run.to_owned()).or_default().push(event.to_owned());
        }
        assert_eq!(runs.len(), 100);
        for events in runs.values() {
            let prompt = events[0].strip_prefix("chat_model_start: Human: ").unwrap();
            let tokens: String = events[1..events.len() - 1]
                .iter()
                .map(|line| line.strip_prefix("token: ").unwrap())
                .collect();
            assert_eq!(tokens, prompt);
            assert_eq!(events.last().unwrap(), &format!("llm_end: {prompt}"));
        }
    }

    async fn a_calls_handlers_and_the_models_own_get_the_same_events(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let (own, of_call) = (Log::new(), Log::new());
        let chat =
            model(&server).callbacks(rt.callbacks().with_handler(own.handler())).build().unwrap();
        let ids = Log::new();
        let named = ids.clone();
        let call = rt.callbacks().with_async_handler(of_call.async_handler()).with_handler(
            handler_fn(move |_, cx| {
                named.write(format!("{} {}", cx.name(), cx.id()));
                Ok(())
            }),
        );
        let id = RunId::v7(std::time::Duration::from_secs(1), [7; 10]);
        let options = CallOptions::from(call).run_name("named").run_id(id);
        chat.generate_with(vec![question()], options).await.remove(0).unwrap();
        let expected = ["chat_model_start: Human: Tell me a joke", "llm_end: hi"];
        assert_eq!(own.lines(), expected);
        assert_eq!(of_call.lines(), expected);
        assert_eq!(ids.lines(), vec![format!("named {id}"); 2]);
    }

    /// The first run of a batch gets the id of the call options. So does the run of a stream.
    async fn a_given_id_goes_to_the_first_run(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
            if let Event::ChatModelStart(start) = event {
                seen.write(format!(
                    "{} {} of {}",
                    start.messages[0].text(),
                    cx.id(),
                    start.batch_size
                ));
            }
            Ok(())
        }));
        let chat = model(&server).callbacks(callbacks).build().unwrap();
        let id = RunId::v7(std::time::Duration::from_secs(1), [7; 10]);
        let options = || CallOptions::new().run_id(id);
        let batch = ["a", "b"].map(|prompt| vec![Message::human(prompt)]);
        chat.generate_with(batch.into(), options()).await;
        chat.stream_with(question(), options()).await.unwrap().count().await;
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines[0], format!("Tell me a joke {id} of 1"));
        assert_eq!(lines[1], format!("a {id} of 2"));
        assert!(
            lines[2].starts_with("b ")
                && lines[2].ends_with(" of 2")
                && !lines[2].contains(&id.to_string())
        );
    }
}

/// Without a runtime, the caller's thread drives the connection.
#[test]
fn it_runs_on_a_bare_block_on() {
    let server = Server::start(Script::joke()).unwrap();
    let chat = model(&server).streaming(true).build().unwrap();
    let result = futures_lite::future::block_on(chat.invoke(QUESTION)).unwrap();
    assert_eq!(result.text(), JOKE.concat());
}
