//! The function `strftime_now`: the local time in every format of Python's `strftime` on Linux, in the C locale.
//!
//! A directive is `%`, flags (`-` no padding, `_` spaces, `0` zeros, `^` capitals, `#` the other case), a width, a
//! modifier (`E`, `O`) that changes nothing in this locale, and a letter. Anything else is copied unchanged. Times
//! carry no zone, like those of Python's `datetime.now()`, so `%z` and `%Z` are empty.

use std::fmt::Write;

use jiff::{Zoned, civil::DateTime, tz::TimeZone};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// Widest field, which bounds the memory that a template can fill; no real template asks for more.
const WIDTH_MAX: usize = 255;

/// The clock that `strftime_now` reads.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clock, in its time zone.
    Local,
    /// One moment, for tests.
    #[cfg(test)]
    At(DateTime),
}

impl Clock {
    /// The present moment.
    pub fn now(self) -> DateTime {
        match self {
            Self::Local => Zoned::now().datetime(),
            #[cfg(test)]
            Self::At(moment) => moment,
        }
    }
}

/// Formats `at` by `format`.
pub fn format(at: &DateTime, format: &str) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        let (directive, length) = Directive::parse(&rest[start..]);
        directive.write(&mut out, at);
        rest = &rest[start + length..];
    }
    out + rest
}

/// One directive.
struct Directive<'a> {
    /// The directive's text in the format.
    source: &'a str,
    padding: Option<char>,
    is_upper: bool,
    is_swapped: bool,
    width: usize,
    /// The directive's letter; `None` if the format ends before it.
    letter: Option<char>,
}

impl<'a> Directive<'a> {
    /// Reads the directive at the start of `source`; returns it and its length in bytes.
    fn parse(source: &'a str) -> (Self, usize) {
        let mut directive = Self { source, padding: None, is_upper: false, is_swapped: false, width: 0, letter: None };
        let mut characters = source.char_indices().skip(1).peekable();
        while let Some((_, flag)) = characters.next_if(|(_, flag)| "-_0^#".contains(*flag)) {
            match flag {
                '^' => directive.is_upper = true,
                '#' => directive.is_swapped = true,
                padding => directive.padding = Some(padding),
            }
        }
        while let Some((_, digit)) = characters.next_if(|(_, digit)| digit.is_ascii_digit()) {
            directive.width = (directive.width * 10 + digit as usize - '0' as usize).min(WIDTH_MAX);
        }
        characters.next_if(|(_, modifier)| matches!(modifier, 'E' | 'O'));
        let letter = characters.next();
        let length = letter.map_or(source.len(), |(at, letter)| at + letter.len_utf8());
        directive.letter = letter.map(|(_, letter)| letter);
        directive.source = &source[..length];
        (directive, length)
    }

    fn write(&self, out: &mut String, at: &DateTime) {
        let Some(letter) = self.letter else { return self.text(out, self.source) };
        let date = at.date();
        let (weekday, day_of_year) = (date.weekday().to_sunday_zero_offset() as i64, i64::from(date.day_of_year()));
        let (hour, week) = (i64::from(at.hour()), date.iso_week_date());
        let hour_12 = if hour % 12 == 0 { 12 } else { hour % 12 };
        let (weekday_name, month_name) = (WEEKDAYS[weekday as usize], MONTHS[at.month() as usize - 1]);
        match letter {
            'a' => self.name(out, &weekday_name[..3]),
            'A' => self.name(out, weekday_name),
            'b' | 'h' => self.name(out, &month_name[..3]),
            'B' => self.name(out, month_name),
            'c' => self.composed(out, at, "%a %b %e %H:%M:%S %Y"),
            'C' => self.number(out, i64::from(at.year()) / 100, 2, '0'),
            'd' => self.number(out, at.day().into(), 2, '0'),
            'D' | 'x' => self.composed(out, at, "%m/%d/%y"),
            'e' => self.number(out, at.day().into(), 2, '_'),
            'f' if self.source == "%f" => self.number(out, i64::from(at.subsec_nanosecond()) / 1_000, 6, '0'),
            'F' => self.composed(out, at, "%Y-%m-%d"),
            'g' => self.number(out, i64::from(week.year()).rem_euclid(100), 2, '0'),
            'G' => self.number(out, week.year().into(), 1, '0'),
            'H' => self.number(out, hour, 2, '0'),
            'I' => self.number(out, hour_12, 2, '0'),
            'j' => self.number(out, day_of_year, 3, '0'),
            'k' => self.number(out, hour, 2, '_'),
            'l' => self.number(out, hour_12, 2, '_'),
            'm' => self.number(out, at.month().into(), 2, '0'),
            'M' => self.number(out, at.minute().into(), 2, '0'),
            'n' => self.text(out, "\n"),
            'p' if self.is_swapped => self.text(out, if hour < 12 { "am" } else { "pm" }),
            'p' => self.name(out, if hour < 12 { "AM" } else { "PM" }),
            'P' => self.text(out, if hour < 12 { "am" } else { "pm" }),
            'r' => self.composed(out, at, "%I:%M:%S %p"),
            'R' => self.composed(out, at, "%H:%M"),
            's' => self.number(out, epoch(at), 1, '0'),
            'S' => self.number(out, at.second().into(), 2, '0'),
            't' => self.text(out, "\t"),
            'T' | 'X' => self.composed(out, at, "%H:%M:%S"),
            'u' => self.number(out, (weekday + 6) % 7 + 1, 1, '0'),
            'U' => self.number(out, (day_of_year - 1 - weekday + 7) / 7, 2, '0'),
            'V' => self.number(out, week.week().into(), 2, '0'),
            'w' => self.number(out, weekday, 1, '0'),
            'W' => self.number(out, (day_of_year - 1 - (weekday + 6) % 7 + 7) / 7, 2, '0'),
            'y' => self.number(out, i64::from(at.year()).rem_euclid(100), 2, '0'),
            'Y' => self.number(out, at.year().into(), 1, '0'),
            'z' | 'Z' => self.text(out, ""),
            '%' => self.text(out, "%"),
            _ => self.text(out, self.source),
        }
    }

    fn number(&self, out: &mut String, value: i64, digits: usize, padding: char) {
        let digits = digits.max(self.width);
        let _ = match self.padding.unwrap_or(padding) {
            '-' => return self.text(out, &value.to_string()),
            '_' => write!(out, "{value:digits$}"),
            _ => write!(out, "{value:0digits$}"),
        };
    }

    fn name(&self, out: &mut String, name: &str) {
        let upper = if self.is_upper || self.is_swapped { name.to_uppercase() } else { name.to_owned() };
        self.text(out, &upper);
    }

    fn composed(&self, out: &mut String, at: &DateTime, parts: &str) {
        let text = format(at, parts);
        self.text(out, &if self.is_upper { text.to_uppercase() } else { text });
    }

    fn text(&self, out: &mut String, text: &str) {
        let filler = if self.padding == Some('0') { '0' } else { ' ' };
        out.extend(std::iter::repeat_n(filler, self.width.saturating_sub(text.chars().count())));
        out.push_str(text);
    }
}

fn epoch(at: &DateTime) -> i64 {
    at.to_zoned(TimeZone::system()).map_or(0, |zoned| zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_and_hours_at_their_edges() {
        let at = |year, month, day, hour| DateTime::new(year, month, day, hour, 0, 0, 0).unwrap();
        assert_eq!(format(&at(2027, 1, 1, 0), "%G-W%V-%u %U %W %I%p %j"), "2026-W53-5 00 00 12AM 001");
        assert_eq!(format(&at(2024, 12, 30, 12), "%G-W%V-%u %U %W %I%p %j"), "2025-W01-1 52 53 12PM 365");
        assert_eq!(format(&at(2023, 1, 1, 13), "%g %U %W %w %l"), "22 01 00 0  1");
    }

    #[test]
    fn the_local_clock_is_the_systems() {
        let before = Zoned::now().datetime();
        let now = Clock::Local.now();
        assert!(before <= now && now <= Zoned::now().datetime());
    }
}
