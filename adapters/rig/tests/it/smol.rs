//! Rig on bare smol, with a model of the test over rappel-openai. Rig has no HTTP client without
//! reqwest, which needs tokio.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use rappel_core::{CallbackManager, ChatModel, LlmChunk, LlmStream, Message, ToolCall};
use rappel_openai::ChatOpenAi;
use rappel_rig::RigHook;
use rappel_smol::Smol;
use rappel_tests::openai_server::{Reply, Server};
use rig_agent::AgentBuilder;
use rig_core::completion::{CompletionRequest, Usage};
use rig_core::driver::{Exchange, Model, Opened, Opening, Transport};
use rig_core::error::ProviderError;
use rig_core::message::{self, AssistantContent, UserContent};
use rig_core::test_utils::{MockFrame, MockScript, MockStreamEvent};
use serde_json::json;

use crate::scene::{Add, Log, drain, numbers, server};

/// Answers rig's requests by a `ChatOpenAi`.
#[derive(Clone)]
struct Over(Arc<ChatOpenAi>);

impl Transport<MockScript> for Over {
    fn send(&self, request: CompletionRequest, _: Exchange) -> Opening<MockFrame> {
        let chat = self.0.clone();
        Opening::new(async move {
            let answer = chat.stream(messages(&request)).await.map_err(provider)?;
            Ok(Opened::new(frames(answer)))
        })
    }
}

fn provider(error: impl std::fmt::Display) -> ProviderError {
    ProviderError::Provider(error.to_string())
}

fn frames(
    answer: LlmStream,
) -> impl futures_util::Stream<Item = Result<MockFrame, ProviderError>> + Send {
    // The ids of the calls so far.
    let mut calls = Vec::new();
    answer.flat_map(move |item| {
        stream::iter(match item {
            Ok(chunk) => events(&chunk, &mut calls).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(provider(error))],
        })
    })
}

fn events(chunk: &LlmChunk, calls: &mut Vec<String>) -> Vec<MockFrame> {
    let mut events = Vec::new();
    if !chunk.text.is_empty() {
        events.push(MockStreamEvent::text(chunk.text.as_str()));
    }
    for piece in &chunk.tool_calls {
        if let (Some(id), Some(name)) = (&piece.id, &piece.name) {
            calls.push(id.clone());
            events.push(MockStreamEvent::tool_call_name_delta(id, name));
        }
        if !piece.arguments.is_empty() {
            let id = &calls[piece.index as usize];
            events.push(MockStreamEvent::tool_call_arguments_delta(id, &piece.arguments));
        }
    }
    // The usage comes last.
    if let Some(used) = &chunk.usage {
        events.extend(calls.drain(..).map(MockStreamEvent::tool_call_end));
        let mut usage = Usage::default();
        usage.input_tokens = Some(used.prompt_tokens);
        usage.output_tokens = Some(used.completion_tokens);
        events.push(MockStreamEvent::final_response(usage));
    }
    events.into_iter().map(MockFrame::Event).collect()
}

fn messages(request: &CompletionRequest) -> Vec<Message> {
    let convert = |message: &message::Message| match message {
        message::Message::System { content } => Message::system(content.as_str()),
        message::Message::Assistant(answer) => {
            let calls = answer.content.iter().filter_map(|part| match part {
                AssistantContent::ToolCall(call) => Some(
                    ToolCall::new(
                        call.function.name.as_str(),
                        json!(call.function.arguments).to_string(),
                    )
                    .with_id(call.id.wire()),
                ),
                _ => None,
            });
            Message::ai("").with_tool_calls(calls)
        }
        message::Message::User { content } => match content.first() {
            Some(UserContent::ToolResult(result)) => {
                Message::tool(result.call.wire(), result.content[0].as_text().unwrap_or_default())
            }
            Some(UserContent::Text(text)) => Message::human(text.text.as_str()),
            _ => Message::human(""),
        },
    };
    request.chat_history.iter().map(convert).collect()
}

fn model(server: &Server) -> Model<MockScript, Over> {
    let chat = ChatOpenAi::builder()
        .model("m")
        .base_url(server.base_url())
        .api_key("k")
        .streaming(true)
        .build()
        .unwrap();
    Model::new(MockScript::new("openai").with_id("m"), Over(Arc::new(chat)))
}

#[test]
fn an_agent_on_bare_smol_streamed_and_not() {
    let server =
        server([Reply::default().call("c1", "add", &numbers(1, 2)), Reply::text("It is 3")]);
    smol::block_on(async {
        let log = Log::default();
        let callbacks = CallbackManager::new(Smol::global()).with_handler(log.handler());
        let agent = AgentBuilder::new(model(&server))
            .name("calc")
            .tool(Add)
            .add_hook(RigHook::new(&callbacks).with_model("m"))
            .build();
        let response = agent.prompt("1+2?").max_turns(3).await.unwrap();
        assert_eq!(response.output(), "It is 3");
        assert_eq!(drain(agent.prompt("1+2?").max_turns(3).stream()).await, None);
        callbacks.flush().await.unwrap();
        log.assert(&[
            "calc.on_chain_start agent {\"input\":\"1+2?\"}",
            "  m.on_chat_model_start Human: 1+2?",
            "  m.on_llm_end \"\" add({\"x\":1,\"y\":2}) c1 1+2 by m",
            "calc.on_agent_action add {\"x\":1,\"y\":2}",
            "  add.on_tool_start {\"x\":1,\"y\":2} c1",
            "  add.on_tool_end \"3\" c1",
            "  m.on_chat_model_start Human: 1+2? | AI: add({\"x\":1,\"y\":2}) | Tool: 3",
            "  m.on_llm_end \"It is 3\" 2+3 by m",
            "calc.on_agent_finish {\"output\":\"It is 3\"}",
            "calc.on_chain_end {\"output\":\"It is 3\"}",
            "calc.on_chain_start agent {\"input\":\"1+2?\"}",
            "  m.on_chat_model_start Human: 1+2?",
            "  m.on_llm_new_token #0 add({\"x\":1,\"y\":2})",
            "  m.on_llm_end \"\" add({\"x\":1,\"y\":2}) c1 1+2 by m",
            "calc.on_agent_action add {\"x\":1,\"y\":2}",
            "  add.on_tool_start {\"x\":1,\"y\":2} c1",
            "  add.on_tool_end \"3\" c1",
            "  m.on_chat_model_start Human: 1+2? | AI: add({\"x\":1,\"y\":2}) | Tool: 3",
            "  m.on_llm_new_token \"It \"",
            "  m.on_llm_new_token \"is \"",
            "  m.on_llm_new_token \"3\"",
            "  m.on_llm_end \"It is 3\" 2+3 by m",
            "calc.on_agent_finish {\"output\":\"It is 3\"}",
            "calc.on_chain_end {\"output\":\"It is 3\"}",
        ]);
    });
}
