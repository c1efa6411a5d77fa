//! IDX files, the format MNIST is distributed in, plain or gzip-compressed.
//!
//! A file is two zero bytes, a type code (8: unsigned byte), the number of axes, each axis as a big-endian u32, then the
//! elements (LeCun, Cortes and Burges, *The MNIST database of handwritten digits*).

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::{DIGIT_SIDE, Digits, Split};
use crate::{Error, Result};

/// Type code of unsigned bytes, the only one that image sets use.
const UNSIGNED_BYTE: u8 = 8;

/// The bytes of an IDX file with their shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxArray {
    /// Length of each axis, outermost first.
    pub dims: Vec<usize>,
    /// All elements, row-major.
    pub data: Vec<u8>,
}

/// Reads an IDX file of unsigned bytes; gzip is recognised by its content, whatever the name.
///
/// # Errors
/// [`Error::File`] naming the file if it is absent, is not IDX, holds another type, or has fewer or more bytes than its
/// header says.
pub fn read(path: impl AsRef<Path>) -> Result<IdxArray> {
    let path = path.as_ref();
    read_array(path).map_err(|why| Error::file(path, why))
}

fn read_array(path: &Path) -> std::result::Result<IdxArray, String> {
    let mut reader = open(path).map_err(|why| format!("cannot be read: {why}"))?;
    let mut magic = [0; 4];
    fill(&mut *reader, &mut magic, "its header")?;
    let [0, 0, kind, axes] = magic else {
        return Err(format!("is not an IDX file: it begins with {magic:02x?}, not with 00 00"));
    };
    if kind != UNSIGNED_BYTE {
        return Err(format!("holds elements of type {kind:#04x}; only unsigned bytes (0x08) can be read"));
    }
    let mut dims = Vec::new();
    for _ in 0..axes {
        let mut axis = [0; 4];
        fill(&mut *reader, &mut axis, "its header")?;
        dims.push(u32::from_be_bytes(axis) as usize);
    }
    let Some(size) = dims.iter().try_fold(1_usize, |size, &axis| size.checked_mul(axis)) else {
        return Err(format!("claims the impossible size {dims:?}"));
    };
    // The header may be corrupt: memory grows with the bytes that are really there, not with its claim.
    let mut data = Vec::new();
    let got = (&mut reader).take(size as u64).read_to_end(&mut data);
    let got = got.map_err(|why| format!("cannot be read: {why}"))?;
    if got < size {
        return Err(format!("is truncated: {dims:?} needs {size} bytes after the header, there are {got}"));
    }
    let mut extra = [0];
    match reader.read(&mut extra) {
        Ok(0) => Ok(IdxArray { dims, data }),
        Ok(_) => Err(format!("holds more than the {size} bytes that its header {dims:?} asks for")),
        Err(why) => Err(format!("cannot be read to its end: {why}")),
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut start = Vec::new();
    (&mut file).take(2).read_to_end(&mut start)?;
    file.rewind()?;
    if start == [0x1f, 0x8b] { Ok(Box::new(MultiGzDecoder::new(file))) } else { Ok(Box::new(file)) }
}

fn fill(reader: &mut dyn Read, bytes: &mut [u8], part: &str) -> std::result::Result<(), String> {
    reader.read_exact(bytes).map_err(|why| match why.kind() {
        io::ErrorKind::UnexpectedEof => format!("is truncated: it ends inside {part}"),
        _ => format!("cannot be read: {why}"),
    })
}

/// The MNIST database: 28 × 28 digits, by split.
///
/// ```no_run
/// use foveate::data::Mnist;
/// let mnist = Mnist::open("mnist")?;
/// assert_eq!((mnist.train.len(), mnist.test.len()), (60_000, 10_000));
/// # Ok::<(), foveate::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mnist {
    /// The 60,000 training digits, in file order.
    pub train: Digits,
    /// The 10,000 test digits, in file order.
    pub test: Digits,
}

impl Mnist {
    /// Reads the four files of a folder: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`
    /// and `t10k-labels-idx1-ubyte`, each with or without `.gz`, and also when spelt `train-images.idx3-ubyte`.
    ///
    /// # Errors
    /// [`Error::File`] naming the file (or the folder) that is absent, damaged or does not fit its partner.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        if !folder.is_dir() {
            return Err(Error::file(folder, "there is no such folder"));
        }
        Ok(Self { train: read_digits(folder, "train")?, test: read_digits(folder, "t10k")? })
    }

    /// The digits of a split.
    pub fn split(&self, split: Split) -> &Digits {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }
}

/// Reads the images and labels whose names begin with `prefix`.
fn read_digits(folder: &Path, prefix: &str) -> Result<Digits> {
    let image_path = find(folder, &format!("{prefix}-images"), "idx3-ubyte")?;
    let label_path = find(folder, &format!("{prefix}-labels"), "idx1-ubyte")?;
    let images = read(&image_path)?;
    let labels = read(&label_path)?;
    let [count, DIGIT_SIDE, DIGIT_SIDE] = images.dims[..] else {
        return Err(Error::file(image_path, format!("holds an array {:?}, not (N, 28, 28)", images.dims)));
    };
    if labels.dims != [count] {
        let what =
            format!("holds labels {:?} for the {count} images of {}", labels.dims, image_path.display());
        return Err(Error::file(label_path, what));
    }
    Digits::new(images.data, labels.data).map_err(|why| Error::file(label_path, why))
}

/// The file `stem`-`ending` or `stem`.`ending`, plain before compressed.
fn find(folder: &Path, stem: &str, ending: &str) -> Result<PathBuf> {
    let names = ["", ".gz"].map(|gz| ["-", "."].map(|joint| format!("{stem}{joint}{ending}{gz}"))).concat();
    names
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::file(folder, format!("holds none of {}", names.join(", "))))
}
