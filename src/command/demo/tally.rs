//! What has arrived so far, shown as it arrives, and the closing tables.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::time::Duration;

use super::providers::Providers;
use super::receiver::Arrival;
use super::script::Party;

/// How wide a line of a body is shown at most; what is behind that is cut off, in the picture only.
const WIDTH: usize = 76;

/// Counts of everything.
#[derive(Default)]
pub(super) struct Tally {
    attempts: usize,
    verified: usize,
    turned_away: usize,
    refused: usize,
    /// Those that were taken, by their ids.
    delivered: HashSet<String>,
    /// Those that came once more although they had been taken.
    again: usize,
    by_callback: BTreeMap<&'static str, (usize, usize)>,
    posted: BTreeMap<Party, usize>,
}

impl Tally {
    /// How many deliveries were taken.
    pub(super) fn delivered(&self) -> usize {
        self.delivered.len()
    }

    /// Whether so many were taken, each once, and all were signed.
    pub(super) fn is_clean(&self, expected: usize) -> bool {
        self.delivered() == expected && self.refused == 0 && self.again == 0
    }

    /// A party has posted.
    pub(super) fn add_posts(&mut self, party: Party, count: usize) {
        *self.posted.entry(party).or_default() += count;
    }

    pub(super) fn show(
        &mut self,
        arrival: &Arrival,
        expected: usize,
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        self.attempts += 1;
        let counts = self.by_callback.entry(arrival.callback).or_default();
        counts.0 += 1;
        let Arrival { callback, delivery, attempt, method, .. } = arrival;
        if let Err(reason) = &arrival.verdict {
            self.refused += 1;
            return writeln!(out, "\n  {callback:<11} SIGNATURE REFUSED: {reason}");
        }
        self.verified += 1;
        if arrival.turned_away {
            self.turned_away += 1;
            return writeln!(out, "\n  {callback:<11} attempt {attempt} answered with 503, to be repeated");
        }
        if !self.delivered.insert(delivery.clone()) {
            self.again += 1;
            return writeln!(out, "\n  {callback:<11} {delivery} CAME ONCE MORE");
        }
        counts.1 += 1;
        let number = self.delivered.len();
        writeln!(out, "\n  {callback:<11} {number} of {expected}: {method}, attempt {attempt}, verified")?;
        for line in arrival.body.lines() {
            match line.char_indices().nth(WIDTH) {
                None => writeln!(out, "    {line}")?,
                Some(_) => writeln!(out, "    {}…", line.chars().take(WIDTH - 1).collect::<String>())?,
            }
        }
        Ok(())
    }

    pub(super) fn close(
        &self,
        providers: &Providers,
        settled: usize,
        expected: usize,
        took: Duration,
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        writeln!(out, "\n  {:<11} {:<10} {:>6} {:>6}", "source", "provider", "posted", "asked")?;
        for party in Party::ALL {
            let posted = self.posted.get(&party).copied().unwrap_or_default();
            let asked = providers.asked(party).map_or("–".to_owned(), |asked| asked.to_string());
            writeln!(out, "  {:<11} {:<10} {posted:>6} {asked:>6}", party.source(), party.provider())?;
        }
        writeln!(out, "\n  {:<22} {:>8} {:>9}", "callback", "attempts", "delivered")?;
        for (callback, (attempts, delivered)) in &self.by_callback {
            writeln!(out, "  {callback:<22} {attempts:>8} {delivered:>9}")?;
        }
        writeln!(out, "  {:<22} {:>8} {:>9}", "all", self.attempts, self.delivered())?;
        writeln!(
            out,
            "\n{settled} of {expected} delivered, {} of {} signatures verified, {} attempts repeated, {:.1} s",
            self.verified,
            self.attempts,
            self.turned_away,
            took.as_secs_f64(),
        )
    }
}
