//! Compressed responses. The client does not request compression, but some gateways compress anyway.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, Write};

use bytes::{Buf, Bytes};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use futures_core::Stream;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, TRANSFER_ENCODING};

use crate::coop::Budget;
use crate::error::OpenAiError;
use crate::transport::BodyStream;

/// At most this many compressed bytes are inflated at a time. They make a megabyte at most.
const STEP: usize = 1 << 10;

/// How a body is compressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
    /// zlib, or the same without its header, which some servers call by the same name.
    Deflate,
    /// Not supported, as the server calls it.
    Other(String),
}

impl Encoding {
    /// Reads the headers of a response.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let is_plain = |coding: &str| {
            let coding = coding.trim();
            coding.is_empty()
                || coding.eq_ignore_ascii_case("identity")
                || coding.eq_ignore_ascii_case("chunked")
        };
        for value in headers.get_all(TRANSFER_ENCODING) {
            let value = text(value);
            if !value.split(',').all(is_plain) {
                return Self::Other(value);
            }
        }
        let mut found = Self::Plain;
        for value in headers.get_all(CONTENT_ENCODING) {
            let value = text(value);
            for coding in value.split(',').filter(|coding| !is_plain(coding)) {
                let coding = coding.trim().to_ascii_lowercase();
                found = match (&*coding, found) {
                    ("gzip" | "x-gzip", Self::Plain) => Self::Gzip,
                    ("deflate", Self::Plain) => Self::Deflate,
                    _ => return Self::Other(value),
                };
            }
        }
        found
    }

    /// The body without its compression.
    ///
    /// # Errors
    /// The name of an encoding that is not supported.
    pub(crate) fn decode(self, body: BodyStream) -> Result<BodyStream, String> {
        let (name, decoder) = match self {
            Self::Plain => return Ok(body),
            Self::Gzip => ("gzip", Decoder::Gzip(MultiGzDecoder::new(Vec::new()))),
            Self::Deflate => ("deflate", Decoder::Unknown),
            Self::Other(name) => return Err(name),
        };
        let rest = Bytes::new();
        Ok(Box::pin(Inflate {
            body,
            name,
            decoder,
            rest,
            is_empty: true,
            is_broken: false,
            is_over: false,
            budget: Budget::new(),
        }))
    }
}

enum Decoder {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Raw(DeflateDecoder<Vec<u8>>),
    /// zlib or raw: the first byte says which.
    Unknown,
}

impl Decoder {
    /// Inflates the bytes one by one, so that what comes before a fault does not depend on the
    /// borders of packets. Returns `false` after a fault.
    fn inflate(&mut self, bytes: &[u8], inflated: &mut Vec<u8>) -> bool {
        if let (Self::Unknown, Some(first)) = (&self, bytes.first()) {
            // The method of zlib is 8, with a window of at most 32 KiB.
            let is_zlib = first & 0x0f == 8 && first >> 4 <= 7;
            *self = match is_zlib {
                true => Self::Zlib(ZlibDecoder::new(Vec::new())),
                false => Self::Raw(DeflateDecoder::new(Vec::new())),
            };
        }
        bytes.iter().all(|byte| {
            let step = match self {
                Self::Gzip(decoder) => step(decoder, *byte, inflated, MultiGzDecoder::get_mut),
                Self::Zlib(decoder) => step(decoder, *byte, inflated, ZlibDecoder::get_mut),
                Self::Raw(decoder) => step(decoder, *byte, inflated, DeflateDecoder::get_mut),
                Self::Unknown => Ok(()),
            };
            step.is_ok()
        })
    }
}

fn step<W: Write>(
    decoder: &mut W,
    byte: u8,
    inflated: &mut Vec<u8>,
    output: fn(&mut W) -> &mut Vec<u8>,
) -> io::Result<()> {
    // Nothing is written of bytes after the end of the compressed data.
    while decoder.write(&[byte])? == 0 {
        if output(decoder).is_empty() {
            break;
        }
        inflated.append(output(decoder));
    }
    decoder.flush()?;
    inflated.append(output(decoder));
    Ok(())
}

/// A body that is inflated as it arrives.
struct Inflate {
    body: BodyStream,
    name: &'static str,
    decoder: Decoder,
    /// The part of the last packet that has not been inflated.
    rest: Bytes,
    /// Nothing has come out yet.
    is_empty: bool,
    /// The compressed data has a fault. It is an error after what was before it.
    is_broken: bool,
    is_over: bool,
    /// Compressed bytes may make nothing, such as members of gzip that are empty.
    budget: Budget,
}

impl Inflate {
    fn failed(&mut self) -> Poll<Option<Result<Bytes, OpenAiError>>> {
        self.is_over = true;
        Poll::Ready(Some(Err(OpenAiError::Encoded { encoding: self.name.to_owned() })))
    }
}

impl Stream for Inflate {
    type Item = Result<Bytes, OpenAiError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while !this.is_over {
            if this.is_broken {
                return this.failed();
            }
            ready!(this.budget.poll_spend(cx));
            if this.rest.has_remaining() {
                let bytes = this.rest.split_to(this.rest.len().min(STEP));
                let mut inflated = Vec::new();
                this.is_broken = !this.decoder.inflate(&bytes, &mut inflated);
                if !inflated.is_empty() {
                    this.is_empty = false;
                    return Poll::Ready(Some(Ok(inflated.into())));
                }
                continue;
            }
            let packet = this.body.as_mut().poll_next(cx);
            if packet.is_pending() {
                this.budget.refill();
            }
            match ready!(packet) {
                Some(Ok(bytes)) => this.rest = bytes,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // A body that says it is compressed and has nothing in it.
                None if this.is_empty => return this.failed(),
                None => this.is_over = true,
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use futures_lite::{StreamExt, future::block_on};
    use futures_util::stream;

    use super::*;

    fn encoding(headers: &[(&'static str, &str)]) -> Encoding {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Encoding::of(&map)
    }

    fn inflate(encoding: Encoding, body: &[u8], size: usize) -> Result<Vec<u8>, OpenAiError> {
        let packets: Vec<_> =
            body.chunks(size).map(|packet| Ok(Bytes::copy_from_slice(packet))).collect();
        let mut body = encoding.decode(Box::pin(stream::iter(packets))).unwrap();
        let mut whole = Vec::new();
        block_on(async {
            while let Some(bytes) = body.next().await.transpose()? {
                whole.extend_from_slice(&bytes);
            }
            Ok(whole)
        })
    }

    #[test]
    fn what_is_labelled_is_inflated_in_packets_of_any_size() {
        let text = "data: {\"choices\":[]}\n\n".repeat(500);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes()).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(text.as_bytes()).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(text.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let two = [gzip.clone(), gzip.clone()].concat();
        for size in [1, 7, 100_000] {
            assert_eq!(inflate(Encoding::Gzip, &gzip, size).unwrap(), text.as_bytes());
            assert_eq!(inflate(Encoding::Gzip, &two, size).unwrap(), text.repeat(2).as_bytes());
        }
        let (zlib, raw) = (zlib.finish().unwrap(), raw.finish().unwrap());
        for size in [1, 7, 100_000] {
            assert_eq!(inflate(Encoding::Deflate, &zlib, size).unwrap(), text.as_bytes());
            assert_eq!(inflate(Encoding::Deflate, &raw, size).unwrap(), text.as_bytes());
        }
    }

    /// A server that streams flushes its compressor after each event.
    #[test]
    fn an_event_is_inflated_before_the_next_one_arrives() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(b"data: a\n\n").unwrap();
        gzip.flush().unwrap();
        let first = Bytes::copy_from_slice(gzip.get_ref());
        let body = stream::iter([Ok(first)]).chain(stream::pending());
        let mut body = Encoding::Gzip.decode(Box::pin(body)).unwrap();
        assert_eq!(block_on(body.next()).unwrap().unwrap(), "data: a\n\n");
    }

    /// Each member of gzip may be empty, and a fast server sends them without a pause.
    #[test]
    fn compressed_bytes_of_nothing_do_not_keep_the_task() {
        let mut empty = GzEncoder::new(Vec::new(), Compression::default());
        empty.flush().unwrap();
        let empty = Bytes::from(empty.finish().unwrap());
        let members = std::iter::repeat_n(empty, 1000).map(Ok);
        let mut body = Encoding::Gzip.decode(Box::pin(stream::iter(members))).unwrap();
        let mut cx = Context::from_waker(core::task::Waker::noop());
        let mut yields = 0;
        while body.as_mut().poll_next(&mut cx).is_pending() {
            yields += 1;
        }
        assert!(yields >= 15, "{yields}");
    }

    #[test]
    fn what_is_no_compression_is_an_error() {
        for garbage in [&b"not gzip at all"[..], b"", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff"] {
            let error = inflate(Encoding::Gzip, garbage, 5).unwrap_err();
            assert!(matches!(error, OpenAiError::Encoded { encoding } if encoding == "gzip"));
        }
    }

    #[test]
    fn the_label_decides() {
        assert_eq!(encoding(&[]), Encoding::Plain);
        assert_eq!(encoding(&[("content-encoding", "Identity")]), Encoding::Plain);
        assert_eq!(encoding(&[("transfer-encoding", "Chunked")]), Encoding::Plain);
        assert_eq!(encoding(&[("content-encoding", " GZIP ")]), Encoding::Gzip);
        assert_eq!(encoding(&[("content-encoding", "x-gzip, identity")]), Encoding::Gzip);
        assert_eq!(encoding(&[("content-encoding", "deflate")]), Encoding::Deflate);
        for other in ["br", "zstd", "gzip, br", "gzip, gzip", "compress"] {
            let found = encoding(&[("content-encoding", other)]);
            assert_eq!(found, Encoding::Other(other.to_owned()));
        }
        assert_eq!(
            encoding(&[("transfer-encoding", "gzip, chunked")]),
            Encoding::Other("gzip, chunked".to_owned())
        );
    }
}
