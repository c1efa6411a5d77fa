//! What an IPS network is made of, and the published configurations.

use super::Stkim;
use crate::{
    data::PatchGrid,
    error::{Error, Result},
    nn::{ResNetConfig, Task, TransformerConfig},
    select::{Shuffle, Standardize},
};
use std::collections::BTreeSet;

/// The shape of an [`Ips`](super::Ips) network and how it selects.
#[derive(Clone, Debug, PartialEq)]
pub struct IpsConfig {
    /// Height and width of a patch.
    pub patch: [usize; 2],
    /// Vertical and horizontal stride of the grid of patches.
    pub stride: [usize; 2],
    /// Patches kept, M.
    pub memory: usize,
    /// Patches seen per iteration, I.
    pub iteration: usize,
    /// The patch encoder.
    pub encoder: ResNetConfig,
    /// The cross-attention transformer; one query per task.
    pub transformer: TransformerConfig,
    /// The tasks, in the order of the queries.
    pub tasks: Vec<Task>,
    /// Whether positional encodings are added to the features.
    pub use_position: bool,
    /// How patches are shuffled before selection.
    pub shuffle: Shuffle,
    /// Encode each distinct constant patch once when scoring. Exact, and much faster where images are mostly blank.
    pub elide_constant: bool,
    /// The mean and deviation that pixels are brought to before the encoder; none: numbers between 0 and 1. On a GPU, scoring then
    /// takes the encoder's layers one by one.
    pub standardize: Option<Standardize>,
    /// Masking of the best patches while merging.
    pub stkim: Option<Stkim>,
    /// Weight of the regulariser that lets heads look at different things: three times the mean cosine similarity of two
    /// heads' outputs, plus the mean loss of each head alone. 0: none.
    pub diversity: f64,
}

impl IpsConfig {
    /// The published configuration of Megapixel MNIST: patches of 50, M = I = 100, truncated ResNet-18, 4 tasks.
    pub fn megapixel_mnist() -> Self {
        Self::with_encoder(ResNetConfig::truncated(1), [50, 50], 100, 100, Task::megapixel_mnist(), true)
    }

    /// The published configuration of the traffic signs: patches of 100, M = 10, I = 32, full ResNet-18, 1 task, pixels brought to
    /// ImageNet's mean and deviation. Images are resized to 1,200 × 1,600 and varied before (`train::Prepared`).
    pub fn traffic_signs() -> Self {
        let task = vec![Task::new("sign", 4, crate::nn::Activation::Softmax)];
        let net = Self::with_encoder(ResNetConfig::resnet18(3), [100, 100], 10, 32, task, false);
        IpsConfig { standardize: Some(Standardize::imagenet()), ..net }
    }

    /// A configuration with adjoining patches and the published proportions.
    pub fn with_encoder(
        encoder: ResNetConfig,
        patch: [usize; 2],
        memory: usize,
        iteration: usize,
        tasks: Vec<Task>,
        use_position: bool,
    ) -> Self {
        IpsConfig {
            patch,
            stride: patch,
            memory,
            iteration,
            transformer: TransformerConfig::new(encoder.features(), tasks.len()),
            encoder,
            tasks,
            use_position,
            shuffle: Shuffle::Batch,
            elide_constant: false,
            standardize: None,
            stkim: None,
            diversity: 0.0,
        }
    }

    /// How often selection merges new patches into the kept ones in an image of `image` [H, W].
    ///
    /// ```
    /// use foveate::select::IpsConfig;
    /// let config = IpsConfig::megapixel_mnist();
    /// assert_eq!((config.merges([1500, 1500])?, config.merges([10_000, 10_000])?), (8, 399));
    /// # Ok::<(), foveate::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An image smaller than a patch.
    pub fn merges(&self, image: [usize; 2]) -> Result<usize> {
        let patches = PatchGrid::new(image, self.patch, self.stride)?.count();
        Ok(patches.saturating_sub(self.memory).div_ceil(self.iteration.max(1)))
    }

    /// Checks that such a network can be made.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming what does not fit together.
    pub fn check(&self) -> Result<()> {
        if self.patch.contains(&0) || self.stride.contains(&0) {
            let what = format!("patch {:?} and stride {:?} must be at least 1", self.patch, self.stride);
            return Err(Error::argument("ips", what));
        }
        if self.memory == 0 || self.iteration == 0 {
            let what = format!("memory {} and iteration {} must be at least 1", self.memory, self.iteration);
            return Err(Error::argument("ips", what));
        }
        if self.tasks.is_empty() || self.tasks.len() != self.transformer.queries {
            let what = format!(
                "{} tasks for {} queries: each task has one",
                self.tasks.len(),
                self.transformer.queries
            );
            return Err(Error::argument("ips", what));
        }
        if let Some(standardize) = &self.standardize {
            standardize.check(self.encoder.channels)?;
        }
        if let Some(stkim) = &self.stkim {
            stkim.check()?;
        }
        let (weight, heads) = (self.diversity, self.transformer.heads);
        if !weight.is_finite() || weight < 0.0 || (weight > 0.0 && heads < 2) {
            let what =
                format!("diversity of {weight} among {heads} heads: at least 0, among at least 2 heads");
            return Err(Error::argument("ips", what));
        }
        let names: BTreeSet<&str> = self.tasks.iter().map(|task| task.name.as_str()).collect();
        if names.len() != self.tasks.len() || self.tasks.iter().any(|task| task.classes == 0) {
            let what = format!("tasks need names of their own and at least one class: {:?}", self.tasks);
            return Err(Error::argument("ips", what));
        }
        if self.transformer.features != self.encoder.features() {
            let (have, want) = (self.transformer.features, self.encoder.features());
            return Err(Error::argument(
                "ips",
                format!("the transformer takes {have} features, the encoder makes {want}"),
            ));
        }
        Ok(())
    }
}
