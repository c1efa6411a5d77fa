//! Reading back as a future.

use super::{Options, counting, open};
use crate::{Device, Error, Tensor, ops, wgpu::health::now};

#[test]
fn several_reads_are_under_way_at_once_and_see_what_came_before_them() {
    let Some((device, _)) = open(&Options::default()) else { return };
    let x = counting(1000, &device);
    let before = device.memory().in_use;
    let reads: Vec<_> = (0..20).map(|i| x.rows(i * 10..i * 10 + 7).unwrap().to_vec_async::<f32>()).collect();
    let sum = ops::sum_all(&x).unwrap().to_vec_async::<f32>();
    // The tensor may go; the bytes on their way do not.
    drop(x);
    assert_eq!(now(sum).unwrap(), [499_500.0]);
    for (i, read) in reads.into_iter().enumerate().rev() {
        assert_eq!(now(read).unwrap(), (i * 10..i * 10 + 7).map(|v| v as f32).collect::<Vec<_>>());
    }
    assert!(device.memory().in_use < before, "{:?}", device.memory());
}

#[test]
fn reads_wake_an_executor_on_another_thread() {
    let Some((device, _)) = open(&Options::default()) else { return };
    let x = counting(5000, &device);
    let read = x.to_vec_async::<f32>();
    let sum = std::thread::spawn(move || now(read).unwrap().iter().sum::<f32>());
    assert_eq!(sum.join().unwrap(), 12_497_500.0);
}

#[test]
fn a_read_that_is_dropped_leaves_no_trace() {
    let Some((device, _)) = open(&Options::default()) else { return };
    let x = counting(64, &device);
    let before = device.memory().in_use;
    (0..50).for_each(|_| drop(x.to_vec_async::<f32>()));
    assert_eq!(device.memory().in_use, before);
    assert_eq!(x.to_vec::<f32>().unwrap()[63], 63.0);
}

#[test]
fn bytes_beyond_one_staging_buffer_and_odd_lengths_come_whole() {
    let Some((device, _)) = open(&Options::default()) else { return };
    let data: Vec<u8> = (0..(64 << 20) + 4099_u32).map(|i| ((i * 31) >> 7) as u8).collect();
    let x = Tensor::from_slice(&data, [data.len()], &device).unwrap();
    assert!(now(x.to_vec_async::<u8>()).unwrap() == data);
    let odd = x.rows(3..12).unwrap();
    assert_eq!(now(odd.to_vec_async::<u8>()).unwrap(), data[3..12]);
    assert_eq!(odd.to_vec::<u8>().unwrap(), data[3..12]);
    assert!(now(x.rows(5..5).unwrap().to_vec_async::<u8>()).unwrap().is_empty());
}

#[test]
fn other_devices_and_other_types_answer_as_to_vec_does() {
    let x = counting(3, &Device::Cpu);
    assert_eq!(now(x.to_vec_async::<f32>()).unwrap(), [0.0, 1.0, 2.0]);
    assert!(matches!(now(x.to_vec_async::<i32>()), Err(Error::DType { .. })));
}
