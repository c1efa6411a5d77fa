//! How the two kernels of a selection take turns: on two streams, so that the patches of one run are scored while those of
//! the run before are merged. A merge is a few blocks that go through one iteration after another, and would otherwise leave
//! most of the device idle.
//!
//! Logits have two places in turn. A run is scored into one when the merge that read it last is done, two runs before.

use super::{
    Cuda, Cx, Source,
    selector::{Fresh, State},
};
use crate::error::Result;
use cudarc::driver::{CudaEvent, CudaStream};

const OP: &str = "select";

/// The events of a selection's steps, by turn.
pub(super) struct Turns {
    /// Recorded behind the scoring of a run, and behind its merge.
    scored: [CudaEvent; 2],
    merged: [CudaEvent; 2],
}

impl Turns {
    pub(super) fn new(device: &Cuda) -> Result<Self> {
        let event = || device.context.new_event(None).map_err(|e| device.failure(OP, e));
        Ok(Turns { scored: [event()?, event()?], merged: [event()?, event()?] })
    }
}

/// Two streams, and the steps that were asked of them.
pub(super) struct Lanes<'a> {
    pub(super) score: Cx<'a>,
    merge: Cx<'a>,
    turns: &'a Turns,
    steps: usize,
}

impl<'a> Lanes<'a> {
    /// `recorded`: the streams only record what is asked of them.
    pub(super) fn new(
        device: &'a Cuda,
        [score, merge]: [&'a CudaStream; 2],
        turns: &'a Turns,
        recorded: bool,
    ) -> Self {
        let on = |stream| Cx { stream: Some(stream), recorded, ..Cx::new(device, OP) };
        Lanes { score: on(score), merge: on(merge), turns, steps: 0 }
    }

    /// Scores the patches of a run.
    pub(super) fn step(&mut self, state: &State, source: &Source, fresh: &Fresh) -> Result<()> {
        let failed = |e| self.score.device().failure(OP, e);
        let (at, turn) = (self.steps, self.steps % 2);
        let (scores, merges) = (self.score.stream(), self.merge.stream());
        if at >= 2 {
            scores.wait(&self.turns.merged[turn]).map_err(failed)?;
        }
        let candidates = state.score(&self.score, source, fresh, turn)?;
        self.turns.scored[turn].record(scores).map_err(failed)?;
        merges.wait(&self.turns.scored[turn]).map_err(failed)?;
        state.advance(&self.merge, at, &candidates, fresh)?;
        self.turns.merged[turn].record(merges).map_err(failed)?;
        self.steps += 1;
        Ok(())
    }

    /// Records an event behind the last merge.
    pub(super) fn mark(&self, event: &CudaEvent) -> Result<()> {
        event.record(self.merge.stream()).map_err(|e| self.score.device().failure(OP, e))
    }

    /// What is asked of the stream of scores from now on comes after all steps, whose number this is.
    pub(super) fn join(&self) -> Result<usize> {
        if let Some(last) = self.steps.checked_sub(1) {
            let joined = self.score.stream().wait(&self.turns.merged[last % 2]);
            joined.map_err(|e| self.score.device().failure(OP, e))?;
        }
        Ok(self.steps)
    }
}
