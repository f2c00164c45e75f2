//! Lists of CPUs as Linux writes them: `0-3,8`.

use serde::{Deserialize, Deserializer, Serializer, de};

/// The highest number a CPU may have; Linux is built for at most 8,192.
const CPU_MAX: usize = 8191;

/// The CPUs in a list, in its order. An empty list is no CPU; one named twice is an error.
pub fn parse(list: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| -> Result<usize, String> {
            let number = text.trim().parse::<usize>().ok().filter(|cpu| *cpu <= CPU_MAX);
            number.ok_or(format!("{part:?} is not a CPU or a range of CPUs such as 0-3"))
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("the range {part} runs backwards"));
        }
        cpus.extend(first..=last);
    }
    let mut sorted = cpus.clone();
    sorted.sort();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("CPU {} is named twice", pair[0])),
        None => Ok(cpus),
    }
}

/// The shortest list that [`parse`] reads as these CPUs.
pub fn written(cpus: &[usize]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = cpus;
    while let Some(&first) = rest.first() {
        let length = rest.iter().enumerate().take_while(|(offset, cpu)| **cpu == first + offset).count();
        parts.push(if length > 1 { format!("{first}-{}", rest[length - 1]) } else { first.to_string() });
        rest = &rest[length..];
    }
    parts.join(",")
}

/// Reads a list.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Writes a list.
pub fn serialize<S: Serializer>(cpus: &[usize], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&written(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        assert_eq!(parse("0-3"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(parse("2, 0-1,7"), Ok(vec![2, 0, 1, 7]));
        assert_eq!(parse(""), Ok(vec![]));
        for list in ["0-3", "2,0-1,7", "5", ""] {
            assert_eq!(written(&parse(list).unwrap()), list);
        }
        for bad in ["a", "3-1", "0,0", "0-2,1", "-1", "1-", "99999"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
