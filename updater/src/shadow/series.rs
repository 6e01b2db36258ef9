//! What a version held, moment by moment, while it was watched.

use std::time::{Duration, Instant};

use countersign_sandbox::Sample;
use serde::{Deserialize, Serialize};

use super::replies::to_real;
use super::report::millis;

/// Between two looks, to begin with.
const EVERY: Duration = Duration::from_millis(250);
/// More looks than this are thinned out: every other one goes, and from then on there are half as many.
const MANY: usize = 480;

/// Less than this is too short for anything that is counted in a time.
pub(super) const SHORTEST: Duration = Duration::from_secs(2);

/// Figures by the time at which they were read; all lists are equally long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// After it was ready, in milliseconds.
    pub after_ms: Vec<u64>,
    /// Resident memory, in bytes.
    pub memory: Vec<u64>,
    /// Processor time since its start, in microseconds.
    pub cpu_us: Vec<u64>,
    /// Open descriptors; 0 where they cannot be read.
    pub descriptors: Vec<u64>,
    /// Threads.
    pub threads: Vec<u64>,
    /// Bytes written to the disk since its start; 0 where that cannot be read.
    pub written: Vec<u64>,
}

/// When the next look is due.
#[derive(Debug)]
pub(super) struct Looks {
    from: Instant,
    every: Duration,
    next: Instant,
}

impl Looks {
    pub(super) fn from(from: Instant) -> Self {
        Self { from, every: EVERY, next: from }
    }

    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// Takes down what was read of each now.
    pub(super) fn take<'a>(&mut self, read: impl Iterator<Item = (&'a mut Series, Sample)>) {
        let after = self.from.elapsed();
        let mut full = false;
        for (series, sample) in read {
            series.push(after, &sample);
            full |= series.after_ms.len() > MANY;
            if full {
                series.thin();
            }
        }
        if full {
            self.every *= 2;
        }
        // A machine that takes long to be read is read less often.
        let took = self.from.elapsed().saturating_sub(after);
        self.next = Instant::now() + self.every.max(took * 10);
    }
}

impl Series {
    fn push(&mut self, after: Duration, sample: &Sample) {
        self.after_ms.push(millis(after));
        self.memory.push(sample.resident);
        self.cpu_us.push(u64::try_from(sample.cpu.as_micros()).unwrap_or(u64::MAX));
        self.descriptors.push(sample.descriptors.unwrap_or(0));
        self.threads.push(sample.threads);
        self.written.push(sample.written.unwrap_or(0));
    }

    fn thin(&mut self) {
        let Self { after_ms, memory, cpu_us, descriptors, threads, written } = self;
        for list in [after_ms, memory, cpu_us, descriptors, threads, written] {
            let mut index = 0;
            list.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// From the first look to the last.
    pub(super) fn span(&self) -> Duration {
        let first = self.after_ms.first().copied().unwrap_or(0);
        let last = self.after_ms.last().copied().unwrap_or(0);
        Duration::from_millis(last.saturating_sub(first))
    }

    /// Processor time in a second, in microseconds; `None`: it was too short.
    pub(super) fn cpu_a_second(&self) -> Option<u64> {
        let span = millis(self.span());
        let used = self.cpu_us.last()?.saturating_sub(*self.cpu_us.first()?);
        (self.span() >= SHORTEST).then(|| used.saturating_mul(1000) / span)
    }

    /// By how much memory grows in a minute, in bytes, and how much that is over all of the time: the median of the slopes
    /// between any two looks (Theil and Sen), which steps and spikes of less than a quarter of the time do not move. `None`:
    /// it was too short.
    pub(super) fn growth(&self) -> Option<(u64, u64)> {
        let points: Vec<(f64, f64)> = self
            .after_ms
            .iter()
            .zip(&self.memory)
            .map(|(at, held)| (to_real(*at), to_real(*held)))
            .collect();
        let mut slopes: Vec<f64> = Vec::new();
        for (index, (at, held)) in points.iter().enumerate() {
            let later = points.get(index + 1..).unwrap_or_default().iter();
            let slope = |(then, more): &(f64, f64)| (more - held) / (then - at);
            slopes.extend(later.filter(|(then, _)| then > at).map(slope));
        }
        if self.span() < SHORTEST || slopes.is_empty() {
            return None;
        }
        slopes.sort_by(f64::total_cmp);
        let slope = slopes.get(slopes.len() / 2).copied().unwrap_or_default().max(0.0);
        Some((whole(slope * 60_000.0), whole(slope * to_real(millis(self.span())))))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not negative, and what does not fit is the largest that does"
)]
fn whole(real: f64) -> u64 {
    real as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(memory: impl Fn(u64) -> u64) -> Series {
        let after_ms: Vec<u64> = (0..40).map(|n| n * 250).collect();
        Series {
            memory: after_ms.iter().map(|at| memory(*at)).collect(),
            after_ms,
            ..Series::default()
        }
    }

    #[test]
    fn growth_is_what_lasts_and_neither_a_step_nor_a_spike() {
        assert_eq!(series(|at| 5_000_000 + at * 1000).growth(), Some((60_000_000, 9_750_000)));
        assert_eq!(series(|at| if at < 2000 { 1 << 20 } else { 9 << 20 }).growth(), Some((0, 0)));
        assert_eq!(series(|at| if at == 5000 { 1 << 30 } else { 7 }).growth(), Some((0, 0)));
        assert_eq!(series(|at| 100_000_000 - at).growth(), Some((0, 0)));
        let short =
            Series { after_ms: vec![0, 1000], memory: vec![0, 1 << 30], ..Series::default() };
        assert_eq!(short.growth(), None);
    }

    #[test]
    fn a_long_watch_is_thinned_out_and_keeps_its_ends_in_order() {
        let mut series = Series::default();
        let mut looks = Looks::from(Instant::now());
        for _ in 0..5 * MANY {
            looks.take(std::iter::once((&mut series, Sample::default())));
        }
        assert!((MANY / 2..=MANY).contains(&series.after_ms.len()));
        assert_eq!(series.memory.len(), series.after_ms.len());
        assert!(series.after_ms.is_sorted() && looks.every > EVERY);
    }
}
