//! Messages: what goes into a chat model.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::result::Generation;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The user.
    Human,
    /// The model.
    Ai,
    /// The answer of a tool that the model called.
    Tool,
}

impl Role {
    /// The role as LangChain writes it before a message's text: `Human`, `AI`, `System`, `Tool`.
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
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content,
    /// The speaker's name, where several share a role.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub name: Option<String>,
    /// The tools that the model asks for ([`Role::Ai`] only).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub tool_calls: Vec<ToolCall>,
    /// Which call this answers ([`Role::Tool`] only).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<Content>) -> Self {
        Self {
            role,
            content: content.into(),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    /// A message of the user.
    pub fn human(content: impl Into<Content>) -> Self {
        Self::new(Role::Human, content)
    }

    /// A message of the model.
    pub fn ai(content: impl Into<Content>) -> Self {
        Self::new(Role::Ai, content)
    }

    /// Instructions to the model.
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System, content)
    }

    /// The answer to the tool call `call_id`.
    pub fn tool(call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        Self {
            tool_call_id: Some(call_id.into()),
            ..Self::new(Role::Tool, content)
        }
    }

    /// Names the speaker.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds the tools that the model asks for.
    #[must_use]
    pub fn with_tool_calls(mut self, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        self.tool_calls.extend(calls);
        self
    }

    /// The message's text; of several parts, their texts one after the other.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        self.content.text()
    }
}

/// What the model said, for the next turn of the conversation: its text and its tool calls; in the place of a text that is empty, its refusal.
/// What it [reasoned](Generation::reasoning) stays out, as most providers want it.
impl From<Generation> for Message {
    fn from(said: Generation) -> Self {
        let text = if said.text.is_empty() { said.refusal } else { said.text };
        Self::ai(text).with_tool_calls(said.tool_calls)
    }
}

/// `Human: …`, as [`buffer_string`] writes it.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.role, self.text())
    }
}

/// The messages as text, one a line: `Human: …`, `AI: …`, `System: …`, `Tool: …`.
///
/// It is what a handler without `on_chat_model_start` gets as its prompt in `on_llm_start`. The form is LangChain's `get_buffer_string`.
#[must_use]
pub fn buffer_string(messages: &[Message]) -> String {
    let lines: Vec<String> = messages.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(untagged))]
#[non_exhaustive]
pub enum Content {
    /// Text, and nothing else.
    Text(String),
    /// Several parts, in order.
    Parts(Vec<ContentPart>),
}

impl Content {
    /// The text; of several parts, their texts one after the other.
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

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<ContentPart>> for Content {
    fn from(parts: Vec<ContentPart>) -> Self {
        Self::Parts(parts)
    }
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
    /// An image, by its address: `https:`, or `data:` for the image itself.
    ImageUrl {
        /// The address.
        url: String,
        /// How closely the model is to look, in the provider's words: `low`, `high` or `auto` with OpenAI.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        detail: Option<String>,
    },
}

impl ContentPart {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// An image by its address, which the provider fetches.
    pub fn image_url(url: impl Into<String>) -> Self {
        Self::ImageUrl {
            url: url.into(),
            detail: None,
        }
    }

    /// An image itself, as a `data:` address. `media_type` is that of the bytes: `image/png`, `image/jpeg`.
    ///
    /// ```
    /// # use rappel_core::{ContentPart, Message};
    /// # let png = [0x89, b'P', b'N', b'G'];
    /// let question = Message::human(vec![ContentPart::text("What is this?"), ContentPart::image_data("image/png", png)]);
    /// ```
    pub fn image_data(media_type: &str, bytes: impl AsRef<[u8]>) -> Self {
        let mut url = format!("data:{media_type};base64,");
        STANDARD.encode_string(bytes, &mut url);
        Self::image_url(url)
    }

    /// Sets how closely the model is to look at an image, in the provider's words: `low`, `high` or `auto` with OpenAI. A text has no such detail.
    #[must_use]
    pub fn with_detail(mut self, level: impl Into<String>) -> Self {
        if let Self::ImageUrl { detail, .. } = &mut self {
            *detail = Some(level.into());
        }
        self
    }
}

/// A tool that the model asks for.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ToolCall {
    /// The model's id for this call: the tool's answer names it.
    pub id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// The arguments as the model wrote them: usually a JSON object, but nothing stops a model from writing something else.
    pub arguments: String,
    /// What the provider says beside of the call. Some want it back with the call, so it is sent back: Google's signature of a thought, for example.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Map::is_empty"))]
    pub extra: Map<String, Value>,
}

impl ToolCall {
    /// A call of the tool `name`.
    pub fn new(name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self {
            id: None,
            name: name.into(),
            arguments: arguments.into(),
            extra: Map::new(),
        }
    }

    /// Sets the call's id.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The arguments as JSON.
    ///
    /// # Errors
    /// Where the model wrote something that is not JSON.
    pub fn parse_arguments(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.arguments)
    }
}
