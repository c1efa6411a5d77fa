//! Images from files: PNG and JPEG whole, TIFF tile by tile, so that a whole-slide file may be larger than memory.
//!
//! Every error names the file.

mod folder;
#[cfg(test)]
mod tests;
mod tiled;

pub use folder::ImageFolder;
pub use tiled::TiledImage;

use super::{DenseImage, PatchSource};
use crate::{Error, Result};
use std::{fs::File, io::BufReader, path::Path};
use zune_jpeg::{
    JpegDecoder,
    zune_core::{colorspace::ColorSpace, options::DecoderOptions},
};

/// Opens an image by the ending of its name: `png`, `jpg`, `jpeg`, `tif`, `tiff` or `svs`. One channel for grey images, three
/// for colour; an alpha channel is dropped.
///
/// ```
/// use foveate::data::{PatchSource, files, picture};
/// let path = std::env::temp_dir().join("foveate-doc-open.png");
/// picture::save_grey(&path, [2, 3], &[1, 2, 3, 4, 5, 6])?;
/// let image = files::open(&path)?;
/// assert_eq!((image.channels(), image.height(), image.width()), (1, 2, 3));
/// assert!(files::open("absent.png").is_err());
/// # Ok::<(), foveate::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::File`] for a file that is absent, truncated, corrupt, of another kind, or of pixels that are not 8-bit grey or
/// colour.
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn PatchSource>> {
    let path = path.as_ref();
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match ending.as_str() {
        "png" => Ok(Box::new(png(path)?)),
        "jpg" | "jpeg" => Ok(Box::new(jpeg(path)?)),
        "tif" | "tiff" | "svs" => Ok(Box::new(TiledImage::open(path)?)),
        _ => Err(Error::file(path, "is no image by its name: png, jpg, jpeg, tif, tiff and svs are read")),
    }
}

fn png(path: &Path) -> Result<DenseImage> {
    let file = File::open(path).map_err(|why| Error::file(path, why))?;
    let failed = |why: png::DecodingError| Error::file(path, format!("cannot be decoded: {why}"));
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(failed)?;
    let size = reader.output_buffer_size().ok_or_else(|| Error::file(path, "is too large for memory"))?;
    let mut pixels = crate::host::filled(size, 0, "an image: use a tiled TIFF")?;
    let info = reader.next_frame(&mut pixels).map_err(failed)?;
    pixels.truncate(info.buffer_size());
    let dims = [info.color_type.samples(), info.height as usize, info.width as usize];
    interleaved(path, dims, &pixels)
}

fn jpeg(path: &Path) -> Result<DenseImage> {
    let file = File::open(path).map_err(|why| Error::file(path, why))?;
    let options =
        DecoderOptions::default().set_strict_mode(true).set_max_width(1 << 16).set_max_height(1 << 16);
    // Some of its messages end in a line break.
    let failed = |why| Error::file(path, format!("cannot be decoded: {}", format!("{why:?}").trim_end()));
    let mut decoder = JpegDecoder::new_with_options(BufReader::new(file), options);
    decoder.decode_headers().map_err(failed)?;
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (space, channels) = if grey { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let pixels = decoder.decode().map_err(failed)?;
    let info = decoder.info().ok_or_else(|| Error::file(path, "does not say its size"))?;
    interleaved(path, [channels, info.height.into(), info.width.into()], &pixels)
}

/// The image of (H, W, C) samples, without an alpha channel.
fn interleaved(path: &Path, [channels, height, width]: [usize; 3], pixels: &[u8]) -> Result<DenseImage> {
    let kept = if channels < 3 { 1 } else { 3 };
    let opaque: Vec<u8> = match channels == kept {
        true => Vec::new(),
        false => pixels.chunks_exact(channels.max(1)).flat_map(|pixel| &pixel[..kept]).copied().collect(),
    };
    let pixels = if channels == kept { pixels } else { &opaque };
    DenseImage::from_interleaved([kept, height, width], pixels).map_err(|why| Error::file(path, why))
}
