//! Halves of characters.
//!
//! A server that cuts its text by UTF-16 may cut through a character, and JSON can write the two halves: `\ud83d`, and `\ude00` in the next
//! chunk. UTF-8 cannot, so the parser refuses the whole chunk, where the parsers of other languages do not.

const REPLACEMENT: &[u8; 6] = br"\ufffd";

/// The JSON with a replacement for each half that stands alone; `None` where there is none.
pub(super) fn mend(json: &[u8]) -> Option<Vec<u8>> {
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = json.get(at..).unwrap_or_default().iter().position(|byte| *byte == b'\\') {
        at += found;
        at += match unit(&json[at..]) {
            Some(0xd800..=0xdbff) if matches!(unit(&json[at + 6..]), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                mended.get_or_insert_with(|| json.to_vec())[at..at + 6].copy_from_slice(REPLACEMENT);
                6
            }
            Some(_) => 6,
            // An escape of one letter, which may be another backslash.
            None => 2,
        };
    }
    mended
}

/// The unit of UTF-16 that an escape at the beginning of `json` writes.
fn unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(br"\u")?.first_chunk::<4>()?;
    digits
        .iter()
        .try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}
