//! How sizes and durations are written: `"64MiB"`, `"250ms"`.

/// Bytes as `"64MiB"`, `"4KiB"`, `"100MB"` or a plain number.
pub mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Reads a size.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        bytesize::ByteSize::deserialize(deserializer).map(|size| size.as_u64())
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
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::time::Duration;

    /// Reads a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(de::Error::custom)
    }

    /// Writes a duration.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&humantime::format_duration(*duration).to_string())
    }
}
