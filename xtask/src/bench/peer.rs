//! The other side of the comparison: PyTorch on the CPU, beside ONNX Runtime, and on CUDA; burn through wgpu. It is started anew when it
//! ends early or does not answer in time.

use super::{
    On,
    compare::{self, Measured, Plan},
    python,
    server::Server,
};
use crate::{
    root::{root, target},
    run::{cargo, run},
};
use anyhow::Result;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How long burn may try kernels, in all cases together. Once it has passed, burn tries as few of them as it can.
const TUNING: Duration = Duration::from_secs(600);
/// How long an answer may take beside that.
const PATIENCE: Duration = Duration::from_secs(240);

pub(crate) struct Peer {
    on: On,
    /// What is run.
    program: PathBuf,
    /// The folder of peer.py, for PyTorch.
    scripts: PathBuf,
    smoke: bool,
    pub(crate) server: Server,
    /// Seconds of the first calls of all cases so far: burn tunes and compiles its kernels in them.
    tuned: f64,
    /// The last case that counts in it.
    last: String,
    /// The time for tuning is over.
    capped: bool,
}

impl Peer {
    /// Starts the program that belongs to the device; `python` and `scripts` are the interpreter and the folder of
    /// peer.py, if they were named.
    pub(crate) fn start(on: On, python: Option<&Path>, scripts: Option<&Path>, smoke: bool) -> Result<Self> {
        let program = match (on, python) {
            (On::Wgpu, _) => burn()?,
            (_, Some(path)) => std::path::absolute(path)?,
            (_, None) => python::environment()?,
        };
        let scripts = scripts.map_or_else(|| Ok(root().join("benches/peers")), std::path::absolute)?;
        let server = serve(on, &program, &scripts, smoke, false)?;
        Ok(Peer { on, program, scripts, smoke, server, tuned: 0.0, last: String::new(), capped: false })
    }

    fn again(&mut self) -> Result<()> {
        self.server = serve(self.on, &self.program, &self.scripts, self.smoke, self.capped)?;
        Ok(())
    }

    /// A case against a form; once more with little tuning where there was no answer in time.
    pub(crate) fn measure(
        &mut self,
        ours: &mut Server,
        case: &str,
        form: &str,
        plan: &Plan,
    ) -> Result<Measured> {
        let measured = self.try_measure(ours, case, form, plan);
        match measured {
            Err(_) if self.on == On::Wgpu && self.server.late && !self.capped => {
                self.capped = true;
                self.again()?;
                self.measure(ours, case, form, plan)
            }
            Err(error) if self.server.late || self.server.ended() => {
                self.again()?;
                Err(error)
            }
            _ => measured,
        }
    }

    fn try_measure(&mut self, ours: &mut Server, case: &str, form: &str, plan: &Plan) -> Result<Measured> {
        let left = TUNING.saturating_sub(Duration::try_from_secs_f64(self.tuned).unwrap_or(TUNING));
        self.server.limit = match self.on {
            On::Cpu => None,
            On::Wgpu => Some(left + PATIENCE),
            On::Cuda => Some(PATIENCE),
        };
        let measured = compare::measure(ours, Some(&mut self.server), case, form, plan)?;
        if self.last != case {
            self.tuned += measured.against.as_ref().map_or(0.0, |against| against.first);
            self.last = case.into();
        }
        Ok(measured)
    }

    /// What the report says of the peer's tuning, if it tunes.
    pub(crate) fn tuning(&self) -> Option<String> {
        let capped =
            if self.capped { "; that was too long, and the rest ran with the least tuning" } else { "" };
        (self.on == On::Wgpu).then(|| {
            format!(
                "the first calls of burn's cases, in which it tunes and compiles its kernels, took {:.0} s together{capped}",
                self.tuned
            )
        })
    }
}

/// Builds burn's side in the target folder.
fn burn() -> Result<PathBuf> {
    let (manifest, folder) = (root().join("benches/peers/burn/Cargo.toml"), target().join("bench-burn"));
    let mut build = cargo(&["build", "--release", "--locked", "--manifest-path"]);
    run(build.arg(manifest).arg("--target-dir").arg(&folder))?;
    Ok(folder.join("release").join(format!("foveate-burn{}", std::env::consts::EXE_SUFFIX)))
}

fn serve(on: On, program: &Path, scripts: &Path, smoke: bool, capped: bool) -> Result<Server> {
    let mut command = Command::new(program);
    match on {
        On::Wgpu => command.current_dir(root()),
        On::Cpu => command.args(["peer.py", "--device", "cpu"]).current_dir(scripts),
        On::Cuda => command.args(["peer.py", "--device", "cuda"]).current_dir(scripts),
    };
    if smoke {
        command.arg("--smoke");
    }
    if capped {
        command.env("CUBECL_AUTOTUNE_LEVEL", "minimal");
    }
    Server::start(if on == On::Wgpu { "burn" } else { "peers" }, &mut command)
}
