//! A client whose tool calls are runs.

use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use rappel_core::{CallbackManager, InRun, RunError, ToolRun, TraceParent};
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, CallToolResult, RequestMetaObject, RequestParamsMeta};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, QuitReason, RunningService, Service, ServiceError,
    serve_client_with_lifecycle,
};
use rmcp::transport::IntoTransport;
use tokio::task::JoinError;

use crate::convert;
use crate::error::CallToolError;
use crate::progress::{OpenCall, Progress, Update};
use crate::transport::{CALL, Observed};

/// Connects an rmcp client to a server, with callbacks. Every client service of rmcp has these methods.
pub trait ServeWithCallbacks: Service<RoleClient> + Sized {
    /// Connects as [`ServiceExt::serve`](rmcp::ServiceExt::serve) does. Each tool call of the client is a
    /// run of `callbacks`.
    ///
    /// # Errors
    /// Those of `serve`.
    fn serve_with_callbacks<T, E, A>(
        self,
        transport: T,
        callbacks: impl Into<CallbackManager>,
    ) -> impl Future<Output = Result<CallbackClient<Self>, ClientInitializeError>>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        connect(self, transport, ClientLifecycleMode::Initialize, callbacks.into())
    }

    /// Connects as [`serve_with_lifecycle`](rmcp::service::ClientServiceExt::serve_with_lifecycle)
    /// does. Each tool call of the client is a run of `callbacks`. For MCP 2026-07-28 use
    /// `ClientLifecycleMode::Discover`.
    ///
    /// # Errors
    /// Those of `serve_with_lifecycle`.
    fn serve_with_lifecycle_and_callbacks<T, E, A>(
        self,
        transport: T,
        lifecycle: ClientLifecycleMode,
        callbacks: impl Into<CallbackManager>,
    ) -> impl Future<Output = Result<CallbackClient<Self>, ClientInitializeError>>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        connect(self, transport, lifecycle, callbacks.into())
    }
}

async fn connect<S, T, E, A>(
    service: S,
    transport: T,
    lifecycle: ClientLifecycleMode,
    callbacks: CallbackManager,
) -> Result<CallbackClient<S>, ClientInitializeError>
where
    S: Service<RoleClient>,
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let progress = Progress::default();
    let transport = Observed { transport: transport.into_transport(), progress: progress.clone() };
    let client = serve_client_with_lifecycle(service, transport, lifecycle).await?;
    Ok(CallbackClient { progress: Some(progress), ..CallbackClient::new(client, callbacks) })
}

impl<S: Service<RoleClient>> ServeWithCallbacks for S {}

type Trace = dyn Fn(&ToolRun) -> Option<TraceParent> + Send + Sync;

/// A client whose tool calls are runs.
///
/// It dereferences to rmcp's [`RunningService`], and replaces its `call_tool` by
/// [its own](Self::call_tool). Calls by `call_tool_once`, or through a clone of
/// [`peer()`](RunningService::peer), are not runs.
pub struct CallbackClient<S: Service<RoleClient>> {
    client: RunningService<RoleClient, S>,
    callbacks: CallbackManager,
    progress: Option<Progress>,
    trace: Option<Arc<Trace>>,
}

impl<S: Service<RoleClient>> CallbackClient<S> {
    /// Wraps a client that is already connected. Each tool call of the returned client is a run of
    /// `callbacks`.
    ///
    /// Such a client emits no events for progress notifications. Use
    /// [`serve_with_callbacks`](ServeWithCallbacks::serve_with_callbacks) to get them.
    pub fn new(
        client: RunningService<RoleClient, S>,
        callbacks: impl Into<CallbackManager>,
    ) -> Self {
        Self { client, callbacks: callbacks.into(), progress: None, trace: None }
    }

    /// Sets a function that returns the trace context of a tool's run. The call sends it to the server,
    /// in the field `traceparent` of `_meta`. By default no trace context is sent.
    ///
    /// `RunTraceParent::traceparent` of rappel-opentelemetry is such a function. If the parameters of the
    /// call already have a `traceparent`, that one is sent.
    #[must_use]
    pub fn with_traceparent(
        mut self,
        trace: impl Fn(&ToolRun) -> Option<TraceParent> + Send + Sync + 'static,
    ) -> Self {
        self.trace = Some(Arc::new(trace));
        self
    }

    /// Closes the connection, as [`RunningService::cancel`] does.
    ///
    /// # Errors
    /// If the task of the connection panicked.
    pub async fn cancel(self) -> Result<QuitReason, JoinError> {
        self.client.cancel().await
    }

    /// Waits until the connection is closed, as [`RunningService::waiting`] does.
    ///
    /// # Errors
    /// If the task of the connection panicked.
    pub async fn waiting(self) -> Result<QuitReason, JoinError> {
        self.client.waiting().await
    }

    /// Returns rmcp's client. Its tool calls are not runs.
    pub fn into_inner(self) -> RunningService<RoleClient, S> {
        self.client
    }

    /// Calls a tool as rmcp's `call_tool` does. The call is a run. Inside another run, it is a child of
    /// that run, and the handlers of that run get its events, too.
    ///
    /// The run starts with the tool's name and arguments. Its output is the structured content of the
    /// result. Without structured content, the output is the text, or all content as JSON if there is
    /// more than text. The run fails if the server answers with an error, or with a result whose
    /// `is_error` is set.
    ///
    /// Each progress notification is a custom event `mcp.progress`, with the fields `progress`, `total`
    /// and `message`. If handlers are slow, at most 64 notifications of a call wait. A further
    /// notification replaces the newest one that waits. Its field `skipped` is the number of notifications
    /// that it replaced.
    ///
    /// # Errors
    /// [`CallToolError`]. A result whose `is_error` is set is returned as `Ok`.
    ///
    /// # Cancel safety
    /// If the future is dropped, the run ends as cancelled. If rmcp's queue of messages has room, rmcp
    /// sends the server a cancellation.
    pub async fn call_tool(
        &self,
        params: CallToolRequestParams,
    ) -> Result<CallToolResult, CallToolError> {
        self.call(params, None).await
    }

    /// Does what [`call_tool`](Self::call_tool) does. The run also has the id of the model's tool call,
    /// `tool_call_id`, so that handlers can connect the two.
    ///
    /// # Errors
    /// Those of [`call_tool`](Self::call_tool).
    pub async fn call_tool_with_id(
        &self,
        params: CallToolRequestParams,
        tool_call_id: impl Into<String>,
    ) -> Result<CallToolResult, CallToolError> {
        self.call(params, Some(tool_call_id.into())).await
    }

    async fn call(
        &self,
        mut params: CallToolRequestParams,
        tool_call_id: Option<String>,
    ) -> Result<CallToolResult, CallToolError> {
        let start = convert::start(&params, tool_call_id);
        let mut run = self.manager().on_tool_start(start).await?;
        self.set_traceparent(&run, &mut params);
        let open = self.progress.as_ref().map(Progress::open);
        if let Some(open) = &open {
            let meta = params.meta_mut().get_or_insert_with(RequestMetaObject::new);
            meta.insert(CALL.into(), open.id().into());
        }
        // Inside the run: what the client does for the server is a child of the run.
        match with_progress(&mut run, open, self.client.call_tool(params)).await? {
            Ok(result) if result.is_error == Some(true) => {
                run.fail(convert::tool_error(&result)).await?;
                Ok(result)
            }
            Ok(result) => {
                run.end(convert::output(&result)).await?;
                Ok(result)
            }
            Err(error) => {
                // The caller gets the server's error, whatever a handler says of it.
                let _ = run.fail(convert::service_error(&error)).await;
                Err(error.into())
            }
        }
    }

    /// The handlers of the current run, and the client's own.
    fn manager(&self) -> CallbackManager {
        match CallbackManager::current() {
            Some(current) => CallbackManager::configure(Some(&current), Some(&self.callbacks)),
            None => self.callbacks.clone(),
        }
    }

    fn set_traceparent(&self, run: &ToolRun, params: &mut CallToolRequestParams) {
        if params.traceparent().is_none()
            && let Some(trace) = self.trace.as_ref().and_then(|trace| trace(run))
        {
            params.set_traceparent(&trace.to_string());
        }
    }
}

/// Emits the progress of a call until it has a result. If the run is closed, or a handler stops it,
/// the call is dropped, and rmcp tells the server.
async fn with_progress(
    run: &mut ToolRun,
    open: Option<OpenCall>,
    call: impl Future<Output = Result<CallToolResult, ServiceError>>,
) -> Result<Result<CallToolResult, ServiceError>, RunError> {
    enum Next {
        Progress(Update),
        Result(Result<Result<CallToolResult, ServiceError>, RunError>),
    }
    let mut call = pin!(run.until_closed(call.in_run(run)));
    loop {
        let next = poll_fn(|cx| {
            if let Some(open) = &open
                && let Poll::Ready(update) = open.poll_next(cx)
            {
                return Poll::Ready(Next::Progress(update));
            }
            call.as_mut().poll(cx).map(Next::Result)
        });
        match next.await {
            Next::Progress(update) => run.on_custom_event(convert::progress(update)).await?,
            Next::Result(result) => {
                // What came before the result on the connection is here.
                for update in open.iter().flat_map(OpenCall::take_all) {
                    run.on_custom_event(convert::progress(update)).await?;
                }
                return result;
            }
        }
    }
}

impl<S: Service<RoleClient>> Deref for CallbackClient<S> {
    type Target = RunningService<RoleClient, S>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl<S: Service<RoleClient>> DerefMut for CallbackClient<S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}

impl<S: Service<RoleClient>> fmt::Debug for CallbackClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackClient").field("callbacks", &self.callbacks).finish_non_exhaustive()
    }
}
