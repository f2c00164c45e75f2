//! `kvctl bench`: what a cluster gives, measured from where its users are.
//!
//! What is asked: [`workload`] (kinds in their shares), [`keys`] (which key, by [`zipfian`] and other distributions),
//! [`arrivals`] (when, in open loop). Who asks: [`generator`], a thread with a library client each. What comes of it:
//! [`figures`] per kind, [`strain`] on the generator itself, [`live`] the line on a terminal, [`report`] the result.

mod arrivals;
mod chart;
mod compare;
mod figures;
mod generator;
mod keys;
mod live;
mod load;
mod random;
mod report;
mod run;
mod strain;
mod sweep;
mod workload;
mod zipfian;

use crate::args::{Bench, Globals};
use crate::exit::Failure;
use crate::output::Answer;

pub fn bench(globals: &Globals, bench: &Bench) -> Result<Answer, Failure> {
    match bench {
        Bench::Load(load) => load::load(globals, load),
        Bench::Run(run) => run::run(globals, run),
        Bench::Sweep(sweep) => sweep::sweep(globals, sweep),
        Bench::Compare(compare) => compare::compare(&compare.a, &compare.b),
    }
}
