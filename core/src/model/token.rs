//! The text of a token: a string that needs no heap for up to 24 bytes.

use alloc::string::String;
use core::fmt;
use core::ops::Deref;

use compact_str::CompactString;

use crate::util::conversions;

/// A piece of the text that a model streams. It may be empty.
///
/// Texts of up to 24 bytes (12 on 32-bit targets) need no allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Token(CompactString);

impl Token {
    /// The empty token.
    #[must_use]
    pub const fn empty() -> Self {
        Self(CompactString::const_new(""))
    }

    pub(crate) fn push_str(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// Whether it owns no memory.
    #[inline]
    pub(crate) fn is_inline(&self) -> bool {
        !self.0.is_heap_allocated()
    }

    /// The text.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Deref for Token {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Token {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

conversions! {
    impl From<&str> for Token = |text: &str| Self(CompactString::new(text));
    impl From<String> for Token = |text: String| Self(text.into());
    impl From<Token> for String = |token: Token| token.0.into_string();
}

impl PartialEq<str> for Token {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Token {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}
