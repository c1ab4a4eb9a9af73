//! Numbers, bytes and times as a person reads them.

/// Formats a number of bytes in a suitable unit.
pub fn bytes(count: u64) -> String {
    match count {
        ..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// Formats a time in a suitable unit.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.1 => format!("{:.1} ms", seconds * 1e3),
        ..10.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// Formats a number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([grouped(7), grouped(2_048), grouped(1_234_567)], ["7", "2,048", "1,234,567"]);
        assert_eq!([bytes(1_536), bytes(3 << 20), bytes(5 << 29)], ["1.5 KiB", "3.0 MiB", "2.50 GiB"]);
        assert_eq!([seconds(0.0123), seconds(1.234), seconds(75.3)], ["12.3 ms", "1.23 s", "75 s"]);
    }
}
