//! The Python environment of the peers, with the pinned packages of `benches/peers/requirements.txt`.

use crate::{
    root::{read, root, sha256, target},
    run::run,
};
use anyhow::Result;
use std::{fs, path::PathBuf, process::Command};

/// The environment's interpreter; made, or made anew, unless it has the packages that are asked for now.
pub(crate) fn environment() -> Result<PathBuf> {
    let venv = target().join("bench-peers");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let requirements = root().join("benches/peers/requirements.txt");
    let wanted = sha256(read(&requirements)?.as_bytes());
    let complete = venv.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|have| have == wanted) && python.exists() {
        return Ok(python);
    }
    println!("making {} (PyPI's PyTorch brings CUDA: 5.5 GB)", venv.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(&python).args(pip).arg(&requirements))?;
    fs::write(&complete, wanted)?;
    Ok(python)
}
