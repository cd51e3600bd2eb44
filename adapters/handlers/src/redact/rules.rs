//! What is a secret: patterns in text, and keys in JSON.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use rappel_core::{Map, Value};
use regex::Regex;

#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) patterns: Vec<Regex>,
    /// The longest match of any pattern, in bytes.
    pub(super) longest: usize,
    keys: HashSet<String>,
    pub(super) mask: String,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is not a regular expression.
    #[error("the pattern `{pattern}` is not a regular expression: {message}")]
    Invalid {
        /// The pattern.
        pattern: String,
        /// Why.
        message: String,
    },
    /// A match may have any length. So it cannot be said how much of a stream has to be held back.
    #[error(
        "matches of `{pattern}` have no maximum length: replace `+` and `*` with a limit, as `{{1,64}}`"
    )]
    Unbounded {
        /// The pattern.
        pattern: String,
    },
    /// It matches the empty text.
    #[error("the pattern `{pattern}` matches the empty text: let it match at least one character")]
    Empty {
        /// The pattern.
        pattern: String,
    },
    /// It looks at the text around a match, which is not there in a stream.
    #[error("the pattern `{pattern}` checks the text around a match: remove `^`, `$` and `\\b`")]
    LooksAround {
        /// The pattern.
        pattern: String,
    },
}

impl Rules {
    pub(super) fn new() -> Self {
        Self { patterns: Vec::new(), longest: 1, keys: HashSet::new(), mask: "[redacted]".into() }
    }

    pub(super) fn add_pattern(&mut self, pattern: &str) -> Result<(), PatternError> {
        let invalid = |message: String| PatternError::Invalid { pattern: pattern.into(), message };
        let parsed = regex_syntax::parse(pattern).map_err(|error| invalid(error.to_string()))?;
        let regex = Regex::new(pattern).map_err(|error| invalid(error.to_string()))?;
        let pattern = pattern.to_owned();
        let properties = parsed.properties();
        if properties.minimum_len().unwrap_or_default() == 0 {
            return Err(PatternError::Empty { pattern });
        }
        if !properties.look_set().is_empty() {
            return Err(PatternError::LooksAround { pattern });
        }
        let Some(longest) = properties.maximum_len() else {
            return Err(PatternError::Unbounded { pattern });
        };
        self.longest = self.longest.max(longest);
        self.patterns.push(regex);
        Ok(())
    }

    pub(super) fn add_key(&mut self, key: &str) {
        self.keys.insert(normal(key));
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Adds the matches of a pattern that begin in `range`. Matches may overlap: each place at which
    /// a match begins counts. Returns where the next search begins.
    pub(super) fn find(
        regex: &Regex,
        text: &str,
        range: Range<usize>,
        found: &mut Vec<Range<usize>>,
    ) -> usize {
        let mut next = range.start;
        while let Some(found_now) = regex.find_at(text, next) {
            if found_now.start() >= range.end {
                break;
            }
            found.push(found_now.range());
            let first = text[found_now.start()..].chars().next().map_or(1, char::len_utf8);
            next = found_now.start() + first;
        }
        next.max(range.end)
    }

    /// The secrets in a text: in order, apart from each other.
    pub(super) fn secrets(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for pattern in &self.patterns {
            Self::find(pattern, text, 0..text.len(), &mut found);
        }
        merge(found)
    }

    /// A text with its secrets masked.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.json_text(text) {
            Some(json) => Cow::Owned(self.plain_text(&json).into_owned()),
            None => self.plain_text(text),
        }
    }

    fn plain_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let secrets = self.secrets(text);
        if secrets.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = String::new();
        let mut from = 0;
        for secret in secrets {
            masked.push_str(&text[from..secret.start]);
            masked.push_str(&self.mask);
            from = secret.end;
        }
        masked.push_str(&text[from..]);
        Cow::Owned(masked)
    }

    /// A text that is JSON, without the values of keys. `None` if there are none, or if the text is
    /// no JSON.
    fn json_text(&self, text: &str) -> Option<String> {
        if !self.has_keys() || begins_json(text) != Some(true) {
            return None;
        }
        let Ok(mut value) = serde_json::from_str::<Value>(text.trim_start_matches(is_blank)) else {
            // It may be cut off in the middle of a value.
            return self.names_key(text).then(|| self.mask.clone());
        };
        let before = value.clone();
        self.value(&mut value);
        // If a key is in an object twice, the parsed value lacks the first one, which may be a secret.
        let is_changed = value != before || pairs_of_text(text) != pairs_of(&before);
        is_changed.then(|| value.to_string())
    }

    /// Whether a text that is not whole JSON has a key.
    fn names_key(&self, text: &str) -> bool {
        let text = normal(text);
        self.keys.iter().any(|key| text.contains(key))
    }

    /// Masks the secrets in a text.
    pub(super) fn string(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text) {
            *text = masked;
        }
    }

    /// Masks the secrets in a text that is there.
    pub(super) fn option(&self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.string(text);
        }
    }

    /// Which of the pieces have a part of a secret of the joined text, and the joined text's secrets.
    pub(super) fn hits(&self, pieces: &[&str]) -> Vec<bool> {
        let secrets = self.secrets(&pieces.concat());
        let mut start = 0;
        let hit = |piece: &&str| {
            let range = start..start + piece.len();
            start = range.end;
            secrets.iter().any(|secret| secret.start < range.end && range.start < secret.end)
        };
        pieces.iter().map(hit).collect()
    }

    /// Masks pieces of one text. A piece that has a part of a secret that others have, too, is
    /// masked as a whole.
    pub(super) fn pieces<'a>(&self, pieces: impl Iterator<Item = &'a mut String>) {
        let mut pieces: Vec<&mut String> = pieces.collect();
        pieces.iter_mut().for_each(|piece| self.string(piece));
        if pieces.len() < 2 {
            return;
        }
        let hits = self.hits(&pieces.iter().map(|piece| &***piece).collect::<Vec<_>>());
        for (piece, hit) in pieces.into_iter().zip(hits) {
            if hit {
                piece.clone_from(&self.mask);
            }
        }
    }

    /// Masks the secrets in JSON: the values of keys, and what matches in texts, numbers and keys.
    pub(super) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Number(number) => {
                if !self.secrets(&number.to_string()).is_empty() {
                    *value = self.mask.clone().into();
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(map) => self.map(map),
            Value::Null | Value::Bool(_) => {}
        }
    }

    pub(super) fn map(&self, map: &mut Map<String, Value>) {
        for (key, value) in map.iter_mut() {
            if self.keys.contains(&normal(key)) {
                if !value.is_null() {
                    *value = self.mask.clone().into();
                }
            } else {
                self.value(value);
            }
        }
        let secret_keys: Vec<String> =
            map.keys().filter(|key| !self.secrets(key).is_empty()).cloned().collect();
        for key in secret_keys {
            if let Some(value) = map.remove(&key) {
                map.insert(self.text(&key).into_owned(), value);
            }
        }
    }
}

/// Joins ranges that overlap or touch.
pub(super) fn merge(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Whether a text begins as a JSON object or list does, or as a JSON string that has one. `None` if
/// the text is too short to tell.
pub(super) fn begins_json(text: &str) -> Option<bool> {
    let text = text.trim_start_matches(is_blank);
    let text = text.strip_prefix('"').unwrap_or(text).trim_start_matches(is_blank);
    text.chars().next().map(|first| matches!(first, '{' | '['))
}

/// Whether a character may be in front of JSON. Some servers write a byte order mark.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || character == '\u{feff}'
}

/// The number of keys in a text that is valid JSON: each has a colon outside of strings.
fn pairs_of_text(json: &str) -> usize {
    let (mut pairs, mut in_string, mut is_escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b':' if !in_string => pairs += 1,
            _ => {}
        }
    }
    pairs
}

/// The number of keys in a parsed value.
fn pairs_of(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(pairs_of).sum(),
        Value::Object(map) => map.len() + map.values().map(pairs_of).sum::<usize>(),
        _ => 0,
    }
}

/// A key without case, `_` and `-`: `api_key`, `apiKey` and `API-KEY` are one.
fn normal(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}
