//! Plays a scene and compares what it prints with what it should.

pub mod commands;
pub mod forge;
pub mod node;
pub mod oath;
pub mod parse;
pub mod print;
pub mod world;

use parse::Scene;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use world::World;

/// Plays every scene of one folder under `scripts`, and fails with all that went wrong.
pub fn play_all(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder is readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenes in {}", folder.display());
    let wrong: Vec<String> = files.iter().filter_map(|file| play_file(file).err()).collect();
    assert!(wrong.is_empty(), "{} of {} scenes went wrong\n\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

fn play_file(file: &Path) -> Result<(), String> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let scene = Scene::parse(&text).map_err(|error| format!("{name}: {error}"))?;
    let mut printed = 0;
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new();
        let mut outputs = Vec::new();
        for section in &scene.sections {
            printed = section.line;
            outputs.push(world.play(&section.commands));
        }
        scene.with_outputs(&outputs)
    }));
    let played = played.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        format!("{name}: in the commands from line {printed} on: {said}")
    })?;
    if played == text {
        return Ok(());
    }
    if std::env::var_os("KVD_REWRITE").is_some() {
        return std::fs::write(file, played).map_err(|error| format!("{name}: {error}"));
    }
    Err(format!("{name}\n{}", difference(&text, &played)))
}

/// The lines that differ, between the first and the last that do.
fn difference(expected: &str, got: &str) -> String {
    let (expected, got): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    let same = expected.iter().zip(&got).take_while(|(left, right)| left == right).count();
    let mut tail = expected.iter().rev().zip(got.iter().rev()).take_while(|(left, right)| left == right).count();
    tail = tail.min(expected.len() - same).min(got.len() - same);
    let mut lines: Vec<String> = vec![format!("  from line {} on", same + 1)];
    lines.extend(expected[same..expected.len() - tail].iter().map(|line| format!("  - {line}")));
    lines.extend(got[same..got.len() - tail].iter().map(|line| format!("  + {line}")));
    lines.join("\n") + "\n"
}
