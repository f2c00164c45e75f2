//! What each command does; one file for each, this one only tells them apart.

mod bench;
mod data;
mod group;
mod import;
mod node;
mod rows;
mod scan;
mod status;
mod view;

pub use group::{Verdict, compare};
pub use node::program;
pub use view::View;

use crate::args::{Cli, Command, Data, Group, Node};
use crate::connect::connect;
use crate::exit::Failure;
use crate::output::{Answer, Format};

/// Runs a command. `None`: it has printed all there is to say.
pub fn run(cli: &Cli, format: Format) -> Result<Option<Answer>, Failure> {
    let globals = &cli.globals;
    let answer = match &cli.command {
        Command::Get(get) => return data::get(globals, get),
        Command::Put(put) => data::put(globals, put)?,
        Command::Del(del) => data::del(globals, del)?,
        Command::Cas(cas) => data::cas(globals, cas)?,
        Command::Scan(scan) => scan::scan(globals, scan)?,
        Command::Status => status::status(&status::asked(globals)?),
        Command::Group(Group::List) => status::list(&View::of(&connect(globals)?.status()?))?,
        Command::Group(Group::Locate { key }) => group::locate(globals, key)?,
        Command::Group(Group::Checksum) => group::checksum(globals)?,
        Command::Data(Data::Import(import)) => import::import(globals, import)?,
        Command::Node(Node::Stop { name, now }) => node::stop(globals, name, !now)?,
        Command::Node(Node::Start { name, data, new }) => node::start(globals, name, data, *new)?,
        Command::Bench(bench) => bench::bench(globals, bench)?,
        Command::Demo(demo) => crate::demo::run(globals, demo, format)?,
    };
    Ok(Some(answer))
}
