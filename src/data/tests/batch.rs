//! Epoch orders and batches.

use proptest::prelude::*;

use super::{super::*, plain_digits};
use crate::Rng;

proptest! {
    #[test]
    fn an_epoch_visits_every_image_once(len in 0_usize..200, size in 1_usize..20, seed: u64) {
        let epoch = Batches::shuffled(len, size, &mut Rng::new(seed)).unwrap();
        let mut seen: Vec<u32> = epoch.iter().flatten().copied().collect();
        prop_assert_eq!(epoch.len(), epoch.iter().count());
        prop_assert!(epoch.iter().rev().skip(1).all(|batch| batch.len() == size));
        prop_assert_eq!(&Batches::shuffled(len, size, &mut Rng::new(seed)).unwrap(), &epoch);
        seen.sort_unstable();
        prop_assert!(seen.into_iter().eq(0..len as u32));
    }
}

#[test]
fn two_epochs_of_one_stream_differ() {
    let mut rng = Rng::new(3);
    let first = Batches::shuffled(100, 16, &mut rng).unwrap();
    assert_ne!(first, Batches::shuffled(100, 16, &mut rng).unwrap());
    assert!(Batches::shuffled(100, 0, &mut rng).is_err());
}

#[test]
fn a_batch_holds_the_samples_in_the_order_asked_for() {
    let config = MegapixelConfig { canvas: [200, 200], ..MegapixelConfig::ips() };
    let set = MegapixelMnist::new(config, Split::Train, plain_digits(), 30).unwrap();
    let batch = set.batch(&[29, 3, 3]).unwrap();
    let labels = [29, 3, 3].map(|index| set.sample(index).unwrap().labels);
    assert!(batch.labels().eq(&labels));
    assert_eq!(batch.samples[0], set.sample(29).unwrap());
    assert_eq!(batch.classes(Task::Top), Some(labels.map(|labels| i32::from(labels.top)).to_vec()));
    assert_eq!(batch.classes(Task::Multi), None);
    assert_eq!(batch.multi_hot()[10..20], labels[1].multi_hot());
    assert!(set.batch(&[30]).is_err());
}
