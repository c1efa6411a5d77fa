//! Examples: an image to read patches from, and what is true of it.

use crate::{
    Device, Rng, Tensor,
    data::PatchSource,
    error::{Error, Result},
    nn::{Activation, Targets, Task},
};
use rayon::prelude::*;

/// What is true of an image for one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The class, for a softmax task.
    Class(u32),
    /// Which classes are present, for a sigmoid task.
    Classes(Vec<bool>),
}

/// An image with its targets, one per task.
pub struct Example {
    /// The image.
    pub image: Box<dyn PatchSource>,
    /// The targets, in the order of the network's tasks.
    pub targets: Vec<Target>,
}

/// A data set of known length whose examples can be had in any order.
pub trait Dataset: Send + Sync {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Example `index`, always the same for the same index.
    fn example(&self, index: usize) -> Result<Example>;

    /// Example `index` as training sees it at one step: varied at random by `rng`, which the trainer makes anew from its seed
    /// and the step, so that a resumed training draws the same; unvaried by default (`Prepared` varies).
    fn draw(&self, index: usize, rng: &mut Rng) -> Result<Example> {
        let _ = rng;
        self.example(index)
    }

    /// What tells this data set from others, in one line: a checkpoint holds it, and training does not resume on other
    /// data. Empty where nothing is known.
    fn description(&self) -> String {
        String::new()
    }
}

/// The examples `indices`, made on all threads.
pub(super) fn examples(data: &dyn Dataset, indices: &[usize]) -> Result<Vec<Example>> {
    indices.par_iter().map(|&index| data.example(index)).collect()
}

/// The examples `indices` of step `step` of a training of `seed`, made on all threads.
pub(super) fn draws(data: &dyn Dataset, indices: &[usize], [seed, step]: [u64; 2]) -> Result<Vec<Example>> {
    // Apart from the streams of steps, epochs and evaluation: a batch has fewer than 2²⁰ images.
    let rng = |place: usize| Rng::stream(seed, (1 << 63) | (step << 20) | place as u64);
    let draw = |(place, &index): (usize, &usize)| data.draw(index, &mut rng(place));
    indices.par_iter().enumerate().map(draw).collect()
}

#[cfg(feature = "data")]
impl Dataset for crate::data::MegapixelMnist {
    fn len(&self) -> usize {
        self.len()
    }

    fn description(&self) -> String {
        format!("{:?}, {:?}, digits {:016x}", self.config(), self.split(), self.digits().fingerprint())
    }

    fn example(&self, index: usize) -> Result<Example> {
        let sample = self.sample(index)?;
        let labels = &sample.labels;
        let class = |digit: u8| Target::Class(digit.into());
        let targets = vec![
            class(labels.majority),
            class(labels.max),
            class(labels.top),
            Target::Classes(labels.multi_hot().iter().map(|v| *v > 0.5).collect()),
        ];
        Ok(Example { image: Box::new(sample.image), targets })
    }
}

/// One softmax task of two classes: 1 where the needle is present.
#[cfg(feature = "data")]
impl Dataset for crate::data::NeedleMnist {
    fn len(&self) -> usize {
        self.len()
    }

    fn description(&self) -> String {
        self.description()
    }

    fn example(&self, index: usize) -> Result<Example> {
        let (image, present) = self.sample(index)?;
        Ok(Example { image: Box::new(image), targets: vec![Target::Class(present.into())] })
    }
}

/// The targets of a batch as tensors, task by task.
pub fn batch_targets(tasks: &[Task], examples: &[Example], device: &Device) -> Result<Targets> {
    let mut tensors = Vec::with_capacity(tasks.len());
    for (at, task) in tasks.iter().enumerate() {
        let wrong = || {
            let kind = format!("{:?} of {} classes", task.activation, task.classes);
            Error::argument(
                "targets",
                format!("an example's target {at} does not fit task {} ({kind})", task.name),
            )
        };
        let mut classes: Vec<i32> = Vec::new();
        let mut present: Vec<f32> = Vec::new();
        for example in examples {
            match (task.activation, example.targets.get(at)) {
                (Activation::Softmax, Some(Target::Class(c))) if (*c as usize) < task.classes => {
                    classes.push(*c as i32)
                }
                (Activation::Sigmoid, Some(Target::Classes(c))) if c.len() == task.classes => {
                    present.extend(c.iter().map(|&p| f32::from(u8::from(p))));
                }
                _ => return Err(wrong()),
            }
        }
        tensors.push(match task.activation {
            Activation::Softmax => Tensor::from_slice(&classes, [examples.len()], device)?,
            Activation::Sigmoid => Tensor::from_slice(&present, [examples.len(), task.classes], device)?,
        });
    }
    Ok(Targets { tensors })
}
