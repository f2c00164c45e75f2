//! Words between two cores that concern all their groups: one rkyv archive a frame ([`engine_core::exchange`]).
//!
//! The body of a [`Kind::Exchange`] frame is the archive of one [`Word`]. Its layout is pinned by golden files; new words
//! are appended to the enum, and an archive that fails its checks ends the connection.

use crate::archive;
use crate::frame::{self, Kind};
use engine_core::exchange::{Answer, ArchivedWord, Beat, Question, Round, Word};
use raft::ids::{GroupId, ReplicaId, Term};

/// The bytes are no word of this version. The sender is broken or not ours: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a word between cores cannot be read")]
pub struct ExchangeError;

/// Appends `word` to `out` as one frame.
pub fn write(out: &mut Vec<u8>, word: &Word) {
    let begun = frame::begin(out, Kind::Exchange, 0, 0);
    archive::append(out, word);
    frame::finish(out, begun);
}

/// The word in a frame's body. Never panics, whatever the bytes; allocates no more than they hold.
pub fn read(body: &[u8]) -> Result<Word, ExchangeError> {
    let archived: &ArchivedWord = archive::read(body).ok_or(ExchangeError)?;
    Ok(match archived {
        ArchivedWord::Round(round) => Word::Round(Round {
            start: round.start.to_native(),
            number: round.number.to_native(),
            questions: round
                .questions
                .iter()
                .map(|question| Question {
                    group: GroupId(question.group.0.to_native()),
                    to: ReplicaId(question.to.0.to_native()),
                    term: Term(question.term.0.to_native()),
                })
                .collect(),
        }),
        ArchivedWord::Answer(answer) => Word::Answer(Answer {
            start: answer.start.to_native(),
            number: answer.number.to_native(),
            refused: answer.refused.iter().map(|group| GroupId(group.0.to_native())).collect(),
        }),
        ArchivedWord::Beat(beat) => Word::Beat(Beat {
            start: beat.start.to_native(),
            sequence: beat.sequence.to_native(),
            given_up: beat.given_up.to_native(),
            declines: beat.declines,
        }),
    })
}
