//! The measurement of one case, alone or against one peer: rounds in turns, medians of the calm ones, and whether results agree.

use super::server::{Answer, Request, Server};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How to measure.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Least seconds of a round; none for a single call.
    pub(crate) min_time: f64,
    pub(crate) threads: u32,
    /// A round in which other processes kept more cores busy than this is repeated.
    pub(crate) calm: f64,
}

/// As many cores may be busy beside a measurement that the cores themselves decide.
pub(crate) const CALM: f64 = 0.06;
/// At most so many times the rounds asked for.
const PATIENCE: usize = 4;
/// Seconds of a call that is measured at its first request already.
const LONG: f64 = 4.0;
/// No further round begins after this.
const LONGEST: Duration = Duration::from_secs(180);

/// A round of ours and, where there is a peer, the peer's after it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Round {
    /// Seconds of a call.
    ours: f64,
    peer: Option<f64>,
    /// Cores that other processes kept busy in the busier of the two.
    others: f64,
}

impl Round {
    fn new(ours: &Answer, peer: Option<&Answer>) -> Self {
        let others = [Some(ours), peer].into_iter().flatten().filter_map(|answer| answer.others[0]);
        Round {
            ours: ours.seconds[0],
            peer: peer.map(|answer| answer.seconds[0]),
            others: others.fold(0.0, f64::max),
        }
    }
}

/// The outcome for one case.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Seconds of a call, the median.
    pub(crate) ours: f64,
    pub(crate) flops: u64,
    /// The busiest round that counted.
    pub(crate) others: f64,
    /// Rounds that were too busy to count.
    pub(crate) repeated: usize,
    /// The other side, unless this crate was measured alone.
    pub(crate) against: Option<Against>,
}

#[cfg(test)]
impl Measured {
    /// Of times alone.
    pub(crate) fn of(ours: f64, peer: Option<(&str, f64)>) -> Self {
        let against = peer.map(|(form, seconds)| Against {
            form: form.into(),
            seconds,
            ours,
            range: [seconds / ours; 2],
            first: 0.0,
            apart: None,
        });
        Measured { ours, flops: 0, others: 0.0, repeated: 0, against }
    }
}

/// The peer's side of it.
#[derive(Clone, Debug)]
pub(crate) struct Against {
    /// The peer's form.
    pub(crate) form: String,
    /// Seconds of a call, the median.
    pub(crate) seconds: f64,
    /// Our median in the rounds that counted.
    ours: f64,
    /// Least and greatest ratio of a round that counted.
    pub(crate) range: [f64; 2],
    /// Seconds of the peer's first call.
    pub(crate) first: f64,
    /// How far the checksums are apart, relative to the sum of magnitudes; `None` where results are random.
    pub(crate) apart: Option<f64>,
}

impl Against {
    /// The peer's time over ours.
    pub(crate) fn ratio(&self) -> f64 {
        self.seconds / self.ours
    }
}

/// Measures in turns with the peer, if there is one, until enough rounds were calm, or patience ends.
pub(crate) fn measure(
    ours: &mut Server,
    mut peer: Option<&mut Server>,
    case: &str,
    form: &str,
    plan: &Plan,
) -> Result<Measured> {
    let mut ask = |form: &str| -> Result<(Answer, Option<Answer>)> {
        let request = Request { case, peer: form, threads: plan.threads, min_time: plan.min_time };
        let mine = ours.ask(&request)?;
        Ok((mine, peer.as_mut().map(|peer| peer.ask(&request)).transpose()?))
    };
    let start = Instant::now();
    // Both prepare and warm up; times count only if they are so long that more of them cost too much.
    let (mine, theirs) = ask(form)?;
    let form = match &theirs {
        Some(theirs) => the_form(&mine, theirs)?,
        None => form.to_owned(),
    };
    let first = Round::new(&mine, theirs.as_ref());
    let long = first.ours.max(first.peer.unwrap_or(0.0)) > LONG || plan.min_time == 0.0;
    let mut rounds: Vec<Round> = if long { vec![first] } else { Vec::new() };
    let enough = |rounds: &[Round]| {
        counted(rounds, plan).len() == plan.rounds || rounds.len() == PATIENCE * plan.rounds
    };
    while rounds.is_empty() || !enough(&rounds) && start.elapsed() < LONGEST {
        let (mine, theirs) = ask(&form)?;
        rounds.push(Round::new(&mine, theirs.as_ref()));
    }
    let mut measured = summed_up(&rounds, plan, form);
    measured.flops = mine.flops;
    if let (Some(against), Some(theirs)) = (&mut measured.against, &theirs) {
        (against.first, against.apart) = (theirs.first, apart(&mine, theirs));
    }
    Ok(measured)
}

/// The form that the peer chose; an error if the two sides do not do the same.
fn the_form(ours: &Answer, peer: &Answer) -> Result<String> {
    ensure!(
        ours.flops == peer.flops,
        "the sides count {} and {} floating-point operations",
        ours.flops,
        peer.flops
    );
    ensure!(peer.forms.contains_key(&peer.peer), "the peer ran {}, which is none of its forms", peer.peer);
    Ok(peer.peer.clone())
}

fn summed_up(rounds: &[Round], plan: &Plan, form: String) -> Measured {
    let mut used = counted(rounds, plan);
    if used.len() < plan.rounds {
        used = calmest(rounds, plan.rounds);
    }
    let pairs: Vec<[f64; 2]> = used.iter().filter_map(|round| Some([round.ours, round.peer?])).collect();
    let ratios = || pairs.iter().map(|[ours, peer]| peer / ours);
    let ours = median(used.iter().map(|round| round.ours).collect());
    let against = (!pairs.is_empty()).then(|| Against {
        form,
        seconds: median(pairs.iter().map(|pair| pair[1]).collect()),
        ours,
        range: [ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max)],
        first: 0.0,
        apart: None,
    });
    Measured {
        ours,
        flops: 0,
        others: used.iter().map(|round| round.others).fold(0.0, f64::max),
        repeated: rounds.len() - used.len(),
        against,
    }
}

/// The calm rounds, in the order they were measured.
fn counted(rounds: &[Round], plan: &Plan) -> Vec<Round> {
    rounds.iter().filter(|round| round.others <= plan.calm).take(plan.rounds).copied().collect()
}

/// The calmest of all rounds, where calm ones are too few.
fn calmest(rounds: &[Round], count: usize) -> Vec<Round> {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(|a, b| a.others.total_cmp(&b.others));
    sorted.truncate(count);
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { rounds: 3, min_time: 0.1, threads: 1, calm: CALM };

    fn round(ours: f64, peer: f64, others: f64) -> Round {
        Round { ours, peer: Some(peer), others }
    }

    #[test]
    fn busy_rounds_do_not_count_while_there_are_calm_ones() {
        let rounds =
            [round(9.0, 1.0, 0.5), round(1.0, 2.0, 0.01), round(2.0, 2.0, 0.0), round(3.0, 9.0, 0.05)];
        let measured = summed_up(&rounds, &PLAN, "torch".into());
        let against = measured.against.unwrap();
        assert_eq!((measured.ours, against.seconds, measured.repeated), (2.0, 2.0, 1));
        assert_eq!((against.range, measured.others), ([1.0, 3.0], 0.05));
    }

    #[test]
    fn without_enough_calm_rounds_the_calmest_count() {
        let rounds = [round(1.0, 1.0, 0.9), round(2.0, 8.0, 0.2), round(4.0, 4.0, 0.3)];
        let measured = summed_up(&rounds, &Plan { rounds: 2, ..PLAN }, "torch".into());
        let against = measured.against.unwrap();
        assert_eq!((measured.ours, against.seconds, measured.others), (3.0, 6.0, 0.3));
        assert_eq!(against.ratio(), 2.0);
    }

    #[test]
    fn without_a_peer_there_is_no_ratio() {
        let rounds = [2.0, 4.0, 3.0].map(|ours| Round { ours, peer: None, others: 0.0 });
        let measured = summed_up(&rounds, &PLAN, String::new());
        assert!(measured.ours == 3.0 && measured.against.is_none());
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
