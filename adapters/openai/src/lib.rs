//! A chat model for OpenAI-compatible servers that emits [rappel](rappel_core) callbacks.
//!
//! It runs unchanged on tokio, async-std, smol, and a bare `block_on`. It uses hyper's HTTP/1 over
//! `async-net`, and rustls for TLS. A request owns its connection and polls it, so nothing is
//! spawned. Dropping a stream, or the future of a request, closes its socket, and the server stops
//! generating.
//!
//! ```
//! use rappel_openai::ChatOpenAi;
//! use rappel_smol::prelude::*;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #   let address = server()?;
//!     let print = handler_fn(|event, cx| {
//!         println!("{}: {}", cx.name(), event.kind());
//!         Ok(())
//!     });
//!     let callbacks = CallbackManager::new(Smol::global()).with_handler(print);
//!     let chat = ChatOpenAi::builder()
//!         .model("gpt-4o-mini")
//! #       .base_url(address)
//!         .max_tokens(25)
//!         .callbacks(callbacks)
//!         .build()?;
//!     let answer = smol::block_on(chat.invoke("Tell me a joke"))?;
//!     println!("{}", answer.text());
//! #   assert_eq!(answer.text(), "Why not?");
//!     Ok(())
//! }
//! #
//! # // A server that answers one request.
//! # fn server() -> std::io::Result<String> {
//! #     use std::io::{BufRead, BufReader, Read, Write};
//! #     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! #     let address = format!("http://{}/v1", listener.local_addr()?);
//! #     std::thread::spawn(move || -> std::io::Result<()> {
//! #         let (mut socket, _) = listener.accept()?;
//! #         let mut request = BufReader::new(socket.try_clone()?);
//! #         let (mut line, mut length) = (String::new(), 0);
//! #         while request.read_line(&mut line)? > 2 {
//! #             let header = line.to_lowercase();
//! #             length = header.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
//! #             line.clear();
//! #         }
//! #         request.read_exact(&mut vec![0; length])?;
//! #         let body = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Why not?"},"finish_reason":"stop"}]}"#;
//! #         let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
//! #         write!(socket, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
//! #     });
//! #     Ok(address)
//! # }
//! ```
//!
//! # Tools
//! ```no_run
//! # use rappel_core::{ChatModelExt, Message, json};
//! # use rappel_openai::{ChatOpenAi, Tool};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
//! let weather = Tool::function("weather")
//!     .description("the weather in a city")
//!     .parameters(schema);
//! let chat = ChatOpenAi::builder()
//!     .model("gpt-4o-mini")
//!     .tools([weather])
//!     .build()?;
//!
//! let mut conversation = vec![Message::human("How is the weather in Bonn?")];
//! let mut answer = chat.invoke(conversation.clone()).await?;
//! let turn = answer.generations.remove(0);
//! let calls = turn.tool_calls.clone();
//! conversation.push(turn.into());
//! for call in calls {
//!     let city = call.parse_arguments()?["city"].to_string();
//!     conversation.push(Message::tool(call.id.unwrap_or_default(), format!("rain in {city}")));
//! }
//! let answer = chat.invoke(conversation).await?;
//! # drop(answer);
//! # Ok(())
//! # }
//! ```
//!
//! # Between the request and the answer
//! - A stream and a whole answer are read alike, whatever the content type says. Labelled `gzip` and
//!   `deflate` are inflated.
//! - A complete answer ends well, also if the end of the response is missing: after the
//!   [grace period](ChatOpenAiBuilder::finish_grace).
//! - Every wait has a time limit: for connecting, for the head of the response, between its chunks,
//!   and for the whole call. The limits use `async-io`'s timer or [one of
//!   yours](ChatOpenAiBuilder::timer).
//! - Everything that a server sends has a size limit: heads, events and bodies.
//! - A request that failed before its answer began is [sent again](ChatOpenAiBuilder::max_retries).
//!   Handlers get each retry in `on_retry`.
//! - Connections are kept for the next request. Proxies are taken from the environment.
//! - Redirects are not followed, because the key is meant for one host.
//! - Another HTTP client can be used: implement [`Transport`] for it.
//!
//! # The Responses API
//! [`api`](ChatOpenAiBuilder::api) chooses it. [`Api`] says which setting goes where in either API, and
//! what only Responses has.
//!
//! # Other servers
//! - The base URL may have a query, a slash at its end, or the whole path. [`ChatOpenAi::azure`] makes
//!   a builder for a deployment of Azure. Headers and query parameters are set with
//!   [`header`](ChatOpenAiBuilder::header) and [`query`](ChatOpenAiBuilder::query).
//! - What the answer's model needs back with the next turn, such as its reasoning in a tool call, is
//!   kept in `Message::extra` and [sent where it is wanted](ChatOpenAiBuilder::send_reasoning).
//! - The id of the request, the rate limits and the processing time that a server tells are in the
//!   result and in errors: see [`ServerInfo`].
//!
//! # Dependencies
//! hyper brings the crate `tokio` into the tree: its channels and traits, which do no I/O. No runtime
//! of tokio is started or needed.

mod attempts;
mod body;
mod builder;
mod call;
mod chat;
mod client;
mod clock;
mod connection;
mod connector;
mod convert;
mod coop;
mod decoder;
mod endpoint;
mod error;
mod error_body;
mod events;
mod exchange;
mod headers;
mod http1;
mod hyper_client;
mod inflate;
mod limits;
mod memory;
mod pool;
mod proxy;
mod read_after_write_error;
mod response;
mod response_format;
mod responses;
mod retry;
mod retrying;
mod secret;
mod server_info;
mod settings;
mod socket;
mod sse;
mod tls;
mod tool;
mod transport;

mod wire;

pub use builder::ChatOpenAiBuilder;
pub use chat::ChatOpenAi;
pub use error::OpenAiError;
pub use limits::Phase;
pub use response_format::{JsonSchema, ResponseFormat};
pub use responses::Api;
pub use server_info::ServerInfo;
pub use settings::SendReasoning;
pub use tls::Roots;
pub use tool::{Tool, ToolChoice};
pub use transport::{BodyStream, Transport};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
