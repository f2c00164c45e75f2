//! How long this node has promised to support nobody but its leader (rule 10), over changes of election_timeout.
//!
//! A lease rests on what its voters owe for half an election timeout, and whoever starts owes it from then on, as its former process may
//! have heard a leader just before it ended. That one may have had a longer timeout than this: the longest that any process may have
//! promised is kept on disk, and who comes with a shorter one waits for the difference before it says anything.

use super::directory::{Directory, DirectoryError};
use std::time::Duration;

/// The file: the election timeout in microseconds.
const PATIENCE: &str = "PATIENCE";

/// How long to wait before the cores start, so that half of `own` from then on covers half of what was promised before. `None` if
/// nothing has to be waited for.
pub fn owed(directory: &Directory, own: Duration) -> Result<Option<Duration>, DirectoryError> {
    let Some(content) = directory.read(PATIENCE)? else { return Ok(None) };
    let former = std::str::from_utf8(&content).ok().and_then(|text| text.trim_end().parse().ok());
    let former = former.map(Duration::from_micros).ok_or_else(|| DirectoryError::Damaged {
        path: directory.path().join(PATIENCE),
        why: "it holds no number".into(),
    })?;
    Ok(former.checked_sub(own).filter(|rest| !rest.is_zero()).map(|rest| rest / 2))
}

/// From now on this process promises `own`, and nothing longer is owed any more.
pub fn promise(directory: &Directory, own: Duration) -> Result<(), DirectoryError> {
    let content = format!("{}\n", own.as_micros()).into_bytes();
    if directory.read(PATIENCE)?.is_none_or(|former| former != content) {
        directory.write(PATIENCE, &content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_promised_more_waits_for_the_rest_of_it_once() {
        let scratch = std::env::temp_dir().join(format!("kvd-patience-{}", std::process::id()));
        let directory = Directory::open(&scratch, "n1", 1).expect("it is made");
        let (short, long) = (Duration::from_millis(200), Duration::from_secs(1));
        assert_eq!(owed(&directory, short).expect("nothing is there"), None);
        promise(&directory, long).expect("it is written");
        assert_eq!(owed(&directory, long).expect("it is read"), None);
        assert_eq!(owed(&directory, Duration::from_secs(5)).expect("it is read"), None, "more is promised than before");
        assert_eq!(owed(&directory, short).expect("it is read"), Some(Duration::from_millis(400)));
        promise(&directory, short).expect("it is written");
        assert_eq!(owed(&directory, short).expect("it is read"), None);
        std::fs::remove_dir_all(&scratch).expect("it goes");
    }
}
