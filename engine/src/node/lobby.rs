//! Callers no core takes: nodes that look for their cluster, and clients of a node that has none yet.
//!
//! Each gets a thread for a few questions and answers, under deadlines; only so many at once.

use super::admission;
use super::asking;
use super::front;
use super::mesh::ToCore;
use super::stage::Stage;
use engine_core::placement::cores::core_of;
use engine_core::placement::founding::Query;
use engine_core::placement::map::MAP_GROUP;
use engine_core::placement::petition::{Petition, PetitionError};
use net::frame::{self, Kind};
use net::hello::{Hello, Role};
use net::receive::RecvBuffer;
use net::response::{Refusal, Response};
use net::status::NodeStatus;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Callers of one kind in the lobby at once; more are turned away by closing.
const CALLERS_MAX: usize = 64;

/// How long one question may take to arrive, or an answer to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a caller may stay, whatever it says: its place is for others, too, and it may come again.
const STAY: Duration = Duration::from_secs(30);

/// Founding frames are small.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Clients that are in.
static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// Nodes that are in: clients that wait for a cluster must not keep out those that it waits for.
static NODES: AtomicUsize = AtomicUsize::new(0);

/// A place in the lobby, given back when dropped.
struct Place(&'static AtomicUsize);

impl Place {
    /// For a caller of this role, if one is free.
    fn take(role: Role) -> Option<Place> {
        let taken = if role == Role::Founding { &NODES } else { &CLIENTS };
        let is_first = taken.fetch_add(1, Ordering::Relaxed) < CALLERS_MAX;
        // One too many gives its number back at once.
        Some(Place(taken)).filter(|_| is_first)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a caller in.
pub fn receive(stream: TcpStream, hello: &Hello, stage: &Arc<Stage>) {
    let Some(place) = Place::take(hello.role) else { return };
    let (role, stage) = (hello.role, stage.clone());
    let spawned = std::thread::Builder::new().name("lobby".into()).spawn(move || {
        if let Err(error) = serve(stream, role, &stage, Instant::now() + STAY) {
            tracing::debug!(%error, "a caller in the lobby left");
        }
        drop(place);
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for a caller");
    }
}

/// Answers a caller's questions until it goes, or until `deadline`.
fn serve(mut stream: TcpStream, role: Role, stage: &Stage, deadline: Instant) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&front::reply(stage, Ok(())).encode())?;
    let mut buffer = RecvBuffer::new(4096, BODY_BYTES_MAX);
    let mut out = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left.min(PATIENCE)))?;
        let count = stream.read(buffer.spare())?;
        if count == 0 {
            return Ok(());
        }
        buffer.filled(count);
        while let Some(frame) = buffer.next_frame().map_err(io::Error::other)? {
            // Each may make this thread wait for others.
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            answer(&mut out, role, frame.header, frame.body, stage)?;
        }
        stream.write_all(&out)?;
        out.clear();
        // Once there are cores, clients connect to them.
        if role == Role::Client && stage.serving().is_some() {
            return Ok(());
        }
    }
}

fn answer(out: &mut Vec<u8>, role: Role, header: frame::Header, body: &[u8], stage: &Stage) -> io::Result<()> {
    match (role, header.kind()) {
        (Role::Founding, Some(Kind::FoundingQuery)) => {
            let query = net::founding::query(body).map_err(io::Error::other)?;
            tracing::debug!(node = query.name, "asked how far this node has come");
            net::founding::write_answer(out, header.id, &stage.answer());
        }
        (Role::Founding, Some(Kind::MapQuery)) => {
            let known = net::follow::query(body).map_err(io::Error::other)?;
            let map = stage.map().filter(|map| map.epoch > known).map(|map| map.encode());
            net::follow::write_answer(out, header.id, map.as_deref());
        }
        (Role::Founding, Some(Kind::Petition)) => {
            let petition = net::follow::petition(body).map_err(io::Error::other)?;
            net::follow::write_petition_answer(out, header.id, pass_on(petition, stage).err().as_deref());
        }
        (Role::Client | Role::Founding, Some(Kind::Status)) => Response::Status(status(stage)).write(out, header.id),
        (Role::Client, Some(Kind::Ping)) => Response::Done.write(out, header.id),
        (Role::Client, _) => {
            let waiting_for = stage.waiting_for();
            Response::Refused(Refusal::NotFormed { waiting_for }).write(out, header.id);
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    Ok(())
}

/// Gives a petition to the core that holds group 0, if that leads it: nobody else acts on it.
///
/// Only a directory that answers at the address that the map has for its name is passed on: a second process of that name
/// somewhere else must not put the first one out.
fn pass_on(petition: Petition, stage: &Stage) -> Result<(), String> {
    let (Some(map), Some((mesh, facts))) = (stage.map(), stage.serving()) else { return Ok(()) };
    let number = match map.admit(&petition) {
        Ok((number, _)) => number,
        // The map that says so is asked for, too.
        Err(PetitionError::Member { .. } | PetitionError::Late { .. }) => return Ok(()),
        Err(why) => return Err(why.to_string()),
    };
    let own = admission::replicas(&mesh);
    if !admission::decides(&own)? {
        return Ok(());
    }
    let address = &map.nodes[usize::from(number)].address;
    let query = Query { name: stage.answer().name, incarnation: stage.answer().incarnation };
    let answered = asking::ask(address, Kind::FoundingAnswer, |out| net::founding::write_query(out, 1, &query));
    let there = answered.and_then(|body| net::founding::answer(&body).map_err(io::Error::other));
    match there {
        Ok(there) if (&there.name, there.incarnation) == (&petition.name, petition.incarnation) => {
            let stranded = match petition.insists {
                true => None,
                false => admission::stranded(&map, number, facts.node, own),
            };
            if let Some(group) = stranded {
                let name = petition.name;
                return Err(format!(
                    "group {group} has no quorum without what {name} had: start {name} with its former data directory, and the other nodes of \
                     that group; if it is lost for good, start {name} with node.new (`kvd run --new`, `kvctl node start {name} --data DIR --new`)"
                ));
            }
            mesh.send(core_of(MAP_GROUP, mesh.len()), ToCore::Petition(petition));
            Ok(())
        }
        Ok(_) => Err(format!("at {address}, where {} belongs, another data directory answers", petition.name)),
        Err(error) => Err(format!("{} does not answer at {address}, where it belongs: {error}", petition.name)),
    }
}

/// The status of a node as whoever stands at its door needs it: what it waits for, or how its replicas are.
fn status(stage: &Stage) -> NodeStatus {
    let answer = stage.answer();
    let groups = stage.mesh().map_or_else(|_| Vec::new(), |mesh| admission::replicas(&mesh));
    NodeStatus {
        node: 0,
        name: answer.name,
        shards: answer.shards,
        epoch: 0,
        forwarded: 0,
        start: 0,
        groups,
        waiting_for: stage.waiting_for(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::placement::founding::{Answer, Blueprint, State};
    use net::hello::HELLO_BYTES;
    use std::net::TcpListener;

    fn stage() -> Arc<Stage> {
        let nodes = vec![("n1".into(), "h:1".into()), ("n2".into(), "h:2".into())];
        let blueprint = Blueprint { nodes, groups: 1, replication: 1, set_size: None, virtual_nodes: 1 };
        let answer = Answer { name: "n1".into(), incarnation: 1, shards: 1, blueprint, state: State::Empty };
        Arc::new(Stage::new(answer))
    }

    /// Both ends of a connection: the caller's, and the one that the front has.
    fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // A test that hangs ends, too.
        caller.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (caller, listener.accept().unwrap().0)
    }

    /// The caller that was let in; `None` if it was turned away.
    fn call(listener: &TcpListener, role: Role, stage: &Arc<Stage>) -> Option<TcpStream> {
        let (mut caller, stream) = connection(listener);
        receive(stream, &Hello { role, ..Hello::client(0, 0) }, stage);
        caller.read_exact(&mut [0; HELLO_BYTES]).is_ok().then_some(caller)
    }

    #[test]
    fn clients_that_wait_keep_no_node_out_and_leave_their_places_to_others() {
        let (listener, stage) = (TcpListener::bind("127.0.0.1:0").unwrap(), stage());
        let mut clients: Vec<_> = (0..CALLERS_MAX).map(|_| call(&listener, Role::Client, &stage)).collect();
        assert!(clients.iter().all(Option::is_some));
        assert!(call(&listener, Role::Client, &stage).is_none(), "one more than there are places");
        let mut node = call(&listener, Role::Founding, &stage).expect("nodes have places of their own");
        let mut query = Vec::new();
        net::founding::write_query(&mut query, 7, &Query { name: "n2".into(), incarnation: 2 });
        node.write_all(&query).unwrap();
        assert!(node.read(&mut [0; 64]).unwrap() > 0, "it is answered");

        clients.pop();
        let patience = Instant::now() + Duration::from_secs(30);
        while call(&listener, Role::Client, &stage).is_none() {
            assert!(Instant::now() < patience, "the place of a client that has gone is not given back");
        }
    }

    #[test]
    fn a_caller_that_goes_on_asking_leaves_in_the_end() {
        let (listener, stage) = (TcpListener::bind("127.0.0.1:0").unwrap(), stage());
        let (mut caller, stream) = connection(&listener);
        let asking = std::thread::spawn(move || {
            let mut ping = Vec::new();
            net::request::write_empty(&mut ping, Kind::Ping, 0, 1);
            // It does not fall silent for long enough to be ended for that.
            let patience = Instant::now() + 2 * PATIENCE;
            let mut ask = || caller.write_all(&ping).is_ok() && caller.read(&mut [0; 256]).is_ok_and(|count| count > 0);
            while Instant::now() < patience && ask() {}
        });
        let stay = Duration::from_millis(50);
        let ended = serve(stream, Role::Client, &stage, Instant::now() + stay).unwrap_err();
        assert!(matches!(ended.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{ended}");
        asking.join().unwrap();
    }
}
