//! What spans have.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The version of [OpenTelemetry's conventions for generative AI][genai] that attributes and metrics
/// are named by.
///
/// [genai]: https://github.com/open-telemetry/semantic-conventions-genai
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SemConv {
    /// Version 1.41 of May 2026, which Phoenix, Langfuse and others read.
    #[default]
    V1_41,
    /// The state of October 2026. These names may change with each version of this crate.
    Latest,
}

type Redact = dyn Fn(&str) -> Option<String> + Send + Sync;

/// What spans have: the conventions, and whether they have contents.
///
/// ```
/// use rappel_opentelemetry::Settings;
///
/// let settings = Settings::from_env()
///     .content(true)
///     .content_limit(4096)
///     .redact(|text| text.contains("secret").then(|| "[redacted]".into()));
/// # let _ = settings;
/// ```
#[derive(Clone)]
#[must_use = "settings do nothing until a handler is made with them"]
pub struct Settings {
    pub(crate) semconv: SemConv,
    pub(crate) openinference: bool,
    pub(crate) content: bool,
    content_limit: usize,
    redact: Option<Arc<Redact>>,
}

/// The default of [`Settings::content_limit`], in bytes.
const CONTENT_LIMIT: usize = 32 * 1024;

impl Settings {
    /// Version 1.41 of the conventions, with OpenInference, without contents. The environment is not
    /// read.
    pub const fn new() -> Self {
        Self {
            semconv: SemConv::V1_41,
            openinference: true,
            content: false,
            content_limit: CONTENT_LIMIT,
            redact: None,
        }
    }

    /// Reads the standard environment variables:
    ///
    /// - `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`: `SPAN_ONLY`, `SPAN_AND_EVENT` or
    ///   `true` switch [`content`](Self::content) on. Another value does not.
    /// - `OTEL_SEMCONV_STABILITY_OPT_IN`: with `gen_ai_latest_experimental` in the list, the names
    ///   are those of [`SemConv::Latest`].
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let content = var("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT");
        let content = content.is_some_and(|content| {
            let on = ["span_only", "span_and_event", "true"];
            on.contains(&content.trim().to_ascii_lowercase().as_str())
        });
        let latest = var("OTEL_SEMCONV_STABILITY_OPT_IN").is_some_and(|list| {
            list.split(',').any(|name| name.trim() == "gen_ai_latest_experimental")
        });
        let semconv = if latest { SemConv::Latest } else { SemConv::V1_41 };
        Self { semconv, content, ..Self::new() }
    }

    /// Sets the version of the conventions.
    pub const fn semconv(mut self, version: SemConv) -> Self {
        self.semconv = version;
        self
    }

    /// Sets whether spans also have the attributes of [OpenInference], which Phoenix reads. The
    /// default is `true`.
    ///
    /// [OpenInference]: https://arize-ai.github.io/openinference/spec/semantic_conventions.html
    pub const fn openinference(mut self, on: bool) -> Self {
        self.openinference = on;
        self
    }

    /// Sets whether spans have contents: what people have written and models have answered,
    /// definitions, arguments and results of tools, queries and documents, inputs and outputs of
    /// chains, the data of custom events. They may be personal, and long. The default is `false`.
    pub const fn content(mut self, on: bool) -> Self {
        self.content = on;
        self
    }

    /// Sets the maximum length of a text of the contents, in bytes. A longer text is cut at the
    /// border of a character. The default is 32 KiB. It applies to each text by itself: to the text
    /// of a message, and to each string inside of JSON.
    pub const fn content_limit(mut self, bytes: usize) -> Self {
        self.content_limit = bytes;
        self
    }

    /// Sets a function that is called with each text of the contents and with messages of errors,
    /// before they are cut. It returns what the span has instead, or `None` to keep the text. In
    /// JSON it is called for each string, but not for names of fields.
    ///
    /// It is called where the event is emitted, so it must not block. If it panics, the text is left
    /// out.
    pub fn redact<F>(mut self, redact: F) -> Self
    where
        F: Fn(&str) -> Option<String> + Send + Sync + 'static,
    {
        self.redact = Some(Arc::new(redact));
        self
    }

    /// A text as the span has it.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let redacted = self.redact.as_ref().and_then(|redact| {
            let redacted = catch_unwind(AssertUnwindSafe(|| redact(text)));
            redacted.unwrap_or_else(|_| Some("[left out: the redaction panicked]".into()))
        });
        match redacted {
            Some(mut redacted) => {
                redacted.truncate(border(&redacted, self.content_limit));
                Cow::Owned(redacted)
            }
            None => Cow::Borrowed(&text[..border(text, self.content_limit)]),
        }
    }

    /// Whether a text of this length is cut.
    pub(crate) const fn is_too_long(&self, text: &str) -> bool {
        text.len() > self.content_limit
    }
}

/// The last border of a character up to `limit`.
fn border(text: &str, limit: usize) -> usize {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("semconv", &self.semconv)
            .field("openinference", &self.openinference)
            .field("content", &self.content)
            .field("content_limit", &self.content_limit)
            .field("redact", &self.redact.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_opt_in_by_the_standard_variable() {
        let with = |value: &str| {
            let value = value.to_owned();
            let name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
            Settings::from_vars(|asked| (asked == name).then(|| value.clone())).content
        };
        assert!(!Settings::from_vars(|_| None).content);
        for (value, on) in [
            ("SPAN_ONLY", true),
            ("span_and_event", true),
            ("true", true),
            ("NO_CONTENT", false),
            ("EVENT_ONLY", false),
            ("false", false),
            ("", false),
        ] {
            assert_eq!(with(value), on, "{value}");
        }
    }

    #[test]
    fn the_newest_conventions_are_opt_in_by_the_standard_variable() {
        let with = |value: &'static str| {
            let name = "OTEL_SEMCONV_STABILITY_OPT_IN";
            Settings::from_vars(|asked| (asked == name).then(|| value.into())).semconv
        };
        assert_eq!(with("http, gen_ai_latest_experimental"), SemConv::Latest);
        assert_eq!(with("http"), SemConv::V1_41);
    }

    #[test]
    fn texts_are_redacted_and_then_cut_between_characters() {
        let settings = Settings::new().content_limit(5);
        assert_eq!(settings.text("aéié"), "aéi");
        assert_eq!(settings.text("short"), "short");
        let settings = settings.redact(|text| Some(text.replace("key-1", "[key]")));
        assert_eq!(settings.text("key-1"), "[key]");
        let settings = settings.redact(|_| panic!("a bug"));
        assert_eq!(settings.content_limit(100).text("key-1"), "[left out: the redaction panicked]");
    }
}
