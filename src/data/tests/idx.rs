//! IDX files: what is read, and what each kind of damage is called.

use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::super::{Digits, Mnist, Split, idx};
use crate::Error;

/// The bytes of an IDX file.
fn encode(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|axis| axis.to_be_bytes()));
    bytes.extend_from_slice(data);
    bytes
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Reads a file of these bytes; the error must name it.
fn read(bytes: &[u8]) -> Result<idx::IdxArray, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some-idx3-ubyte");
    fs::write(&path, bytes).unwrap();
    idx::read(&path).map_err(|error| match error {
        Error::File { path: named, what } if named == path => what,
        other => panic!("not an error of the file: {other}"),
    })
}

#[test]
fn damaged_files_are_named_with_their_damage() {
    let whole = encode(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
    assert_eq!(read(&whole).unwrap().dims, [2, 3]);
    let fails = |bytes: &[u8], why: &str| {
        let what = read(bytes).unwrap_err();
        assert!(what.contains(why), "{what:?} does not say {why:?}");
    };
    fails(&[], "ends inside its header");
    fails(&whole[..3], "ends inside its header");
    fails(&whole[..9], "ends inside its header");
    fails(&whole[..17], "truncated: [2, 3] needs 6 bytes after the header, there are 5");
    fails(&[&whole[..], &[0]].concat(), "more than the 6 bytes");
    fails(b"PNG and more", "not an IDX file");
    fails(&encode(0x0d, &[1], &[0; 4]), "type 0x0d");
    fails(&encode(8, &[u32::MAX; 9], &[]), "impossible size");
    // A huge claim must not be believed: nothing of that size is allocated.
    fails(&encode(8, &[u32::MAX, 1 << 20], &[1, 2]), "there are 2");
    let packed = compress(&whole);
    assert_eq!(read(&packed), read(&whole));
    fails(&packed[..packed.len() - 9], "");
    fails(&packed[..2], "");
    let mut flipped = packed.clone();
    let middle = flipped.len() - 6;
    flipped[middle] ^= 0xff;
    fails(&flipped, "cannot be read to its end");
}

#[test]
fn an_absent_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing");
    assert!(matches!(idx::read(&path), Err(Error::File { path: named, .. }) if named == path));
    assert!(matches!(Mnist::open(&path), Err(Error::File { path: named, .. }) if named == path));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(dims in prop::collection::vec(0_u32..5, 0..4), packed: bool, seed: u8) {
        let size: u32 = dims.iter().product();
        let data: Vec<u8> = (0..size).map(|at| seed.wrapping_add(at as u8)).collect();
        let bytes = encode(8, &dims, &data);
        let array = read(&if packed { compress(&bytes) } else { bytes }).unwrap();
        prop_assert_eq!(array.data, data);
        prop_assert_eq!(array.dims, dims.iter().map(|&axis| axis as usize).collect::<Vec<_>>());
    }
}

/// Writes a small database: `count` digits in each split, label i mod 10, every pixel its label.
fn write_mnist(folder: &Path, joint: &str, packed: bool, count: u32) {
    let labels: Vec<u8> = (0..count).map(|index| (index % 10) as u8).collect();
    let pixels: Vec<u8> = labels.iter().flat_map(|&label| vec![label; 28 * 28]).collect();
    for prefix in ["train", "t10k"] {
        let images = ("images", format!("{joint}idx3-ubyte"), encode(8, &[count, 28, 28], &pixels));
        let labels = ("labels", format!("{joint}idx1-ubyte"), encode(8, &[count], &labels));
        for (kind, ending, bytes) in [images, labels] {
            let gz = if packed { ".gz" } else { "" };
            let bytes = if packed { compress(&bytes) } else { bytes };
            fs::write(folder.join(format!("{prefix}-{kind}{ending}{gz}")), bytes).unwrap();
        }
    }
}

#[test]
fn a_database_is_found_under_its_usual_names() {
    for (joint, packed) in [("-", false), ("-", true), (".", false), (".", true)] {
        let folder = tempfile::tempdir().unwrap();
        write_mnist(folder.path(), joint, packed, 23);
        let mnist = Mnist::open(folder.path()).unwrap();
        assert_eq!((mnist.train.len(), mnist.test.len()), (23, 23));
        assert_eq!(mnist.split(Split::Test).get(13), Some((&[3; 28 * 28][..], 3)));
        assert_eq!(mnist.train.of_class(2), [2, 12, 22]);
    }
}

#[test]
fn files_of_a_database_that_do_not_fit_are_named() {
    let fails = |file: &str, bytes: Option<Vec<u8>>, why: &str| {
        let folder = tempfile::tempdir().unwrap();
        write_mnist(folder.path(), "-", false, 23);
        match bytes {
            Some(bytes) => fs::write(folder.path().join(file), bytes).unwrap(),
            None => fs::remove_file(folder.path().join(file)).unwrap(),
        }
        let what = Mnist::open(folder.path()).unwrap_err().to_string();
        assert!(what.contains(file) && what.contains(why), "{what}");
    };
    fails("t10k-labels-idx1-ubyte", None, "holds none of");
    fails("t10k-images-idx3-ubyte", Some(encode(8, &[1, 28, 27], &[0; 28 * 27])), "not (N, 28, 28)");
    fails("train-labels-idx1-ubyte", Some(encode(8, &[22], &[0; 22])), "labels [22] for the 23 images");
    fails("train-labels-idx1-ubyte", Some(encode(8, &[23], &[10; 23])), "label 0 is 10");
}

#[test]
fn digits_that_do_not_fit_their_labels_are_refused() {
    assert!(matches!(Digits::new(vec![0; 784], vec![1, 2]), Err(Error::Shape { .. })));
    assert!(matches!(Digits::new(vec![0; 784], vec![10]), Err(Error::Argument { .. })));
    assert!(Digits::new(Vec::new(), Vec::new()).unwrap().is_empty());
}

#[test]
fn the_others_of_a_class_are_counted_in_order() {
    let digits = super::plain_digits();
    for class in 0..10 {
        let others: Vec<u32> = (0..200).filter(|&index| digits.labels()[index as usize] != class).collect();
        let found: Vec<u32> = (0..others.len() as u32).map(|rank| digits.other_than(class, rank)).collect();
        assert_eq!(found, others);
    }
}
