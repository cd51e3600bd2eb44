//! JSON that is almost JSON.
//!
//! The parser refuses a text for one wrong byte. Servers write some that other parsers accept:
//!
//! - Bytes that are not UTF-8. Each is replaced by U+FFFD, as the standard of event streams says.
//! - Half a character: `\ud83d` in one chunk and `\ude00` in the next, from servers that split
//!   their text by UTF-16 units. Each half is replaced by U+FFFD.
//! - `NaN`, `Infinity` and `-Infinity`, from Python. They become `null`.
//! - Control characters in a string, such as a line break. They are escaped.

use std::borrow::Cow;

use serde_json::Value;

const NUMBERS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// Reads any JSON. Of a key that is there twice, the last one counts.
pub(crate) fn read_value(json: &[u8]) -> Result<Value, serde_json::Error> {
    let json = without_mark(json);
    serde_json::from_slice(json).or_else(|fault| match mend(json) {
        Some(mended) => serde_json::from_slice(&mended),
        None => Err(fault),
    })
}

/// The text without the byte order mark that some servers send first.
pub(super) fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// The mended JSON, or `None` if there is nothing to mend.
pub(super) fn mend(json: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(json);
    let replaced = matches!(text, Cow::Owned(_));
    let bytes = text.as_bytes();
    let mut mended = Vec::with_capacity(bytes.len());
    let (mut at, mut in_string) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let (taken, put): (usize, &[u8]) = match byte {
            b'"' => {
                in_string = !in_string;
                (1, b"\"")
            }
            b'\\' if in_string => escape(rest),
            0..0x20 if in_string => {
                mended.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                (1, b"")
            }
            b'N' | b'I' | b'-' if !in_string => {
                match NUMBERS.iter().find(|number| rest.starts_with(number)) {
                    Some(number) => (number.len(), b"null"),
                    None => (1, &rest[..1]),
                }
            }
            _ => (1, &rest[..1]),
        };
        mended.extend_from_slice(put);
        at += taken;
    }
    (replaced || mended != bytes).then_some(mended)
}

/// The length of the escape at the beginning of `json`, and what it is replaced by.
fn escape(json: &[u8]) -> (usize, &[u8]) {
    let two = &json[..json.len().min(2)];
    match unit(json) {
        Some(0xd800..=0xdbff) if matches!(unit(&json[6..]), Some(0xdc00..=0xdfff)) => {
            (12, &json[..12])
        }
        Some(0xd800..=0xdfff) => (6, br"\ufffd"),
        Some(_) => (6, &json[..6]),
        // An escape of one character, which may be another backslash.
        None => (two.len(), two),
    }
}

/// The UTF-16 unit of an escape at the beginning of `json`.
fn unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(br"\u")?.first_chunk::<4>()?;
    digits
        .iter()
        .try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_other_parsers_accept_is_read() {
        for (text, expected) in [
            (
                &br#"{"a":NaN,"b":[Infinity,-Infinity,-1]}"#[..],
                json!({"a": null, "b": [null, null, -1]}),
            ),
            (br#"{"a":1,"a":{"b":1,"b":2}}"#, json!({"a": {"b": 2}})),
            (b"{\"a\":\"x\xffy\"}", json!({"a": "x\u{fffd}y"})),
            (b"{\"a\":\"x\ny\t\"}", json!({"a": "x\ny\t"})),
            (br#"{"a":"\ud83d","b":"\ud83d\ude00"}"#, json!({"a": "\u{fffd}", "b": "\u{1f600}"})),
            (b"\xef\xbb\xbf {\"a\":1}\n", json!({"a": 1})),
        ] {
            assert_eq!(read_value(text).unwrap(), expected);
        }
    }

    #[test]
    fn what_looks_alike_in_a_string_is_kept() {
        for text in
            [r#"{"a":"NaN -Infinity \" NaN"}"#, r#"{"a":"\\","b":"\\ud83d"}"#, "{\"NaN\":1}"]
        {
            assert_eq!(mend(text.as_bytes()), None, "{text}");
        }
        for broken in ["{\"a\":NaNa}", "{\"a\":", "Infinit", "{\"a\":\"\\"] {
            read_value(broken.as_bytes()).unwrap_err();
        }
    }
}
