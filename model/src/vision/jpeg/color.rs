//! From components to red, green and blue, with the tables of libjpeg's `jdcolor.c`.

use crate::vision::jpeg::frame::Frame;
use crate::vision::jpeg::upsample::Plane;

const ONE_HALF: i32 = 1 << 15;

/// [height, width, 3]
pub(crate) fn pixels(frame: &Frame) -> Option<Vec<u8>> {
    let planes = frame.components.iter().map(|component| Plane::of(component, frame));
    let planes: Vec<Plane> = planes.collect::<Option<_>>()?;
    let mut lines = vec![vec![0; frame.width]; planes.len()];
    let mut pixels = Vec::with_capacity(frame.width * frame.height * 3);
    for y in 0..frame.height {
        for (plane, line) in planes.iter().zip(&mut lines) {
            plane.row(y, line);
        }
        match lines.as_slice() {
            [grey] => pixels.extend(grey.iter().flat_map(|grey| [*grey; 3])),
            [first, second, third] => {
                let components = first.iter().zip(second).zip(third);
                pixels.extend(components.flat_map(|((first, second), third)| match frame.is_rgb {
                    true => [*first, *second, *third],
                    false => rgb(*first, *second, *third),
                }));
            }
            _ => return None,
        }
    }
    Some(pixels)
}

fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    // 1.402, 0.34414, 0.71414 and 1.772 times 65536.
    let red = y + ((91_881 * cr + ONE_HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + ONE_HALF) >> 16);
    let blue = y + ((116_130 * cb + ONE_HALF) >> 16);
    [red, green, blue].map(|channel| channel.clamp(0, 255) as u8)
}
