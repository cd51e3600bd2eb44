//! A key that is split over the chunks of an answer.
//!
//! A text comes in pieces, which a result joins. So the end of a piece that may be the beginning of
//! a key is held back until the next piece, or until the end of the answer. At most a key's length is
//! held back.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use rappel_core::{Map, Value};

use super::{REDACTED, SHORTEST_IN_ANSWERS, Secret, Secrets};

/// Fewer bytes of a key are not held back. They are common in texts: `sk-` is in `risk-free`.
const SHORTEST_HELD: usize = 4;

/// For each number of bytes of `key` that a text ends with: the next smaller number. This is the
/// table of the search by Knuth, Morris and Pratt.
pub(super) fn shorter(key: &[u8]) -> Arc<[usize]> {
    let mut table = vec![0; key.len().max(1)];
    let mut matched = 0;
    for at in 1..key.len() {
        while matched > 0 && key[at] != key[matched] {
            matched = table[matched - 1];
        }
        matched += usize::from(key[at] == key[matched]);
        table[at] = matched;
    }
    table.into()
}

impl Secret {
    fn is_searched(&self) -> bool {
        self.key.len() >= SHORTEST_IN_ANSWERS
    }

    /// How many bytes of the key the text ends with after `more`, if it ended with `matched` bytes
    /// before. `None` if the key is in the text.
    fn follow(&self, matched: usize, more: &[u8]) -> Option<usize> {
        let length = self.key.len();
        if !self.is_searched() {
            return Some(0);
        }
        if more.len() < 2 * length {
            return self.step(matched, more);
        }
        // A long text is searched faster than byte by byte.
        self.step(matched, &more[..length - 1])?;
        if self.finder.find(more).is_some() {
            return None;
        }
        self.step(0, &more[more.len() - (length - 1)..])
    }

    fn step(&self, mut matched: usize, more: &[u8]) -> Option<usize> {
        let key = self.key.as_bytes();
        for byte in more {
            while matched > 0 && key[matched] != *byte {
                matched = self.shorter[matched - 1];
            }
            matched += usize::from(key[matched] == *byte);
            if matched == key.len() {
                return None;
            }
        }
        Some(matched)
    }
}

/// One text of an answer, in pieces.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// For each secret: how many bytes of it the text ends with.
    matched: Vec<usize>,
    /// How many bytes at the end of the text have not been returned.
    held: usize,
}

impl Split {
    /// The next part of the text without secrets, after the next piece of it. `None` if it is the
    /// piece itself. `last`: nothing is held back.
    pub(crate) fn push(&mut self, secrets: &Secrets, piece: &str, last: bool) -> Option<String> {
        if piece.is_empty() && (self.held == 0 || !last) || !secrets.has_any() {
            return None;
        }
        let before = self.open(secrets);
        if piece.is_empty() {
            let held = mem::take(&mut self.held);
            return Some(before[before.len() - held..].to_owned());
        }
        self.matched.resize(secrets.0.len(), 0);
        let mut is_found = false;
        for (secret, matched) in secrets.0.iter().zip(&mut self.matched) {
            match secret.follow(*matched, piece.as_bytes()) {
                Some(now) => *matched = now,
                None => is_found = true,
            }
        }
        let longest = self.matched.iter().copied().max().unwrap_or_default();
        if !is_found && self.held == 0 && (last || longest < SHORTEST_HELD) {
            return None;
        }
        Some(self.replace(secrets, &[before, piece].concat(), before.len(), last))
    }

    /// What is held back, at the end of the text.
    pub(crate) fn end(&mut self, secrets: &Secrets) -> Option<String> {
        self.push(secrets, "", true)
    }

    /// The end of the text that is the beginning of a secret.
    fn open<'a>(&self, secrets: &'a Secrets) -> &'a str {
        let matched = secrets.0.iter().zip(&self.matched);
        let longest = matched.max_by_key(|(_, matched)| **matched);
        longest.map_or("", |(secret, matched)| &secret.key[..*matched])
    }

    /// `text` begins with the `before` bytes that were the beginning of a secret.
    #[cold]
    fn replace(&mut self, secrets: &Secrets, text: &str, before: usize, last: bool) -> String {
        let mut part = String::new();
        let (mut returned, mut end) = (before - self.held, 0);
        let first = |from: usize| {
            let searched = secrets.0.iter().filter(|secret| secret.is_searched());
            let found = searched.filter_map(|secret| {
                let start = from + secret.finder.find(&text.as_bytes()[from..])?;
                Some((start, start + secret.key.len()))
            });
            found.min()
        };
        while let Some((start, next)) = first(end) {
            part.push_str(text.get(returned..start).unwrap_or_default());
            part.push_str(REDACTED);
            (returned, end) = (next, next);
        }
        for (secret, matched) in secrets.0.iter().zip(&mut self.matched) {
            *matched = secret.follow(0, &text.as_bytes()[end..]).unwrap_or_default();
        }
        let longest = self.matched.iter().copied().max().unwrap_or_default();
        let is_held = longest >= SHORTEST_HELD && !last;
        self.held = if is_held { longest.min(text.len() - returned) } else { 0 };
        part.push_str(&text[returned..text.len() - self.held]);
        part
    }
}

/// Texts under names, in pieces.
#[derive(Debug, Default)]
pub(crate) struct Splits(BTreeMap<String, Split>);

impl Splits {
    /// Replaces secrets in the texts of `fields`, which are the next pieces.
    pub(crate) fn push(&mut self, secrets: &Secrets, fields: &mut Map<String, Value>) {
        for (name, value) in fields {
            let Value::String(piece) = value else { continue };
            if !self.0.contains_key(name) {
                self.0.insert(name.clone(), Split::default());
            }
            let split = self.0.get_mut(name);
            if let Some(part) = split.and_then(|split| split.push(secrets, piece, false)) {
                *piece = part;
            }
        }
    }

    /// Adds what is held back to `fields`.
    pub(crate) fn end(&mut self, secrets: &Secrets, fields: &mut Map<String, Value>) {
        for (name, split) in &mut self.0 {
            let Some(held) = split.end(secrets) else { continue };
            match fields.get_mut(name) {
                Some(Value::String(text)) => text.push_str(&held),
                _ => drop(fields.insert(name.clone(), held.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "aab-aab-aab-aabb-aab";

    fn secrets() -> Secrets {
        [Secret::new(KEY).unwrap(), Secret::new("b-aab-aab-another").unwrap()].into_iter().collect()
    }

    /// The parts of a text that comes in these pieces.
    fn parts<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let (secrets, mut split) = (secrets(), Split::default());
        let pieces = pieces.into_iter();
        let mut parts: Vec<_> = pieces
            .map(|piece| split.push(&secrets, piece, false).unwrap_or_else(|| piece.to_owned()))
            .collect();
        parts.extend(split.end(&secrets));
        assert_eq!(split.end(&secrets), None);
        parts
    }

    #[test]
    fn only_what_may_become_a_key_is_held_back() {
        assert_eq!(
            parts(["so aab", "-", "", "aab", "?", "!"]),
            ["so aab", "", "", "", "-aab?", "!"]
        );
        assert_eq!(parts(["aab-aab-", "end"]), ["", "aab-aab-end"]);
        assert_eq!(parts(["x aab-a"]), ["x ", "aab-a"]);
    }

    #[test]
    fn at_most_its_first_letters_are_returned() {
        for at in 1..KEY.len() {
            let (head, tail) = KEY.split_at(at);
            let head = format!("x {head}");
            let tail = format!("{tail} y");
            let joined = parts([&*head, &tail]).concat();
            let beginning = &KEY[..if at < SHORTEST_HELD { at } else { 0 }];
            assert_eq!(joined, format!("x {beginning}[redacted] y"), "split at {at}");
        }
        let letters = KEY.char_indices().map(|(at, letter)| &KEY[at..at + letter.len_utf8()]);
        assert_eq!(parts(letters).concat(), "aab[redacted]");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// No key comes out, nothing else is lost, and no more than a key is held back.
        #[test]
        fn any_split_has_no_key(
            text in proptest::collection::vec(
                proptest::sample::select(vec![KEY, "b-aab-aab-another", "aab-", "b", "-", "é", "a"]),
                0..12,
            ),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..30),
        ) {
            let text = text.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.retain(|cut| text.is_char_boundary(*cut));
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let parts = parts(pieces.iter().copied());
            let joined = parts.concat();
            prop_assert!(!joined.contains(KEY) && !joined.contains("b-aab-aab-another"), "{}", joined);
            if !text.contains(KEY) && !text.contains("b-aab-aab-another") {
                prop_assert_eq!(&joined, &text);
                let (mut said, mut returned) = (0, 0);
                for (piece, part) in pieces.iter().zip(&parts) {
                    (said, returned) = (said + piece.len(), returned + part.len());
                    prop_assert!(said - returned < KEY.len());
                }
            }
        }
    }
}
