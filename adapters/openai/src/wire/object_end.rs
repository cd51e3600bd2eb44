//! Where a JSON object ends, in bytes that arrive in pieces.

use memchr::memchr2;

/// Finds the brace that closes a JSON object. It does not check the JSON otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ObjectEnd {
    /// The number of open braces and brackets.
    depth: usize,
    in_string: bool,
    /// The last byte was a backslash in a string.
    escaped: bool,
}

impl ObjectEnd {
    /// Returns the number of bytes up to the closing brace, with it. `None` if it is not among
    /// them. The first byte must be the opening brace.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                at += memchr2(b'"', b'\\', &bytes[at..])?;
                self.escaped = bytes[at] == b'\\';
                self.in_string = self.escaped;
            } else {
                match bytes[at] {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
            }
            at += 1;
        }
        None
    }

    /// Returns `true` between the opening and the closing brace.
    pub(crate) fn is_open(&self) -> bool {
        self.depth > 0
    }
}

/// Returns `true` if the text is one object, with blanks around it.
pub(crate) fn is_whole_object(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('{') && ObjectEnd::default().feed(text.as_bytes()) == Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_brace_is_found_in_every_split() {
        let json = br#"{"a":"}\"}\\","b":[{},"]"],"c":{"d":1}}, rest"#;
        let end = json.len() - ", rest".len();
        for split in 0..=json.len() {
            let mut scan = ObjectEnd::default();
            let (head, tail) = json.split_at(split);
            let found = scan.feed(head).or_else(|| scan.feed(tail).map(|end| split + end));
            assert_eq!(found, Some(end), "split at {split}");
        }
    }

    #[test]
    fn what_is_not_closed_is_open() {
        for open in ["{", r#"{"a":"}"#, r#"{"a":[}"#, r#"{"a\"}"#] {
            let mut scan = ObjectEnd::default();
            assert_eq!(scan.feed(open.as_bytes()), None, "{open}");
            assert!(scan.is_open(), "{open}");
        }
        assert!(is_whole_object(" {\"a\":{}}\n"));
        for other in ["", "[]", "{", "{}{}", "x{}", "{} x"] {
            assert!(!is_whole_object(other), "{other}");
        }
    }
}
