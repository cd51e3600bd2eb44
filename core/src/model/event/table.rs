//! The table of all events.

/// Calls the macro `$then` with the table of all events. A row has the variant (which is also the
/// name of the payload and of the kind), the handler method, the group, and the docs.
///
/// The enum, the kinds and both handler traits are made from this one table, so an event that one
/// of them lacks does not compile. It is exported for `rappel-local` and is not part of the public
/// API.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_event {
    ($then:ident) => {
        $then! {
            LlmStart on_llm_start Llm "A text model was called, or a chat model whose `on_chat_model_start` the handler does not handle.",
            ChatModelStart on_chat_model_start ChatModel "A chat model was called. If it is unhandled, the handler gets `on_llm_start` with the messages as text.",
            LlmNewToken on_llm_new_token Llm "A model streamed a token. It may be empty.",
            LlmEnd on_llm_end Llm "A model finished.",
            LlmError on_llm_error Llm "A model failed, was stopped, or was cancelled. The event has the partial result.",
            ChainStart on_chain_start Chain "A chain of steps started.",
            ChainEnd on_chain_end Chain "A chain finished.",
            ChainError on_chain_error Chain "A chain failed, was stopped, or was cancelled.",
            ToolStart on_tool_start Agent "A tool was called.",
            ToolEnd on_tool_end Agent "A tool finished.",
            ToolError on_tool_error Agent "A tool failed, was stopped, or was cancelled.",
            RetrieverStart on_retriever_start Retriever "A retriever was called.",
            RetrieverEnd on_retriever_end Retriever "A retriever finished.",
            RetrieverError on_retriever_error Retriever "A retriever failed, was stopped, or was cancelled.",
            AgentAction on_agent_action Agent "An agent chose a tool. It belongs to a chain's run.",
            AgentFinish on_agent_finish Agent "An agent finished. It belongs to a chain's run, which ends with an event of its own.",
            Text on_text Text "A chain emitted some text.",
            Retry on_retry Retry "An attempt failed and will be repeated.",
            CustomEvent on_custom_event CustomEvent "An event that the application defines.",
        }
    };
}
pub(crate) use for_each_event;
