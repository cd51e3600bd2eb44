//! A text that comes in pieces.

use super::rules::{Rules, merge};

/// Masks the secrets of a text that comes in pieces. It holds back what may be the begin of a
/// secret: one byte less than the longest match.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The text from the first byte at which a match may still begin.
    text: String,
    /// Up to here the text has gone out, or a mask for it.
    done: usize,
    /// The end of the last mask, if it is not before the text.
    masked_to: Option<usize>,
    /// Where the search of each pattern goes on.
    next: Vec<usize>,
}

impl Stream {
    /// Takes the next piece, and returns what can go out.
    pub(super) fn push(&mut self, piece: &str, rules: &Rules) -> String {
        self.text.push_str(piece);
        // A match that begins before the edge is whole, whatever comes.
        let mut edge = self.text.len().saturating_sub(rules.longest - 1);
        while !self.text.is_char_boundary(edge) {
            edge -= 1;
        }
        self.take(edge, rules)
    }

    /// Returns the rest.
    pub(super) fn finish(&mut self, rules: &Rules) -> String {
        self.take(self.text.len(), rules)
    }

    fn take(&mut self, edge: usize, rules: &Rules) -> String {
        self.next.resize(rules.patterns.len(), 0);
        let mut found = Vec::new();
        for (pattern, next) in rules.patterns.iter().zip(&mut self.next) {
            if *next < edge {
                *next = Rules::find(pattern, &self.text, *next..edge, &mut found);
            }
        }
        let mut out = String::new();
        for secret in merge(found) {
            if secret.end <= self.done {
                continue;
            }
            if secret.start > self.done {
                out.push_str(&self.text[self.done..secret.start]);
            }
            // A secret that begins in the last one, or at its end, has its mask.
            if self.masked_to.is_none_or(|end| secret.start > end) {
                out.push_str(&rules.mask);
            }
            self.done = secret.end;
            self.masked_to = Some(secret.end);
        }
        if self.done < edge {
            out.push_str(&self.text[self.done..edge]);
            self.done = edge;
        }
        self.text.drain(..edge);
        self.done -= edge;
        self.masked_to = self.masked_to.and_then(|end| end.checked_sub(edge));
        self.next.iter_mut().for_each(|next| *next -= edge);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str]) -> Rules {
        let mut rules = Rules::new();
        patterns.iter().for_each(|pattern| rules.add_pattern(pattern).expect("it is bounded"));
        rules.mask = "#".into();
        rules
    }

    fn streamed<'a>(pieces: impl IntoIterator<Item = &'a str>, rules: &Rules) -> String {
        let mut stream = Stream::default();
        let mut out: String = pieces.into_iter().map(|piece| stream.push(piece, rules)).collect();
        out.push_str(&stream.finish(rules));
        out
    }

    #[test]
    fn a_stream_gives_what_the_whole_text_gives_wherever_it_is_split() {
        let rules = rules(&["sk-[a-z]{4,8}", "ab", "bcd", "ü{2}", r"\d{4,6}"]);
        let texts = [
            "say sk-abcdefghij or sk-abc",
            "abcd abbcd aab",
            "üüü ü ü abü",
            "1234567890123 12 1234",
            "sk-sk-abcdsk-abcd",
            "xababababababababababababx",
            "",
        ];
        for text in texts {
            let whole = rules.text(text);
            let splits: Vec<usize> =
                (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
            for first in &splits {
                for second in splits.iter().filter(|second| *second >= first) {
                    let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
                    assert_eq!(streamed(pieces, &rules), whole, "{pieces:?}");
                }
            }
            let characters = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
            assert_eq!(streamed(characters, &rules), whole);
        }
    }

    #[test]
    fn no_more_is_held_back_than_the_longest_match() {
        let rules = rules(&["secret"]);
        let mut stream = Stream::default();
        assert_eq!(stream.push("0123456789", &rules), "01234");
        assert_eq!(stream.push("x", &rules), "5");
    }

    #[test]
    fn without_patterns_nothing_is_held_back() {
        let mut stream = Stream::default();
        assert_eq!(stream.push("abc", &rules(&[])), "abc");
    }
}
