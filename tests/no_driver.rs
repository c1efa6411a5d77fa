//! Opening a CUDA device where the driver is absent, too old, or without a GPU, or the GPU too old, is a typed error
//! that says what to do.
//!
//! Each case runs in a process of its own, since the driver's library is loaded once per process: the test binary calls
//! itself with a library path that holds nothing, or a driver made for the case by the machine's C compiler.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod report;

use foveate::{Device, Error};
use std::{fs, path::Path, process::Command};

/// Prints what opening the device gives; the other tests read it.
#[test]
#[ignore = "run by the other tests in this file"]
fn open() {
    match Device::cuda(0) {
        Ok(device) => println!("opened: {device}"),
        Err(Error::NoDevice { device, why }) => println!("no device {device}: {why}"),
        Err(other) => panic!("another error: {other}"),
    }
}

/// What `open` prints in a process that looks for its driver in `folder` first.
fn opened_with(folder: &Path) -> String {
    opened(|command| command.env("LD_LIBRARY_PATH", folder))
}

/// What `open` prints in a process with these settings.
fn opened(set: impl Fn(&mut Command) -> &mut Command) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "open", "--ignored", "--nocapture"]);
    let out = set(&mut command).output().unwrap();
    let (says, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{says}{errors}");
    says.into_owned()
}

/// A driver made of this C code; `None` where there is no C compiler.
fn driver(folder: &Path, code: &str) -> Option<()> {
    let source = folder.join("driver.c");
    fs::write(&source, code).unwrap();
    let library = folder.join("libcuda.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(&source).status();
    if built.is_err() {
        report::report("cuda", Some("no C compiler"));
        return None;
    }
    assert!(built.unwrap().success());
    Some(())
}

/// Every function that the crate looks for, answering `code`, but for those of `own`.
fn every_function(own: &str, code: i32) -> String {
    let names = "cuCtxGetCurrent cuCtxSetCurrent cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount cuDeviceGetName \
        cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuDriverGetVersion cuEventCreate cuEventDestroy_v2 \
        cuEventRecord cuEventSynchronize cuFuncGetAttribute cuFuncSetAttribute cuGetErrorName cuGetErrorString cuInit \
        cuEventElapsedTime cuGraphDestroy cuGraphExecDestroy cuGraphInstantiateWithFlags cuGraphLaunch cuMemGetInfo_v2 \
        cuStreamBeginCapture_v2 cuStreamEndCapture \
        cuLaunchKernel cuMemAlloc_v2 cuMemFreeHost cuMemFree_v2 cuMemHostAlloc cuMemcpyDtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyHtoDAsync_v2 \
        cuMemsetD8Async cuModuleGetFunction cuModuleLoadData cuModuleUnload cuStreamCreate cuStreamDestroy_v2 \
        cuStreamSynchronize cuStreamWaitEvent";
    let rest = names.split_whitespace().filter(|name| !own.contains(&format!("{name}(")));
    own.to_owned() + &rest.map(|name| format!("int {name}() {{ return {code}; }}\n")).collect::<String>()
}

#[test]
fn without_a_driver() {
    let empty = tempfile::tempdir().unwrap();
    let says = opened_with(empty.path());
    // A machine may have a driver outside of LD_LIBRARY_PATH.
    assert!(says.contains("no device cuda:0: ") || says.contains("opened: cuda:0 ("), "{says}");
}

#[test]
fn with_a_driver_that_lacks_a_function() {
    let folder = tempfile::tempdir().unwrap();
    let Some(()) = driver(folder.path(), "int cuInit() { return 0; }\n") else { return };
    let says = opened_with(folder.path());
    assert!(says.contains("the CUDA driver has no cuCtxGetCurrent: install 525 or newer"), "{says}");
}

#[test]
fn with_a_driver_that_is_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let code = every_function("int cuDriverGetVersion(int* v) { *v = 11080; return 0; }\n", 0);
    let Some(()) = driver(folder.path(), &code) else { return };
    let says = opened_with(folder.path());
    assert!(says.contains("one for CUDA 11.8: install 525 or newer"), "{says}");
}

#[test]
fn with_a_driver_but_no_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let version = "int cuDriverGetVersion(int* v) { *v = 12000; return 0; }\n";
    let Some(()) = driver(folder.path(), &every_function(version, 100)) else { return };
    let says = opened_with(folder.path());
    assert!(says.contains("no device cuda:0: CUDA_ERROR_NO_DEVICE"), "{says}");
    let none = format!("{version}int cuDeviceGetCount(int* n) {{ *n = 0; return 0; }}\n");
    driver(folder.path(), &every_function(&none, 0));
    let says = opened_with(folder.path());
    assert!(says.contains("the driver has 0 device(s)"), "{says}");
}

/// The emulator of `emulator/` says of itself what it is told to.
#[test]
fn with_a_gpu_or_a_driver_that_cannot_take_the_kernels() {
    if !opened(|command| command).contains("opened: cuda:0 (emulator)") {
        return; // no other driver can be told
    }
    report::report("cuda", None);
    let with = |name: &str, value: &str| opened(|command| command.env(name, value));
    let says = with("FOVEATE_EMULATOR_CAPABILITY", "75");
    let old_gpu = "no device cuda:0: emulator has compute capability 7.5, the kernels need 8.0 or newer";
    assert!(says.contains(old_gpu), "{says}");
    let says = with("FOVEATE_EMULATOR_DRIVER", "11080");
    assert!(
        says.contains("no device cuda:0: the driver is one for CUDA 11.8: install 525 or newer"),
        "{says}"
    );
    let says = with("FOVEATE_EMULATOR_PTX", "7.8");
    assert!(says.contains("no device cuda:0: the driver refuses PTX 8.0, in which `"), "{says}");
    assert!(says.contains("` is: install 525 or newer"), "{says}");
    assert!(with("FOVEATE_EMULATOR_CAPABILITY", "90").contains("opened: "), "a newer GPU runs them");
}
