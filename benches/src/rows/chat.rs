//! A whole chat model: an answer streamed from a server on the loopback interface.

use std::sync::{Arc, OnceLock};

use futures_lite::StreamExt;
use rappel_core::{CallbackManager, ChatModel, Message};
use rappel_openai::ChatOpenAi;
use rappel_tests::openai_server::{Script, Server};

use super::Panel;
use crate::handlers::Kind;
use crate::host::Host;
use crate::measure::Row;

/// The content chunks of an answer.
const CHUNKS: u64 = 2_000;

/// The callbacks of a model.
#[derive(Debug, Clone, Copy)]
pub enum Model {
    /// None.
    Bare,
    /// A manager with a number of handlers of a kind.
    With(Kind, usize),
}

impl Model {
    fn name(self) -> String {
        match self {
            Self::Bare => "ChatOpenAi without callbacks".to_owned(),
            Self::With(kind, handlers) => format!("ChatOpenAi with {}", kind.of(handlers)),
        }
    }

    fn callbacks(self, host: &Host) -> Option<CallbackManager> {
        match self {
            Self::Bare => None,
            Self::With(kind, handlers) => Some(kind.register(handlers, host.callbacks())),
        }
    }
}

/// A model that talks to a server.
#[allow(missing_debug_implementations, reason = "handlers are not shown")]
pub struct Chat {
    model: ChatOpenAi,
}

impl Chat {
    /// A model at that address.
    ///
    /// # Panics
    /// If the address is not valid.
    #[must_use]
    pub fn new(base_url: &str, model: Model, host: &Host) -> Self {
        let mut builder = ChatOpenAi::builder()
            .model("model")
            .base_url(base_url)
            .api_key("none")
            .default_roots(false);
        if let Some(callbacks) = model.callbacks(host) {
            builder = builder.callbacks(callbacks);
        }
        Self { model: builder.streaming(true).build().expect("a model of a loopback server") }
    }

    /// Streams an answer, and returns the number of its chunks.
    ///
    /// # Panics
    /// If the answer breaks off.
    pub async fn stream(&self) -> u64 {
        let asked = self.model.stream(vec![Message::human("Tell me a long story")]).await;
        let mut chunks = asked.expect("the server answers");
        let mut count = 0;
        while let Some(chunk) = chunks.next().await {
            std::hint::black_box(chunk.expect("the answer is whole"));
            count += 1;
        }
        count
    }
}

/// A server whose answers have this many content chunks.
///
/// # Errors
/// If there is no port to listen on.
pub fn serve(chunks: u64) -> std::io::Result<Server> {
    Server::start(Script::tokens((0..chunks).map(|_| "token ")))
}

pub(super) fn panel() -> Panel {
    let server: Arc<OnceLock<Server>> = Arc::default();
    let all = [
        Model::Bare,
        Model::With(Kind::Async, 0),
        Model::With(Kind::Async, 1),
        Model::With(Kind::Async, 4),
        Model::With(Kind::Pipelined, 4),
    ];
    let rows = all.map(|model| match model {
        Model::Bare => row(model, &server),
        Model::With(..) => row(model, &server).against(Model::Bare.name()),
    });
    Panel {
        // The server's allocations are in the same process.
        counted: false,
        ..Panel::new(
            "an answer of 2,000 chunks, streamed from a loopback server",
            "Time per chunk of the whole answer, with HTTP and JSON. The server has its own thread, \
             and takes its share of the machine.",
            rows.into(),
        )
    }
}

fn row(model: Model, server: &Arc<OnceLock<Server>>) -> Row {
    let (server, host) = (server.clone(), Host::Smol);
    let mut chat = None;
    Row::new(model.name(), CHUNKS, move |meter| {
        let server =
            server.get_or_init(|| serve(CHUNKS).expect("a port on the loopback interface"));
        let chat = chat.get_or_insert_with(|| Chat::new(&server.base_url(), model, &host));
        let count = meter.around(|| host.block_on(chat.stream()));
        assert!(count >= CHUNKS, "the answer has {count} chunks");
    })
}
