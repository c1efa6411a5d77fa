//! A TIFF file read tile by tile (or strip by strip), BigTIFF included, with the smaller copies of the image that a pyramidal
//! file holds.
//!
//! Only the tiles that a window meets are decoded; the last few are kept. Each level has a decoder of its own behind a lock, so
//! threads that read one level take turns.

use crate::{
    Error, Result,
    data::{PatchSource, Window, view},
};
use std::{
    collections::VecDeque,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tiff::{
    ColorType, TiffError,
    decoder::{ChunkType, Decoder, DecodingResult, Limits},
    tags::Tag,
};

/// Bytes of decoded tiles that a level keeps, about.
const KEPT: usize = 16 << 20;

/// An image in a TIFF file.
///
/// ```no_run
/// use foveate::data::{PatchSource, Window, files::TiledImage};
/// let slide = TiledImage::open("slide.tif")?;
/// let mut patch = vec![0; slide.channels() * 224 * 224];
/// slide.read(Window::new(50_000, 40_000, 224, 224), &mut patch)?;
/// # Ok::<(), foveate::Error>(())
/// ```
pub struct TiledImage {
    /// The image, then smaller and smaller copies of it.
    levels: Vec<Level>,
}

impl TiledImage {
    /// Opens a file: its first image, and the later ones that are marked as reduced copies.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a file that is absent, truncated or no TIFF, and for pixels that are not 8-bit grey, RGB or RGBA,
    /// sample by sample.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let first = Level::open(path, 0)?;
        let (mut levels, mut more, mut at) = (vec![first], true, 0);
        while more {
            let mut decoder = decoder(path, at)?;
            if at > 0 && is_reduced(&mut decoder) {
                levels.push(Level::open(path, at)?);
            }
            (more, at) = (decoder.more_images(), at + 1);
        }
        // Copies that are not smaller, or of other channels, are of no use.
        let (whole, channels) = (levels[0].size, levels[0].channels);
        levels.retain(|level| level.channels == channels && (level.index == 0 || level.size < whole));
        levels.sort_by_key(|level| std::cmp::Reverse(level.size[0]));
        Ok(TiledImage { levels })
    }

    /// Height and width of the image and of the copies that the file holds, the largest first.
    pub fn levels(&self) -> Vec<[usize; 2]> {
        self.levels.iter().map(|level| level.size).collect()
    }
}

impl PatchSource for TiledImage {
    fn channels(&self) -> usize {
        self.levels[0].channels
    }

    fn height(&self) -> usize {
        self.levels[0].size[0]
    }

    fn width(&self) -> usize {
        self.levels[0].size[1]
    }

    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        self.levels[0].read(window, out)
    }

    /// Made from the smallest copy in the file that is no smaller than the view.
    fn view(&self, size: [usize; 2], out: &mut [f32]) -> Result<()> {
        let enough = |level: &&Level| level.size[0] >= size[0] && level.size[1] >= size[1];
        let level = self.levels.iter().rev().find(enough).unwrap_or(&self.levels[0]);
        view::read(level, size, out)
    }
}

type FileDecoder = Decoder<BufReader<File>>;

/// A decoder that stands at image `index` of a file.
fn decoder(path: &Path, index: usize) -> Result<FileDecoder> {
    let file = File::open(path).map_err(|why| Error::file(path, why))?;
    let mut limits = Limits::default();
    // Tables of a hundred million tiles; the default ends at a hundred thousand.
    limits.ifd_value_size = 1 << 30;
    let decoder = Decoder::new(BufReader::new(file)).map_err(|why| broken(path, &why))?;
    let mut decoder = decoder.with_limits(limits);
    decoder.seek_to_image(index).map_err(|why| broken(path, &why))?;
    Ok(decoder)
}

fn broken(path: &Path, why: &TiffError) -> Error {
    Error::file(path, format!("cannot be decoded: {why}"))
}

fn is_reduced(decoder: &mut FileDecoder) -> bool {
    matches!(decoder.find_tag_unsigned::<u32>(Tag::NewSubfileType), Ok(Some(kind)) if kind & 1 == 1)
}

/// One of the images of a file.
struct Level {
    path: PathBuf,
    index: usize,
    /// Height and width.
    size: [usize; 2],
    /// Height and width of a tile; of a strip, its rows and the width of the image.
    tile: [usize; 2],
    /// Samples of a pixel in the file, of which the first `channels` are used.
    samples: usize,
    channels: usize,
    state: Mutex<State>,
}

/// The decoder, and the tiles decoded last, the latest at the end.
struct State {
    decoder: FileDecoder,
    tiles: VecDeque<(u32, Arc<Vec<u8>>)>,
}

impl Level {
    fn open(path: &Path, index: usize) -> Result<Self> {
        let failed = |why: TiffError| broken(path, &why);
        let mut decoder = decoder(path, index)?;
        let (width, height) = decoder.dimensions().map_err(failed)?;
        let samples = match decoder.colortype().map_err(failed)? {
            ColorType::Gray(8) => 1,
            ColorType::RGB(8) => 3,
            ColorType::RGBA(8) => 4,
            other => {
                let what = format!("holds pixels of {other:?}: 8-bit grey, RGB and RGBA are read");
                return Err(Error::file(path, what));
            }
        };
        let planar = decoder.find_tag_unsigned::<u32>(Tag::PlanarConfiguration).map_err(failed)?;
        if samples > 1 && planar == Some(2) {
            return Err(Error::file(path, "holds each channel by itself: write it with interleaved pixels"));
        }
        let (tile_width, tile_height) = decoder.chunk_dimensions();
        let tile = match decoder.get_chunk_type() {
            ChunkType::Tile => [tile_height, tile_width],
            ChunkType::Strip => [tile_height, width],
        };
        let (size, tile) = ([height, width].map(|s| s as usize), tile.map(|s| s as usize));
        if size.contains(&0) || tile.contains(&0) {
            return Err(Error::file(path, "holds an image without pixels"));
        }
        let state = Mutex::new(State { decoder, tiles: VecDeque::new() });
        let channels = if samples == 1 { 1 } else { 3 };
        Ok(Level { path: path.to_owned(), index, size, tile, samples, channels, state })
    }

    /// The pixels of tile (row, column), interleaved, without what reaches beyond the image.
    fn tile(&self, row: usize, column: usize) -> Result<Arc<Vec<u8>>> {
        let number = (row * self.size[1].div_ceil(self.tile[1]) + column) as u32;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { decoder, tiles } = &mut *state;
        if let Some(at) = tiles.iter().position(|(known, _)| *known == number) {
            let known = tiles.remove(at);
            tiles.extend(known);
        } else {
            let pixels = match decoder.read_chunk(number).map_err(|why| broken(&self.path, &why))? {
                DecodingResult::U8(pixels) => pixels,
                _ => return Err(Error::file(&self.path, "holds pixels that are not of 8 bits")),
            };
            let [height, width] = self.extent(row, column);
            if pixels.len() < height * width * self.samples {
                return Err(Error::file(&self.path, format!("ends within tile {number}")));
            }
            let room = (KEPT / (self.tile[0] * self.tile[1] * self.samples)).max(1);
            while tiles.len() >= room {
                tiles.pop_front();
            }
            tiles.push_back((number, Arc::new(pixels)));
        }
        let last = tiles.back().map(|(_, pixels)| pixels.clone());
        last.ok_or_else(|| Error::file(&self.path, "has no tiles"))
    }

    /// Height and width of tile (row, column) within the image.
    fn extent(&self, row: usize, column: usize) -> [usize; 2] {
        let along = |axis: usize, at: usize| self.tile[axis].min(self.size[axis] - at * self.tile[axis]);
        [along(0, row), along(1, column)]
    }
}

impl PatchSource for Level {
    fn channels(&self) -> usize {
        self.channels
    }

    fn height(&self) -> usize {
        self.size[0]
    }

    fn width(&self) -> usize {
        self.size[1]
    }

    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        window.check(self.channels, out)?;
        out.fill(0);
        let seen = window.overlap(self.size[0], self.size[1]);
        if seen.height == 0 {
            return Ok(());
        }
        let [top, left] = seen.image;
        let tiles = |axis: usize, first: usize, count: usize| {
            first / self.tile[axis]..=(first + count - 1) / self.tile[axis]
        };
        for row in tiles(0, top, seen.height) {
            for column in tiles(1, left, seen.width) {
                let pixels = self.tile(row, column)?;
                let [height, width] = self.extent(row, column);
                let corner = [row * self.tile[0], column * self.tile[1]];
                // What tile and window share, in pixels of the image.
                let rows = corner[0].max(top)..(corner[0] + height).min(top + seen.height);
                let columns = corner[1].max(left)..(corner[1] + width).min(left + seen.width);
                for y in rows {
                    let line = ((y - corner[0]) * width + columns.start - corner[1]) * self.samples;
                    let line = &pixels[line..line + columns.len() * self.samples];
                    let to_row = seen.window[0] + y - top;
                    let to_column = seen.window[1] + columns.start - left;
                    for channel in 0..self.channels {
                        let to = (channel * window.height + to_row) * window.width + to_column;
                        let samples = line.iter().skip(channel).step_by(self.samples);
                        out[to..to + columns.len()]
                            .iter_mut()
                            .zip(samples)
                            .for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
        Ok(())
    }
}
