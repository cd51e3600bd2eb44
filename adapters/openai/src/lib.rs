//! A chat model for OpenAI-compatible servers that emits [rappel](rappel_core) callbacks.
//!
//! It runs unchanged on tokio, async-std, smol, and a bare `block_on`: hyper's HTTP/1 over `async-net`, TLS by rustls, each connection polled
//! by the request that it is lent to, and nothing spawned. Dropping a stream, or the future of a request, closes its socket, by which servers
//! stop generating.
//!
//! ```no_run
//! use rappel_core::{CallbackManager, ChatModel, Message, RunError};
//! use rappel_openai::ChatOpenAi;
//!
//! # async fn example(callbacks: CallbackManager) -> Result<(), Box<dyn std::error::Error>> {
//! let chat = ChatOpenAi::builder()
//!     .model("gpt-4o-mini")
//!     .max_tokens(25)
//!     .streaming(true)
//!     .callbacks(callbacks)
//!     .build()?;
//! for result in chat.generate(vec![vec![Message::human("Tell me a joke")]]).await {
//!     println!("{}", result?.text());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Tools
//! ```no_run
//! # use rappel_core::{ChatModel, Message, RunError, json};
//! # use rappel_openai::{ChatOpenAi, Tool};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
//! let weather = Tool::function("weather").description("the weather in a city").parameters(schema);
//! let chat = ChatOpenAi::builder().model("gpt-4o-mini").tools([weather]).build()?;
//!
//! let mut conversation = vec![Message::human("How is the weather in Bonn?")];
//! let said = chat.generate(vec![conversation.clone()]).await.remove(0)?.generations.remove(0);
//! let calls = said.tool_calls.clone();
//! conversation.push(said.into());
//! for call in calls {
//!     let city = call.parse_arguments()?["city"].to_string();
//!     conversation.push(Message::tool(call.id.unwrap_or_default(), format!("rain in {city}")));
//! }
//! let answer = chat.generate(vec![conversation]).await.remove(0)?;
//! # drop(answer);
//! # Ok(())
//! # }
//! ```
//!
//! # Between the request and the answer
//! Every wait has a limit, by `async-io`'s timer or [one of yours](ChatOpenAiBuilder::timer): for connecting, for the head of the response,
//! between its chunks, and for all of it. What a server sends has one too: heads, events, bodies. A request that failed before its answer
//! began is [tried again](ChatOpenAiBuilder::max_retries), and handlers hear of that in `on_retry`. Connections are kept for the next request;
//! proxies come from the environment; redirects are not followed, since the key is meant for one host. Whoever has an HTTP client of their own
//! makes it a [`Transport`].

mod attempts;
mod body;
mod budget;
mod builder;
mod chat;
mod client;
mod clock;
mod connection;
mod convert;
mod endpoint;
mod error;
mod error_body;
mod exchange;
mod http1;
mod last_words;
mod limits;
mod pool;
mod proxy;
mod response;
mod response_format;
mod retry;
mod secret;
mod settings;
mod socket;
mod sse;
mod tls;
mod tool;
mod transport;
mod utf8;
mod wire;

pub use builder::ChatOpenAiBuilder;
pub use chat::ChatOpenAi;
pub use error::OpenAiError;
pub use limits::Phase;
pub use response_format::{JsonSchema, ResponseFormat};
pub use tool::{Tool, ToolChoice};
pub use transport::{BodyStream, Transport};
