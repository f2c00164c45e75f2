//! Requests of clients: what is refused at the door, and what goes to the group.

use super::effects::{Answer, Effects, Refused, StoreRead};
use super::event::{Query, Ticket};
use super::group::Group;
use super::waiting::Write;
use super::{Serving, Shard};
use crate::command::{self, CommandError};
use crate::sessions::SessionKey;
use raft::ids::GroupId;

/// The group of the cluster map, which clients never write to.
const MAP_GROUP: GroupId = GroupId(0);

impl Shard {
    /// Validates a command and proposes it, or lets it wait for others (`batch`): what is in the log has been checked by the leader that put it there.
    pub(super) fn write(&mut self, ticket: Ticket, group: GroupId, bytes: &[u8], effects: &mut Effects) {
        if let Err(why) = self.try_write(ticket, group, bytes, effects) {
            effects.answers.push((ticket, Answer::Refused(why)));
        }
    }

    fn try_write(&mut self, ticket: Ticket, id: GroupId, bytes: &[u8], effects: &mut Effects) -> Result<(), Refused> {
        let command = command::check(bytes, &self.options.limits).map_err(refused)?;
        if command::is_internal(command) || id == MAP_GROUP {
            return Err(Refused::BadCommand("this command is the servers' own".into()));
        }
        if !command::keys(command).all(|key| self.ring.group_of(key) == id) {
            return Err(Refused::NotOwner);
        }
        // Who does not lead says who does: the disk there may have room.
        if self.disk_full && self.groups.get(&id).is_some_and(Group::leads) {
            return Err(Refused::DiskFull);
        }
        let named = command.session();
        let session = (SessionKey { client: command.client(), origin: named.group }, named.opened);
        let write = Write { ticket, session, blind: command::is_blind(command) };
        if self.is_crowded(id) {
            return Err(Refused::Busy);
        }
        if self.puts_off(id, write, bytes) {
            return Ok(());
        }
        let group = self.stir(id).ok_or(Refused::UnknownGroup)?;
        // In the order in which they came: a session whose writes overtake each other takes more memory.
        group.propose_next(effects);
        group.write(write, bytes.into())
    }

    /// Whether as many requests of the group wait as may.
    fn is_crowded(&self, id: GroupId) -> bool {
        self.groups.get(&id).is_some_and(|group| group.waiting.len() >= self.options.waiting_max)
    }

    /// Starts a read; a stale one goes straight to the store.
    pub(super) fn read(&mut self, ticket: Ticket, id: GroupId, query: Query, stale: bool, effects: &mut Effects) {
        let key_max = self.options.limits.key_bytes_max;
        let token = self.next_token;
        self.next_token += 1;
        let answer = match &query {
            Query::Get { key } if key.len() > key_max => Err(Refused::TooLarge(key_max as u64)),
            Query::Get { key } if self.ring.group_of(key) != id => Err(Refused::NotOwner),
            _ => match self.groups.get(&id).map(|group| group.serving()) {
                None => Err(Refused::UnknownGroup),
                Some(Serving::Whole) if stale => {
                    effects.reads.push(StoreRead { ticket, group: id, query });
                    return;
                }
                Some(Serving::Whole) if self.is_crowded(id) => Err(Refused::Busy),
                Some(Serving::Whole) => self.stir(id).expect("it was just seen").read(token, ticket, query),
                Some(_) => Err(Refused::NotServing),
            },
        };
        if let Err(why) = answer {
            effects.answers.push((ticket, Answer::Refused(why)));
        }
    }
}

fn refused(error: CommandError) -> Refused {
    match error.limit() {
        Some(limit) => Refused::TooLarge(limit),
        None => Refused::BadCommand(error.to_string()),
    }
}
