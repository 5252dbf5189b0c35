//! Timing that a busy machine of two cores disturbs little: those who are compared take turns in
//! many short samples, and of each one's samples a fast one counts.

use std::time::{Duration, Instant};

/// One of those who are compared, with what it does `count` times.
pub(crate) struct Racer<'a> {
    pub(crate) name: &'static str,
    run: Box<dyn FnMut(usize) + 'a>,
}

impl<'a> Racer<'a> {
    /// `run` is given how often to do it.
    pub(crate) fn new(name: &'static str, run: impl FnMut(usize) + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Samples of each.
    pub(crate) rounds: usize,
    /// What a sample takes at least.
    pub(crate) sample: Duration,
    /// A sample does a multiple of this.
    pub(crate) step: usize,
}

impl Plan {
    /// For numbers that are shown.
    pub(crate) const FULL: Self = Self { rounds: 400, sample: Duration::from_micros(200), step: 1 };
    /// Only to see that it works.
    pub(crate) const ONCE: Self = Self { rounds: 1, sample: Duration::ZERO, step: 1 };
}

/// Nanoseconds that each needs to do it once: of its samples the fastest of twenty.
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
pub(crate) fn race(racers: &mut [Racer<'_>], plan: Plan) -> Vec<f64> {
    let counts: Vec<usize> = racers
        .iter_mut()
        .map(|racer| {
            let mut count = plan.step;
            while time(racer, count) < plan.sample {
                count *= 2;
            }
            count
        })
        .collect();
    let mut samples = vec![Vec::with_capacity(plan.rounds); racers.len()];
    for _ in 0..plan.rounds {
        for ((racer, count), samples) in racers.iter_mut().zip(&counts).zip(&mut samples) {
            // The others have had the caches and the predictors in between.
            (racer.run)(count / 10 + 1);
            samples.push(time(racer, *count).as_secs_f64() * 1e9 / *count as f64);
        }
    }
    samples
        .into_iter()
        .map(|mut samples| {
            samples.sort_unstable_by(f64::total_cmp);
            samples[samples.len() / 20]
        })
        .collect()
}

fn time(racer: &mut Racer<'_>, count: usize) -> Duration {
    let started = Instant::now();
    (racer.run)(count);
    started.elapsed()
}
