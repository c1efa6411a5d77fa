//! Writing images as PNG files, to be looked at: whole or not at all.

use std::path::Path;

use png::{BitDepth, ColorType, Encoder};

use crate::{Error, Result, checkpoint::write_whole};

/// Writes (H, W) bytes as a grey-scale PNG file of `dims` = [H, W].
///
/// # Errors
/// [`Error::Shape`] if there are not H·W bytes; [`Error::File`] naming the file if it cannot be written.
pub fn save_grey(path: impl AsRef<Path>, dims: [usize; 2], pixels: &[u8]) -> Result<()> {
    save(path.as_ref(), dims, pixels, ColorType::Grayscale)
}

/// Writes (H, W, 3) bytes, red before green before blue, as a colour PNG file of `dims` = [H, W].
///
/// # Errors
/// As [`save_grey`].
pub fn save_rgb(path: impl AsRef<Path>, dims: [usize; 2], pixels: &[u8]) -> Result<()> {
    save(path.as_ref(), dims, pixels, ColorType::Rgb)
}

fn save(path: &Path, [height, width]: [usize; 2], pixels: &[u8], color: ColorType) -> Result<()> {
    let need = height.checked_mul(width).and_then(|n| n.checked_mul(color.samples()));
    let (Ok(columns), Ok(rows), true) =
        (u32::try_from(width), u32::try_from(height), need == Some(pixels.len()))
    else {
        let what =
            format!("{} bytes are not {height} × {width} pixels of {} bytes", pixels.len(), color.samples());
        return Err(Error::shape("picture", what));
    };
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, columns, rows);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(pixels)?;
        writer.finish()
    });
    written.map_err(|why| Error::file(path, format!("cannot be encoded: {why}")))?;
    write_whole(path, &file)
}
