//! The tape through the public interface: what it records, what it frees, and what it refuses.

#![allow(clippy::unwrap_used)]

use foveate::{Device, Error, Grads, Parameter, Result, Tape, Tensor, ops};

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, [values.len()], &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.to_vec().unwrap()
}

#[test]
fn a_printed_tape_shows_every_operation_shape_and_edge() -> Result<()> {
    let tape = Tape::new();
    let x = tape.watch(&vector(&[1.0, 2.0]))?;
    let w = tape.watch(&Parameter::new("net.weight", vector(&[3.0, 4.0])))?;
    let y = ops::mul(&ops::add(&x, &vector(&[1.0, 1.0]))?, &w)?;
    ops::sum_all(&y)?;
    let text = tape.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[1].contains("net.weight v0"), "{text}");
    assert!(lines[2].contains("[2] f32 = add(%0, -)"), "{text}");
    assert!(lines[3].contains("= mul(%2, %1)") && lines[4].contains("= sum(%3)"), "{text}");
    assert!(format!("{tape:#}").contains("SumGrad"));
    Ok(())
}

#[test]
fn contributions_of_several_uses_add_up() -> Result<()> {
    let tape = Tape::new();
    let x = tape.watch(&vector(&[2.0, -3.0]))?;
    let cube = ops::mul(&ops::mul(&x, &x)?, &x)?;
    let grads = tape.backward(&ops::sum_all(&ops::add(&cube, &x)?)?)?;
    assert_eq!(values(grads.of(&x).unwrap()), [13.0, 28.0]);
    Ok(())
}

#[test]
fn unwatched_computation_leaves_no_trace() -> Result<()> {
    let tape = Tape::new();
    let x = vector(&[1.0]);
    let watched = tape.watch(&x)?;
    ops::mul(&x, &x)?;
    ops::mul(&watched.detach(), &x)?;
    assert_eq!(tape.len(), 1);
    assert!(!x.is_watched() && watched.is_watched());
    Ok(())
}

#[test]
fn gradients_nobody_asked_for_are_absent() -> Result<()> {
    let tape = Tape::new();
    let (x, unused) = (tape.watch(&vector(&[1.0]))?, tape.watch(&vector(&[1.0]))?);
    let constant = vector(&[5.0]);
    let grads = tape.backward(&ops::mul(&x, &constant)?)?;
    assert!(grads.of(&x).is_some() && grads.of(&unused).is_none() && grads.of(&constant).is_none());
    Ok(())
}

#[test]
fn saved_tensors_are_reported_and_freed() -> Result<()> {
    let tape = Tape::new();
    let x = tape.watch(&Tensor::full(1.5_f32, [1000], &Device::Cpu)?)?;
    let y = ops::mul(&x, &x)?;
    let loss = ops::sum_all(&ops::mul(&y, &y)?)?;
    // x twice (the same tensor) and y twice: two tensors of 4,000 bytes.
    assert_eq!(tape.saved_bytes(), 8000);
    tape.backward(&loss)?;
    assert_eq!(tape.saved_bytes(), 0);
    assert!(tape.is_empty());
    Ok(())
}

#[test]
fn misuse_is_a_typed_error() -> Result<()> {
    let tape = Tape::new();
    let x = tape.watch(&vector(&[1.0, 2.0]))?;
    let y = ops::mul(&x, &x)?;
    assert!(matches!(tape.backward(&y), Err(Error::Shape { op: "backward", .. })));
    assert!(matches!(tape.backward(&vector(&[1.0])), Err(Error::Tape { .. })));
    let other = Tape::new();
    let z = other.watch(&vector(&[1.0, 2.0]))?;
    assert!(matches!(ops::add(&x, &z), Err(Error::Tape { .. })));
    let indices = Tensor::from_slice(&[1i32], [1], &Device::Cpu)?;
    assert!(matches!(other.watch(&indices), Err(Error::DType { op: "watch", .. })));
    Ok(())
}

#[test]
fn a_tape_is_consumed_once() -> Result<()> {
    let tape = Tape::new();
    let x = tape.watch(&vector(&[3.0]))?;
    let y = ops::mul(&x, &x)?;
    tape.backward(&y)?;
    assert!(matches!(tape.backward(&y), Err(Error::Tape { .. })));
    assert!(matches!(ops::mul(&x, &x), Err(Error::Tape { .. })));
    assert!(ops::mul(&x.detach(), &x.detach()).is_ok());
    Ok(())
}

#[test]
fn an_outdated_parameter_is_refused() -> Result<()> {
    let mut w = Parameter::new("w", vector(&[1.0]));
    let tape = Tape::new();
    let watched = tape.watch(&w)?;
    let y = ops::mul(&watched, &watched)?;
    w.set(vector(&[2.0]))?;
    let error = tape.backward(&y).unwrap_err();
    assert!(matches!(&error, Error::Tape { what } if what.contains("parameter w")), "{error}");
    assert!(w.set(vector(&[1.0, 2.0])).is_err());
    Ok(())
}

#[test]
fn gradients_of_several_tapes_add_up() -> Result<()> {
    let w = Parameter::new("w", vector(&[2.0, 3.0]));
    let part = |x: &[f32]| -> Result<Grads> {
        let tape = Tape::new();
        let watched = tape.watch(&w)?;
        tape.backward(&ops::sum_all(&ops::mul(&watched, &vector(x))?)?)
    };
    let mut grads = part(&[1.0, 2.0])?;
    grads.add(part(&[10.0, 20.0])?)?;
    assert_eq!(values(grads.parameter(&w).unwrap()), [11.0, 22.0]);
    Ok(())
}

#[test]
fn checkpointing_gives_the_same_gradients_and_saves_less() -> Result<()> {
    let f = |x: &[Tensor]| -> Result<_> {
        let mut y = ops::mul(&x[0], &x[1])?;
        for _ in 0..5 {
            y = ops::mul(&y, &x[1])?;
        }
        Ok([y].into_iter().collect())
    };
    let run = |checkpointed: bool| -> Result<(Vec<f32>, Vec<f32>, usize)> {
        let tape = Tape::new();
        let x = tape.watch(&vector(&[0.5, -1.5, 2.0]))?;
        let w = tape.watch(&vector(&[1.1, 0.9, -1.2]))?;
        let y = if checkpointed { tape.checkpoint(f, &[&x, &w])? } else { f(&[x.clone(), w.clone()])? };
        let loss = ops::sum_all(&ops::mul(&y[0], &y[0])?)?;
        let saved = tape.saved_bytes();
        let grads = tape.backward(&loss)?;
        Ok((values(grads.of(&x).unwrap()), values(grads.of(&w).unwrap()), saved))
    };
    let (plain, recomputed) = (run(false)?, run(true)?);
    assert_eq!((&plain.0, &plain.1), (&recomputed.0, &recomputed.1));
    assert!(recomputed.2 < plain.2, "{} and {}", recomputed.2, plain.2);
    let tape = Tape::new();
    let x = tape.watch(&vector(&[1.0]))?;
    let hidden = x.clone();
    let captured = tape.checkpoint(move |y| Ok([ops::mul(&y[0], &hidden)?].into_iter().collect()), &[&x]);
    assert!(matches!(captured, Err(Error::Tape { .. })));
    Ok(())
}
