//! Lone surrogates.
//!
//! A server that splits its text by UTF-16 units may split a character. JSON can express the two
//! halves: `\ud83d`, and `\ude00` in the next chunk. UTF-8 cannot, so the parser refuses the whole
//! chunk.

const REPLACEMENT: &[u8; 6] = br"\ufffd";

/// The JSON with a replacement character for each lone surrogate, or `None` if there is none.
pub(super) fn mend(json: &[u8]) -> Option<Vec<u8>> {
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) =
        json.get(at..).unwrap_or_default().iter().position(|byte| *byte == b'\\')
    {
        at += found;
        at += match unit(&json[at..]) {
            Some(0xd800..=0xdbff) if matches!(unit(&json[at + 6..]), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                mended.get_or_insert_with(|| json.to_vec())[at..at + 6]
                    .copy_from_slice(REPLACEMENT);
                6
            }
            Some(_) => 6,
            // An escape of one character, which may be another backslash.
            None => 2,
        };
    }
    mended
}

/// The UTF-16 unit of an escape at the beginning of `json`.
fn unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(br"\u")?.first_chunk::<4>()?;
    digits
        .iter()
        .try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}
