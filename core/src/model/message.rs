//! Messages: the input of a chat model.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::util::{conversions, setters};

/// The author of a message.
///
/// With the feature `serde` it is written as `system`, `user`, `assistant` or `tool`. LangChain's
/// `human` and `ai` are read, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum Role {
    /// Instructions to the model.
    #[cfg_attr(feature = "serde", serde(alias = "developer"))]
    System,
    /// The user.
    #[cfg_attr(feature = "serde", serde(rename = "user", alias = "human"))]
    Human,
    /// The model.
    #[cfg_attr(feature = "serde", serde(rename = "assistant", alias = "ai"))]
    Ai,
    /// The result of a tool that the model called.
    Tool,
}

impl Role {
    /// Returns the role as LangChain writes it before a message's text: `Human`, `AI`, `System`,
    /// `Tool`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Human => "Human",
            Self::Ai => "AI",
            Self::Tool => "Tool",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The content.
    pub content: Content,
    /// The author's name, if several authors share a role.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub name: Option<String>,
    /// The tool calls that the model asks for ([`Role::Ai`] only).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub tool_calls: Vec<ToolCall>,
    /// The id of the tool call that this message answers ([`Role::Tool`] only).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub tool_call_id: Option<String>,
    /// What the provider needs back with the next turn, under its own names: `reasoning_content`,
    /// `reasoning_details`, thought signatures ([`Role::Ai`] only). The client decides what it sends.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Map::is_empty"))]
    pub extra: Map<String, Value>,
}

impl Message {
    /// Makes a message of `role`.
    pub fn new(role: Role, content: impl Into<Content>) -> Self {
        Self {
            role,
            content: content.into(),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            extra: Map::new(),
        }
    }

    /// Makes a message of the user.
    #[doc(alias = "user")]
    pub fn human(content: impl Into<Content>) -> Self {
        Self::new(Role::Human, content)
    }

    /// Makes a message of the model.
    #[doc(alias = "assistant")]
    pub fn ai(content: impl Into<Content>) -> Self {
        Self::new(Role::Ai, content)
    }

    /// Makes a message with instructions to the model.
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System, content)
    }

    /// Makes the answer to the tool call `call_id`.
    pub fn tool(call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        Self { tool_call_id: Some(call_id.into()), ..Self::new(Role::Tool, content) }
    }

    setters! {
        /// Sets the author's name.
        with_name(name: impl Into<String>) { self.name = Some(name.into()) }
        /// Sets what the provider needs back with the next turn.
        with_extra(extra: Map<String, Value>) { self.extra = extra }
        /// Adds tool calls that the model asks for.
        with_tool_calls(calls: impl IntoIterator<Item = ToolCall>) { self.tool_calls.extend(calls) }
    }

    /// Returns the message's text. The texts of several parts are joined.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        self.content.text()
    }
}

/// Writes `Human: …`, as [`buffer_string`] does.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.role, self.text())
    }
}

/// Writes the messages as text, one per line: `Human: …`, `AI: …`, `System: …`, `Tool: …`.
///
/// A handler that does not handle `on_chat_model_start` gets this text as the prompt of
/// `on_llm_start`. The format is that of LangChain's `get_buffer_string`.
#[must_use]
pub fn buffer_string(messages: &[Message]) -> String {
    let lines: Vec<String> = messages.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(untagged))]
#[non_exhaustive]
pub enum Content {
    /// Text only.
    Text(String),
    /// Several parts, in order.
    Parts(Vec<ContentPart>),
}

impl Content {
    /// Returns the text. The texts of several parts are joined.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Parts(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    ContentPart::Text { text } => Some(text.as_str()),
                    ContentPart::ImageUrl { .. } => None,
                })
                .collect(),
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

conversions! {
    impl From<&str> for Content = |text: &str| Self::Text(text.into());
    impl From<String> for Content = Self::Text;
    impl From<Vec<ContentPart>> for Content = Self::Parts;
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "type", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum ContentPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    ImageUrl {
        /// The address: an `https:` URL, or a `data:` URL that contains the image.
        url: String,
        /// The level of detail in the provider's words: `low`, `high` or `auto` for OpenAI.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        detail: Option<String>,
    },
}

impl ContentPart {
    /// Makes a part that is text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// Makes a part that is an image. The provider fetches it from `url`.
    pub fn image_url(url: impl Into<String>) -> Self {
        Self::ImageUrl { url: url.into(), detail: None }
    }

    /// Makes a part that contains an image, as a `data:` URL.
    ///
    /// `media_type` is the type of the bytes: `image/png`, `image/jpeg`.
    ///
    /// ```
    /// # use rappel_core::{ContentPart, Message};
    /// # let png = [0x89, b'P', b'N', b'G'];
    /// let image = ContentPart::image_data("image/png", png);
    /// let question = Message::human(vec![ContentPart::text("What is this?"), image]);
    /// ```
    pub fn image_data(media_type: &str, bytes: impl AsRef<[u8]>) -> Self {
        let mut url = format!("data:{media_type};base64,");
        STANDARD.encode_string(bytes, &mut url);
        Self::image_url(url)
    }

    /// Sets the level of detail of an image, in the provider's words: `low`, `high` or `auto` for
    /// OpenAI. It changes nothing on a text.
    #[must_use]
    pub fn with_detail(mut self, level: impl Into<String>) -> Self {
        if let Self::ImageUrl { detail, .. } = &mut self {
            *detail = Some(level.into());
        }
        self
    }
}

/// A call of a tool that the model asks for.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ToolCall {
    /// The model's id for this call. The tool's answer refers to it.
    pub id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// The arguments as the model wrote them: usually a JSON object, but a model may write
    /// anything.
    pub arguments: String,
    /// Other fields of the provider. They are sent back with the call, because some providers ask
    /// for that: Google's thought signature, for example.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Map::is_empty"))]
    pub extra: Map<String, Value>,
}

impl ToolCall {
    /// Makes a call of the tool `name`.
    pub fn new(name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self { id: None, name: name.into(), arguments: arguments.into(), extra: Map::new() }
    }

    setters! {
        /// Sets the call's id.
        with_id(id: impl Into<String>) { self.id = Some(id.into()) }
    }

    /// Parses the arguments as JSON. An empty text is an empty object: some models write none for a
    /// tool without parameters.
    ///
    /// # Errors
    /// If the model wrote something that is not JSON.
    pub fn parse_arguments(&self) -> Result<Value, serde_json::Error> {
        if self.arguments.trim().is_empty() {
            return Ok(Value::Object(Map::new()));
        }
        serde_json::from_str(&self.arguments)
    }
}

/// The messages of one conversation, as [`ChatModelExt::invoke`](crate::ChatModelExt::invoke) takes
/// them: made from a `&str` or `String` (one message of the user), a [`Message`] or a list of them.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Conversation(Vec<Message>);

impl Conversation {
    /// Returns the messages, in order.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.0
    }
}

conversions! {
    impl From<&str> for Conversation = |question| Message::human(question).into();
    impl From<String> for Conversation = |question| Message::human(question).into();
    impl From<Message> for Conversation = |message| Self(Vec::from([message]));
    impl From<Vec<Message>> for Conversation = Self;
    impl From<Conversation> for Vec<Message> = |conversation: Conversation| conversation.0;
}

impl<const N: usize> From<[Message; N]> for Conversation {
    fn from(messages: [Message; N]) -> Self {
        Self(messages.into())
    }
}
