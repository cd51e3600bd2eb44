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

/// Connects a client handler to a server, with callbacks.
pub trait ServeWithCallbacks: Service<RoleClient> + Sized {
    /// Connects as [`ServiceExt::serve`](rmcp::ServiceExt::serve) does. The client's tool calls
    /// are runs of `callbacks`.
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
    /// does: MCP of 2026-07-28 begins with `ClientLifecycleMode::Discover`. The client's tool calls
    /// are runs of `callbacks`.
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
/// It dereferences to rmcp's [`RunningService`], which has everything else. Its
/// [`call_tool`](Self::call_tool) takes the place of the one there. Calls by `call_tool_once`, or
/// through a clone of [`peer()`](RunningService::peer), make no runs.
pub struct CallbackClient<S: Service<RoleClient>> {
    client: RunningService<RoleClient, S>,
    callbacks: CallbackManager,
    progress: Option<Progress>,
    trace: Option<Arc<Trace>>,
}

impl<S: Service<RoleClient>> CallbackClient<S> {
    /// Makes the tool calls of a client that is connected already runs of `callbacks`.
    ///
    /// Progress notifications are no events of such a client. They are with
    /// [`serve_with_callbacks`](ServeWithCallbacks::serve_with_callbacks).
    pub fn new(
        client: RunningService<RoleClient, S>,
        callbacks: impl Into<CallbackManager>,
    ) -> Self {
        Self { client, callbacks: callbacks.into(), progress: None, trace: None }
    }

    /// Sets the trace context that a tool's run sends to the server, in the field `traceparent` of
    /// `_meta`. `RunTraceParent::traceparent` of rappel-opentelemetry is such a function. A
    /// `traceparent` that the call has already is left as it is.
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

    /// Returns rmcp's client, whose tool calls are no runs.
    pub fn into_inner(self) -> RunningService<RoleClient, S> {
        self.client
    }

    /// Calls a tool as rmcp's `call_tool` does, as a run. Inside another run, it is a child of that
    /// one, and its handlers receive the events too.
    ///
    /// The run starts with the tool's name and arguments. It ends with the structured content of
    /// the result, else with its text, else with all content as JSON. It fails if the server
    /// answers with an error, or with a result whose `is_error` is set. Each progress notification
    /// is a custom event `mcp.progress`. If handlers are slow, at most 64 of a call wait. Further
    /// ones replace the newest, which has the number of those in its field `skipped`.
    ///
    /// # Errors
    /// [`CallToolError`]. A result whose `is_error` is set is returned as `Ok`.
    ///
    /// # Cancel safety
    /// If the future is dropped, rmcp sends the server a cancellation, if its queue of messages has
    /// room, and the run ends as cancelled.
    pub async fn call_tool(
        &self,
        params: CallToolRequestParams,
    ) -> Result<CallToolResult, CallToolError> {
        self.call(params, None).await
    }

    /// Calls a tool as [`call_tool`](Self::call_tool) does, for the model's tool call of this id.
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
