//! When the pieces of an answer came, and the figures that follow from that.

use std::time::{Duration, Instant};

/// Moments of one answer, on the client's clock.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Before the request's first byte was sent.
    pub sent: Instant,
    /// Each chunk with text.
    pub content: Vec<Instant>,
    /// The end of the stream.
    pub end: Instant,
}

impl Timeline {
    /// TTFT: until the first text; none without any.
    pub fn first(&self) -> Option<Duration> {
        self.content.first().map(|first| *first - self.sent)
    }

    /// Until the second piece of text: the first one that decode had to do with, so shipping is in it.
    pub fn second(&self) -> Option<Duration> {
        self.content.get(1).map(|second| *second - self.sent)
    }

    /// ITL: between one chunk with text and the next.
    pub fn gaps(&self) -> impl Iterator<Item = Duration> {
        self.content.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// TPOT: first text to last, divided by the tokens after the first; none for a single token. The server's count is
    /// used, as one chunk may have several tokens, or none.
    pub fn per_token(&self, tokens: u64) -> Option<Duration> {
        let (first, last) = (self.content.first()?, self.content.last()?);
        (tokens > 1).then(|| (*last - *first).div_f64((tokens - 1) as f64))
    }

    /// Until the end of the stream.
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
        assert_eq!(timeline.gaps().collect::<Vec<_>>(), [ms(30), ms(0), ms(60)]);
        assert_eq!(timeline.per_token(4), Some(ms(30)));
        assert_eq!(timeline.per_token(10), Some(ms(10)));
        assert_eq!(timeline.per_token(1), None);
        assert_eq!(timeline.whole(), ms(200));
        let silent = Timeline { content: Vec::new(), ..timeline };
        assert_eq!(
            (silent.first(), silent.second(), silent.per_token(5), silent.gaps().count()),
            (None, None, None, 0)
        );
    }
}
