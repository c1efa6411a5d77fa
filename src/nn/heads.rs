//! Task heads and their losses: each task reads the vector of its own query.

use crate::{
    Device, Dims, Rng, Tensor,
    error::{Error, Result},
    nn::{Linear, Pass, layers::module},
    ops,
};

/// How a head's outputs become probabilities, and with them its loss and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// One class of many: softmax, `-log(p + 1e-6)` of the true class; right when it is the most probable one.
    Softmax,
    /// Any number of classes: sigmoid, mean binary cross-entropy; right when all classes are on their side of 0.5.
    Sigmoid,
}

/// A task: its name, number of classes, activation, and how much each class counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Name, as in checkpoints: `output_layers.NAME`.
    pub name: String,
    /// Number of classes.
    pub classes: usize,
    /// Activation.
    pub activation: Activation,
    /// What each class counts in the loss, one number per class; none: all count alike ([`Task::weighted`]).
    pub weights: Vec<f32>,
}

impl Task {
    /// A task whose classes count alike.
    pub fn new(name: &str, classes: usize, activation: Activation) -> Self {
        Task { name: name.into(), classes, activation, weights: Vec::new() }
    }

    /// The same task with a weight per class, by which the losses of a softmax task's images are multiplied, each by the
    /// weight of its class, and those of a sigmoid task's classes. The loss is their sum, divided by the number of images (and
    /// of classes) all the same, as Keras has it for Attention Sampling's speed limits; PyTorch divides by the
    /// sum of the weights.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for another number of weights than classes, or one that is negative or not finite.
    pub fn weighted(self, weights: &[f32]) -> Result<Self> {
        if weights.len() != self.classes || weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0)
        {
            let what = format!("{weights:?} for {} classes of {}", self.classes, self.name);
            return Err(Error::argument("class weights", format!("{what}: one each, finite and at least 0")));
        }
        Ok(Task { weights: weights.to_vec(), ..self })
    }

    /// The same task with the weights by which classes that have `counts` images all count alike: `(1 / C) / (count / all)`.
    ///
    /// ```
    /// use foveate::nn::{Activation, Task};
    /// // The training images of the speed limits: no sign, 50, 70, 80 (Katharopoulos and Fleuret, ICML 2019).
    /// let task = Task::new("sign", 4, Activation::Softmax).balanced(&[486, 79, 123, 59])?;
    /// assert_eq!(task.weights.iter().map(|w| (w * 1e3).round() / 1e3).collect::<Vec<_>>(), [0.384, 2.364, 1.518, 3.165]);
    /// # Ok::<(), foveate::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Task::weighted`]; a class without images.
    pub fn balanced(self, counts: &[usize]) -> Result<Self> {
        if let Some(class) = counts.iter().position(|&count| count == 0) {
            let what = format!("class {class} of {} has no image to weigh it by", self.name);
            return Err(Error::argument("class weights", what));
        }
        let all: usize = counts.iter().sum();
        let share = all as f64 / counts.len().max(1) as f64;
        let weights: Vec<f32> = counts.iter().map(|&count| (share / count as f64) as f32).collect();
        self.weighted(&weights)
    }

    /// The four tasks of Megapixel MNIST, in the order of their queries.
    pub fn megapixel_mnist() -> Vec<Task> {
        let one = |name| Task::new(name, 10, Activation::Softmax);
        vec![one("majority"), one("max"), one("top"), Task::new("multi", 10, Activation::Sigmoid)]
    }

    /// Loss of probabilities (B, C) against labels: i32 (B) for softmax tasks, f32 (B, C) of zeros and ones for sigmoid.
    pub fn loss(&self, probabilities: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let (weights, mean) = (&self.weights, ops::Reduction::Mean);
        match self.activation {
            Activation::Softmax if weights.is_empty() => ops::nll(probabilities, labels, None, 1e-6, mean),
            Activation::Sigmoid if weights.is_empty() => ops::bce(probabilities, labels, mean),
            Activation::Softmax => {
                let weights = Tensor::from_slice(weights, [weights.len()], &probabilities.device())?;
                let sum = ops::nll(probabilities, labels, Some(&weights), 1e-6, ops::Reduction::Sum)?;
                let images = probabilities.dims().first().copied().unwrap_or(1);
                ops::scale(&sum, 1.0 / images.max(1) as f64, 0.0)
            }
            Activation::Sigmoid => {
                let column = |x: &Tensor, class: usize| ops::narrow(x, -1, class..class + 1);
                let mut total: Option<Tensor> = None;
                for (class, weight) in weights.iter().enumerate() {
                    let loss = ops::bce(&column(probabilities, class)?, &column(labels, class)?, mean)?;
                    let loss = ops::scale(&loss, f64::from(*weight) / weights.len() as f64, 0.0)?;
                    total = Some(total.map_or(Ok(loss.clone()), |total| ops::add(&total, &loss))?);
                }
                total.ok_or_else(|| Error::argument("loss", "a task without classes has no loss"))
            }
        }
    }

    /// Which rows of the batch are right, from probabilities (B, C) and labels as for [`Task::loss`]. Of equal
    /// probabilities the first counts; NaN is never chosen before a number.
    ///
    /// # Errors
    ///
    /// Shapes or types that are not those of the task.
    pub fn correct(&self, probabilities: &Tensor, labels: &Tensor) -> Result<Vec<bool>> {
        let batch = labels.dims().first().copied().unwrap_or(0);
        let softmax = self.activation == Activation::Softmax;
        let whole = if softmax { Dims::from([batch]) } else { Dims::from([batch, self.classes]) };
        if *probabilities.dims() != [batch, self.classes] || labels.dims() != whole {
            let (p, y) = (probabilities.dims(), labels.dims());
            let what = format!("{} has {} classes: probabilities {p}, labels {y}", self.name, self.classes);
            return Err(Error::shape("correct", what));
        }
        let p = probabilities.to_vec::<f32>()?;
        let rows = p.chunks(self.classes.max(1));
        Ok(match self.activation {
            Activation::Softmax => {
                let best = ops::argmax(&probabilities.detach(), -1)?.to_vec::<i32>()?;
                best.iter().zip(labels.to_vec::<i32>()?).map(|(best, label)| *best == label).collect()
            }
            Activation::Sigmoid => {
                let labels = labels.to_vec::<f32>()?;
                let right = |(p, label): (&f32, &f32)| (*p >= 0.5) == (*label >= 0.5);
                rows.zip(labels.chunks(self.classes.max(1)))
                    .map(|(row, label)| row.iter().zip(label).all(right))
                    .collect()
            }
        })
    }
}

/// The linear layer of a task.
#[derive(Debug, Clone)]
pub struct Head {
    task: Task,
    linear: Linear,
}

module!(Head {; linear });

impl Head {
    /// A head on vectors of `features`.
    pub fn new(task: Task, features: usize, device: &Device, rng: &mut Rng) -> Result<Self> {
        let linear =
            Linear::new(&format!("output_layers.{}.0", task.name), features, task.classes, device, rng)?;
        Ok(Head { task, linear })
    }

    /// Its task.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Vectors (B, D) to probabilities (B, C).
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let logits = self.linear.forward(x, pass)?;
        match self.task.activation {
            Activation::Softmax => ops::softmax(&logits, -1),
            Activation::Sigmoid => ops::sigmoid(&logits),
        }
    }
}

/// Targets of a batch, one tensor per task in the order of the tasks.
#[derive(Clone, Debug)]
pub struct Targets {
    /// i32 (B) for softmax tasks, f32 (B, C) for sigmoid tasks.
    pub tensors: Vec<Tensor>,
}

/// The losses of a batch.
#[derive(Clone, Debug)]
pub struct Losses {
    /// The mean over tasks, which is what is trained.
    pub total: Tensor,
    /// One loss per task.
    pub tasks: Vec<Tensor>,
}

impl Losses {
    /// Losses of `probabilities` against `labels`, task by task, and their mean.
    pub fn new(tasks: &[&Task], probabilities: &[Tensor], labels: &Targets) -> Result<Self> {
        if tasks.len() != labels.tensors.len() || tasks.len() != probabilities.len() {
            let (p, y) = (probabilities.len(), labels.tensors.len());
            let what = format!("{p} tensors of probabilities and {y} of labels for {} tasks", tasks.len());
            return Err(Error::argument("losses", what));
        }
        let losses = tasks.iter().zip(probabilities).zip(&labels.tensors);
        let losses: Vec<Tensor> = losses.map(|((task, p), y)| task.loss(p, y)).collect::<Result<_>>()?;
        let [first, rest @ ..] = losses.as_slice() else {
            return Err(Error::argument("losses", "a network without tasks has no loss"));
        };
        let total = rest.iter().try_fold(first.clone(), |total, loss| ops::add(&total, loss))?;
        let total = ops::scale(&total, 1.0 / losses.len() as f64, 0.0)?;
        Ok(Losses { total, tasks: losses })
    }
}
