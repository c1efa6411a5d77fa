use super::*;
use crate::{
    Device, Rng,
    data::{Window, picture},
    nn::{Activation, ConvStackConfig, EncoderConfig, GlobalPool, Task},
    select::{Ats, AtsConfig, Ips, IpsConfig, System, ZoomIn, ZoomInConfig},
    train::{Dataset, TrainConfig, Trainer},
};
use flate2::{Compression, write::ZlibEncoder};
use std::{fs, io::Write};

fn pixels(count: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..count).map(|_| rng.below(256) as u8).collect()
}

/// An image of a TIFF file to write: one channel per sample, tiles of a square side.
struct Image<'a> {
    size: [usize; 2],
    samples: usize,
    side: usize,
    /// The pixels of tile (row, column), (side, side, samples); none for a blank one.
    tile: &'a dyn Fn(usize, usize) -> Option<Vec<u8>>,
}

/// A BigTIFF file of deflated tiles, of an image and reduced copies of it. All blank tiles are one.
fn big_tiff(path: &Path, images: &[Image]) {
    let mut file = b"II\x2b\0\x08\0\0\0".to_vec();
    file.extend([0; 8]); // where the first directory is
    let mut patch_at = 8;
    for (level, image) in images.iter().enumerate() {
        let [rows, columns] = image.size.map(|size| size.div_ceil(image.side));
        let deflated = |pixels: &[u8]| {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(pixels).unwrap();
            encoder.finish().unwrap()
        };
        let blank = deflated(&vec![0; image.side * image.side * image.samples]);
        let blank_at = file.len() as u64;
        file.extend(&blank);
        let (mut offsets, mut counts) = (Vec::new(), Vec::new());
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let (at, size) = match (image.tile)(row, column) {
                None => (blank_at, blank.len()),
                Some(pixels) => {
                    let (at, bytes) = (file.len() as u64, deflated(&pixels));
                    file.extend(&bytes);
                    (at, bytes.len())
                }
            };
            offsets.push(at);
            counts.push(size as u64);
        }
        let table = |file: &mut Vec<u8>, values: &[u64]| {
            let at = file.len() as u64;
            values.iter().for_each(|value| file.extend(value.to_le_bytes()));
            if values.len() == 1 { values[0] } else { at }
        };
        let (offsets_at, counts_at) = (table(&mut file, &offsets), table(&mut file, &counts));
        let bits = [8_u64, 0x0008_0008_0008][usize::from(image.samples == 3)];
        let tiles = offsets.len() as u64;
        let entries: [(u16, u16, u64, u64); 12] = [
            (254, 4, 1, u64::from(level > 0)),
            (256, 4, 1, image.size[1] as u64),
            (257, 4, 1, image.size[0] as u64),
            (258, 3, image.samples as u64, bits),
            (259, 3, 1, 8),
            (262, 3, 1, if image.samples == 3 { 2 } else { 1 }),
            (277, 3, 1, image.samples as u64),
            (284, 3, 1, 1),
            (322, 4, 1, image.side as u64),
            (323, 4, 1, image.side as u64),
            (324, 16, tiles, offsets_at),
            (325, 16, tiles, counts_at),
        ];
        let directory = file.len() as u64;
        file[patch_at..patch_at + 8].copy_from_slice(&directory.to_le_bytes());
        file.extend((entries.len() as u64).to_le_bytes());
        for (tag, kind, count, value) in entries {
            file.extend(tag.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend(count.to_le_bytes());
            file.extend(value.to_le_bytes());
        }
        patch_at = file.len();
        file.extend([0; 8]); // where the next directory is: nowhere
    }
    fs::write(path, file).unwrap();
}

#[test]
fn png_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for (samples, name) in [(1, "grey.png"), (3, "colour.PNG")] {
        let (path, bytes) = (folder.path().join(name), pixels(5 * 7 * samples, 1));
        let saved = if samples == 1 { picture::save_grey } else { picture::save_rgb };
        saved(&path, [5, 7], &bytes).unwrap();
        let want = DenseImage::from_interleaved([samples, 5, 7], &bytes).unwrap();
        let image = open(&path).unwrap();
        let mut got = vec![9; 5 * 7 * samples];
        image.read(Window::new(0, 0, 5, 7), &mut got).unwrap();
        assert_eq!(got, want.pixels());
    }
}

/// A baseline JPEG of one block, written by hand: quantisation 8 throughout, a DC difference of 50, nothing else.
fn one_grey_block() -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
    file.extend([8; 64]);
    file.extend([0xFF, 0xC0, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0]);
    for (table, symbol) in [(0x00, 6), (0x10, 0)] {
        file.extend([0xFF, 0xC4, 0, 20, table, 1]);
        file.extend([0; 15]);
        file.push(symbol);
    }
    // Code 0 for "six bits follow", 110010 = 50, code 0 for the end of the block.
    file.extend([0xFF, 0xDA, 0, 8, 1, 1, 0x00, 0, 63, 0, 0b0110_0100, 0xFF, 0xD9]);
    file
}

#[test]
fn jpeg_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block.jpg");
    fs::write(&path, one_grey_block()).unwrap();
    let image = open(&path).unwrap();
    assert_eq!((image.channels(), image.height(), image.width()), (1, 8, 8));
    let mut got = [0; 64];
    image.read(Window::new(0, 0, 8, 8), &mut got).unwrap();
    assert_eq!(got, [178; 64]);
}

/// Windows across tiles, at borders and beyond them are those of the image in memory.
#[test]
fn tiles_make_the_image() {
    let folder = tempfile::tempdir().unwrap();
    for samples in [1, 3] {
        let (path, size, side) = (folder.path().join(format!("{samples}.tif")), [50, 37], 16);
        let bytes = pixels(size[0] * size[1] * samples, 2);
        let tile = |row: usize, column: usize| {
            let pixel = |at: usize| [row * side + at / side, column * side + at % side];
            let sample = |at: usize| match pixel(at / samples) {
                [y, x] if y < size[0] && x < size[1] => bytes[(y * size[1] + x) * samples + at % samples],
                _ => 77,
            };
            Some((0..side * side * samples).map(sample).collect::<Vec<u8>>())
        };
        big_tiff(&path, &[Image { size, samples, side, tile: &tile }]);
        let want = DenseImage::from_interleaved([samples, size[0], size[1]], &bytes).unwrap();
        let image = open(&path).unwrap();
        assert_eq!((image.channels(), image.height(), image.width()), (samples, 50, 37));
        for window in [
            Window::new(0, 0, 50, 37),
            Window::new(13, 14, 20, 20),
            Window::new(-5, -3, 9, 60),
            Window::new(45, 30, 20, 20),
            Window::new(60, 0, 4, 4),
        ] {
            let mut got = vec![1; samples * window.height * window.width];
            let mut expected = got.clone();
            image.read(window, &mut got).unwrap();
            want.read(window, &mut expected).unwrap();
            assert_eq!(got, expected, "{window:?}");
        }
    }
}

#[test]
fn a_view_comes_from_the_smallest_copy_that_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pyramid.tif");
    // The copies are told apart by their brightness, which real ones are not.
    let of = |value: u8| move |_: usize, _: usize| Some(vec![value; 16 * 16]);
    let (large, middle, small) = (of(10), of(20), of(30));
    let image = |side: usize, tile| Image { size: [side; 2], samples: 1, side: 16, tile };
    big_tiff(&path, &[image(64, &large), image(32, &middle), image(16, &small)]);
    let slide = TiledImage::open(&path).unwrap();
    assert_eq!(slide.levels(), [[64, 64], [32, 32], [16, 16]]);
    for (size, value) in
        [([8, 8], 30.0), ([16, 16], 30.0), ([17, 4], 20.0), ([40, 40], 10.0), ([80, 80], 10.0)]
    {
        let mut view = vec![0.0; size[0] * size[1]];
        slide.view(size, &mut view).unwrap();
        assert!(view.iter().all(|v| (v * 255.0 - value).abs() < 1e-3), "{size:?}: {}", view[0] * 255.0);
    }
}

/// 60,000 × 60,000 pixels, 3.6 GB if they were in memory: three systems read what they need of it.
#[test]
fn systems_read_a_file_larger_than_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slide.tif");
    const SIDE: usize = 60_000;
    let noise = pixels(256 * 256, 3);
    let inked = |row: usize, column: usize| (row * 235 + column).is_multiple_of(997).then(|| noise.clone());
    let copy = |_: usize, _: usize| Some(noise.clone());
    let level = |side: usize, tile| Image { size: [side; 2], samples: 1, side: 256, tile };
    big_tiff(&path, &[level(SIDE, &inked), level(SIDE / 60, &copy)]);
    assert!(fs::metadata(&path).unwrap().len() < 50 << 20);
    let slide = open(&path).unwrap();
    let mut corner = vec![0; 4 * 256];
    // Tile 997 stands in row 4, column 57.
    slide.read(Window::new(4 * 256, 57 * 256, 4, 256), &mut corner).unwrap();
    assert_eq!(corner, noise[..4 * 256]);
    let images: [&dyn PatchSource; 1] = [&*slide];
    let encoder = ConvStackConfig::lenet(1);
    let encoder = EncoderConfig::Convs(encoder, GlobalPool::Max);
    let mut rng = Rng::new(0);
    let config = AtsConfig { view: [40, 40], encoder: encoder.clone(), ..AtsConfig::megapixel_mnist() };
    let ats = Ats::new(config, &Device::Cpu, &mut rng).unwrap();
    assert_eq!(*ats.predict(&images, &mut rng).unwrap()[0].dims(), [1, 10]);
    let attention = ConvStackConfig::ats_attention(1);
    let config = ZoomInConfig {
        tile: [3000, 3000],
        tile_view: [3, 3],
        sub_view: [15, 15],
        tiles: attention.clone(),
        sub_tiles: attention,
        encoder,
        ..ZoomInConfig::colon_cancer()
    };
    let zoom = ZoomIn::new(config, &Device::Cpu, &mut rng).unwrap();
    assert_eq!(*zoom.predict(&images, &mut rng).unwrap()[0].dims(), [1, 2]);
    let small = crate::nn::ResNetConfig { widths: vec![4], blocks: 1, ..crate::nn::ResNetConfig::small(1) };
    let tasks = vec![Task::new("a", 2, Activation::Softmax)];
    let mut config = IpsConfig::with_encoder(small, [32, 32], 4, 16, tasks, true);
    (config.stride, config.transformer.heads) = ([6000, 6000], 2);
    let ips = Ips::new(config, &Device::Cpu, &mut rng).unwrap();
    assert_eq!(*ips.predict(&images, &mut rng).unwrap()[0].dims(), [1, 2]);
}

#[test]
fn damaged_files_are_errors_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let tile = |_: usize, _: usize| Some(pixels(16 * 16, 1));
    let whole = folder.path().join("whole.tif");
    big_tiff(&whole, &[Image { size: [40, 40], samples: 1, side: 16, tile: &tile }]);
    let grey = folder.path().join("whole.png");
    picture::save_grey(&grey, [40, 40], &pixels(1600, 1)).unwrap();
    let read = |path: &Path| {
        let image = open(path)?;
        image.read(Window::new(0, 0, 40, 40), &mut vec![0; image.channels() * 1600])
    };
    let (tiff, png, jpeg) = (fs::read(&whole).unwrap(), fs::read(&grey).unwrap(), one_grey_block());
    let mut scrambled = tiff.clone();
    // The middle of the compressed tiles.
    scrambled[300..900].fill(0xA5);
    for (name, bytes) in [
        ("empty.tif", &[][..]),
        ("short.tif", &tiff[..tiff.len() - 60]),
        ("scrambled.tif", &scrambled),
        ("a.png", b"not a picture"),
        ("short.png", &png[..png.len() / 2]),
        ("short.jpg", &jpeg[..90]),
        ("other.jpg", &png),
        ("text.txt", b"hello"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = read(&path).expect_err(name);
        assert!(matches!(error, Error::File { .. }), "{error}");
        assert!(error.to_string().contains(name) && !error.to_string().contains('\n'), "{error}");
    }
    assert!(read(&folder.path().join("absent.tif")).unwrap_err().to_string().contains("absent.tif"));
    assert!(read(&whole).is_ok() && read(&grey).is_ok());
}

/// Files, of which some are damaged: training stops at the first of them, or goes on without them.
#[test]
fn a_damaged_file_stops_training_or_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut list = String::from("path,label\n");
    for at in 0..40 {
        let name = format!("{at:02}.png");
        let bright = at % 2 == 0;
        picture::save_grey(folder.path().join(&name), [40, 40], &[if bright { 200 } else { 50 }; 1600])
            .unwrap();
        list.push_str(&format!("{name},{}\n", if bright { "bright" } else { "dark" }));
    }
    for damaged in ["07.png", "31.png"] {
        fs::write(folder.path().join(damaged), "damaged").unwrap();
    }
    let path = folder.path().join("list.csv");
    fs::write(&path, &list).unwrap();
    let data = ImageFolder::open(&path).unwrap();
    assert_eq!((data.len(), data.classes()), (40, &["bright".to_owned(), "dark".into()][..]));
    let train = |data: &ImageFolder| {
        let config = AtsConfig {
            view: [10, 10],
            patch: [20, 20],
            samples: 2,
            tasks: vec![Task::new("light", 2, Activation::Softmax)],
            encoder: EncoderConfig::Convs(ConvStackConfig::lenet(1), GlobalPool::Max),
            ..AtsConfig::megapixel_mnist()
        };
        let net = Ats::new(config, &Device::Cpu, &mut Rng::new(0))?;
        let config = TrainConfig { batch: 8, epochs: 1, ..TrainConfig::attention_sampling() };
        let mut trainer = Trainer::new(net, config, data)?;
        while trainer.steps_done() < trainer.steps() {
            trainer.step_on(data)?;
        }
        Ok::<usize, Error>(trainer.steps_done())
    };
    let error = train(&data).unwrap_err().to_string();
    assert!(error.contains("07.png") || error.contains("31.png"), "{error}");
    let (rest, errors) = data.readable().unwrap();
    let errors: Vec<String> = errors.iter().map(Error::to_string).collect();
    assert!(errors.len() == 2 && errors[0].contains("07.png") && errors[1].contains("31.png"), "{errors:?}");
    assert_eq!((rest.len(), train(&rest).unwrap()), (38, 5));
    // Another split may have fewer labels.
    fs::write(&path, "00.png,dark\n").unwrap();
    let few = ImageFolder::open(&path).unwrap();
    let few = few.with_classes(rest.classes()).unwrap();
    assert_eq!(few.example(0).unwrap().targets, [crate::train::Target::Class(1)]);
    for (bad, word) in [("", "no image"), ("00.png", "line 1"), ("path,label\n00.png,", "line 2")] {
        fs::write(&path, bad).unwrap();
        assert!(ImageFolder::open(&path).unwrap_err().to_string().contains(word), "{bad}");
    }
}

/// Of 1,000 images ten are damaged, each in its own way. Training stops at the first of them; asked before, it is told all
/// ten, and goes on without them, or not.
#[test]
fn ten_of_a_thousand_files_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let name = |index: usize| format!("{index:03}.png");
    let mut list = String::from("path,label\n");
    for index in 0..1000 {
        picture::save_grey(at(&name(index)), [6, 7], &pixels(42, index as u64)).unwrap();
        list.push_str(&format!("{},{}\n", name(index), ["even", "odd"][index % 2]));
    }
    fs::write(at("list.csv"), list).unwrap();
    let png = fs::read(at(&name(0))).unwrap();
    let with = |place: usize, bytes: &[u8]| {
        let mut damaged = png.clone();
        damaged[place..place + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    let find = |chunk: &[u8]| png.windows(4).position(|four| four == chunk).unwrap();
    let damage: [(usize, Option<Vec<u8>>); 10] = [
        (13, None),                                       // absent
        (99, Some(vec![])),                               // empty
        (100, Some(png[..20].to_vec())),                  // ends within its header
        (257, Some(png[..find(b"IDAT") + 8].to_vec())),   // ends within its pixels
        (300, Some(png[..find(b"IDAT") - 4].to_vec())),   // ends before them
        (444, Some(with(0, b"GIF89a"))),                  // another magic number
        (512, Some(with(16, &[0; 4]))),                   // a width of zero
        (700, Some(with(find(b"IDAT") + 4, &[0xFF; 4]))), // a damaged stream of pixels
        (801, Some(b"path,label".to_vec())),              // text
        (999, Some(one_grey_block())),                    // a JPEG by another name
    ];
    for (index, bytes) in &damage {
        match bytes {
            Some(bytes) => fs::write(at(&name(*index)), bytes).unwrap(),
            None => fs::remove_file(at(&name(*index))).unwrap(),
        }
    }
    let data = ImageFolder::open(at("list.csv")).unwrap();
    let net = || {
        let tasks = vec![Task::new("parity", 2, Activation::Softmax)];
        let encoder =
            crate::nn::ResNetConfig { widths: vec![2], blocks: 1, ..crate::nn::ResNetConfig::small(1) };
        let config = crate::select::CnnConfig { view: None, encoder: EncoderConfig::ResNet(encoder), tasks };
        crate::select::Cnn::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap()
    };
    let train = |data: &ImageFolder| {
        let config = TrainConfig { batch: 100, epochs: 1, ..TrainConfig::attention_sampling() };
        let mut trainer = Trainer::new(net(), config, data)?;
        trainer.run(data, usize::MAX, |_, _| Ok(std::ops::ControlFlow::Continue(())))
    };
    let first = train(&data).unwrap_err();
    assert!(damage.iter().any(|(index, _)| first.to_string().contains(&name(*index))), "{first}");
    let all = data.clone().complete().unwrap_err().to_string();
    assert!(all.contains("list.csv") && all.contains("10 of 1000") && !all.contains('\n'), "{all}");
    let (rest, errors) = data.readable().unwrap();
    assert_eq!((rest.len(), errors.len()), (990, 10));
    for ((index, _), error) in damage.iter().zip(&errors) {
        let Error::File { path, .. } = error else { panic!("{error}") };
        assert_eq!(path, &at(&name(*index)));
        assert!(all.contains(&error.to_string()), "{all} lacks {error}");
    }
    assert_eq!(train(&rest).unwrap().steps, 10);
    assert_eq!(rest.complete().unwrap().len(), 990);
}
