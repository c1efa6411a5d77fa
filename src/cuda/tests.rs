//! What the device promises of copies, streams and threads. Results that depend on the order of streams show where the driver
//! does their work late or in many orders, as the emulator can.

use crate::{Device, Tensor, ops, testing::cuda_of_its_own};

fn device() -> Option<Device> {
    Some(Device::Cuda(cuda_of_its_own()?))
}

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 31 + seed * 17) % 1009) as f32).collect()
}

/// Each upload goes into the memory that the one before had, as soon as kernels no longer read it, and no sooner.
#[test]
fn uploads_and_kernels_take_turns() {
    let Some(device) = device() else { return };
    let rounds = 30;
    let doubled = |round: usize| {
        let x = Tensor::from_slice(&values(3000, round), [3000], &device).unwrap();
        ops::scale(&x, 2.0, 0.0).unwrap()
    };
    doubled(0);
    let pooled = device.memory().pooled;
    let results: Vec<Tensor> = (0..rounds).map(doubled).collect();
    let bytes = 3000 * 4;
    assert!(device.memory().pooled < pooled + bytes, "uploads share memory");
    for (round, result) in results.iter().enumerate() {
        let want: Vec<f32> = values(3000, round).iter().map(|v| 2.0 * v).collect();
        assert!(result.to_vec::<f32>().unwrap() == want, "round {round}");
    }
}

/// More than fits in pinned memory at once, in one tensor and in many.
#[test]
fn large_uploads_arrive_whole() {
    let Some(device) = device() else { return };
    let large = values(9_000_000, 1);
    let x = Tensor::from_slice(&large, [9_000_000], &device).unwrap();
    let many: Vec<Tensor> =
        (0..24).map(|at| Tensor::from_slice(&values(300_000, at), [300_000], &device).unwrap()).collect();
    assert!(x.to_vec::<f32>().unwrap() == large);
    for (at, x) in many.iter().enumerate() {
        assert!(x.to_vec::<f32>().unwrap() == values(300_000, at), "tensor {at}");
    }
}

#[test]
fn a_host_buffer_may_change_as_soon_as_it_is_uploaded() {
    let Some(device) = device() else { return };
    let mut host = values(5000, 1);
    let x = Tensor::from_slice(&host, [5000], &device).unwrap();
    host.fill(0.0);
    assert_eq!(x.to_vec::<f32>().unwrap(), values(5000, 1));
}

/// The context is that of whichever thread calls.
#[test]
fn any_thread_may_use_the_device() {
    let Some(device) = device() else { return };
    let shared = Tensor::from_slice(&values(2000, 1), [2000], &device).unwrap();
    let work = |own: usize| {
        for round in 0..10 {
            let x = Tensor::from_slice(&values(2000, own + round), [2000], &device).unwrap();
            let y = ops::add(&ops::scale(&shared, own as f64, 0.0).unwrap(), &x).unwrap();
            let want: Vec<f32> = values(2000, 1)
                .iter()
                .zip(values(2000, own + round))
                .map(|(a, b)| own as f32 * a + b)
                .collect();
            assert!(y.to_vec::<f32>().unwrap() == want, "thread {own}, round {round}");
        }
        ops::scale(&shared, own as f64, 0.0).unwrap()
    };
    let made: Vec<Tensor> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|own| scope.spawn(move || work(own))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // What one thread made, another reads and frees.
    for (own, made) in made.into_iter().enumerate() {
        assert_eq!(made.to_vec::<f32>().unwrap()[7], own as f32 * values(2000, 1)[7]);
    }
}
