//! UTF-8 validation of bytes that arrive in pieces.

/// Checks a byte stream packet by packet. A character may span packets.
///
/// The SSE decoder replaces invalid bytes, which would hide a broken stream.
#[derive(Debug, Default)]
pub(crate) struct Utf8Check {
    /// The start of a character whose rest has not arrived.
    partial: [u8; 4],
    partial_len: usize,
}

impl Utf8Check {
    /// The length of the valid prefix. It is the packet's length if the packet is valid.
    pub(crate) fn accept(&mut self, packet: &[u8]) -> usize {
        let mut done = 0;
        while self.partial_len > 0 {
            let Some(&byte) = packet.get(done) else {
                return done;
            };
            if !self.push(byte) {
                return done;
            }
            done += 1;
        }
        let rest = &packet[done..];
        match core::str::from_utf8(rest) {
            Ok(_) => packet.len(),
            Err(error) if error.error_len().is_some() => done + error.valid_up_to(),
            Err(error) => {
                let partial = &rest[error.valid_up_to()..];
                self.partial[..partial.len()].copy_from_slice(partial);
                self.partial_len = partial.len();
                packet.len()
            }
        }
    }

    /// Returns `true` if the byte continues the partial character.
    fn push(&mut self, byte: u8) -> bool {
        self.partial[self.partial_len] = byte;
        match core::str::from_utf8(&self.partial[..=self.partial_len]) {
            Ok(_) => self.partial_len = 0,
            // A character has at most four bytes, so there is room for the next byte.
            Err(error) if error.error_len().is_none() => self.partial_len += 1,
            Err(_) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_may_span_packets() {
        let text = "a é € 😀 z";
        for packet in 1..=text.len() {
            let mut check = Utf8Check::default();
            for bytes in text.as_bytes().chunks(packet) {
                assert_eq!(check.accept(bytes), bytes.len(), "packets of {packet}");
            }
            assert_eq!(check.partial_len, 0);
        }
    }

    #[test]
    fn invalid_bytes_are_found_in_every_split() {
        // A lone continuation, a lead without its rest, an overlong form, a surrogate.
        for broken in [&b"ab\x80cd"[..], b"ab\xe2\x82 cd", b"ab\xc0\xaf", b"ab\xed\xa0\x80"] {
            for split in 0..=broken.len() {
                let (head, tail) = broken.split_at(split);
                let mut check = Utf8Check::default();
                let good = check.accept(head) == head.len() && check.accept(tail) == tail.len();
                assert!(!good, "{broken:?} split at {split}");
            }
        }
    }
}
