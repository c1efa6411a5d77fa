//! The measurement of one case against one peer: rounds in turns, medians of the calm ones, and whether results agree.

use super::{
    goals,
    server::{Answer, Request, Server},
};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How to measure.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Least seconds of a round.
    pub(crate) min_time: f64,
    pub(crate) threads: u32,
}

/// A round in which other processes kept more cores busy than this is repeated.
pub(crate) const CALM: f64 = 0.06;
/// At most so many times the rounds asked for.
const PATIENCE: usize = 4;
/// Seconds of a call that is measured at its first request already.
const LONG: f64 = 4.0;
/// No further round begins after this.
const LONGEST: Duration = Duration::from_secs(180);

/// A round of ours and the peer's after it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    /// Seconds of a call.
    ours: f64,
    peer: f64,
    /// Cores that other processes kept busy in the busier of the two.
    others: f64,
}

impl Pair {
    fn new(ours: &Answer, peer: &Answer) -> Self {
        let others = [ours, peer].into_iter().filter_map(|answer| answer.others[0]).fold(0.0, f64::max);
        Pair { ours: ours.seconds[0], peer: peer.seconds[0], others }
    }
}

/// The outcome for one case and one form of the peer.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The peer's form.
    pub(crate) form: String,
    /// Seconds of a call, medians.
    pub(crate) ours: f64,
    pub(crate) peer: f64,
    /// Least and greatest ratio of a pair that counted.
    pub(crate) range: [f64; 2],
    /// The busiest round that counted.
    pub(crate) others: f64,
    /// Rounds that were too busy to count.
    pub(crate) repeated: usize,
    pub(crate) flops: u64,
    /// Seconds of the peer's first call.
    pub(crate) first: f64,
    /// How far the checksums are apart, relative to the sum of magnitudes; `None` where results are random.
    pub(crate) apart: Option<f64>,
}

impl Measured {
    /// The peer's time over ours.
    pub(crate) fn ratio(&self) -> f64 {
        self.peer / self.ours
    }
}

/// Measures in turns until enough rounds were calm, or patience ends.
pub(crate) fn measure(
    ours: &mut Server,
    peer: &mut Server,
    case: &str,
    form: &str,
    plan: &Plan,
) -> Result<Measured> {
    let request = Request { case, peer: form, threads: plan.threads, min_time: plan.min_time };
    let start = Instant::now();
    // Both prepare and warm up; times count only if they are so long that more of them cost too much.
    let (mine, theirs) = (ours.ask(&request)?, peer.ask(&request)?);
    ensure!(
        mine.flops == theirs.flops,
        "the sides count {} and {} floating-point operations",
        mine.flops,
        theirs.flops
    );
    let form = theirs.peer.clone();
    ensure!(theirs.forms.contains_key(&form), "the peer ran {form}, which is none of its forms");
    let request = Request { peer: &form, ..request };
    let first = Pair::new(&mine, &theirs);
    let mut pairs: Vec<Pair> = if first.ours.max(first.peer) > LONG { vec![first] } else { Vec::new() };
    let enough = |pairs: &[Pair]| {
        counted(pairs, plan.rounds).len() == plan.rounds || pairs.len() == PATIENCE * plan.rounds
    };
    while pairs.is_empty() || !enough(&pairs) && start.elapsed() < LONGEST {
        let (mine, theirs) = (ours.ask(&request)?, peer.ask(&request)?);
        pairs.push(Pair::new(&mine, &theirs));
    }
    let measured = summed_up(&pairs, plan.rounds, form, apart(&mine, &theirs), mine.flops);
    Ok(Measured { first: theirs.first, ..measured })
}

fn summed_up(pairs: &[Pair], rounds: usize, form: String, apart: Option<f64>, flops: u64) -> Measured {
    let mut used = counted(pairs, rounds);
    if used.len() < rounds {
        used = calmest(pairs, rounds);
    }
    let ratios = || used.iter().map(|pair| pair.peer / pair.ours);
    Measured {
        form,
        ours: median(used.iter().map(|pair| pair.ours).collect()),
        peer: median(used.iter().map(|pair| pair.peer).collect()),
        range: [ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max)],
        others: used.iter().map(|pair| pair.others).fold(0.0, f64::max),
        repeated: pairs.len() - used.len(),
        flops,
        first: 0.0,
        apart,
    }
}

/// The calm pairs, in the order they were measured.
fn counted(pairs: &[Pair], rounds: usize) -> Vec<Pair> {
    pairs.iter().filter(|pair| pair.others <= CALM).take(rounds).copied().collect()
}

/// The calmest of all pairs, where calm ones are too few.
fn calmest(pairs: &[Pair], rounds: usize) -> Vec<Pair> {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| a.others.total_cmp(&b.others));
    sorted.truncate(rounds);
    sorted
}

/// The middle value, or the mean of the two middle ones.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { 0.5 * (values[middle - 1] + values[middle]) }
}

/// The differences of the two sums, relative to the peer's sum of magnitudes. Infinite where only one side has sums.
fn apart(ours: &Answer, peer: &Answer) -> Option<f64> {
    match (ours.checksum, peer.checksum) {
        (None, None) => None,
        (Some(ours), Some(peer)) => {
            let relative = |a: f64, b: f64| if a == b { 0.0 } else { (a - b).abs() / peer[1] };
            let apart = relative(ours[0], peer[0]) + relative(ours[1], peer[1]);
            Some(if apart.is_nan() { f64::INFINITY } else { apart })
        }
        _ => Some(f64::INFINITY),
    }
}

impl Measured {
    /// Whether both sides computed the same.
    pub(crate) fn agrees(&self, case: &str) -> bool {
        self.apart.is_none_or(|apart| apart <= goals::tolerance(case))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(ours: f64, peer: f64, others: f64) -> Pair {
        Pair { ours, peer, others }
    }

    #[test]
    fn busy_rounds_do_not_count_while_there_are_calm_ones() {
        let pairs = [pair(9.0, 1.0, 0.5), pair(1.0, 2.0, 0.01), pair(2.0, 2.0, 0.0), pair(3.0, 9.0, 0.05)];
        let measured = summed_up(&pairs, 3, "torch".into(), None, 0);
        assert_eq!((measured.ours, measured.peer, measured.repeated), (2.0, 2.0, 1));
        assert_eq!((measured.range, measured.others), ([1.0, 3.0], 0.05));
    }

    #[test]
    fn without_enough_calm_rounds_the_calmest_count() {
        let pairs = [pair(1.0, 1.0, 0.9), pair(2.0, 8.0, 0.2), pair(4.0, 4.0, 0.3)];
        let measured = summed_up(&pairs, 2, "torch".into(), None, 0);
        assert_eq!((measured.ours, measured.peer, measured.others), (3.0, 6.0, 0.3));
    }

    fn answer(checksum: Option<[f64; 2]>) -> Answer {
        let (peer, seconds, others) = (String::new(), vec![1.0], vec![None]);
        Answer { peer, seconds, others, checksum, flops: 0, first: 0.0, forms: Default::default() }
    }

    #[test]
    fn checksums_are_compared_relative_to_the_magnitudes() {
        let of = |a: [f64; 2], b: [f64; 2]| apart(&answer(Some(a)), &answer(Some(b)));
        assert_eq!(of([1.0, 100.0], [2.0, 100.0]), Some(0.01));
        assert_eq!(of([0.0, 0.0], [0.0, 0.0]), Some(0.0));
        assert_eq!(of([f64::NAN, 1.0], [0.0, 1.0]), Some(f64::INFINITY));
        assert_eq!(apart(&answer(None), &answer(None)), None);
        assert_eq!(apart(&answer(Some([0.0; 2])), &answer(None)), Some(f64::INFINITY));
    }
}
