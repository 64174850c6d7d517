//! What a partition has been asked to do.

use std::ops::AddAssign;

use super::operation::Nanos;

/// Counts of what was done; they only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) gets: u64,
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) scans: u64,
    pub(crate) mismatches: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) forwarded: u64,
    pub(crate) held: u64,
    pub(crate) held_refused: u64,
    pub(crate) held_expired: u64,
    pub(crate) log_applied: u64,
    pub(crate) disk_refused: u64,
}

impl Counts {
    fn operations(&self) -> u64 {
        self.gets + self.puts + self.deletes + self.scans
    }

    fn bytes(&self) -> u64 {
        self.bytes_read + self.bytes_written
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.gets += other.gets;
        self.puts += other.puts;
        self.deletes += other.deletes;
        self.scans += other.scans;
        self.mismatches += other.mismatches;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.forwarded += other.forwarded;
        self.held += other.held;
        self.held_refused += other.held_refused;
        self.held_expired += other.held_expired;
        self.log_applied += other.log_applied;
        self.disk_refused += other.disk_refused;
    }
}

/// Counts, and exponentially weighted rates of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    pub(crate) counts: Counts,
    at: Nanos,
    operations: u64,
    bytes: u64,
    rates: Rates,
}

/// Operations and bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) operations: f64,
    pub(crate) bytes: f64,
}

impl Rates {
    /// The part of it that `share` of the rows is taken to cause.
    pub(crate) fn share(self, share: f64) -> Self {
        Self {
            operations: self.operations * share,
            bytes: self.bytes * share,
        }
    }
}

impl AddAssign for Rates {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.bytes += other.bytes;
    }
}

impl Load {
    /// Nothing done so far, with rates to begin with.
    pub(crate) fn new(now: Nanos, rates: Rates) -> Self {
        Self {
            at: now,
            rates,
            ..Self::default()
        }
    }

    /// Takes over what another partition was asked to do.
    pub(crate) fn add_rates(&mut self, rates: Rates) {
        self.rates += rates;
    }

    /// The rates at `now`: what was done since the last call counts for as much as its time weighs, which is one
    /// half after `half_life_seconds`, whatever the intervals between calls.
    pub(crate) fn rates(&mut self, now: Nanos, half_life_seconds: f64) -> Rates {
        const SHORTEST_NANOS: Nanos = 1_000_000;
        let passed = now.saturating_sub(self.at);
        if passed < SHORTEST_NANOS {
            return self.rates;
        }
        let seconds = passed as f64 / 1e9;
        let old = 0.5_f64.powf(seconds / half_life_seconds.max(1e-3));
        let (operations, bytes) = (self.counts.operations(), self.counts.bytes());
        let blend = |rate: f64, done: u64| rate * old + done as f64 / seconds * (1.0 - old);
        self.rates = Rates {
            operations: blend(self.rates.operations, operations - self.operations),
            bytes: blend(self.rates.bytes, bytes - self.bytes),
        };
        (self.at, self.operations, self.bytes) = (now, operations, bytes);
        self.rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_rate_is_halfway_there_after_one_half_life() {
        let mut load = Load::new(0, Rates::default());
        load.counts.gets = 1_000;
        let rates = load.rates(10 * SECOND, 10.0);
        assert!((rates.operations - 50.0).abs() < 1e-6, "{rates:?}");
    }

    #[test]
    fn the_interval_between_calls_does_not_matter() {
        let (mut often, mut once) = (
            Load::new(0, Rates::default()),
            Load::new(0, Rates::default()),
        );
        for tick in 1..=100 {
            often.counts.puts += 7;
            often.rates(tick * SECOND / 10, 4.0);
        }
        once.counts.puts = 700;
        let (often, once) = (often.rates, once.rates(10 * SECOND, 4.0));
        assert!((often.operations - once.operations).abs() < 1e-6);
    }

    #[test]
    fn a_call_that_comes_too_soon_changes_nothing() {
        let mut load = Load::new(SECOND, Rates::default());
        load.counts.gets = 5;
        assert_eq!(load.rates(SECOND + 10, 1.0), Rates::default());
        assert_eq!(load.rates(0, 1.0), Rates::default());
    }
}
