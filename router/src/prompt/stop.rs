//! Finds stop texts in the answer's text, wherever token boundaries fall, and never releases part of one.

/// Holds back what may yet become a stop text.
#[derive(Debug, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// Whether the stop text that is found is shown.
    shows_stop: bool,
    held: String,
    /// Number of first bytes of `held` in which no stop text may end.
    passed: usize,
}

/// The result of adding a piece of text.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Text that is safe to show.
    pub text: String,
    /// The stop text that was found, after which nothing follows.
    pub stop: Option<String>,
}

impl StopMatcher {
    /// Looks for `stops`, none of which is empty.
    pub fn new(stops: Vec<String>, shows_stop: bool) -> Self {
        Self { stops, shows_stop, held: String::new(), passed: 0 }
    }

    /// Whether there is nothing to look for, so that every piece is safe to show.
    pub fn is_idle(&self) -> bool {
        self.stops.is_empty()
    }

    /// Takes the next piece of the answer.
    pub fn push(&mut self, piece: &str) -> Stopped {
        self.held.push_str(piece);
        if let Some((start, stop)) = self.first_match() {
            let stop = stop.to_owned();
            self.held.truncate(if self.shows_stop { start + stop.len() } else { start });
            return Stopped { text: std::mem::take(&mut self.held), stop: Some(stop) };
        }
        Stopped { text: self.release(), stop: None }
    }

    /// Takes the next piece of the answer, in which no stop text counts that ends there; one may begin there. Returns
    /// the text that is safe to show.
    pub fn pass(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        self.passed = self.held.len();
        self.release()
    }

    /// The text still held back, when the answer ends for another reason.
    pub fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The stop text that is complete first, and its start, so that the result does not depend on how the text was cut.
    fn first_match(&self) -> Option<(usize, &str)> {
        let matches = self.stops.iter().filter_map(|stop| self.find(stop).map(|start| (start, stop.as_str())));
        matches.min_by_key(|(start, stop)| (start + stop.len(), *start))
    }

    /// The start of the first `stop` that ends behind what was passed.
    fn find(&self, stop: &str) -> Option<usize> {
        let from = (self.passed + 1).saturating_sub(stop.len());
        let from = (from..self.held.len()).find(|at| self.held.is_char_boundary(*at))?;
        self.held[from..].find(stop).map(|start| from + start)
    }

    /// Takes out the text in which no stop text can have begun.
    fn release(&mut self) -> String {
        let rest = self.held.split_off(self.safe_length());
        let text = std::mem::replace(&mut self.held, rest);
        self.passed = self.passed.saturating_sub(text.len());
        text
    }

    /// Length of the text in which no stop text can have begun.
    fn safe_length(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        let begins = |stop: &String, rest: &str| stop.len() > rest.len() && stop.starts_with(rest);
        let may_begin = |start: usize| self.stops.iter().any(|stop| begins(stop, &self.held[start..]));
        (from..self.held.len())
            .filter(|start| self.held.is_char_boundary(*start))
            .find(|start| may_begin(*start))
            .unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(|stop| (*stop).to_owned()).collect(), false);
        let mut out = String::new();
        for piece in pieces {
            let stopped = matcher.push(piece);
            out.push_str(&stopped.text);
            if stopped.stop.is_some() {
                return (out, true);
            }
        }
        out.push_str(&matcher.flush());
        (out, false)
    }

    #[test]
    fn stops_across_pieces_are_cut_and_never_leak() {
        assert_eq!(run(&["END"], &["abE", "N", "Dxyz"]), ("ab".into(), true));
        assert_eq!(run(&["END"], &["abE", "N"]), ("abEN".into(), false));
        assert_eq!(run(&["aab"], &["aa", "ab"]), ("a".into(), true));
        assert_eq!(run(&["é!"], &["café", "!"]), ("caf".into(), true));
        assert_eq!(run(&[], &["a", "b"]), ("ab".into(), false));
    }

    #[test]
    fn the_stop_that_is_complete_first_wins() {
        assert_eq!(run(&["abcd", "bc"], &["abcd"]), ("a".into(), true));
        assert_eq!(run(&["abcd", "bc"], &["abc", "d"]), ("a".into(), true));
    }

    #[test]
    fn a_stop_text_may_begin_where_none_counts() {
        let mut matcher = StopMatcher::new(vec!["END".into(), "aa".into(), "xaay".into()], false);
        assert_eq!(matcher.pass("END aab xaa"), "END aab ");
        assert_eq!(matcher.push("z E"), Stopped { text: "xaaz ".into(), stop: None }, "aa has ended before");
        assert_eq!(matcher.pass("N"), "");
        assert_eq!(matcher.push("D"), Stopped { text: String::new(), stop: Some("END".into()) });
        let mut matcher = StopMatcher::new(vec!["aa".into()], false);
        assert_eq!((matcher.pass("aaa"), matcher.push("a").stop.as_deref()), ("aa".into(), Some("aa")));
    }

    #[test]
    fn a_stop_text_may_be_shown_and_is_named() {
        let mut matcher = StopMatcher::new(vec!["END".into(), "x".into()], true);
        assert_eq!(matcher.push("abEN"), Stopped { text: "ab".into(), stop: None });
        assert_eq!(matcher.push("Dcd"), Stopped { text: "END".into(), stop: Some("END".into()) });
    }

    proptest! {
        #[test]
        fn the_cut_does_not_depend_on_the_pieces(
            text in "[abé]{0,30}",
            stops in prop::collection::vec("[abé]{1,4}", 0..3),
            cuts in prop::collection::vec(0usize..30, 0..6),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let characters: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(characters.len())).collect();
            cuts.extend([0, characters.len()]);
            cuts.sort_unstable();
            let pieces: Vec<String> = cuts.windows(2).map(|pair| characters[pair[0]..pair[1]].iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let one_by_one: Vec<String> = characters.iter().map(char::to_string).collect();
            let one_by_one: Vec<&str> = one_by_one.iter().map(String::as_str).collect();
            let expected = run(&stops, &one_by_one);
            prop_assert_eq!(run(&stops, &pieces), expected.clone());
            if !expected.1 {
                prop_assert_eq!(expected.0, text);
            }
        }
    }
}
