//! What carries a request to the server and its response back.

use core::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use rappel_core::runtime::BoxFuture;

use crate::error::OpenAiError;

/// The bytes of a response, as they come.
///
/// It ends where the response does, in good order; where the response breaks off, its last item is an error. Dropping it gives the response up.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, OpenAiError>> + Send>>;

/// Sends a request, and gives back the response: status, headers, and a stream of bytes.
///
/// The built-in one speaks HTTP/1.1 itself. Another one is handed to [`transport`](crate::ChatOpenAiBuilder::transport): a client that the
/// application has anyway, or one that answers without a network, for a test.
///
/// A transport is responsible for the request's way and nothing else. What a status means, limits of size and time (but the one for
/// connecting), retries and the reading of the answer stay with [`ChatOpenAi`](crate::ChatOpenAi). It must not
///
/// - send the `authorization` header anywhere but to the host of the request's URI: so it follows no redirect;
/// - decompress, or ask for compression;
/// - retry;
/// - name a header's value in an error: the key is in one of them, marked as sensitive.
///
/// ```
/// use bytes::Bytes;
/// use futures_util::stream;
/// use rappel_core::runtime::BoxFuture;
/// use rappel_openai::{BodyStream, ChatOpenAi, OpenAiError, Transport};
///
/// /// Answers without a network.
/// struct Canned(&'static str);
///
/// impl Transport for Canned {
///     fn send(&self, _: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
///         let body: BodyStream = Box::pin(stream::iter([Ok(Bytes::from_static(self.0.as_bytes()))]));
///         Box::pin(async move { Ok(http::Response::new(body)) })
///     }
/// }
///
/// # fn main() -> Result<(), OpenAiError> {
/// let answer = Canned(r#"{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}"#);
/// let chat = ChatOpenAi::builder().model("m").base_url("http://nowhere.invalid/v1").transport(answer).build()?;
/// # use rappel_core::{ChatModel, Message};
/// # let answer = futures_lite::future::block_on(chat.generate(vec![vec![Message::human("hi")]]));
/// # assert_eq!(answer[0].as_ref().unwrap().text(), "hi");
/// # Ok(())
/// # }
/// ```
pub trait Transport: Send + Sync + 'static {
    /// Sends the request, whose URI is absolute, and waits for the head of the response.
    ///
    /// Dropping the future gives the request up, as dropping the body does with the response.
    ///
    /// # Errors
    /// [`OpenAiError::unreachable`] where the request has certainly not been answered and may be sent again, [`OpenAiError::transport`] for
    /// everything else; and of the body, [`OpenAiError::cut`] where it breaks off.
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>>;
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
        (**self).send(request)
    }
}

impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn send(&self, request: http::Request<Bytes>) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
        (**self).send(request)
    }
}
