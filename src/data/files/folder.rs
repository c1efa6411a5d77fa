//! A data set of image files with their classes, listed in a CSV file.

use super::open;
use crate::{
    Error, Result,
    train::{Dataset, Example, Target},
};
use rayon::prelude::*;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Images in files, one class each.
///
/// The list has a line `path,label` per image, paths relative to the list's folder, and may begin with that line itself. Classes
/// are the labels in alphabetical order.
///
/// ```
/// use foveate::{data::{files::ImageFolder, picture}, train::Dataset};
/// # fn main() -> foveate::Result<()> {
/// let folder = std::env::temp_dir().join("foveate-doc-folder");
/// std::fs::create_dir_all(&folder).map_err(|e| foveate::Error::file(&folder, e))?;
/// picture::save_grey(folder.join("a.png"), [2, 2], &[0, 1, 2, 3])?;
/// let list = folder.join("list.csv");
/// foveate::checkpoint::write_whole(&list, b"path,label\na.png,stop\n")?;
/// let data = ImageFolder::open(&list)?;
/// assert_eq!((data.len(), data.classes()), (1, &["stop".to_owned()][..]));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    list: PathBuf,
    images: Vec<(PathBuf, u32)>,
    classes: Vec<String>,
}

impl ImageFolder {
    /// Reads the list; opens no image.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a list that is absent, empty, or has a line that is not `path,label`.
    pub fn open(list: impl AsRef<Path>) -> Result<Self> {
        let list = list.as_ref();
        let text = fs::read_to_string(list).map_err(|why| Error::file(list, why))?;
        let folder = list.parent().unwrap_or(Path::new(""));
        let mut entries = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || (at == 0 && line == "path,label") {
                continue;
            }
            match line.rsplit_once(',').map(|(path, label)| (path.trim(), label.trim())) {
                Some((path, label)) if !path.is_empty() && !label.is_empty() => {
                    entries.push((folder.join(path), label.to_owned()));
                }
                _ => return Err(Error::file(list, format!("line {} is not path,label: {line}", at + 1))),
            }
        }
        if entries.is_empty() {
            return Err(Error::file(list, "lists no image"));
        }
        let mut classes: Vec<String> = entries.iter().map(|(_, label)| label.clone()).collect();
        classes.sort();
        classes.dedup();
        let class = |label: &String| classes.binary_search(label).unwrap_or_default() as u32;
        let images = entries.iter().map(|(path, label)| (path.clone(), class(label))).collect();
        Ok(ImageFolder { list: list.to_owned(), images, classes })
    }

    /// The labels; a label's place is its class.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The same data set with other classes: those of another split, whose labels may be more.
    ///
    /// # Errors
    ///
    /// [`Error::File`] naming the list for a label that is not among `classes`.
    pub fn with_classes(mut self, classes: &[String]) -> Result<Self> {
        for (_, class) in &mut self.images {
            let label = self.classes.get(*class as usize).cloned().unwrap_or_default();
            let place = classes.iter().position(|known| *known == label);
            *class = place.ok_or_else(|| Error::file(&self.list, format!("has a label {label}")))? as u32;
        }
        self.classes = classes.to_vec();
        Ok(self)
    }

    /// Opens every image, and gives the data set if all can be read: a damaged file is found before training, not in the middle of
    /// it.
    ///
    /// # Errors
    ///
    /// [`Error::File`] naming the list and every image that cannot be read.
    pub fn complete(self) -> Result<Self> {
        let list = self.list.clone();
        let (data, damaged) = self.readable()?;
        if damaged.is_empty() {
            return Ok(data);
        }
        let named: Vec<String> = damaged.iter().map(Error::to_string).collect();
        let what = format!("{} of {} images cannot be read", named.len(), data.len() + named.len());
        Err(Error::file(
            list,
            format!("{what} (leave them out by ImageFolder::readable): {}", named.join("; ")),
        ))
    }

    /// Opens every image, and gives the data set of those that can be read, and the errors of those that cannot, which name
    /// them. A training that must not stop at a damaged file uses this; one that must not leave any out uses [`complete`](Self::complete).
    ///
    /// # Errors
    ///
    /// [`Error::File`] naming the list if none can be read.
    pub fn readable(mut self) -> Result<(Self, Vec<Error>)> {
        let read = |at: usize| {
            let (image, mut row) = (self.example(at)?.image, Vec::new());
            row.resize(image.channels() * image.width(), 0);
            // A file that ends too early fails at its last row.
            let last = image.height() as isize - 1;
            image.read(crate::data::Window::new(last, 0, 1, image.width()), &mut row)
        };
        let failed: Vec<Option<Error>> =
            (0..self.images.len()).into_par_iter().map(|at| read(at).err()).collect();
        let mut kept = failed.iter().map(Option::is_none);
        self.images.retain(|_| kept.next().unwrap_or(false));
        if self.images.is_empty() {
            return Err(Error::file(&self.list, "lists no image that can be read"));
        }
        Ok((self, failed.into_iter().flatten().collect()))
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn description(&self) -> String {
        format!("{}, classes {}", self.list.display(), self.classes.join("/"))
    }

    fn example(&self, index: usize) -> Result<Example> {
        let Some((path, class)) = self.images.get(index) else {
            let what = format!("there is no image {index} in a list of {}", self.images.len());
            return Err(Error::argument("image_folder", what));
        };
        Ok(Example { image: open(path)?, targets: vec![Target::Class(*class)] })
    }
}
