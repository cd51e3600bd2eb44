//! The interface of an HTTP client that sends the requests.

use core::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use rappel_core::runtime::BoxFuture;

use crate::error::OpenAiError;

/// The bytes of a response, as they arrive.
///
/// It ends when the response is complete. If the response breaks off, the last item is an error.
/// Dropping the stream cancels the response.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, OpenAiError>> + Send>>;

/// Sends a request and returns the response: status, headers, and a stream of bytes.
///
/// The built-in transport speaks HTTP/1.1. Another one is set with
/// [`transport`](crate::ChatOpenAiBuilder::transport): an HTTP client that the application already
/// has, or one that answers without a network, for a test.
///
/// A transport only delivers the request and the response. [`ChatOpenAi`](crate::ChatOpenAi)
/// handles the status, the limits (except the one for connecting), retries, and the content. A
/// transport must not
///
/// - send the `authorization` header to a host other than that of the request's URI, so it must not
///   follow redirects;
/// - decompress the response, or ask for compression;
/// - retry;
/// - put a header's value into an error: one of them is the key, marked as sensitive.
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
///     fn send(
///         &self,
///         _: http::Request<Bytes>,
///     ) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
///         let body: BodyStream = Box::pin(stream::iter([Ok(Bytes::from_static(self.0.as_bytes()))]));
///         Box::pin(async move { Ok(http::Response::new(body)) })
///     }
/// }
///
/// # fn main() -> Result<(), OpenAiError> {
/// let answer = Canned(r#"{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}"#);
/// let chat = ChatOpenAi::builder()
///     .model("m")
///     .base_url("http://nowhere.invalid/v1")
///     .transport(answer)
///     .build()?;
/// # use rappel_core::ChatModelExt;
/// # let answer = futures_lite::future::block_on(chat.invoke("hi"));
/// # assert_eq!(answer.unwrap().text(), "hi");
/// # Ok(())
/// # }
/// ```
pub trait Transport: Send + Sync + 'static {
    /// Sends the request and waits for the head of the response. The request's URI is absolute.
    ///
    /// Dropping the future cancels the request. Dropping the body cancels the response.
    ///
    /// # Errors
    /// - [`OpenAiError::unreachable`] if the request was certainly not answered and may be sent
    ///   again.
    /// - [`OpenAiError::transport`] for every other failure.
    /// - The body's last item is [`OpenAiError::cut`] if the response breaks off.
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>>;
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
        (**self).send(request)
    }
}

impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
        (**self).send(request)
    }
}
