//! The names of attributes. The crate of OpenTelemetry's conventions marks its own as deprecated,
//! because they have moved.

macro_rules! names {
    ($($constant:ident = $name:literal;)+) => {
        $(pub(crate) const $constant: &str = $name;)+

        /// All names, for the test of the table in the docs.
        #[cfg(test)]
        pub(crate) const ALL: &[&str] = &[$($name),+];
    };
}

names! {
    // OpenTelemetry, for generative AI.
    OPERATION = "gen_ai.operation.name";
    PROVIDER = "gen_ai.provider.name";
    CONVERSATION = "gen_ai.conversation.id";
    OUTPUT_TYPE = "gen_ai.output.type";
    REQUEST_MODEL = "gen_ai.request.model";
    CHOICE_COUNT = "gen_ai.request.choice.count";
    SEED = "gen_ai.request.seed";
    STREAM = "gen_ai.request.stream";
    TOP_K = "gen_ai.request.top_k";
    MAX_TOKENS = "gen_ai.request.max_tokens";
    TEMPERATURE = "gen_ai.request.temperature";
    TOP_P = "gen_ai.request.top_p";
    FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty";
    PRESENCE_PENALTY = "gen_ai.request.presence_penalty";
    STOP_SEQUENCES = "gen_ai.request.stop_sequences";
    REASONING_LEVEL = "gen_ai.request.reasoning.level";
    RESPONSE_ID = "gen_ai.response.id";
    RESPONSE_MODEL = "gen_ai.response.model";
    FINISH_REASONS = "gen_ai.response.finish_reasons";
    FIRST_CHUNK = "gen_ai.response.time_to_first_chunk";
    INPUT_TOKENS = "gen_ai.usage.input_tokens";
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens";
    CACHE_READ = "gen_ai.usage.cache_read.input_tokens";
    CACHE_CREATION = "gen_ai.usage.cache_creation.input_tokens";
    CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens";
    REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens";
    INPUT_MESSAGES = "gen_ai.input.messages";
    OUTPUT_MESSAGES = "gen_ai.output.messages";
    TOOL_DEFINITIONS = "gen_ai.tool.definitions";
    TOOL_NAME = "gen_ai.tool.name";
    TOOL_CALL_ID = "gen_ai.tool.call.id";
    TOOL_DESCRIPTION = "gen_ai.tool.description";
    TOOL_TYPE = "gen_ai.tool.type";
    TOOL_ARGUMENTS = "gen_ai.tool.call.arguments";
    TOOL_RESULT = "gen_ai.tool.call.result";
    AGENT_NAME = "gen_ai.agent.name";
    DATA_SOURCE = "gen_ai.data_source.id";
    QUERY = "gen_ai.retrieval.query.text";
    DOCUMENTS = "gen_ai.retrieval.documents";
    TOKEN_TYPE = "gen_ai.token.type";
    TOKEN_MODALITY = "gen_ai.token.modality";
    // OpenTelemetry, for everything.
    SERVER_ADDRESS = "server.address";
    SERVER_PORT = "server.port";
    ERROR_TYPE = "error.type";
    EXCEPTION_TYPE = "exception.type";
    EXCEPTION_MESSAGE = "exception.message";
    // rappel.
    RUN_ID = "rappel.run.id";
    RETRY_ATTEMPT = "rappel.retry.attempt";
    RETRY_WAIT = "rappel.retry.wait";
    RETRY_CAUSE = "rappel.retry.cause";
    EVENT_DATA = "rappel.event.data";
    HANDLER = "rappel.handler.name";
    // OpenInference.
    SPAN_KIND = "openinference.span.kind";
    SESSION_ID = "session.id";
    USER_ID = "user.id";
    TAGS = "tag.tags";
    METADATA = "metadata";
    INPUT_VALUE = "input.value";
    INPUT_TYPE = "input.mime_type";
    OUTPUT_VALUE = "output.value";
    OUTPUT_MIME_TYPE = "output.mime_type";
    LLM_MODEL = "llm.model_name";
    LLM_PROVIDER = "llm.provider";
    LLM_PARAMETERS = "llm.invocation_parameters";
    LLM_FINISH_REASON = "llm.finish_reason";
    LLM_PROMPT_TOKENS = "llm.token_count.prompt";
    LLM_COMPLETION_TOKENS = "llm.token_count.completion";
    LLM_TOTAL_TOKENS = "llm.token_count.total";
    LLM_CACHE_READ = "llm.token_count.prompt_details.cache_read";
    LLM_CACHE_WRITE = "llm.token_count.prompt_details.cache_write";
    LLM_REASONING = "llm.token_count.completion_details.reasoning";
    LLM_INPUT_MESSAGES = "llm.input_messages";
    LLM_OUTPUT_MESSAGES = "llm.output_messages";
    LLM_TOOLS = "llm.tools";
    OI_TOOL_NAME = "tool.name";
    OI_TOOL_DESCRIPTION = "tool.description";
    OI_TOOL_ID = "tool.id";
    OI_AGENT_NAME = "agent.name";
    OI_DOCUMENTS = "retrieval.documents";
}
