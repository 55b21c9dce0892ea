//! Durations as Go writes them or in milliseconds, and sizes in mebibytes: the units of the configuration language.

/// `1h2m3.5s`, `300ms`, `0`; for `#[serde(with = "duration")]`.
pub mod duration {
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::borrow::Cow;
    use std::time::Duration;
    use thiserror::Error;

    const UNITS: [(&str, u128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60 * 1_000_000_000),
        ("h", 3600 * 1_000_000_000),
    ];

    /// Why a text is no duration.
    #[derive(Debug, Error, PartialEq, Eq)]
    pub enum DurationError {
        /// A bare number, which the OpenTelemetry Collector reads as nanoseconds.
        #[error("{0:?} has no unit: write {0}s for seconds, {0}ms for milliseconds or {0}m for minutes")]
        NoUnit(String),
        /// A unit that Go does not have.
        #[error("{unit:?} is no unit of time in {text:?}: write ms, s, m or h")]
        UnknownUnit {
            /// The unit.
            unit: String,
            /// All of the text.
            text: String,
        },
        /// Less than zero.
        #[error("a duration cannot be negative: {0:?}")]
        Negative(String),
        /// More than 292 years, as in Go.
        #[error("{0:?} is too long")]
        TooLong(String),
        /// Anything else.
        #[error("expected a duration such as 300ms, 5s or 1h30m, found {0:?}")]
        Malformed(String),
    }

    /// Reads Go's form: decimal numbers, each with a unit, one after another.
    pub fn parse(text: &str) -> Result<Duration, DurationError> {
        let malformed = || DurationError::Malformed(text.to_owned());
        if text == "0" {
            return Ok(Duration::ZERO);
        }
        if text.starts_with('-') {
            return Err(DurationError::Negative(text.to_owned()));
        }
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest.is_empty() {
            return Err(malformed());
        }
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let (number, tail) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
            let (unit, tail) = split_while(tail, |c| !c.is_ascii_digit() && c != '.');
            if number.is_empty() {
                return Err(malformed());
            }
            if unit.is_empty() && number.len() == text.len() {
                return Err(DurationError::NoUnit(text.to_owned()));
            }
            let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                let (unit, text) = (unit.to_owned(), text.to_owned());
                return Err(if unit.is_empty() {
                    malformed()
                } else {
                    DurationError::UnknownUnit { unit, text }
                });
            };
            let nanoseconds = scaled(number, *scale).ok_or_else(malformed)?;
            total = total.saturating_add(nanoseconds);
            rest = tail;
        }
        match i64::try_from(total) {
            Ok(nanoseconds) => Ok(Duration::from_nanos(nanoseconds.unsigned_abs())),
            Err(_) => Err(DurationError::TooLong(text.to_owned())),
        }
    }

    /// Writes what [`parse`] reads, in the units that Go would choose.
    pub fn format(duration: Duration) -> String {
        let nanoseconds = duration.as_nanos();
        let second = 1_000_000_000;
        if nanoseconds == 0 {
            return "0s".to_owned();
        }
        if nanoseconds < second {
            return match nanoseconds {
                0..1_000 => format!("{nanoseconds}ns"),
                1_000..1_000_000 => format!("{}us", decimal(nanoseconds, 1_000)),
                _ => format!("{}ms", decimal(nanoseconds, 1_000_000)),
            };
        }
        let (hours, rest) = (nanoseconds / (3600 * second), nanoseconds % (3600 * second));
        let (minutes, seconds) = (rest / (60 * second), rest % (60 * second));
        let mut text = String::new();
        if hours > 0 {
            text += &format!("{hours}h");
        }
        if minutes > 0 {
            text += &format!("{minutes}m");
        }
        if seconds > 0 {
            text += &format!("{}s", decimal(seconds, second));
        }
        text
    }

    /// What [`parse`] reads, for `#[schemars(with = "duration::Text")]`.
    pub struct Text;

    impl JsonSchema for Text {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            "Duration".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let units = UNITS.map(|(name, _)| name).join("|");
            let pattern = format!(r"^(0|\+?(([0-9]+\.?[0-9]*|\.[0-9]+)({units}))+)$");
            json_schema!({"anyOf": [{"type": "string", "pattern": pattern}, {"const": 0}]})
        }
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        parse(&text).map_err(de::Error::custom)
    }

    /// For serde.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*duration))
    }

    /// For `#[serde(with = "duration::option")]`.
    pub mod option {
        use super::Duration;
        use serde::{Deserialize, Deserializer, Serializer};

        /// For serde.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            #[derive(Deserialize)]
            struct Wrapped(#[serde(with = "super")] Duration);
            Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|Wrapped(duration)| duration))
        }

        /// For serde.
        pub fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_none(),
            }
        }
    }

    fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
        let end = text.find(|c| !keep(c)).unwrap_or(text.len());
        text.split_at(end)
    }

    /// `number` x `scale`, cut to whole nanoseconds; `None` if it is not a decimal number.
    fn scaled(number: &str, scale: u128) -> Option<u128> {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let digits = |text: &str| {
            text.bytes()
                .fold(0u128, |value, digit| value.saturating_mul(10).saturating_add(u128::from(digit - b'0')))
        };
        let fraction = fraction.get(..fraction.len().min(18))?;
        let divisor = 10u128.pow(u32::try_from(fraction.len()).ok()?);
        let part = digits(fraction).saturating_mul(scale) / divisor;
        Some(digits(whole).saturating_mul(scale).saturating_add(part))
    }

    fn decimal(value: u128, unit: u128) -> String {
        let (whole, part) = (value / unit, value % unit);
        if part == 0 {
            return whole.to_string();
        }
        let width = unit.to_string().len() - 1;
        let fraction = format!("{part:0width$}");
        format!("{whole}.{}", fraction.trim_end_matches('0'))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn reads_what_go_writes() {
            let cases = [
                ("0", 0),
                ("0s", 0),
                ("300ms", 300_000_000),
                ("1.5h", 5_400_000_000_000),
                ("1h2m3.5s", 3_723_500_000_000),
                (".5s", 500_000_000),
                ("+2us", 2_000),
                ("2µs", 2_000),
                ("1m0.000000001s", 60_000_000_001),
            ];
            for (text, nanoseconds) in cases {
                assert_eq!(parse(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
            }
        }

        #[test]
        fn says_what_is_wrong() {
            let cases = [
                ("5", "\"5\" has no unit: write 5s for seconds, 5ms for milliseconds or 5m for minutes"),
                ("5sec", "\"sec\" is no unit of time in \"5sec\": write ms, s, m or h"),
                ("1d", "\"d\" is no unit of time in \"1d\": write ms, s, m or h"),
                ("-1s", "a duration cannot be negative: \"-1s\""),
                ("", "expected a duration such as 300ms, 5s or 1h30m, found \"\""),
                ("soon", "expected a duration such as 300ms, 5s or 1h30m, found \"soon\""),
                ("1.2.3s", "expected a duration such as 300ms, 5s or 1h30m, found \"1.2.3s\""),
                ("1h30", "expected a duration such as 300ms, 5s or 1h30m, found \"1h30\""),
                ("999999999999h", "\"999999999999h\" is too long"),
            ];
            for (text, message) in cases {
                assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
            }
        }

        #[test]
        fn written_durations_read_back() {
            for nanoseconds in
                [0, 1, 999, 1_500, 250_000_000, 1_000_000_000, 61_000_000_000, 7_325_040_000_001]
            {
                let duration = Duration::from_nanos(nanoseconds);
                assert_eq!(parse(&format(duration)), Ok(duration), "{}", format(duration));
            }
            assert_eq!(format(Duration::from_secs(300)), "5m");
            assert_eq!(format(Duration::from_millis(1500)), "1.5s");
        }
    }
}

/// Times that the OpenTelemetry configuration schema gives as a number of milliseconds; for `#[serde(with = "milliseconds")]`.
pub mod milliseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u64::deserialize(deserializer)?))
    }

    /// For serde.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Bytes that the configuration gives in MiB; for `#[serde(with = "mebibytes")]`.
pub mod mebibytes {
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
        let mebibytes = usize::deserialize(deserializer)?;
        mebibytes
            .checked_mul(1 << 20)
            .ok_or_else(|| de::Error::custom(format!("{mebibytes} MiB is too much")))
    }

    /// For serde.
    pub fn serialize<S: Serializer>(bytes: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64((*bytes >> 20) as u64)
    }

    /// For `#[serde(with = "mebibytes::option")]`.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer};

        /// For serde.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
            #[derive(Deserialize)]
            struct Wrapped(#[serde(with = "super")] usize);
            Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|Wrapped(bytes)| bytes))
        }

        /// For serde.
        pub fn serialize<S: Serializer>(bytes: &Option<usize>, serializer: S) -> Result<S::Ok, S::Error> {
            match bytes {
                Some(bytes) => super::serialize(bytes, serializer),
                None => serializer.serialize_none(),
            }
        }
    }
}
