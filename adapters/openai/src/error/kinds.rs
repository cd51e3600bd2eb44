//! What an error means: whether a retry helps, and what it is called.

use std::borrow::Cow;
use std::io;

use super::{JsonFault, OpenAiError};
use crate::limits::Phase;
use crate::server_info::ServerInfo;

impl OpenAiError {
    /// Returns `true` if the same request may succeed when it is sent again.
    ///
    /// After [`Cut`](Self::Cut), a part of the answer may have been delivered. A retry starts the
    /// answer anew.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { phase: Phase::Connect, .. }
            | Self::ClosedBeforeResponse { .. }
            | Self::Cut { .. } => true,
            // Other handshakes fail because of a certificate, or because the server has no TLS.
            Self::Tls { source, .. } => source
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() != io::ErrorKind::InvalidData),
            Self::Status { should_retry: Some(retry), .. } => *retry,
            Self::Status { status, code, kind, .. } => {
                is_temporary(*status) && !is_final(code) && !is_final(kind)
            }
            Self::ProxyRefused { status } => is_temporary(*status),
            // Some gateways report the status of their provider after a success of their own.
            Self::Reported { code: Some(code), kind, .. } => {
                code.parse().is_ok_and(is_temporary) && !is_final(kind)
            }
            _ => false,
        }
    }

    /// What kind of error it is, for metrics: the status, `timeout`, or the name of the variant.
    /// There are few different ones.
    #[must_use]
    pub fn error_type(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Status { status, .. } | Self::Redirected { status, .. } => {
                return status.to_string().into();
            }
            Self::Reported { code: Some(code), .. }
                if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                return code.clone().into();
            }
            Self::Reported { .. } => "reported_error",
            Self::TimedOut { .. } => "timeout",
            Self::Resolve { .. } => "name_resolution_error",
            Self::Connect { .. } | Self::Unreachable { .. } => "connection_error",
            Self::Tls { .. }
            | Self::InvalidCertificate { .. }
            | Self::NoRoots
            | Self::NoSystemRoots { .. } => "tls_error",
            Self::ProxyRefused { .. } | Self::InvalidProxy { .. } => "proxy_error",
            Self::ClosedBeforeResponse { .. } => "connection_closed",
            Self::Cut { .. } => "response_cut",
            Self::Http { .. } | Self::Transport { .. } => "transport_error",
            Self::HeaderTooLarge { .. }
            | Self::BodyTooLarge { .. }
            | Self::EventTooLarge { .. }
            | Self::NoEvents { .. } => "response_too_large",
            Self::Encoded { .. }
            | Self::ContentType { .. }
            | Self::InvalidBody { .. }
            | Self::InvalidEvent { .. }
            | Self::NotUtf8
            | Self::NoChoices => "invalid_response",
            Self::NoModel
            | Self::InvalidBaseUrl { .. }
            | Self::UnsupportedScheme { .. }
            | Self::InvalidApiKey
            | Self::InvalidHeader { .. }
            | Self::ReservedParameter { .. }
            | Self::InvalidParameter { .. }
            | Self::InvalidMessage { .. }
            | Self::Encode { .. } => "invalid_request",
        })
    }

    /// What the headers of the response say, if the server reported the error.
    #[must_use]
    pub fn server(&self) -> Option<&ServerInfo> {
        match self {
            Self::Status { server, .. } | Self::Reported { server, .. } => Some(server),
            _ => None,
        }
    }

    /// For a [`Transport`](crate::Transport): the request did not reach the server, and may be sent
    /// again.
    ///
    /// The message of `source` must not contain a header's value, because one of them is the key.
    pub fn unreachable(source: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable { source: source.into() }
    }

    /// For a [`Transport`](crate::Transport): the request failed. As with
    /// [`unreachable`](Self::unreachable), the message must not contain the key.
    pub fn transport(source: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        Self::Transport { source: source.into() }
    }

    /// For a [`Transport`](crate::Transport): the response broke off. As with
    /// [`unreachable`](Self::unreachable), the message must not contain the key.
    pub fn cut(source: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        Self::Cut { source: Some(source.into()) }
    }

    pub(crate) fn body(fault: JsonFault) -> Self {
        Self::InvalidBody { source: Box::new(fault) }
    }

    pub(crate) fn event(fault: JsonFault) -> Self {
        Self::InvalidEvent { source: Box::new(fault) }
    }
}

fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 409 | 429 | 500..=599)
}

/// Returns `true` if a code or type says that the same request will be refused again.
fn is_final(word: &Option<String>) -> bool {
    const FINAL: [&str; 8] = [
        "insufficient_quota",
        "exceeded_current_quota_error",
        "insufficient_balance",
        "billing_hard_limit_reached",
        "billing_not_active",
        "account_deactivated",
        "access_terminated",
        "arrearage",
    ];
    let word = word.as_deref().unwrap_or_default();
    FINAL.iter().any(|end| word.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    static_assertions::assert_impl_all!(OpenAiError: Send, Sync, core::error::Error);

    fn status(status: u16) -> OpenAiError {
        OpenAiError::Status {
            status,
            code: None,
            kind: None,
            message: String::new(),
            retry_after: None,
            should_retry: None,
            server: Box::default(),
        }
    }

    #[test]
    fn temporary_errors_are_retryable() {
        for code in [408, 409, 429, 500, 503, 529] {
            assert!(status(code).is_retryable(), "{code}");
        }
        for code in [301, 400, 401, 404, 422] {
            assert!(!status(code).is_retryable(), "{code}");
        }
        let refused = |word: &str| OpenAiError::Status {
            status: 429,
            code: Some(word.to_owned()),
            kind: None,
            message: String::new(),
            retry_after: None,
            should_retry: None,
            server: Box::default(),
        };
        assert!(refused("rate_limit_exceeded").is_retryable());
        assert!(!refused("insufficient_quota").is_retryable());
        for (code, asked) in [(400, true), (500, false)] {
            let mut error = status(code);
            if let OpenAiError::Status { should_retry, .. } = &mut error {
                *should_retry = Some(asked);
            }
            assert_eq!(error.is_retryable(), asked);
        }
        assert!(OpenAiError::Cut { source: None }.is_retryable());
        assert!(!OpenAiError::NotUtf8.is_retryable());
    }
}
