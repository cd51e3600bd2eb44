//! Whether bytes that arrive in pieces are UTF-8.

/// Checks a byte stream packet by packet; a character may lie across packets.
///
/// The SSE decoder replaces what is not UTF-8, which would hide a broken stream.
#[derive(Debug, Default)]
pub(crate) struct Utf8Check {
    /// The start of a character whose rest is still to come.
    partial: [u8; 4],
    partial_len: usize,
}

impl Utf8Check {
    /// How much of the packet is good: its length, unless it breaks the stream.
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

    /// Whether the byte goes on with the partial character.
    fn push(&mut self, byte: u8) -> bool {
        self.partial[self.partial_len] = byte;
        match core::str::from_utf8(&self.partial[..=self.partial_len]) {
            Ok(_) => self.partial_len = 0,
            // No character is longer than four bytes, so there is room for the next one.
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
    fn characters_may_lie_across_packets() {
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
    fn what_is_broken_is_found_in_every_split() {
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
