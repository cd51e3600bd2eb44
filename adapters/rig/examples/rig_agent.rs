//! A rig agent with four sinks by one hook: the terminal, a file, OTLP and a browser's stream.
//!
//!     cargo run --manifest-path adapters/rig/Cargo.toml --example rig_agent > stream.txt
//!
//! `Console` prints the tree of the agent's runs. Standard output has what a web page would read:
//! the AI SDK's message stream as server-sent events. Every event is a line of `rig_agent.jsonl`.
//! Spans go to `OTEL_EXPORTER_OTLP_ENDPOINT`, which is a collector on this machine if it is not set.
//! The model is a small server in this program.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use rappel_handlers::{Console, JsonLines, With};
use rappel_opentelemetry::{Otlp, otlp};
use rappel_rig::RigHook;
use rappel_rig::rig_agent::{Agent, AgentBuilder};
use rappel_streams::{EventFilter, Sse, event_stream, ui_message_stream};
use rappel_tests::openai_server::{Reply, Script, Server};
use rappel_tokio::prelude::*;
use rig_core::message::ToolName;
use rig_core::providers::openai::OpenAIConfig;
use rig_core::tool::{DynamicTool, ToolOutput};
use serde_json::{Value, json};

// The agent, and its one line for rappel.
fn agent(server: &Server, callbacks: &CallbackManager) -> Result<Agent, Box<dyn Error>> {
    let openai = OpenAIConfig::new("no key").with_base_url(server.base_url()).client();
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let name = ToolName::new("weather")?;
    let weather = DynamicTool::new(name, "The weather of a city", schema, |args| {
        let text = format!("It rains in {}.", args["city"].as_str().unwrap_or("the city"));
        Box::pin(async { Ok(ToolOutput::text(text)) })
    });
    Ok(AgentBuilder::new(openai.chat("gpt-4o-mini"))
        .name("forecaster")
        .dynamic_tool(weather)
        .add_hook(RigHook::new(callbacks).with_model("gpt-4o-mini"))
        .build())
}

/// Asks the agent. Returns what a web page would read.
async fn ask(
    question: &str,
    console: Console,
    log: &Path,
    otlp: &Otlp,
) -> Result<String, Box<dyn Error>> {
    let server = Server::start(Script::made(reply))?;
    let callbacks =
        CallbackManager::new(Tokio::current()).with(console).with(JsonLines::append(log)?);
    let callbacks = otlp.register(callbacks);
    let events = event_stream(EventFilter::new());
    let agent = agent(&server, &events.attach(&callbacks)?)?;
    let answer = agent.prompt(question).max_turns(4).stream();
    let work = async { answer.try_for_each(|_| std::future::ready(Ok(()))).await };
    let page: Vec<_> = Sse::new(Box::pin(events.drive(work)), ui_message_stream()).collect().await;
    callbacks.shutdown(Duration::from_secs(5)).await?;
    page.into_iter().map(|frame| Ok(frame?)).collect()
}

/// What the model answers: it asks for the weather, and repeats it.
fn reply(request: &Value) -> Reply {
    let last = request["messages"].as_array().and_then(|messages| messages.last());
    match last.map(|last| (last["role"].as_str(), last["content"].as_str())) {
        Some((Some("tool"), Some(result))) => Reply::text(result),
        _ => Reply::default().call("call_1", "weather", &json!({"city": "Ys"})),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let otlp = otlp().service_name("rig_agent").build()?;
    let log = Path::new("rig_agent.jsonl");
    print!("{}", ask("Does it rain in Ys?", Console::stderr(), log, &otlp).await?);
    eprintln!("{}", otlp.counts());
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails should say where")]
mod tests {
    use std::io::{self, Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};
    use std::{fs, thread};

    use super::*;

    #[derive(Clone, Default)]
    struct Terminal(Arc<Mutex<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A collector that takes everything.
    fn collector() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                thread::spawn(move || {
                    while take_request(&mut connection).is_some() {
                        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n";
                        write!(connection, "{head}content-length: 0\r\n\r\n").unwrap();
                    }
                });
            }
        });
        url
    }

    fn take_request(connection: &mut impl Read) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?;
        let mut body = vec![0; length.parse().ok()?];
        connection.read_exact(&mut body).ok()
    }

    /// A line of `Console` without how long the run took.
    fn without_time(line: &str) -> String {
        let Some((indent, end)) = line.split_once("✓ ") else { return line.to_owned() };
        let (name, rest) = end.split_once(' ').unwrap();
        let tokens = rest.split_once(',').map_or("", |(_time, tokens)| tokens);
        format!("{indent}✓ {name}{tokens}")
    }

    #[tokio::test]
    async fn one_hook_feeds_a_terminal_a_file_a_collector_and_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("rig_agent.jsonl");
        let otlp = otlp().endpoint(collector()).build().unwrap();
        let terminal = Terminal::default();
        let console = Console::to(terminal.clone());
        let page = ask("Does it rain in Ys?", console, &log, &otlp).await.unwrap();

        let printed = String::from_utf8(terminal.0.lock().unwrap().clone()).unwrap();
        let printed: Vec<String> = printed.lines().map(without_time).collect();
        let expected = [
            "▶ forecaster chain",
            "  ▶ gpt-4o-mini chat model",
            "  ✓ gpt-4o-mini 5 → 2 tokens",
            "  → weather",
            "  ▶ weather tool",
            "  ✓ weather",
            "  ▶ gpt-4o-mini chat model",
            "  ✓ gpt-4o-mini 9 → 4 tokens",
            "  → finished",
            "✓ forecaster",
        ];
        assert_eq!(printed, expected);

        let parts: Vec<Value> = page
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let text: String = parts
            .iter()
            .filter(|part| part["type"] == "text-delta")
            .filter_map(|part| part["delta"].as_str())
            .collect();
        assert_eq!(text, "It rains in Ys.");
        let tool = parts.iter().find(|part| part["type"] == "tool-output-available").unwrap();
        assert_eq!(tool["toolCallId"], "call_1");
        assert_eq!(tool["output"], "It rains in Ys.");

        let kinds: Vec<String> = fs::read_to_string(&log)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].to_string())
            .filter(|kind| !kind.contains("token"))
            .collect();
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.trim_matches('"')).collect();
        let expected = [
            "on_chain_start",
            "on_chat_model_start",
            "on_llm_end",
            "on_agent_action",
            "on_tool_start",
            "on_tool_end",
            "on_chat_model_start",
            "on_llm_end",
            "on_agent_finish",
            "on_chain_end",
        ];
        assert_eq!(kinds, expected);

        // The agent, two calls of the model, and the tool.
        let counts = otlp.counts();
        assert_eq!((counts.ended, counts.acknowledged), (4, 4), "{counts}");
    }
}
