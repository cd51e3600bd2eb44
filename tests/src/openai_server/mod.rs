//! A small OpenAI-compatible server: real HTTP, real SSE, on loopback.
//!
//! It replaces a provider in the quickstart and in the tests, and has faults on demand. It runs on
//! its own thread and runtime, so that the code under test does not drive the server.

mod answer;
mod body;
mod breaking;
mod reply;
mod script;
mod service;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use breaking::Breaking;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

pub use reply::Reply;
pub use script::{Fault, JOKE, Packets, Script};

/// The key that tests send. It must not be in any test's output, which `.ci/run` checks.
pub const MARKED_KEY: &str = "sk-marked-4f9d2c71-never-printed";

/// A running server. Dropping it closes its connections and waits for its thread.
pub struct Server {
    address: SocketAddr,
    ca_pem: Option<String>,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request that the server received.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path.
    pub path: String,
    /// The query, without the question mark.
    pub query: Option<String>,
    /// All headers, with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The `authorization` header.
    pub authorization: Option<String>,
    /// The body.
    pub body: serde_json::Value,
}

impl Request {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// The state that the server's tasks and its owner share.
struct State {
    script: Script,
    seen: Mutex<Seen>,
    changed: Condvar,
    /// One permit for each chunk that a gated server may send.
    permits: Semaphore,
    /// `true` if the next write to a client is to fail.
    break_next_write: AtomicBool,
    /// The number of connections so far.
    connections: AtomicUsize,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    /// The number of answers that the client aborted.
    broken_off: usize,
}

impl Server {
    /// Starts a server that answers as `script` says, on a free port of loopback.
    ///
    /// # Errors
    /// If there is no free port, or if no thread can be started.
    pub fn start(script: Script) -> io::Result<Self> {
        Self::launch(script, None)
    }

    /// The same over TLS, as `localhost`. The certificate is only trusted with
    /// [`ca_pem`](Self::ca_pem).
    ///
    /// # Errors
    /// As with [`start`](Self::start), and if no certificate can be made.
    pub fn start_tls(script: Script) -> io::Result<Self> {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .map_err(io::Error::other)?;
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())
            .map_err(io::Error::other)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .map_err(io::Error::other)?;
        let mut server = Self::launch(script, Some(TlsAcceptor::from(Arc::new(config))))?;
        server.ca_pem = Some(certified.cert.pem());
        Ok(server)
    }

    fn launch(script: Script, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        // With the standard library: the caller may be on another tokio runtime, in which this one
        // must not be entered.
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            script,
            seen: Mutex::default(),
            changed: Condvar::new(),
            permits: Semaphore::new(0),
            break_next_write: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = state.clone();
        let thread = thread::Builder::new().name("openai-server".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    Err(error) = accept(listener, tls, serving) => eprintln!("the server cannot listen: {error}"),
                }
            });
            // Dropping the runtime drops the connections.
        })?;
        Ok(Self { address, ca_pem: None, state, stop: Some(stop), thread: Some(thread) })
    }

    /// The base URL for clients.
    #[must_use]
    pub fn base_url(&self) -> String {
        match self.ca_pem {
            Some(_) => format!("https://localhost:{}/v1", self.address.port()),
            None => format!("http://{}/v1", self.address),
        }
    }

    /// The certificate to trust, in PEM. It is empty without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.ca_pem.as_deref().unwrap_or_default()
    }

    /// Lets a gated server send `chunks` further chunks.
    pub fn release(&self, chunks: usize) {
        self.state.permits.add_permits(chunks);
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state.seen().requests.clone()
    }

    /// The number of connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Waits until clients have aborted `answers` answers. Returns `false` if that takes longer
    /// than `limit`.
    #[must_use]
    pub fn wait_broken_off(&self, answers: usize, limit: Duration) -> bool {
        let seen = self.state.seen();
        let waited =
            self.state.changed.wait_timeout_while(seen, limit, |seen| seen.broken_off < answers);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed, and its clients have got errors.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen());
        self.changed.notify_all();
    }
}

async fn accept(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        // A client may disconnect before it is accepted.
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        // Otherwise the kernel joins small packets, and the packets would not be those of the
        // script.
        let _ = socket.set_nodelay(true);
        if matches!(state.script.fault, Some(Fault::Reset(_))) {
            // The socket is reset when it is closed.
            let _ = socket.set_zero_linger();
        }
        state.connections.fetch_add(1, Ordering::Relaxed);
        let (tls, state) = (tls.clone(), state.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(socket, state).await,
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        serve(socket, state).await;
                    }
                }
            }
        });
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let socket = Breaking::new(socket, state.clone());
    let service = service_fn(move |request| service::answer(state.clone(), request));
    // An error here is a client that disconnected, or a fault of the script.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}
