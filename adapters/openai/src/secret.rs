//! The API key, which must not appear in any output.

mod split;

use core::fmt;
use core::ops::Range;
use std::{borrow::Cow, sync::Arc};

use http::HeaderValue;
use memchr::memchr2;
use memchr::memmem::Finder;

pub(crate) use split::{Split, Splits};

use crate::error::OpenAiError;

/// The replacement of a key in a text.
const REDACTED: &str = "[redacted]";

/// Shorter keys are dummies for local servers ("x", "no"). They are not secret, and they are common
/// in texts, which would be garbled.
const SHORTEST_SECRET: usize = 4;

/// Answers are only searched for keys of at least this length. Dummies are words ("ollama",
/// "lm-studio") that may be part of an answer.
const SHORTEST_IN_ANSWERS: usize = 16;

/// How many times the characters of a key may be escaped: once by an answer's JSON, and once by a
/// JSON or a URL in one of its texts.
const MOST_ESCAPED: usize = 2;

/// The header that the key is sent in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeyHeader {
    /// `authorization: Bearer …`
    #[default]
    Bearer,
    /// `api-key: …`, as Azure wants it.
    ApiKey,
}

/// An API key that is a valid header value.
#[derive(Clone)]
pub(crate) struct Secret {
    key: Arc<str>,
    bearer: HeaderValue,
    plain: HeaderValue,
    finder: Finder<'static>,
    /// Finds it in a text after [`decode`].
    decoded: Finder<'static>,
    /// For each number of bytes of the key that a text ends with: the next smaller number.
    shorter: Arc<[usize]>,
}

impl Secret {
    pub(crate) fn new(key: &str) -> Result<Self, OpenAiError> {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OpenAiError::InvalidApiKey);
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| OpenAiError::InvalidApiKey)?;
        bearer.set_sensitive(true);
        let mut plain = HeaderValue::from_str(key).map_err(|_| OpenAiError::InvalidApiKey)?;
        plain.set_sensitive(true);
        Ok(Self { bearer, plain, ..Self::of_text(key) })
    }

    /// A text that must not appear in any output, and is not sent as a key.
    pub(crate) fn of_text(text: &str) -> Self {
        let (bearer, plain) = (HeaderValue::from_static(""), HeaderValue::from_static(""));
        Self {
            key: text.into(),
            bearer,
            plain,
            finder: Finder::new(text).into_owned(),
            decoded: Finder::new(&percent_decode(text.as_bytes())).into_owned(),
            shorter: split::shorter(text.as_bytes()),
        }
    }

    /// The value of a header that has nothing but the key, marked as sensitive.
    pub(crate) fn plain(&self) -> HeaderValue {
        self.plain.clone()
    }

    /// The value of the `authorization` header, marked as sensitive.
    pub(crate) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// The text, without the key.
    fn redact<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let plain = self.finder.find(text).is_some();
        let mut text = if plain { self.replace(text).into() } else { Cow::Borrowed(text) };
        let mut has_escapes = has_escapes(&text) || self.decoded.needle() != self.finder.needle();
        for times in 1..=MOST_ESCAPED {
            if !has_escapes {
                break;
            }
            let mut decoded = decode(&text);
            for _ in 1..times {
                decoded = decode(&decoded);
            }
            if self.decoded.find(&decoded).is_some() {
                text = self.replace_decoded(&text, times).into();
            }
            has_escapes = self::has_escapes(&decoded);
        }
        text
    }

    #[cold]
    fn replace(&self, text: &[u8]) -> Vec<u8> {
        let length = self.key.len();
        replace(text, self.finder.find_iter(text).map(|start| start..start + length))
    }

    /// Replaces the key if its characters are escaped so many times.
    #[cold]
    fn replace_decoded(&self, text: &[u8], times: usize) -> Vec<u8> {
        let mut decoded = text.to_vec();
        // Where each byte of the decoded text begins, and the end.
        let mut starts: Vec<usize> = (0..=text.len()).collect();
        for _ in 0..times {
            let (mut shorter, mut firsts, mut at) = (Vec::new(), Vec::new(), 0);
            while at < decoded.len() {
                let (byte, length) = character(&decoded[at..]);
                shorter.push(byte);
                firsts.push(starts[at]);
                at += length;
            }
            firsts.push(text.len());
            (decoded, starts) = (shorter, firsts);
        }
        let length = self.decoded.needle().len();
        let found = self.decoded.find_iter(&decoded);
        replace(text, found.map(|start| starts[start]..starts[start + length]))
    }
}

fn replace(text: &[u8], found: impl Iterator<Item = Range<usize>>) -> Vec<u8> {
    let (mut replaced, mut at) = (Vec::with_capacity(text.len()), 0);
    for key in found {
        replaced.extend_from_slice(&text[at..key.start]);
        replaced.extend_from_slice(REDACTED.as_bytes());
        at = key.end;
    }
    replaced.extend_from_slice(&text[at..]);
    replaced
}

fn has_escapes(text: &[u8]) -> bool {
    memchr2(b'\\', b'%', text).is_some()
}

/// The text without the escapes of JSON and of URLs. It is only for a search: characters that a key
/// cannot have may be replaced.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(escape) = memchr2(b'\\', b'%', rest) {
        decoded.extend_from_slice(&rest[..escape]);
        let (byte, length) = character(&rest[escape..]);
        decoded.push(byte);
        rest = &rest[escape + length..];
    }
    decoded.extend_from_slice(rest);
    decoded
}

fn percent_decode(mut text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = text.first() {
        let (byte, length) = if byte == b'%' { character(text) } else { (byte, 1) };
        decoded.push(byte);
        text = &text[length..];
    }
    decoded
}

/// The first byte of a text that is not empty, without its escape, and the length of the escape.
fn character(text: &[u8]) -> (u8, usize) {
    const NOT_ASCII: u8 = 0xff;
    let number = |digits: &[u8]| {
        digits
            .iter()
            .try_fold(0_u32, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
    };
    match text {
        [b'\\', b'u', a, b, c, d, ..] => match number(&[*a, *b, *c, *d]) {
            Some(code) => (u8::try_from(code).ok().filter(u8::is_ascii).unwrap_or(NOT_ASCII), 6),
            None => (b'\\', 1),
        },
        [b'\\', byte @ (b'"' | b'\\' | b'/'), ..] => (*byte, 2),
        [b'\\', b'b' | b'f' | b'n' | b'r' | b't', ..] => (b'\n', 2),
        [b'%', a, b, ..] => match number(&[*a, *b]).and_then(|code| u8::try_from(code).ok()) {
            Some(byte) => (byte, 3),
            None => (b'%', 1),
        },
        _ => (text[0], 1),
    }
}

/// All secrets of a client: its key, and the values of its own headers and query parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Arc<[Secret]>);

impl Secrets {
    /// The text, without the secrets.
    pub(crate) fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.redact_longer(SHORTEST_SECRET, text.as_bytes()) {
            Cow::Borrowed(_) => text.into(),
            Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        }
    }

    /// The JSON of an answer, without the secrets. Some gateways repeat the request in the answer,
    /// including the headers.
    pub(crate) fn redact_answer<'t>(&self, json: &'t [u8]) -> Cow<'t, [u8]> {
        self.redact_longer(SHORTEST_IN_ANSWERS, json)
    }

    /// Returns `true` if any secret is searched for in answers.
    pub(crate) fn has_any(&self) -> bool {
        self.0.iter().any(|secret| secret.key.len() >= SHORTEST_IN_ANSWERS)
    }

    fn redact_longer<'t>(&self, least: usize, text: &'t [u8]) -> Cow<'t, [u8]> {
        let secrets = self.0.iter().filter(|secret| secret.key.len() >= least);
        secrets.fold(text.into(), |text, secret| match text {
            Cow::Borrowed(text) => secret.redact(text),
            Cow::Owned(text) => secret.redact(&text).into_owned().into(),
        })
    }
}

impl FromIterator<Secret> for Secrets {
    fn from_iter<I: IntoIterator<Item = Secret>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

impl Secrets {
    /// The same and others.
    pub(crate) fn with(&self, others: impl Iterator<Item = Secret>) -> Self {
        self.0.iter().cloned().chain(others).collect()
    }
}

#[cfg(test)]
impl From<Secret> for Secrets {
    fn from(secret: Secret) -> Self {
        Self(Arc::from([secret]))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let secret = Secret::new("sk-very-secret").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert!(!format!("{:?}", secret.bearer()).contains("sk-very-secret"));
        assert_eq!(
            Secrets::from(secret).redact("key sk-very-secret, yes sk-very-secret"),
            "key [redacted], yes [redacted]"
        );
    }

    #[test]
    fn a_dummy_key_is_not_replaced() {
        let secret = Secret::new("x").unwrap();
        assert_eq!(Secrets::from(secret).redact("no model mixtral-8x7b"), "no model mixtral-8x7b");
    }

    #[test]
    fn an_answer_is_searched_for_long_keys_only() {
        let answer = br#"{"model":"ollama","debug":"Bearer sk-very-secret-key"}"#;
        let secret = Secrets::from(Secret::new("sk-very-secret-key").unwrap());
        let redacted = secret.redact_answer(answer);
        assert_eq!(&*redacted, br#"{"model":"ollama","debug":"Bearer [redacted]"}"#);
        let ollama = Secrets::from(Secret::new("ollama").unwrap());
        assert!(matches!(ollama.redact_answer(answer), Cow::Borrowed(_)));
    }

    #[test]
    fn a_key_is_found_in_any_escape() {
        let key = "sk-1/2+3=\"4\"%25\\6";
        let secrets = Secrets::from(Secret::new(key).unwrap());
        for spelled in [
            key,
            r#"sk-1\/2+3=\"4\"%25\\6"#,
            r#"\u0073k-1/2+3=\u00224\"%25\\6"#,
            r#"sk-1%2F2%2b3%3D%224%22%25%5c6"#,
            r#"sk-1\/2%2B3=\"4\"%25\\6"#,
        ] {
            let text = format!(r"\u00e9 100% \x {spelled}{spelled}% \u12");
            let expected = r"\u00e9 100% \x [redacted][redacted]% \u12";
            assert_eq!(secrets.redact(&text), expected, "{spelled}");
            assert_eq!(&*secrets.redact_answer(text.as_bytes()), expected.as_bytes(), "{spelled}");
        }
        let nested = r#"{"a":"{\"b\":\"sk-1\\/2%2B3=\\\"4\\\"%25\\\\6\"}","c":"\u00e9"}"#;
        let expected = br#"{"a":"{\"b\":\"[redacted]\"}","c":"\u00e9"}"#;
        assert_eq!(&*secrets.redact_answer(nested.as_bytes()), expected);
        for other in [r"sk-1\\/2", "%", "\\", r"\u", "%2", "", "é%é"] {
            assert!(matches!(secrets.redact(other), Cow::Borrowed(_)), "{other}");
        }
    }

    /// A gateway may decode a query before it repeats it.
    #[test]
    fn a_key_that_is_sent_with_escapes_is_found_without_them() {
        let secrets = Secrets::from(Secret::of_text("abc%2Fdef%3D0123456789"));
        assert_eq!(secrets.redact("sig=abc/def=0123456789"), "sig=[redacted]");
        assert_eq!(secrets.redact("sig=abc%2fdef%3d0123456789"), "sig=[redacted]");
    }

    #[test]
    fn an_invalid_key_is_refused() {
        for key in ["", " ", "sk-secret\n", "sk-secret ", "sk-sécret", "sk-\0"] {
            let error = Secret::new(key).unwrap_err();
            assert!(matches!(error, OpenAiError::InvalidApiKey), "{key:?}");
        }
    }
}
