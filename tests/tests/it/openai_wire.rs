//! Answers as servers really send them, in packets of any size. `tests/wire` has recorded cases,
//! `tests/wire_neighbours` has others of the same kinds, and answers that look alike and are right.

use std::error::Error;
use std::time::Duration;

use futures_lite::future::or;
use futures_util::StreamExt;
use rappel_core::prelude::*;
use rappel_openai::{Api, ChatOpenAi};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::MARKED_KEY;
use rappel_tests::runtimes::Rt;
use rappel_tests::virtual_time::VirtualTime;
use rappel_tests::wire::Case;

/// Calls the model. Returns what is wrong with the outcome, if anything is.
async fn play(rt: &Rt, api: Api, case: &Case, packet: usize) -> Option<String> {
    let (server, sent) = case.serve(packet);
    let time = VirtualTime::new();
    let chat = ChatOpenAi::builder()
        .model("m")
        .api(api)
        .base_url(server.base_url())
        .api_key(MARKED_KEY)
        .max_retries(case.retries)
        .first_byte_timeout(Duration::from_secs(4))
        .chunk_timeout(Duration::from_secs(2))
        .timer(time.clone())
        .callbacks(rt.callbacks())
        .build()
        .unwrap();
    let call = async {
        if !case.streaming {
            return match chat.invoke("hi").await {
                Ok(result) => (result, None),
                Err(error) => (LlmResult::new(), Some(error)),
            };
        }
        let mut result = LlmResult::new();
        let mut stream = match chat.stream(vec![Message::human("hi")]).await {
            Ok(stream) => stream,
            Err(error) => return (result, Some(error)),
        };
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => result.push_chunk(&chunk),
                Err(error) => return (result, Some(error)),
            }
        }
        (result, None)
    };
    // The time stands still until the server has sent everything, and flies from then on.
    let clock = async {
        let _ = sent.await;
        // The client's sockets and these timers have one reactor. When it fires a timer, it has woken
        // the task that the bytes are for.
        for _ in 0..3 {
            smol::Timer::after(Duration::from_millis(1)).await;
        }
        time.fly().await;
        unreachable!("it flies on and on")
    };
    let (result, error) = or(call, clock).await;
    drop(chat);
    drop(server);
    let fault = case.fault(&result, error.as_ref().map(|error| error as &(dyn Error + 'static)));
    fault.map(|fault| format!("in packets of {packet}, {fault}"))
}

async fn play_all(rt: &Rt, api: Api, directory: &str, at_least: usize) {
    let cases = Case::all(directory);
    assert!(cases.len() >= at_least, "{directory} has {} cases", cases.len());
    let mut faults = Vec::new();
    for case in &cases {
        for packet in [usize::MAX, 17, 1] {
            faults.extend(play(rt, api, case, packet).await);
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

on_every_runtime! {
    async fn recorded_answers_are_read(rt) {
        play_all(&rt, Api::ChatCompletions, "wire/cases", 40).await;
    }

    async fn their_neighbours_are_read_and_right_answers_that_look_alike(rt) {
        play_all(&rt, Api::ChatCompletions, "wire_neighbours/cases", 40).await;
    }

    async fn answers_of_the_responses_api_are_read(rt) {
        play_all(&rt, Api::Responses, "wire_responses/cases", 30).await;
    }
}
