//! A streamed selection: what its events let the device do at the same time. The emulator writes down what its streams are
//! asked for; from that it follows which work may run beside which, whenever the emulator itself does it.

use foveate::{
    Device, Precision, Result, Rng,
    data::{PatchSource, Window},
    nn::{Activation, GlobalPool, ResNetConfig, Task},
    select::{Ips, IpsConfig},
};
use std::{collections::BTreeMap, fs, process::Command};

/// An image that is computed where it is read.
struct Computed;

impl PatchSource for Computed {
    fn channels(&self) -> usize {
        1
    }
    fn height(&self) -> usize {
        160
    }
    fn width(&self) -> usize {
        160
    }
    fn read(&self, window: Window, out: &mut [u8]) -> Result<()> {
        for (at, to) in out.iter_mut().enumerate() {
            let (r, q) =
                (window.row as usize + at / window.width, window.column as usize + at % window.width);
            *to = ((r * 31) ^ (q * 17)) as u8;
        }
        Ok(())
    }
}

/// Selects from strips, in a process of its own, which `check` starts.
#[test]
#[ignore = "run by the other test in this file"]
fn select_in_strips() {
    let device = Device::cuda(0).unwrap();
    device.set_precision(Precision::F16).unwrap();
    let encoder = ResNetConfig { channels: 1, widths: vec![16], blocks: 1, pool: GlobalPool::Mean };
    let tasks = vec![Task::new("which", 2, Activation::Softmax)];
    let config = IpsConfig::with_encoder(encoder, [10, 10], 8, 8, tasks, true);
    let net = Ips::new(config, &device, &mut Rng::new(0)).unwrap();
    let Device::Cuda(cuda) = &device else { panic!("{device}") };
    // Strips of about sixty patches.
    cuda.set_memory_limit(device.memory().in_use + 100_000);
    assert_eq!(net.select(&[&Computed], &mut Rng::new(0)).unwrap()[0].indices.len(), 8);
}

/// Something that a stream was asked for: on which stream, its name, and what it comes after.
struct Work {
    stream: String,
    name: String,
    after: Vec<usize>,
}

/// The work of a timeline.
fn read(timeline: &str) -> Vec<Work> {
    let mut all: Vec<Work> = Vec::new();
    let (mut last, mut events) = (BTreeMap::<String, Vec<usize>>::new(), BTreeMap::new());
    for line in timeline.lines() {
        let [what, stream, name] = *line.splitn(3, ' ').collect::<Vec<_>>() else { panic!("{line}") };
        let before = last.entry(stream.to_owned()).or_default();
        match what {
            "work" => {
                let after = std::mem::replace(before, vec![all.len()]);
                all.push(Work { stream: stream.into(), name: name.into(), after });
            }
            "record" => drop(events.insert(name.to_owned(), before.clone())),
            "wait" => before.extend(events.get(name).into_iter().flatten()),
            "host" => {}
            _ => panic!("{line}"),
        }
    }
    all
}

/// Whether work `b` must wait for work `a`.
fn waits(all: &[Work], b: usize, a: usize) -> bool {
    let mut open = all[b].after.clone();
    let mut seen = vec![false; all.len()];
    while let Some(at) = open.pop() {
        if at == a {
            return true;
        }
        if !std::mem::replace(&mut seen[at], true) {
            open.extend(&all[at].after);
        }
    }
    false
}

/// The copy of a strip waits for the scoring of the one that had its memory, three before, and of none since; the scoring of a
/// strip waits for its copy.
pub(super) fn check(device: &Device) {
    if !device.to_string().contains("emulator") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("timeline");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "strips::select_in_strips", "--ignored", "--nocapture"]);
    let out = command.env("FOVEATE_EMULATOR_TIMELINE", &file).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let all = read(&fs::read_to_string(&file).unwrap());

    let scored: Vec<usize> = (0..all.len()).filter(|&at| all[at].name == "encoder_f16").collect();
    // The copy of a strip is the last one that its scoring waits for.
    let copy_of = |scoring: usize| {
        (0..scoring).rev().find(|&at| all[at].name == "a copy in" && waits(&all, scoring, at)).unwrap()
    };
    let copies: Vec<usize> = scored.iter().map(|&scoring| copy_of(scoring)).collect();
    assert!(scored.len() > 4, "{} strips", scored.len());
    for strip in 0..scored.len() {
        assert_ne!(all[copies[strip]].stream, all[scored[strip]].stream);
        for (earlier, &scoring) in scored[..strip].iter().enumerate() {
            let must = waits(&all, copies[strip], scoring);
            assert_eq!(
                must,
                earlier + 3 <= strip,
                "the copy of strip {strip}, the scoring of strip {earlier}"
            );
        }
    }
    // The host waits for nothing on the stream of the kernels before it reads what was chosen.
    let kernels = format!("host {} ", all[scored[0]].stream);
    let text = fs::read_to_string(&file).unwrap();
    let from_the_first = text.lines().skip_while(|line| !line.ends_with("encoder_f16"));
    let until_the_end: Vec<&str> = from_the_first.take_while(|line| !line.ends_with("a copy out")).collect();
    assert!(until_the_end.len() > scored.len());
    assert!(!until_the_end.iter().any(|line| line.starts_with(&kernels)));
}
