//! The requests: `{"do": NAME, ...}`, answered with an object.
//!
//! | request | fields | answer |
//! | --- | --- | --- |
//! | `open` | `ordinal`; `stream`, an address of the driver's (0: a stream of the device's own); `sizes`: `cuda` or `smoke` | `device`, `capability`, `cases`: `name`, `about`, `flops` and `random` of each |
//! | `allocate` | `bytes` | `pointer` to memory of the device, which stays until `close` |
//! | `lend` | `name`, `dtype` (`f32`, `u8`), `dims`, `pointer` | |
//! | `forget` | | nothing is lent or prepared any more |
//! | `prepare` | `case`, `precision` | `bytes` that a call reads and writes at least; how many tensors are `shared`, how many `made`; `results`: `dtype` and `dims` of each |
//! | `read` | `at`, `pointer` to the host's memory, `bytes` | copies a result of the first call |
//! | `counters` | | `launches`, `graphs`, `read_backs` so far; `in_use` and `peak` in bytes |
//! | `reset_peak` | | |
//! | `synchronize` | | |
//! | `failure` | | `why` the last [`foveate_run`](crate::foveate_run) failed |
//! | `close` | | everything is let go |

use crate::{
    Outcome, cases, lent,
    support::{Call, Case, Results, device, set_device, sizes},
};
use foveate::{
    DType, Device, Dims, Precision, Tensor,
    cuda::{Cuda, Lent, api},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What one thread has open.
#[derive(Default)]
pub(crate) struct State {
    cases: Vec<Case>,
    prepared: Option<Prepared>,
    allocated: Vec<Lent<f32>>,
    failure: Option<String>,
}

struct Prepared {
    call: Call,
    /// Of the first call, until the next case.
    results: Results,
}

impl State {
    /// # Safety
    /// As [`crate::foveate_ask`] says of pointers.
    pub(crate) unsafe fn answer(&mut self, request: &Value) -> Outcome<Value> {
        match text(request, "do")? {
            "open" => self.open(request),
            "allocate" => self.allocate(number(request, "bytes")?),
            "lend" => {
                let (name, dtype) = (text(request, "name")?, text(request, "dtype")?);
                let pointer = number(request, "pointer")?;
                // SAFETY: the caller's promise for pointers.
                unsafe { lent::lend(name, dtype, dims(request)?, pointer) }?;
                Ok(json!({}))
            }
            "forget" => {
                self.prepared = None;
                lent::forget();
                Ok(json!({}))
            }
            "prepare" => self.prepare(text(request, "case")?, text(request, "precision")?.parse()?),
            "read" => {
                let (at, bytes) = (number(request, "at")? as usize, number(request, "bytes")? as usize);
                // SAFETY: the caller's promise for pointers.
                unsafe { self.read(at, number(request, "pointer")?, bytes) }
            }
            "counters" => counters(),
            "reset_peak" => {
                device().reset_peak();
                Ok(json!({}))
            }
            "synchronize" => {
                device().synchronize()?;
                Ok(json!({}))
            }
            "failure" => Ok(json!({ "why": self.failure.take() })),
            "close" => {
                *self = State::default();
                lent::forget();
                set_device(Device::Cpu);
                Ok(json!({}))
            }
            other => Err(format!("no request {other:?}").into()),
        }
    }

    /// On the process's stream, in the primary context: that of the driver's runtime, and so PyTorch's.
    fn open(&mut self, request: &Value) -> Outcome<Value> {
        let (ordinal, stream) = (number(request, "ordinal")? as usize, number(request, "stream")?);
        let sizes = match text(request, "sizes")? {
            "cuda" => &sizes::CUDA,
            "smoke" => &sizes::SMOKE,
            other => return Err(format!("sizes {other:?}, must be cuda or smoke").into()),
        };
        // Finds out, without a panic, whether there is a driver and a device.
        let first = Device::cuda(ordinal)?;
        let cuda = match (stream, &first) {
            (0, Device::Cuda(own)) => own.clone(),
            (address, Device::Cuda(own)) => {
                // SAFETY: the process's promise is that the stream is of the primary context, and stays until `close`.
                let stream =
                    unsafe { own.stream().context().wrap_borrowed_stream(address as api::sys::CUstream) };
                Cuda::from_stream(stream)?
            }
            _ => return Err("the device is no CUDA device".into()),
        };
        *self = State::default();
        let (major, minor) = cuda.capability();
        // Which cases there are depends on the device.
        set_device(Device::Cuda(cuda));
        self.cases = cases(sizes);
        let cases: Vec<Value> = self
            .cases
            .iter()
            .map(|case| {
                json!({"name": case.name, "about": case.about, "flops": case.flops, "random": case.random})
            })
            .collect();
        Ok(json!({"device": device().to_string(), "capability": [major, minor], "cases": cases}))
    }

    /// Memory for a tensor of the process, where that cannot reach the device's otherwise.
    fn allocate(&mut self, bytes: u64) -> Outcome<Value> {
        let elements = (bytes as usize).div_ceil(size_of::<f32>());
        let tensor = Tensor::zeros([elements], &device())?;
        let lent = tensor.to_cuda::<f32>(cuda()?.stream())?;
        let pointer = lent.pointer();
        self.allocated.push(lent);
        Ok(json!({ "pointer": pointer }))
    }

    fn prepare(&mut self, name: &str, precision: Precision) -> Outcome<Value> {
        self.prepared = None;
        device().set_precision(precision)?;
        let case = self.cases.iter().find(|case| case.name == name);
        let case = case.ok_or_else(|| format!("no case {name:?}"))?;
        let form = case.forms.first().ok_or("the case has no form")?;
        let _ = lent::asked();
        let mut call = (form.build)()?;
        let asked = lent::asked();
        let results = call()?;
        device().synchronize()?;
        let written: usize = results.iter().map(|result| result.elements() * result.dtype().size()).sum();
        let bytes = case.bytes + asked.bytes / case.sets as u64 + written as u64;
        let shapes: Vec<Value> = results
            .iter()
            .map(|result| json!({"dtype": result.dtype().to_string(), "dims": result.dims().to_vec()}))
            .collect();
        self.prepared = Some(Prepared { call, results });
        Ok(json!({"bytes": bytes, "shared": asked.shared, "made": asked.made, "results": shapes}))
    }

    /// # Safety
    /// `pointer` is to so many bytes of the host's memory, which nobody else uses during the call.
    unsafe fn read(&self, at: usize, pointer: u64, bytes: usize) -> Outcome<Value> {
        let prepared = self.prepared.as_ref().ok_or("no case is prepared")?;
        let result = prepared.results.get(at).ok_or_else(|| format!("no result {at}"))?;
        let need = result.elements() * result.dtype().size();
        if need != bytes || pointer == 0 {
            return Err(format!("{bytes} bytes at {pointer:#x} for a result of {need}").into());
        }
        // SAFETY: not null, of that many bytes, and nobody else's for now, which the caller promises.
        let to = unsafe { std::slice::from_raw_parts_mut(pointer as *mut u8, bytes) };
        let from: Vec<u8> = match result.dtype() {
            DType::F32 => result.to_vec::<f32>()?.into_iter().flat_map(f32::to_ne_bytes).collect(),
            DType::I32 => result.to_vec::<i32>()?.into_iter().flat_map(i32::to_ne_bytes).collect(),
            DType::U8 => result.to_vec::<u8>()?,
            other => return Err(format!("a result of {other} cannot be read").into()),
        };
        to.copy_from_slice(&from);
        Ok(json!({}))
    }

    /// Results are dropped before the next call, which may write where they were.
    pub(crate) fn run(&mut self, times: u32) -> Outcome<()> {
        let prepared = self.prepared.as_mut().ok_or("no case is prepared")?;
        for _ in 0..times {
            drop((prepared.call)()?);
        }
        Ok(())
    }

    pub(crate) fn failed(&mut self, why: String) {
        self.failure = Some(why);
    }
}

fn cuda() -> Outcome<Arc<Cuda>> {
    match device() {
        Device::Cuda(cuda) => Ok(cuda),
        _ => Err("no device is open: ask for `open` first".into()),
    }
}

fn counters() -> Outcome<Value> {
    let (cuda, memory) = (cuda()?, device().memory());
    Ok(json!({
        "launches": cuda.launches(), "graphs": cuda.graphs(), "read_backs": cuda.read_backs(),
        "in_use": memory.in_use, "peak": memory.peak,
    }))
}

fn text<'a>(request: &'a Value, field: &str) -> Outcome<&'a str> {
    request[field].as_str().ok_or_else(|| format!("the request has no text `{field}`").into())
}

fn number(request: &Value, field: &str) -> Outcome<u64> {
    request[field].as_u64().ok_or_else(|| format!("the request has no number `{field}`").into())
}

fn dims(request: &Value) -> Outcome<Dims> {
    let list = request["dims"].as_array().ok_or("the request has no list `dims`")?;
    let sizes: Option<Vec<usize>> = list.iter().map(|size| size.as_u64().map(|size| size as usize)).collect();
    Ok(Dims::new(&sizes.ok_or("a size in `dims` is no number")?)?)
}
