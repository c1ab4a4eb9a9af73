//! Damaged pictures are refused, or decoded as Pillow does: cases of `tests/fixtures/families/damaged.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::vision::{Picture, PictureLimits};

/// One file and the damage done to it.
#[derive(Debug, Deserialize)]
struct Case {
    file: String,
    /// Bytes that remain of the file; the rest is cut off.
    cut: Option<usize>,
    /// Offset at which bytes are overwritten.
    at: Option<usize>,
    /// The overwriting bytes, in hexadecimal.
    #[serde(default)]
    put: String,
    #[serde(default)]
    append: String,
    /// Width, height and CRC-32 of the pixels; `None` if the file is refused.
    expected: Option<(usize, usize, u32)>,
}

impl Case {
    fn bytes(&self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole[..self.cut.unwrap_or(whole.len())].to_vec();
        for (index, byte) in hex(&self.put).enumerate() {
            bytes[self.at.unwrap() + index] = byte;
        }
        bytes.extend(hex(&self.append));
        bytes
    }
}

fn hex(text: &str) -> impl Iterator<Item = u8> + '_ {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

/// The committed fixtures, or the folder named by `SECATEUR_DAMAGED_PICTURES`, which the script filled with all its
/// cases.
fn folder() -> PathBuf {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/families/damaged");
    std::env::var_os("SECATEUR_DAMAGED_PICTURES").map_or(committed, PathBuf::from)
}

fn seen(bytes: &[u8]) -> Option<(usize, usize, u32)> {
    let picture = Picture::decode(bytes, &PictureLimits::default()).ok()?;
    Some((picture.width(), picture.height(), crc32(&picture.pixels().bytes)))
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1))))
}

#[test]
fn damaged_pictures_are_refused_or_seen_as_pillow_sees_them() {
    let folder = folder();
    let json = std::fs::read(folder.join("cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&json).unwrap();
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let mut wrong: BTreeMap<(&str, &str), Vec<&Case>> = BTreeMap::new();
    for case in &cases {
        let whole = files.entry(&case.file).or_insert_with(|| std::fs::read(folder.join(&case.file)).unwrap());
        let kind = match (seen(&case.bytes(whole)), case.expected) {
            (found, expected) if found == expected => continue,
            (Some(_), None) => "seen where Pillow refuses",
            (None, Some(_)) => "refused where Pillow sees",
            _ => "seen otherwise than by Pillow",
        };
        wrong.entry((&case.file, kind)).or_default().push(case);
    }
    assert!(cases.len() > 1000, "{} cases", cases.len());
    let lines: Vec<String> = wrong
        .iter()
        .map(|((file, kind), cases)| format!("{file}: {} {kind}, such as {:?}", cases.len(), cases[cases.len() / 2]))
        .collect();
    assert!(wrong.is_empty(), "{}", lines.join("\n"));
}
