//! `ChatOpenAi` against a server of another project. `adapters/openai/scripts/interop` starts the
//! servers, and passes what to expect of each.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures_util::future::join_all;
use rappel_core::prelude::*;
use rappel_core::{FinishReason, LlmResult};
use rappel_openai::{ChatOpenAi, ChatOpenAiBuilder, OpenAiError, Phase};
use rappel_tests::openai_server::MARKED_KEY;
use rappel_tests::record::Log;
use rappel_tests::runtimes::{Flavour, Rt};

const QUESTION: &str = "Tell me a joke";

/// The limit between two packets. It is longer than any pause of the servers, and shorter than
/// their stalls.
const STALL: Duration = Duration::from_secs(2);

#[derive(Parser)]
struct Args {
    /// The server's base URL, with the version, such as `/v1`.
    #[arg(long)]
    base_url: String,
    /// How the server behaves.
    #[arg(long)]
    expect: Expect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Expect {
    /// The server answers.
    Whole,
    /// Its streams break off.
    Disconnect,
    /// Its streams end properly, but the answer in them is incomplete.
    Truncate,
    /// Its streams stall.
    Stall,
    /// An event of its streams is not JSON.
    Malformed,
    /// It closes the connection without an answer.
    Closed,
    /// It answers with status 429.
    Limited,
    /// It answers without a stream, and the answer is not JSON.
    Garbage,
}

fn main() {
    let args = Args::parse();
    for flavour in Flavour::ALL {
        flavour.run(async |rt| {
            if args.expect == Expect::Whole {
                answers(&rt, &args.base_url).await;
            } else {
                fails(&rt, &args.base_url, args.expect).await;
            }
        });
        println!("{:?} on {flavour:?}: as expected", args.expect);
    }
}

fn model(base_url: &str) -> ChatOpenAiBuilder {
    let model = ChatOpenAi::builder().model("gpt-4o").base_url(base_url).api_key(MARKED_KEY);
    model.no_proxy().chunk_timeout(STALL).max_retries(0)
}

async fn answers(rt: &Rt, base_url: &str) {
    let mut texts = Vec::new();
    for streaming in [true, false] {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let chat = model(base_url)
            .streaming(streaming)
            .callbacks(callbacks.clone())
            .build()
            .expect("a model");
        // One after another, over kept connections, and then many at the same time.
        for _ in 0..3 {
            let result = chat.invoke(QUESTION).await;
            texts.push(check_result(result));
        }
        let results = join_all((0..20).map(|_| chat.invoke(QUESTION))).await;
        texts.extend(results.into_iter().map(check_result));
        callbacks.flush().await.expect("no handler's call");
        let lines = log.lines();
        let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
        assert_eq!(
            (count("chat_model_start"), count("llm_end"), count("llm_error")),
            (23, 23, 0),
            "{lines:?}"
        );
        assert_eq!(count("token: ") > 0, streaming);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "streamed and whole answers are equal: {texts:?}");
}

fn check_result(result: Result<LlmResult, RunError>) -> String {
    let result = result.expect("an answer");
    assert!(!result.text().is_empty());
    assert_eq!(result.finish_reason(), Some(&FinishReason::Stop));
    assert!(result.usage.is_some(), "the usage was requested");
    result.text().to_owned()
}

async fn fails(rt: &Rt, base_url: &str, expect: Expect) {
    let log = Log::new();
    let callbacks = rt.callbacks().with_handler(log.handler());
    let chat =
        model(base_url).streaming(true).callbacks(callbacks.clone()).build().expect("a model");
    let error = chat.invoke(QUESTION).await.expect_err("the server's fault");
    let cause = error.cause::<OpenAiError>().expect("an error of the client");
    let right = match expect {
        Expect::Whole => false,
        Expect::Disconnect => matches!(cause, OpenAiError::Cut { source: Some(_), .. }),
        Expect::Truncate => matches!(cause, OpenAiError::Cut { source: None, .. }),
        Expect::Stall => matches!(cause, OpenAiError::TimedOut { phase: Phase::Chunk, .. }),
        Expect::Malformed => matches!(cause, OpenAiError::InvalidEvent { .. }),
        Expect::Closed => matches!(cause, OpenAiError::ClosedBeforeResponse { .. }),
        Expect::Limited => {
            matches!(cause, OpenAiError::Status { status: 429, retry_after: Some(_), .. })
        }
        Expect::Garbage => matches!(cause, OpenAiError::ContentType { .. }),
    };
    assert!(right, "{expect:?}: {cause:?}");
    callbacks.flush().await.expect("no handler's call");
    let lines = log.lines();
    let partial: String = lines.iter().filter_map(|line| line.strip_prefix("token: ")).collect();
    assert_eq!(lines.last(), Some(&format!("llm_error: failed: {partial}")));
    assert_eq!(lines.iter().filter(|line| line.starts_with("llm_e")).count(), 1, "{lines:?}");
    // A stream may break at any point. Without a stream there is no text.
    let streams =
        matches!(expect, Expect::Disconnect | Expect::Truncate | Expect::Stall | Expect::Malformed);
    assert!(streams || partial.is_empty(), "{lines:?}");
}
