//! A data set whose images are resized, and varied at random in training.

use super::{Dataset, Example};
use crate::{
    Rng,
    data::{Augmentation, bilinear},
    error::Result,
};

/// The images of a data set at one size, and varied when training draws them; evaluation gets them unvaried. Masks of images
/// are left behind.
///
/// ```no_run
/// use foveate::{data::{Augmentation, files::ImageFolder}, train::Prepared};
/// # fn main() -> foveate::Result<()> {
/// // The traffic signs as Iterative Patch Selection takes them.
/// let train = ImageFolder::open("train.csv")?;
/// let augmentation = Augmentation::iterative_patch_selection();
/// let train = Prepared::new(train).resized([1200, 1600]).varied(augmentation)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Prepared<D> {
    data: D,
    size: Option<[usize; 2]>,
    augmentation: Augmentation,
}

impl<D: Dataset> Prepared<D> {
    /// The data set as it is.
    pub fn new(data: D) -> Self {
        Prepared { data, size: None, augmentation: Augmentation::default() }
    }

    /// Images at `size` [h, w], by [`bilinear::resize`].
    pub fn resized(self, size: [usize; 2]) -> Self {
        Prepared { size: Some(size), ..self }
    }

    /// Images varied in training.
    ///
    /// # Errors
    ///
    /// As [`Augmentation::check`].
    pub fn varied(self, augmentation: Augmentation) -> Result<Self> {
        augmentation.check()?;
        Ok(Prepared { augmentation, ..self })
    }

    /// The data set that it is made of.
    pub fn data(&self) -> &D {
        &self.data
    }

    fn sized(&self, example: Example) -> Result<Example> {
        let Some(size) = self.size else { return Ok(example) };
        Ok(Example { image: Box::new(bilinear::resize(&*example.image, size)?), ..example })
    }
}

impl<D: Dataset> Dataset for Prepared<D> {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn example(&self, index: usize) -> Result<Example> {
        self.sized(self.data.example(index)?)
    }

    fn draw(&self, index: usize, rng: &mut Rng) -> Result<Example> {
        let example = self.sized(self.data.draw(index, rng)?)?;
        if self.augmentation.is_none() {
            return Ok(example);
        }
        Ok(Example { image: Box::new(self.augmentation.apply(&*example.image, rng)?), ..example })
    }

    fn description(&self) -> String {
        format!("{}, at {:?}, {:?}", self.data.description(), self.size, self.augmentation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Device, Tensor,
        data::DenseImage,
        nn::{Activation, EncoderConfig, GlobalPool, ResNetConfig, Task},
        select::{Cnn, CnnConfig},
        train::{Target, TrainConfig, Trainer},
    };

    struct Stripes;

    impl Dataset for Stripes {
        fn len(&self) -> usize {
            6
        }

        fn example(&self, index: usize) -> Result<Example> {
            let pixels = (0..3 * 10 * 12).map(|at| (at * (index + 3) % 256) as u8).collect();
            let image = Box::new(DenseImage::new([3, 10, 12], pixels)?);
            Ok(Example { image, targets: vec![Target::Class(index as u32 % 2)] })
        }
    }

    fn prepared(augmentation: Augmentation) -> Prepared<Stripes> {
        Prepared::new(Stripes).resized([16, 20]).varied(augmentation).unwrap()
    }

    fn trainer(data: &dyn Dataset) -> Trainer<Cnn> {
        let encoder = ResNetConfig { channels: 3, widths: vec![4], blocks: 1, pool: GlobalPool::Mean };
        let tasks = vec![Task::new("a", 2, Activation::Softmax).balanced(&[4, 2]).unwrap()];
        let config = CnnConfig { view: None, encoder: EncoderConfig::ResNet(encoder), tasks };
        let net = Cnn::new(config, &Device::Cpu, &mut Rng::new(0)).unwrap();
        let config = TrainConfig { batch: 4, epochs: 2, seed: 3, ..TrainConfig::speed_limits() };
        Trainer::new(net, config, data).unwrap()
    }

    fn losses(trainer: &mut Trainer<Cnn>, data: &dyn Dataset) -> Vec<f32> {
        (trainer.steps_done()..trainer.steps()).map(|_| trainer.step_on(data).unwrap().loss).collect()
    }

    /// What is drawn depends on the seed and the step alone: not on whether batches are made ahead, or training was resumed.
    #[test]
    fn training_varies_images_by_its_seed() {
        let data = prepared(Augmentation::iterative_patch_selection());
        let mut whole = trainer(&data);
        let want = losses(&mut whole, &data);
        let plain = prepared(Augmentation::default());
        assert_ne!(want, losses(&mut trainer(&plain), &plain));
        let mut ahead = Vec::new();
        let each = |_: &mut Trainer<Cnn>, report: &crate::train::StepReport| {
            ahead.push(report.loss);
            Ok(std::ops::ControlFlow::Continue(()))
        };
        trainer(&data).run(&data, usize::MAX, each).unwrap();
        assert_eq!(ahead, want);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let mut first = trainer(&data);
        first.step_on(&data).unwrap();
        first.save(&path).unwrap();
        let mut resumed = trainer(&data);
        resumed.resume(&path).unwrap();
        assert_eq!(losses(&mut resumed, &data), want[1..]);
        let error = trainer(&plain).resume(&path).unwrap_err().to_string();
        assert!(error.contains("another data"), "{error}");
    }

    #[test]
    fn evaluation_gets_images_of_the_size_unvaried() {
        let data = prepared(Augmentation::iterative_patch_selection());
        let example = data.example(1).unwrap();
        assert_eq!((example.image.height(), example.image.width()), (16, 20));
        let want = bilinear::resize(&*Stripes.example(1).unwrap().image, [16, 20]).unwrap();
        assert_eq!(example.image.in_memory(), Some(want.pixels()));
    }

    /// A weighted loss is the sum of the weighted losses over the number of images, or of images and classes.
    #[test]
    fn classes_count_by_their_weights() {
        let tensor =
            |values: &[f32]| Tensor::from_slice(values, [values.len() / 2, 2], &Device::Cpu).unwrap();
        let p = tensor(&[0.25, 0.75, 0.5, 0.5, 0.9, 0.1]);
        let loss = |task: Task, y: &Tensor| f64::from(task.loss(&p, y).unwrap().item::<f32>().unwrap());
        let task = |activation| Task::new("a", 2, activation).weighted(&[0.5, 3.0]).unwrap();
        let y = Tensor::from_slice(&[1, 0, 0], [3], &Device::Cpu).unwrap();
        let want = -(3.0 * 0.75_f64.ln() + 0.5 * 0.5_f64.ln() + 0.5 * 0.9_f64.ln()) / 3.0;
        assert!((loss(task(Activation::Softmax), &y) - want).abs() < 1e-5);
        let y = tensor(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
        let first = 0.25_f64.ln() + 0.5_f64.ln() + 0.9_f64.ln();
        let second = 0.25_f64.ln() + 0.5_f64.ln() + 0.9_f64.ln();
        let want = -(0.5 * first + 3.0 * second) / 6.0;
        assert!((loss(task(Activation::Sigmoid), &y) - want).abs() < 1e-6);
        let even = |activation| Task::new("a", 2, activation);
        for activation in [Activation::Softmax, Activation::Sigmoid] {
            let y = if activation == Activation::Sigmoid {
                y.clone()
            } else {
                Tensor::from_slice(&[1, 0, 0], [3], &Device::Cpu).unwrap()
            };
            let ones = even(activation).weighted(&[1.0, 1.0]).unwrap();
            assert!((loss(ones, &y) - loss(even(activation), &y)).abs() < 1e-6);
        }
        assert!(even(Activation::Softmax).weighted(&[1.0]).is_err());
        assert!(even(Activation::Softmax).weighted(&[1.0, f32::NAN]).is_err());
        assert!(even(Activation::Softmax).balanced(&[3, 0]).is_err());
    }

    /// Attention Sampling's schedule for the speed limits: a tenth from epoch 250.
    #[test]
    fn the_rate_drops_at_epoch_250() {
        let rate = |epoch: usize| TrainConfig::speed_limits().learning_rate(epoch * 24 + 1, 24);
        assert_eq!((rate(0), rate(249)), (1e-3, 1e-3));
        assert!((rate(250) - 1e-4).abs() < 1e-15 && (rate(499) - 1e-4).abs() < 1e-15);
    }
}
