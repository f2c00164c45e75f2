//! Callers no core takes: nodes that look for their cluster, and clients of a node that has none yet.
//!
//! Each gets a thread for a few questions and answers, under deadlines; only so many at once.

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
use std::time::Duration;

/// Callers in the lobby at once; more are turned away by closing.
const CALLERS_MAX: usize = 64;

/// How long one question may take to arrive, or an answer to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// Founding frames are small.
const BODY_BYTES_MAX: usize = 1 << 20;

static CALLERS: AtomicUsize = AtomicUsize::new(0);

/// Takes a caller in.
pub fn receive(stream: TcpStream, hello: &Hello, stage: &Arc<Stage>) {
    if CALLERS.fetch_add(1, Ordering::Relaxed) >= CALLERS_MAX {
        CALLERS.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let (role, stage) = (hello.role, stage.clone());
    let spawned = std::thread::Builder::new().name("lobby".into()).spawn(move || {
        if let Err(error) = serve(stream, role, &stage) {
            tracing::debug!(%error, "a caller in the lobby left");
        }
        CALLERS.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        CALLERS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(mut stream: TcpStream, role: Role, stage: &Stage) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&front::reply(stage, Ok(())).encode())?;
    let mut buffer = RecvBuffer::new(4096, BODY_BYTES_MAX);
    let mut out = Vec::new();
    loop {
        let count = stream.read(buffer.spare())?;
        if count == 0 {
            return Ok(());
        }
        buffer.filled(count);
        while let Some(frame) = buffer.next_frame().map_err(io::Error::other)? {
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
        (Role::Client, Some(Kind::Status)) => Response::Status(status(stage)).write(out, header.id),
        (Role::Client, Some(Kind::Ping)) => Response::Done.write(out, header.id),
        (Role::Client, _) => {
            let waiting_for = stage.waiting_for();
            Response::Refused(Refusal::NotFormed { waiting_for }).write(out, header.id);
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    Ok(())
}

/// Gives a petition to the core that holds group 0, if it does: whoever leads that group acts on it, the others do not.
///
/// Only a directory that answers at the address that the map has for its name is passed on: a second process of that name
/// somewhere else must not put the first one out.
fn pass_on(petition: Petition, stage: &Stage) -> Result<(), String> {
    let (Some(map), Ok(mesh)) = (stage.map(), stage.mesh()) else { return Ok(()) };
    let number = match map.admit(&petition) {
        Ok((number, _)) => number,
        // The map that says so is asked for, too.
        Err(PetitionError::Member { .. } | PetitionError::Late { .. }) => return Ok(()),
        Err(why) => return Err(why.to_string()),
    };
    let address = &map.nodes[usize::from(number)].address;
    let query = Query { name: stage.answer().name, incarnation: stage.answer().incarnation };
    let answered = asking::ask(address, Kind::FoundingAnswer, |out| net::founding::write_query(out, 1, &query));
    let there = answered.and_then(|body| net::founding::answer(&body).map_err(io::Error::other));
    match there {
        Ok(there) if (&there.name, there.incarnation) == (&petition.name, petition.incarnation) => {
            mesh.send(core_of(MAP_GROUP, mesh.len()), ToCore::Petition(petition));
            Ok(())
        }
        Ok(_) => Err(format!("at {address}, where {} belongs, another data directory answers", petition.name)),
        Err(error) => Err(format!("{} does not answer at {address}, where it belongs: {error}", petition.name)),
    }
}

/// The status of a node without a cluster.
fn status(stage: &Stage) -> NodeStatus {
    let answer = stage.answer();
    NodeStatus {
        node: 0,
        name: answer.name,
        shards: answer.shards,
        epoch: 0,
        forwarded: 0,
        start: 0,
        groups: Vec::new(),
        waiting_for: stage.waiting_for(),
    }
}
