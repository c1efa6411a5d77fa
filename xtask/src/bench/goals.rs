//! What each case is compared with, and how fast it ought to be. No goal is an assertion: timings never fail a command.

use super::{
    On,
    compare::{Against, Measured},
};
use std::{collections::BTreeMap, fmt};

/// The families in the order of the table; a family that is not here comes last.
const ORDER: [&str; 4] = ["selection", "encoder", "conv2d", "unfold"];

/// Cases in the order of the table.
pub(crate) fn in_order(cases: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    let mut all: Vec<(&str, &str)> =
        cases.iter().map(|(name, about)| (name.as_str(), about.as_str())).collect();
    all.sort_by_key(|(name, _)| {
        ORDER.iter().position(|family| name.starts_with(family)).unwrap_or(ORDER.len())
    });
    all.into_iter()
}

/// The forms of the peer that a case is compared with; `torch` is the fastest of PyTorch's.
pub(crate) fn peers(on: On, case: &str) -> &'static [&'static str] {
    match (on, case) {
        (On::Wgpu, "unfold/50-50") => &["burn-unfold4d", "burn-transpose"],
        (On::Wgpu, _) => &["burn"],
        (On::Cuda, _) if has_products(case) => &["torch", "torch-tf32"],
        (On::Cuda, _) => &["torch"],
        (On::Cpu, "encoder/evaluation") => &["torch-eager", "torch", "onnxruntime"],
        (On::Cpu, _) => &["torch"],
    }
}

/// How far apart the checksums of a case may be, relative to the sum of magnitudes.
///
/// A training step's gradients pass through batch statistics and the kinks of ReLUs, which magnify the last bit of a
/// sum: there, PyTorch's own memory formats differ by 6e-5.
///
/// In TF32 the peer rounds operands to 10 bits; where it then ranks patches, a few others come first.
pub(crate) fn tolerance(case: &str, form: &str) -> f64 {
    match (case, form.ends_with("-tf32")) {
        (_, true) if case.starts_with("selection/") => 0.1,
        (_, true) => 2e-2,
        ("encoder/training" | "encoder/training-statistics", _) => 2e-4,
        _ => 1e-5,
    }
}

/// Whether the two sides computed the same.
pub(crate) fn agree(case: &str, against: &Against) -> bool {
    against.apart.is_none_or(|apart| apart <= tolerance(case, &against.form))
}

/// Cases of matrix products and convolutions, which a GPU may do in TF32.
fn has_products(case: &str) -> bool {
    ["conv2d/", "encoder/", "selection/", "linear/", "cross_attention/"]
        .iter()
        .any(|family| case.starts_with(family))
}

/// What a row ought to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Least ratios: to be reached, and aimed for.
    Ratio { reach: Option<f64>, aim: Option<f64> },
    /// Most seconds of our call, whatever the peer takes.
    Time(f64),
    /// None: the figure itself is what is asked for.
    Stated,
}

/// The goal of a case against a form of the peer.
pub(crate) fn goal(on: On, case: &str, form: &str) -> Goal {
    match on {
        On::Wgpu => return against_burn(case),
        On::Cuda => return Goal::Stated,
        On::Cpu => {}
    }
    match (case, form) {
        ("encoder/evaluation", "torch-eager") => Goal::Ratio { reach: Some(1.0), aim: None },
        ("encoder/evaluation", _) => Goal::Ratio { reach: None, aim: Some(1.3) },
        ("encoder/training" | "encoder/training-statistics", _) => {
            Goal::Ratio { reach: Some(0.7), aim: Some(1.2) }
        }
        // A thousand operations a call.
        ("overhead/untracked", _) => Goal::Time(0.5e-3),
        ("overhead/recorded", _) => Goal::Time(1.0e-3),
        _ if case.starts_with("selection/") => Goal::Ratio { reach: Some(1.0), aim: Some(2.0) },
        _ => Goal::Ratio { reach: Some(0.7), aim: Some(1.0) },
    }
}

fn against_burn(case: &str) -> Goal {
    let reach = |least| Goal::Ratio { reach: Some(least), aim: None };
    match case.split('/').next() {
        Some("conv2d" | "encoder") => reach(1.5),
        Some("unfold" | "selection") => reach(5.0),
        Some("overhead") => Goal::Stated,
        _ => Goal::Ratio { reach: None, aim: Some(1.0) },
    }
}

impl Goal {
    /// In a word whether the goal is met.
    pub(crate) fn verdict(&self, measured: &Measured, against: &Against) -> &'static str {
        let ratio = against.ratio();
        match *self {
            Goal::Stated => "stated",
            Goal::Time(most) => {
                if measured.ours <= most {
                    "met"
                } else {
                    "missed"
                }
            }
            Goal::Ratio { reach: Some(least), .. } if ratio < least => "missed",
            Goal::Ratio { aim: Some(least), .. } if ratio >= least => "aim met",
            Goal::Ratio { reach: None, .. } => "below aim",
            Goal::Ratio { .. } => "met",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Goal::Ratio { reach: Some(reach), aim: Some(aim) } => write!(f, "{reach}, aim {aim}"),
            Goal::Ratio { reach: Some(reach), .. } => write!(f, "{reach}"),
            Goal::Ratio { aim, .. } => write!(f, "aim {}", aim.unwrap_or(0.0)),
            Goal::Stated => write!(f, "none"),
            Goal::Time(most) => write!(f, "{} us an op", most * 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(goal: Goal, ours: f64, peer: f64) -> &'static str {
        let measured = Measured::of(ours, Some(("torch", peer)));
        goal.verdict(&measured, measured.against.as_ref().unwrap())
    }

    #[test]
    fn verdicts() {
        let both = Goal::Ratio { reach: Some(0.7), aim: Some(1.0) };
        assert_eq!(verdict(both, 1.0, 0.6), "missed");
        assert_eq!(verdict(both, 1.0, 0.8), "met");
        assert_eq!(verdict(both, 1.0, 1.0), "aim met");
        let aim = Goal::Ratio { reach: None, aim: Some(1.3) };
        assert_eq!((verdict(aim, 1.0, 1.2), verdict(aim, 1.0, 1.4)), ("below aim", "aim met"));
        assert_eq!(verdict(Goal::Time(0.5e-3), 0.4e-3, 0.0), "met");
        assert_eq!(verdict(Goal::Time(0.5e-3), 0.6e-3, 9.0), "missed");
        assert_eq!(verdict(goal(On::Wgpu, "encoder/training", "burn"), 1.0, 1.4), "missed");
        assert_eq!(verdict(goal(On::Wgpu, "unfold/50-50", "burn-unfold4d"), 1.0, 5.0), "met");
        assert_eq!(verdict(goal(On::Cuda, "unfold/50-50", "torch"), 1.0, 0.1), "stated");
    }

    #[test]
    fn rounded_operands_may_differ_more() {
        let apart = |form: &str, apart: f64| {
            let mut against = Measured::of(1.0, Some((form, 1.0))).against.unwrap();
            against.apart = Some(apart);
            against
        };
        assert!(
            agree("linear/a", &apart("torch-eager", 1e-6)) && !agree("linear/a", &apart("torch-eager", 1e-3))
        );
        assert!(agree("linear/a", &apart("torch-eager-tf32", 1e-3)));
        assert!(!agree("linear/a", &apart("torch-eager-tf32", 0.1)));
    }
}
