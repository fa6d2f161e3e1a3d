//! Decodes compressed responses completely.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::GzipDecoder;
#[cfg(feature = "cli")]
use async_compression::tokio::bufread::{BrotliDecoder, ZlibDecoder, ZstdDecoder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, header};
use tokio::io::{AsyncBufRead, AsyncRead, BufReader, ReadBuf};
use tokio_util::io::{ReaderStream, StreamReader};

/// The content encodings that are decoded, for `accept-encoding`.
pub(super) const ACCEPTED: &str = if cfg!(feature = "cli") {
    "gzip, br, zstd, deflate"
} else {
    "gzip"
};

type Input = Pin<Box<dyn AsyncBufRead + Send>>;

/// A content encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    #[cfg(feature = "cli")]
    Brotli,
    #[cfg(feature = "cli")]
    Deflate,
    #[cfg(feature = "cli")]
    Zstd,
}

impl Encoding {
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            #[cfg(feature = "cli")]
            "br" => Some(Self::Brotli),
            #[cfg(feature = "cli")]
            "deflate" => Some(Self::Deflate),
            #[cfg(feature = "cli")]
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Takes the encodings of a body out of its headers, in the order in which they were applied. Empty if there are none, or
/// if one of them cannot be decoded: then the headers stay, and the body remains encoded.
pub(super) fn take_encodings(headers: &mut HeaderMap) -> Vec<Encoding> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let names: Vec<&str> = values
        .flat_map(|value| value.to_str().unwrap_or("unknown").split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
        .collect();
    let Some(encodings) = names.into_iter().map(Encoding::named).collect::<Option<Vec<_>>>() else {
        return Vec::new();
    };
    headers.remove(header::CONTENT_ENCODING);
    if !encodings.is_empty() {
        headers.remove(header::CONTENT_LENGTH);
    }
    encodings
}

/// Decodes a body: all members of gzip and all frames of zstd. A body that is truncated, or that is followed by other
/// bytes, ends with an error. An empty body stays empty.
pub(super) fn decoded<E>(
    body: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    encodings: &[Encoding],
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    E: std::error::Error + Send + Sync + 'static,
{
    let body = body.map(|piece| piece.map_err(io::Error::other));
    let mut input: Input = Box::pin(StreamReader::new(Box::pin(body)));
    for encoding in encodings.iter().rev() {
        input = Box::pin(BufReader::new(Layer {
            decoder: Decoder::new(*encoding, input),
            has_begun: false,
        }));
    }
    ReaderStream::new(input)
}

enum Decoder {
    Gzip(GzipDecoder<Input>),
    #[cfg(feature = "cli")]
    Brotli(BrotliDecoder<Input>),
    #[cfg(feature = "cli")]
    Deflate(ZlibDecoder<Input>),
    #[cfg(feature = "cli")]
    Zstd(ZstdDecoder<Input>),
}

impl Decoder {
    fn new(encoding: Encoding, input: Input) -> Self {
        match encoding {
            Encoding::Gzip => {
                let mut decoder = GzipDecoder::new(input);
                decoder.multiple_members(true);
                Self::Gzip(decoder)
            }
            #[cfg(feature = "cli")]
            Encoding::Brotli => Self::Brotli(BrotliDecoder::new(input)),
            #[cfg(feature = "cli")]
            Encoding::Deflate => Self::Deflate(ZlibDecoder::new(input)),
            #[cfg(feature = "cli")]
            Encoding::Zstd => {
                let mut decoder = ZstdDecoder::new(input);
                decoder.multiple_members(true);
                Self::Zstd(decoder)
            }
        }
    }

    fn input(&mut self) -> &mut Input {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            #[cfg(feature = "cli")]
            Self::Brotli(decoder) => decoder.get_mut(),
            #[cfg(feature = "cli")]
            Self::Deflate(decoder) => decoder.get_mut(),
            #[cfg(feature = "cli")]
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }

    fn output(&mut self) -> Pin<&mut (dyn AsyncRead + Send + Unpin)> {
        match self {
            Self::Gzip(decoder) => Pin::new(decoder),
            #[cfg(feature = "cli")]
            Self::Brotli(decoder) => Pin::new(decoder),
            #[cfg(feature = "cli")]
            Self::Deflate(decoder) => Pin::new(decoder),
            #[cfg(feature = "cli")]
            Self::Zstd(decoder) => Pin::new(decoder),
        }
    }
}

/// One encoding of a body.
struct Layer {
    decoder: Decoder,
    has_begun: bool,
}

impl AsyncRead for Layer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.has_begun {
            if ready!(self.decoder.input().as_mut().poll_fill_buf(context))?.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.has_begun = true;
        }
        let before = buffer.filled().len();
        ready!(self.decoder.output().poll_read(context, buffer))?;
        let has_ended = buffer.filled().len() == before && buffer.remaining() > 0;
        if has_ended && !ready!(self.decoder.input().as_mut().poll_fill_buf(context))?.is_empty() {
            let message = "other bytes follow the end of the compressed body";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, message)));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::{TryStreamExt, stream};
    use http::HeaderValue;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    async fn decode(bytes: &[u8], encodings: &[Encoding], piece: usize) -> io::Result<Vec<u8>> {
        let pieces: Vec<_> = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
        let body = stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
        let decoded = decoded(body, encodings);
        Box::pin(decoded)
            .try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await
    }

    #[tokio::test]
    async fn all_members_are_decoded_and_nothing_may_follow_or_be_missing() {
        let (first, second) = (gzip(b"one, "), gzip(b"two"));
        let both = [first.clone(), second].concat();
        for piece in [1, 3, first.len(), 4096] {
            assert_eq!(decode(&both, &[Encoding::Gzip], piece).await.unwrap(), b"one, two");
            for cut in (1..both.len()).filter(|cut| *cut != first.len()) {
                assert!(decode(&both[..cut], &[Encoding::Gzip], piece).await.is_err(), "{cut}");
            }
            let followed = [both.clone(), b"rest".to_vec()].concat();
            assert!(decode(&followed, &[Encoding::Gzip], piece).await.is_err());
            let twice = gzip(&gzip(b"deep"));
            assert_eq!(
                decode(&twice, &[Encoding::Gzip, Encoding::Gzip], piece).await.unwrap(),
                b"deep"
            );
        }
        assert_eq!(decode(b"", &[Encoding::Gzip], 1).await.unwrap(), b"");
    }

    #[cfg(feature = "cli")]
    #[tokio::test]
    async fn every_encoding_is_decoded_completely() {
        let text = "text ".repeat(1000).into_bytes();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut brotli = Vec::new();
        brotli::BrotliCompress(
            &mut text.as_slice(),
            &mut brotli,
            &brotli::enc::BrotliEncoderParams::default(),
        )
        .unwrap();
        let zstd = zstd::encode_all(text.as_slice(), 0).unwrap();
        let two = zstd.repeat(2);
        assert_eq!(decode(&two, &[Encoding::Zstd], 7).await.unwrap(), text.repeat(2));
        for (encoding, encoded) in [
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Brotli, brotli),
            (Encoding::Zstd, zstd),
        ] {
            for piece in [1, 4096] {
                assert_eq!(
                    decode(&encoded, &[encoding], piece).await.unwrap(),
                    text,
                    "{encoding:?}"
                );
                let cut = &encoded[..encoded.len() - 1];
                assert!(decode(cut, &[encoding], piece).await.is_err(), "{encoding:?}");
                let followed = [encoded.clone(), b"rest".to_vec()].concat();
                assert!(decode(&followed, &[encoding], piece).await.is_err(), "{encoding:?}");
            }
        }
    }

    #[test]
    fn encodings_are_named_in_any_case_and_unknown_ones_stay() {
        let encodings = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            (
                take_encodings(&mut headers),
                headers.contains_key(header::CONTENT_ENCODING),
            )
        };
        assert_eq!(encodings(&["GZip"]), (vec![Encoding::Gzip], false));
        assert_eq!(
            encodings(&["x-gzip, identity", "gzip"]),
            (vec![Encoding::Gzip; 2], false)
        );
        assert_eq!(encodings(&["identity"]), (vec![], false));
        assert_eq!(encodings(&["gzip, compress"]), (vec![], true));
        assert_eq!(encodings(&[]), (vec![], false));
    }
}
