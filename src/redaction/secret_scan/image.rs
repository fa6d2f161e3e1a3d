//! Compressed texts in images. Those that are not compressed are found in the bytes of the image.

use std::io::Read as _;

use flate2::read::ZlibDecoder;

/// The first bytes of a PNG image.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The maximum number of bytes that are decompressed of one text.
const MAX_TEXT: u64 = 1 << 20;

/// The compressed texts (`zTXt`, `iTXt`) in a PNG image. Other data has none.
pub(super) fn texts_in_image(data: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = data.strip_prefix(PNG).unwrap_or_default();
    std::iter::from_fn(move || {
        // A chunk is its length, its type, its content and a checksum.
        let (head, after) = rest.split_at_checked(8)?;
        let length = usize::try_from(u32::from_be_bytes(head[..4].try_into().ok()?)).ok()?;
        let content = &after[..length.min(after.len())];
        rest = after.get(length.saturating_add(4)..).unwrap_or_default();
        Some((head[4..].to_vec(), content))
    })
    .filter_map(|(kind, content)| text_of(&kind, content))
}

/// The compressed text in a chunk: a keyword and a zero byte are before it.
fn text_of(kind: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let after_zero = |bytes: &'_ [u8]| memchr::memchr(0, bytes).map(|at| at + 1);
    let start = after_zero(content)?;
    let compressed = match kind {
        // The method follows; only one is defined.
        b"zTXt" => content.get(start + 1..)?,
        b"iTXt" => {
            // A flag and the method, then the language and the translated keyword.
            let [1, _, rest @ ..] = content.get(start..)? else {
                return None;
            };
            let language = after_zero(rest)?;
            let keyword = after_zero(&rest[language..])?;
            &rest[language + keyword..]
        }
        _ => return None,
    };
    let mut text = Vec::new();
    // What was decompressed before an error is searched, too.
    let _ = ZlibDecoder::new(compressed).take(MAX_TEXT).read_to_end(&mut text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&length[..], kind, content, &[0; 4]].concat()
    }

    fn compressed(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_texts_of_png_are_found() {
        let image = [
            PNG.to_vec(),
            chunk(b"IHDR", &[0; 13]),
            chunk(b"tEXt", b"Comment\0plain"),
            chunk(b"zTXt", &[b"Comment\0\0", &compressed("one")[..]].concat()),
            chunk(
                b"iTXt",
                &[b"Comment\0\x01\0en\0Kommentar\0", &compressed("two")[..]].concat(),
            ),
            chunk(b"iTXt", b"Comment\0\0\0en\0Kommentar\0plain"),
            chunk(b"zTXt", b"Comment\0\0not compressed"),
        ]
        .concat();
        let texts: Vec<Vec<u8>> = texts_in_image(&image).collect();
        assert_eq!(texts, [&b"one"[..], b"two", b""]);
        for end in 0..image.len() {
            texts_in_image(&image[..end]).for_each(drop);
        }
        assert_eq!(texts_in_image(b"GIF89a").count(), 0);
    }
}
