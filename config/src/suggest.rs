//! What was probably meant by a name that does not exist.

/// The known name nearest to a wrong one, if it is near enough to be a slip of the finger. Only as much of a known
/// name counts as was typed, so that a beginning is enough.
pub fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = wrong.chars().count();
    let beginning = |name: &str| name.chars().take(length).collect::<String>();
    let far = |name: &'a str| {
        let whole = distance(wrong, name);
        (whole.min(distance(wrong, &beginning(name))), whole, name)
    };
    known.map(far).filter(|(near, ..)| *near <= (length / 3).max(2)).min().map(|(.., name)| name)
}

/// Insertions, deletions and replacements of characters from one name to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["election_timeout", "snapshot_entries", "data"];
        assert_eq!(nearest("electon_timeout", known.into_iter()), Some("election_timeout"));
        assert_eq!(nearest("dta", known.into_iter()), Some("data"));
        assert_eq!(nearest("electon", known.into_iter()), Some("election_timeout"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
