//! Pictures of messages, read from files as soon as they are named.

use std::{
    fs,
    path::{Path, PathBuf},
};

use image::ImageFormat;

use crate::client::data_uri;

/// Formats that a router takes.
const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif];
/// Largest file: more than a router takes of one request.
const BYTES_MAX: u64 = 128 << 20;

/// A picture of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its data URI.
    pub uri: String,
}

/// Reads every file, or says which one cannot be sent.
pub fn read_all(files: &[PathBuf]) -> Result<Vec<Picture>, String> {
    files.iter().map(|file| read(file)).collect()
}

/// Reads a file. The format is found by its content; its name does not matter.
fn read(file: &Path) -> Result<Picture, String> {
    let name = file.display();
    let unreadable = |error| format!("cannot read the picture {name}: {error}");
    let found = fs::metadata(file).map_err(unreadable)?;
    if !found.is_file() {
        return Err(format!("the picture {name} is not a file"));
    }
    if found.len() > BYTES_MAX {
        return Err(format!("the picture {name} has more than {} MiB", BYTES_MAX >> 20));
    }
    let bytes = fs::read(file).map_err(unreadable)?;
    match image::guess_format(&bytes) {
        Ok(format) if FORMATS.contains(&format) => Ok(Picture { uri: data_uri::of(format.to_mime_type(), &bytes) }),
        _ => Err(format!("{name} is not a PNG, JPEG, WebP or GIF picture")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_tells_the_format() {
        let dir = tempfile::tempdir().unwrap();
        let starts: [(&[u8], &str); 4] = [
            (b"\x89PNG\r\n\x1a\n", "png"),
            (b"\xff\xd8\xff\xe0", "jpeg"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
            (b"GIF89a", "gif"),
        ];
        for (bytes, format) in starts {
            let file = dir.path().join("picture.txt");
            fs::write(&file, bytes).unwrap();
            let uri = read(&file).unwrap().uri;
            assert!(uri.starts_with(&format!("data:image/{format};base64,")), "{uri}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("a.png");
        fs::write(&text, "no picture").unwrap();
        let bitmap = dir.path().join("b.bmp");
        fs::write(&bitmap, b"BM\0\0\0\0\0\0\0\0").unwrap();
        for file in [dir.path().join("missing.png"), dir.path().to_owned(), text, bitmap] {
            let why = read_all(std::slice::from_ref(&file)).unwrap_err();
            assert!(why.contains(&file.display().to_string()), "{why}");
        }
    }
}
