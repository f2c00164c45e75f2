//! How sizes, durations and whole numbers are written: `"64MiB"`, `"250ms"`, `3`. What is written otherwise is refused with
//! the way to write it.

/// Bytes as `"64MiB"`, `"4KiB"`, `"100MB"` or a plain number.
pub mod bytes {
    use serde::de::{self, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    /// Reads a size.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(Size)
    }

    /// The bytes that a text means, if 64 bits hold them.
    fn parse(text: &str) -> Option<u64> {
        let bytes = text.parse::<bytesize::ByteSize>().ok()?.as_u64();
        // What is larger becomes the largest, which only its own digits mean.
        let plain = || text.trim_end_matches(['B', 'b']).trim_end().parse();
        (bytes < u64::MAX || plain() == Ok(u64::MAX)).then_some(bytes)
    }

    struct Size;

    impl Visitor<'_> for Size {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size such as \"64MiB\", or bytes, in no more than 64 bits")
        }

        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| de::Error::invalid_value(de::Unexpected::Signed(bytes), &self))
        }

        fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            parse(text).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    /// Writes a size in the largest unit that divides it.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&written(*bytes))
    }

    /// A size in the largest unit that divides it: `"64MiB"`.
    pub fn written(bytes: u64) -> String {
        let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let unit = units.into_iter().find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size));
        unit.map_or(format!("{bytes}B"), |(size, name)| format!("{}{name}", bytes / size))
    }
}

/// Durations as `"250ms"`, `"1s"`, `"1h 30m"`.
pub mod duration {
    use serde::de::{self, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;
    use std::time::Duration;

    /// Reads a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(Span)
    }

    struct Span;

    impl Visitor<'_> for Span {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"250ms\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            humantime::parse_duration(text).map_err(|_| de::Error::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    /// Writes a duration.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&humantime::format_duration(*duration).to_string())
    }
}

/// Whole numbers, not below 0.
pub mod count {
    use serde::de::{self, Visitor};
    use serde::{Deserializer, Serialize, Serializer};
    use std::fmt;
    use std::marker::PhantomData;

    /// Reads a number.
    pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(Count(PhantomData))
    }

    /// Writes a number.
    pub fn serialize<S: Serializer, T: Serialize>(number: &T, serializer: S) -> Result<S::Ok, S::Error> {
        number.serialize(serializer)
    }

    struct Count<T>(PhantomData<T>);

    impl<T: TryFrom<u64>> Visitor<'_> for Count<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            // The file's own numbers have a sign.
            let most = (u64::MAX >> (64 - 8 * size_of::<T>())).min(i64::MAX as u64);
            write!(f, "a whole number from 0 to {most}")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            let counted = u64::try_from(number).ok().and_then(|number| T::try_from(number).ok());
            counted.ok_or_else(|| de::Error::invalid_value(de::Unexpected::Signed(number), &self))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            T::try_from(number).map_err(|_| de::Error::invalid_value(de::Unexpected::Unsigned(number), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bytes::written;

    #[derive(serde::Deserialize)]
    struct Sized {
        #[serde(with = "super::bytes")]
        size: u64,
    }

    fn read(text: &str) -> Option<u64> {
        toml::from_str::<Sized>(&format!("size = \"{text}\"")).ok().map(|sized| sized.size)
    }

    #[test]
    fn a_size_is_what_64_bits_hold() {
        assert_eq!(read("15EiB"), Some(15 << 60));
        for largest in [u64::MAX.to_string(), written(u64::MAX), "18446744073709551615 B".to_owned()] {
            assert_eq!(read(&largest), Some(u64::MAX), "{largest}");
        }
        for beyond in ["16EiB", "17EiB", "18446744073709551616", "18446744073709551615KiB", "1e30", "99999.5EiB", "-1"]
        {
            assert_eq!(read(beyond), None, "{beyond}");
        }
    }
}
