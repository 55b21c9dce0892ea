//! What a plain text means as YAML.

/// Whether it is read as something else than text.
pub fn is_typed(text: &str) -> bool {
    is_null(text) || boolean(text).is_some() || integer(text).is_some() || float(text).is_some()
}

/// Whether it means nothing.
pub fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// `true` or `false`; what YAML 1.1 took for booleans (`yes`, `on`) is text.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A whole number, decimal or with `0x`, `0o` or `0b`.
pub fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || !digits.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        return None;
    }
    let number = match (digits.strip_prefix("0x"), digits.strip_prefix("0o"), digits.strip_prefix("0b")) {
        (Some(digits), _, _) => i128::from_str_radix(digits, 16),
        (_, Some(digits), _) => i128::from_str_radix(digits, 8),
        (_, _, Some(digits)) => i128::from_str_radix(digits, 2),
        (None, None, None) => digits.parse(),
    };
    Some(sign * number.ok()?)
}

/// A finite number.
pub fn float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_look_like_numbers_are_told_from_numbers() {
        for (text, number) in
            [("0", 0), ("-1", -1), ("+7", 7), ("0x1F", 31), ("0o17", 15), ("0b11", 3), ("007", 7)]
        {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for text in ["", "-", "1_000", "0x", "0x-5", "1 ", "1e3", "1.0", "٣", "--1"] {
            assert_eq!(integer(text), None, "{text}");
        }
        for (text, number) in [(".5", 0.5), ("-1.5e3", -1500.0), ("2", 2.0)] {
            assert_eq!(float(text), Some(number), "{text}");
        }
        for text in [".inf", "nan", "inf", "1.2.3", "e5", ".", "1e999"] {
            assert_eq!(float(text), None, "{text}");
        }
    }
}
