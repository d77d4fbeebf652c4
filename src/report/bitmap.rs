//! Small images inside the page: uncompressed Windows bitmaps, which every browser shows, in base64.

/// The address that holds an image of bytes in row-major order, `[height, width, channels]` with 1 or 3 channels.
pub(super) fn data_url(pixels: &[u8], shape: [usize; 3]) -> String {
    format!("data:image/bmp;base64,{}", base64(&bitmap(pixels, shape)))
}

/// A bitmap of 24 bits a pixel: header, then rows from the bottom up, blue first, each padded to a multiple of 4 bytes.
fn bitmap(pixels: &[u8], [height, width, channels]: [usize; 3]) -> Vec<u8> {
    const HEADER: usize = 14 + 40;
    let padding = (4 - 3 * width % 4) % 4;
    let len = height * (3 * width + padding);
    let mut file = Vec::with_capacity(HEADER + len);
    let number = |value: usize| u32::try_from(value).expect("an image of a sample is small").to_le_bytes();

    file.extend_from_slice(b"BM");
    for field in [HEADER + len, 0, HEADER, 40, width, height] {
        file.extend_from_slice(&number(field));
    }
    // one plane, 24 bits a pixel; then no compression, the size, any resolution, no palette
    file.extend_from_slice(&[1, 0, 24, 0]);
    for field in [0, len, 0, 0, 0, 0] {
        file.extend_from_slice(&number(field));
    }
    for row in pixels.chunks_exact(width * channels).rev() {
        for pixel in row.chunks_exact(channels) {
            let [red, green, blue] = [pixel[0], pixel[channels / 2], pixel[channels - 1]];
            file.extend_from_slice(&[blue, green, red]);
        }
        file.resize(file.len() + padding, 0);
    }
    file
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= group.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4648, section 10
    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy"), ("\u{ff}", "w78=")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_bitmap_has_its_rows_from_the_bottom_up() {
        let file = bitmap(&[1, 2, 3, 4, 5, 6], [2, 3, 1]);
        assert_eq!(file.len(), 54 + 2 * 12);
        assert_eq!(file[54..], [4, 4, 4, 5, 5, 5, 6, 6, 6, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0, 0]);
        assert_eq!(&file[2..6], &78_u32.to_le_bytes());
        let colored = bitmap(&[1, 2, 3], [1, 1, 3]);
        assert_eq!(colored[54..], [3, 2, 1, 0]);
    }
}
