//! Arrival times of an answer's pieces, and the figures that follow from them.

use std::time::{Duration, Instant};

/// Moments of one answer, on the client's clock.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Moment before the request's first byte was sent.
    pub sent: Instant,
    /// Arrival time of each chunk with text.
    pub content: Vec<Instant>,
    /// End of the answer: arrival of its finish reason, or, if the server gives none, the end of the stream.
    pub end: Instant,
}

impl Timeline {
    /// The timeline of a request sent at that moment, of which nothing has arrived.
    pub fn new(sent: Instant) -> Timeline {
        Timeline { sent, content: Vec::new(), end: sent }
    }

    /// TTFT: time until the first text; `None` if there is no text.
    pub fn first(&self) -> Option<Duration> {
        self.content.first().map(|first| *first - self.sent)
    }

    /// Time until the second piece of text: the first one that decode contributes to, so it includes shipping.
    pub fn second(&self) -> Option<Duration> {
        self.content.get(1).map(|second| *second - self.sent)
    }

    /// ITL: gaps between one chunk with text and the next, the last one lasting to the answer's end, so that together
    /// they are the time after the first text; empty for a single token.
    pub fn gaps(&self, tokens: u64) -> Vec<Duration> {
        let (Some((first, rest)), true) = (self.content.split_first(), tokens > 1) else { return Vec::new() };
        let between = rest.split_last().map_or(rest, |(_, between)| between);
        let moments: Vec<Instant> = [*first].into_iter().chain(between.iter().copied()).chain([self.end]).collect();
        moments.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Time from the first text to the answer's end; `None` if there is no text.
    pub fn after_first(&self) -> Option<Duration> {
        self.content.first().map(|first| self.end - *first)
    }

    /// TPOT: the time after the first text divided by the number of tokens after the first; `None` for a single token.
    /// The server's count is used, because one chunk may have several tokens, or none.
    pub fn per_token(&self, tokens: u64) -> Option<Duration> {
        let after = self.after_first()?;
        (tokens > 1).then(|| after.div_f64((tokens - 1) as f64))
    }

    /// Time until the answer's end.
    pub fn whole(&self) -> Duration {
        self.end - self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_from_the_moments() {
        let sent = Instant::now();
        let at = |ms: u64| sent + Duration::from_millis(ms);
        let timeline = Timeline { sent, content: vec![at(100), at(130), at(130), at(190)], end: at(200) };
        let ms = Duration::from_millis;
        assert_eq!(timeline.first(), Some(ms(100)));
        assert_eq!(timeline.second(), Some(ms(130)));
        assert_eq!(timeline.gaps(4), [ms(30), ms(0), ms(70)]);
        assert_eq!(timeline.per_token(5), Some(ms(25)));
        assert_eq!(timeline.per_token(11), Some(ms(10)));
        assert_eq!((timeline.per_token(1), timeline.gaps(1).len()), (None, 0));
        assert_eq!(timeline.whole(), ms(200));
        let silent = Timeline { content: Vec::new(), ..timeline };
        assert_eq!((silent.first(), silent.second(), silent.per_token(5), silent.gaps(5).len()), (None, None, None, 0));
    }

    #[test]
    fn the_figures_of_a_request_add_up() {
        let sent = Instant::now();
        let at = |ms: u64| sent + Duration::from_millis(ms);
        for (content, tokens) in [(vec![at(100), at(130), at(190)], 6), (vec![at(100)], 4), (vec![at(100), at(250)], 2)]
        {
            let timeline = Timeline { sent, content, end: at(250) };
            let (first, whole) = (timeline.first().unwrap(), timeline.whole());
            assert_eq!(first + timeline.gaps(tokens).iter().sum::<Duration>(), whole);
            let after = timeline.per_token(tokens).unwrap() * (tokens - 1) as u32;
            assert!((first + after).abs_diff(whole) < Duration::from_micros(1), "{timeline:?}");
        }
    }
}
