//! Timings of kernels: every launch counted, results unchanged, and an error where there is no clock.

use super::{Options, counting, open};
use crate::{
    Device, Error, ops,
    wgpu::{Wgpu, adapter, api, health::now},
};

/// A device with timings; none where there is no adapter, or none with a clock, of which the error must speak.
fn traced() -> Option<(Device, std::sync::Arc<Wgpu>)> {
    let (_, wgpu) = open(&Options::default())?;
    if !wgpu.raw().features().contains(api::Features::TIMESTAMP_QUERY) {
        let refused = Wgpu::open(&Options { trace: true, ..Options::default() }).unwrap_err();
        assert!(refused.to_string().contains("TIMESTAMP_QUERY"), "{refused}");
        return None;
    }
    open(&Options { trace: true, ..Options::default() })
}

#[test]
fn every_launch_is_counted_and_timed() {
    let Some((device, wgpu)) = traced() else { return };
    let image = counting(256 * 256, &device).view([1, 1, 256, 256].into()).unwrap();
    // More launches than one submission holds.
    for _ in 0..150 {
        ops::unfold(&image, [16, 16], [16, 16]).unwrap();
    }
    assert_eq!(ops::sum_all(&image).unwrap().item::<f32>().unwrap(), 2_147_450_900.0);
    let timings = wgpu.timings().unwrap();
    let launches = |op| timings.0.iter().filter(|t| t.op == op).map(|t| t.launches).sum::<u64>();
    assert_eq!((launches("unfold"), launches("sum")), (150, 2), "{timings}");
    assert!(timings.0.iter().all(|t| !t.total.is_zero()), "{timings}");
    assert!(timings.0.windows(2).all(|pair| pair[0].total >= pair[1].total), "{timings}");
    let table = timings.to_string();
    assert!(table.contains("unfold_f32") && table.lines().count() == 2 + timings.0.len(), "{table}");
    // Asking does not forget; turning it on again does.
    assert_eq!(wgpu.timings().unwrap(), timings);
    wgpu.trace(true).unwrap();
    assert_eq!(wgpu.timings().unwrap().0, []);
}

#[test]
fn timings_change_no_result() {
    let (Some((device, _)), Some((traced, wgpu))) = (open(&Options::default()), traced()) else { return };
    let patches = |device: &Device| {
        let image = counting(100 * 90, device).view([1, 1, 100, 90].into()).unwrap();
        ops::unfold(&image, [9, 7], [4, 3]).unwrap().to_vec::<f32>().unwrap()
    };
    let want = patches(&device);
    assert_eq!(patches(&traced), want);
    wgpu.trace(false).unwrap();
    assert_eq!(patches(&traced), want);
    let refused = wgpu.timings().unwrap_err();
    assert!(refused.to_string().contains("nothing is traced"), "{refused}");
}

#[test]
fn a_device_without_a_clock_says_so() {
    let Some(_) = open(&Options::default()) else { return };
    let adapter = adapter::choose(&Default::default()).unwrap();
    let (device, queue) = now(adapter.request_device(&api::DeviceDescriptor::default())).unwrap();
    let wgpu = Wgpu::from_wgpu(device, queue, None);
    let refused = wgpu.trace(true).unwrap_err();
    assert!(matches!(&refused, Error::Device { what, .. } if what.contains("TIMESTAMP_QUERY")), "{refused}");
    // It works on.
    assert_eq!(ops::sum_all(&counting(4, &Device::Wgpu(wgpu))).unwrap().item::<f32>().unwrap(), 6.0);
}

/// What the next test runs in a process of its own.
#[test]
#[ignore = "run by the test below"]
fn some_work() {
    let Ok(wgpu) = Wgpu::new() else { return };
    let image = counting(64 * 64, &Device::Wgpu(wgpu)).view([1, 1, 64, 64].into()).unwrap();
    ops::unfold(&image, [8, 8], [8, 8]).unwrap();
}

#[test]
fn the_environment_asks_for_a_table_when_the_device_is_dropped() {
    let Some(_) = traced() else { return };
    let printed = |value: &str| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "wgpu::tests::timings::some_work", "--ignored", "--nocapture"]);
        let output = command.env("FOVEATE_TRACE", value).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let table = printed("1");
    assert!(table.lines().any(|line| line.starts_with("unfold ") && line.contains("unfold_f32")), "{table}");
    assert!(!printed("0").contains("unfold_f32"));
}
