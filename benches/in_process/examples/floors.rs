//! Prints what every operation's CUDA kernels take at least and are predicted to take: `benches/PREDICTIONS.md`.

fn main() -> foveate::Result<()> {
    print!("{}", foveate_in_process::floors::table()?);
    Ok(())
}
