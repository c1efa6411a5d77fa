//! Selection in f16 on a CUDA device: the same whether a graph goes through whole images or strips come from the host, with
//! nothing launched but what has to be, and right also where f16 is not enough.

use super::*;
use crate::{
    Error, Rng, Tensor,
    data::{DenseImage, PatchSource, Window},
    nn::{Activation, GlobalPool, ResNetConfig, Task},
    ops,
    select::{IpsConfig, Scoring, Selection, Shuffle},
    testing::cuda_of_its_own,
};

/// A device of its own that rounds to f16.
fn device() -> Option<(Arc<Cuda>, Device)> {
    let cuda = cuda_of_its_own()?;
    let device = Device::Cuda(cuda.clone());
    device.set_precision(Precision::F16).unwrap();
    Some((cuda, device))
}

/// A network that fits in one launch, for patches of 10 by 12 that overlap.
fn net(device: &Device) -> Ips {
    let tasks = vec![Task::new("a", 3, Activation::Softmax), Task::new("b", 2, Activation::Sigmoid)];
    let encoder = ResNetConfig { channels: 1, widths: vec![16], blocks: 1, pool: GlobalPool::Mean };
    let mut config = IpsConfig::with_encoder(encoder, [10, 12], 6, 4, tasks, true);
    config.stride = [8, 12];
    config.shuffle = Shuffle::Instance;
    Ips::new(config, device, &mut Rng::new(3)).unwrap()
}

fn image(height: usize, width: usize, seed: u64) -> DenseImage {
    let mut rng = Rng::new(seed);
    let pixels = (0..height * width).map(|_| rng.below(256) as u8).collect();
    DenseImage::new([1, height, width], pixels).unwrap()
}

/// An image that is read where it is asked for, so that it comes in strips.
struct Elsewhere(DenseImage);

impl PatchSource for Elsewhere {
    fn channels(&self) -> usize {
        self.0.channels()
    }
    fn height(&self) -> usize {
        self.0.height()
    }
    fn width(&self) -> usize {
        self.0.width()
    }
    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        self.0.read(window, out)
    }
}

/// Two images of one size.
fn pair(seed: u64) -> [DenseImage; 2] {
    [image(50, 60, seed), image(50, 60, seed + 1)]
}

fn select(net: &Ips, images: &[DenseImage]) -> Vec<Selection> {
    let images: Vec<&dyn PatchSource> = images.iter().map(|image| image as &dyn PatchSource).collect();
    net.select(&images, &mut Rng::new(8)).unwrap()
}

fn select_elsewhere(net: &Ips, images: &[DenseImage]) -> Vec<Selection> {
    let images: Vec<Elsewhere> = images.iter().cloned().map(Elsewhere).collect();
    let images: Vec<&dyn PatchSource> = images.iter().map(|image| image as &dyn PatchSource).collect();
    net.select(&images, &mut Rng::new(8)).unwrap()
}

/// The logits of those that the last selection kept: of images on the device, or in strips.
fn kept(net: &Ips, in_strips: bool) -> Vec<u8> {
    let cache = net.cache.0.lock().unwrap();
    let selector = cache.as_ref().unwrap().selector.as_ref().unwrap();
    selector.kept_logits(selector.steps()[usize::from(in_strips)])
}

/// Adds to all weights of a kind, as a step of training would.
fn move_weights(net: &mut Ips, by: f64) {
    for parameter in net.parameters_mut() {
        let moved = ops::scale(parameter.tensor(), 1.0, by).unwrap();
        parameter.set(moved).unwrap();
    }
}

#[test]
fn a_graph_selects_what_strips_select_and_is_one_launch() {
    let Some((cuda, device)) = device() else { return };
    let net = net(&device);
    let images = pair(1);
    let first = select(&net, &images);
    let counts = || [cuda.launches(), cuda.graphs(), cuda.read_backs()];
    let before = counts();
    assert_eq!(select(&net, &images), first);
    let [launches, graphs, read_backs] = counts();
    assert_eq!([launches - before[0], graphs - before[1], read_backs - before[2]], [0, 1, 1]);
    let bits = kept(&net, false);

    assert_eq!(select_elsewhere(&net, &images), first);
    assert_eq!(cuda.graphs(), graphs, "strips are no graph");
    assert_eq!(kept(&net, true), bits, "bits depend on the way");

    // Other pixels and another order are other inputs of the same graph.
    let others = pair(5);
    assert_eq!(select(&net, &others), select(&net.clone(), &others));
    assert_ne!(select(&net, &others), first);
    assert_eq!(cuda.overflows(), 0);
}

/// A device in f32 that is asked for f16 gives what one in f16 gives, as long as it is asked.
#[test]
fn scoring_has_a_precision_of_its_own() {
    let Some((cuda, device)) = device() else { return };
    let mut net = net(&device);
    let images = pair(1);
    let want = select(&net, &images);
    let bits = kept(&net, false);
    device.set_precision(Precision::Bf16).unwrap();
    let graphs = cuda.graphs();
    select(&net, &images);
    assert_eq!(cuda.graphs(), graphs, "as the device is set to");
    net.release();
    net.set_scoring(Scoring { precision: Some(Precision::F16), ..Scoring::default() });
    assert_eq!(select(&net, &images), want);
    assert_eq!(cuda.graphs(), graphs + 1);
    assert_eq!(kept(&net, false), bits);
    assert_eq!(device.precision(), Precision::Bf16);
}

/// Layers one by one round differently; on these images no two scores are so close that it matters.
#[test]
fn layers_one_by_one_select_the_same_without_a_graph() {
    let Some((cuda, device)) = device() else { return };
    let mut net = net(&device);
    let images = pair(1);
    let in_one = select(&net, &images);
    let graphs = cuda.graphs();
    net.set_scoring(Scoring { by_layers: true, ..Scoring::default() });
    let sorted = |mut chosen: Vec<Selection>| {
        chosen.iter_mut().for_each(|selection| selection.indices.sort_unstable());
        chosen
    };
    assert_eq!(sorted(select(&net, &images)), sorted(in_one));
    assert_eq!(cuda.graphs(), graphs);
}

#[test]
fn a_graph_follows_weights_and_shapes() {
    let Some((cuda, device)) = device() else { return };
    let mut net = net(&device);
    let images = pair(1);
    let first = select(&net, &images);
    move_weights(&mut net, 0.05);
    let graphs = cuda.graphs();
    let moved = select(&net, &images);
    assert_eq!(cuda.graphs(), graphs + 1, "the same graph, with weights packed again");
    assert_eq!(moved, select(&net.clone(), &images), "a copy begins anew");
    assert_ne!(moved, first);
    assert_eq!(select(&net, &images[..1]), select(&net.clone(), &images[..1]));
    let wider = [image(50, 72, 3)];
    assert_eq!(select(&net, &wider), select_elsewhere(&net.clone(), &wider));
    // And back to the first shape.
    assert_eq!(select(&net, &images), moved);
}

#[test]
fn memory_of_a_graph_is_nobody_else_s() {
    let Some((cuda, device)) = device() else { return };
    let net = net(&device);
    let images = pair(1);
    let first = select(&net, &images);
    let held = cuda.memory().in_use;
    for round in 0..3 {
        // Whatever the pool has is handed out and written to.
        let others: Vec<Tensor> =
            (0..40).map(|at| Tensor::full(f32::NAN, [(at % 20 + 1) * 97], &device).unwrap()).collect();
        assert_eq!(select(&net, &images), first, "round {round}");
        drop(others);
        assert_eq!(cuda.memory().in_use, held, "a selection leaves nothing behind");
    }
    net.release();
    assert!(cuda.memory().in_use < held);
    assert_eq!(select(&net, &images), first);
    drop(net);
    assert_eq!(cuda.memory().in_use, 0, "the graph's memory goes with it");
}

/// The limit has room for a few strips, and not for twice the images.
#[test]
fn images_that_do_not_fit_come_in_strips() {
    let Some((cuda, device)) = device() else { return };
    let net = net(&device);
    let images = [image(170, 180, 1), image(170, 180, 2)];
    let whole = select(&net, &images);
    let graphs = cuda.graphs();
    let limited = net.clone();
    drop(net);
    device.release();
    // 61,200 bytes of pixels; three strips are at most three sixteenths of what is left, or one iteration each.
    let weights = cuda.memory().in_use;
    let limit = weights + 110_000;
    cuda.set_memory_limit(limit);
    device.reset_peak();
    assert_eq!(select(&limited, &images), whole);
    assert_eq!(cuda.graphs(), graphs, "in strips");
    let memory = cuda.memory();
    assert!(memory.peak <= limit && memory.in_use + memory.pooled <= limit, "{memory:?}, allowed {limit}");
    let cache = limited.cache.0.lock().unwrap();
    let strips = cache.as_ref().unwrap().selector.as_ref().unwrap().steps()[1];
    assert!(strips > 3, "{strips} strips");
}

/// Fails after so many reads.
struct Torn {
    whole: Elsewhere,
    left: std::sync::atomic::AtomicIsize,
}

impl PatchSource for Torn {
    fn channels(&self) -> usize {
        self.whole.channels()
    }
    fn height(&self) -> usize {
        self.whole.height()
    }
    fn width(&self) -> usize {
        self.whole.width()
    }
    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        match self.left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            1.. => self.whole.read(window, out),
            _ => Err(Error::file("torn", "ends early")),
        }
    }
}

#[test]
fn a_strip_that_cannot_be_read_is_an_error_and_the_next_selection_is_right() {
    let Some((cuda, device)) = device() else { return };
    let net = net(&device);
    let images = [image(170, 180, 1)];
    cuda.set_memory_limit(cuda.memory().in_use + 110_000);
    let want = select_elsewhere(&net, &images);
    let torn = Torn { whole: Elsewhere(images[0].clone()), left: 200.into() };
    let refused = net.select(&[&torn], &mut Rng::new(8)).unwrap_err();
    assert!(matches!(refused, Error::File { .. }), "{refused}");
    assert_eq!(select_elsewhere(&net, &images), want);
}

#[test]
fn a_timeline_has_a_line_for_each_strip() {
    let Some((cuda, device)) = device() else { return };
    let net = net(&device);
    let images = [image(170, 180, 1)];
    cuda.set_memory_limit(cuda.memory().in_use + 110_000);
    select_elsewhere(&net, &images);
    assert_eq!(cuda.timeline().unwrap().0, [], "nobody asked");
    cuda.trace(true);
    select_elsewhere(&net, &images);
    let timeline = cuda.timeline().unwrap();
    let cache = net.cache.0.lock().unwrap();
    assert_eq!(timeline.0.len(), cache.as_ref().unwrap().selector.as_ref().unwrap().steps()[1]);
    for strip in &timeline.0 {
        let times = [strip.copied, strip.scored].concat();
        assert!(times.is_sorted(), "{timeline}");
    }
}

/// Weights so large that what the stem gives is beyond f16.
fn overflowing(device: &Device) -> Ips {
    let mut net = net(device);
    let mut state = net.state();
    let scale = state.get_mut("encoder.1.weight").unwrap();
    *scale = ops::scale(scale, 1e6, 0.0).unwrap();
    net.load(&state).unwrap();
    net
}

#[test]
fn what_f16_cannot_hold_is_selected_in_f32_or_refused() {
    let Some((cuda, device)) = device() else { return };
    let mut net = overflowing(&device);
    let images = pair(1);
    let chosen = select(&net, &images);
    assert_eq!(cuda.overflows(), 1);
    assert_eq!(select_elsewhere(&net, &images), chosen);
    assert_eq!(cuda.overflows(), 2);
    device.set_precision(Precision::F32).unwrap();
    assert_eq!(select(&net.clone(), &images), chosen);
    device.set_precision(Precision::F16).unwrap();
    assert_eq!(cuda.overflows(), 2, "nothing overflows in f32");

    net.set_scoring(Scoring { strict: true, ..Scoring::default() });
    let refused = net.select(&[&images[0]], &mut Rng::new(8)).unwrap_err();
    assert!(matches!(&refused, Error::Overflow { op: "ips", .. }), "{refused}");
    assert_eq!(cuda.overflows(), 3);
    // The word is cleared at the start of each selection: the same network with weights of ordinary size goes on.
    let ordinary = self::net(&device).state();
    net.load(&ordinary).unwrap();
    assert_eq!(net.select(&[&images[0]], &mut Rng::new(8)).unwrap().len(), 1);
    assert_eq!(cuda.overflows(), 3);
}

/// Where constant patches are elided, patches are cut out and features read on the way: the word is read there as well.
#[test]
fn an_overflow_shows_on_the_way_with_elided_patches_too() {
    let Some((cuda, device)) = device() else { return };
    let mut net = overflowing(&device);
    net.config.elide_constant = true;
    let images = pair(1);
    let chosen = select(&net, &images);
    assert_eq!(cuda.overflows(), 1);
    device.set_precision(Precision::F32).unwrap();
    assert_eq!(select(&net, &images), chosen);
}
