//! The connection, as its progress notifications are seen.

use std::borrow::Cow;

use rmcp::RoleClient;
use rmcp::model::{ClientRequest, GetMeta, JsonRpcMessage, RequestParamsMeta, ServerNotification};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;

use crate::progress::Progress;

/// Where a request says which call it is of. It is removed before the request is sent.
pub(crate) const CALL: &str = "rappel.call";

/// A transport that hands progress notifications to the calls that they are for.
///
/// rmcp handles each notification on a task of its own, in any order, and maybe after the result.
/// Here they are in the order of the connection, and before the result.
pub(crate) struct Observed<T> {
    pub(crate) transport: T,
    pub(crate) progress: Progress,
}

impl<T> Observed<T> {
    fn sends(&self, message: &mut TxJsonRpcMessage<RoleClient>) {
        let JsonRpcMessage::Request(request) = message else { return };
        let ClientRequest::CallToolRequest(call) = &mut request.request else { return };
        let meta = call.params.meta_mut();
        let id = meta.as_mut().and_then(|meta| meta.remove(CALL)).as_ref().and_then(Value::as_u64);
        let Some(id) = id else { return };
        if meta.as_ref().is_some_and(|meta| meta.is_empty()) {
            *meta = None;
        }
        if let Some(token) = request.request.get_meta().get_progress_token() {
            self.progress.sent(id, token);
        }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Observed<T> {
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(
        &mut self,
        mut item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.sends(&mut item);
        self.transport.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let message = self.transport.receive().await?;
        if let JsonRpcMessage::Notification(notification) = &message
            && let ServerNotification::ProgressNotification(progress) = &notification.notification
        {
            self.progress.came(progress.params.clone());
        }
        Some(message)
    }

    fn close(&mut self) -> impl Future<Output = Result<(), T::Error>> + Send {
        self.transport.close()
    }
}
