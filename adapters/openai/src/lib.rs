//! A chat model for OpenAI-compatible servers that emits [rappel](rappel_core) callbacks.
//!
//! It runs unchanged on tokio, async-std, smol, and a bare `block_on`: hyper's HTTP/1 over `async-net`, TLS by rustls, each connection polled
//! by the request that opened it, and nothing spawned. Dropping a stream, or the future of a request, closes its socket, by which servers
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
//! # What is not here yet
//! Time-outs, retries, proxies and connection reuse: a request opens a connection of its own, and waits for the server for as long as you do.

mod body;
mod budget;
mod builder;
mod chat;
mod client;
mod convert;
mod endpoint;
mod error;
mod error_body;
mod limits;
mod secret;
mod socket;
mod sse;
mod tls;
mod transport;
mod utf8;
mod wire;

pub use builder::ChatOpenAiBuilder;
pub use chat::ChatOpenAi;
pub use error::OpenAiError;
