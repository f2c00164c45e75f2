//! A scene on paper: sections of commands and what they print.

/// One file.
pub struct Scene {
    pub sections: Vec<Section>,
}

/// Some commands and their expected output.
pub struct Section {
    /// The line of the file at which it begins.
    pub line: usize,
    /// As written, comments and all.
    source: Vec<String>,
    /// Without comments and blank lines.
    pub commands: Vec<String>,
}

impl Scene {
    /// A file is a claim in comments at its top, then sections. Each is commands, `----`, output, a blank line.
    pub fn parse(text: &str) -> Result<Scene, String> {
        if !text.starts_with("# ") {
            return Err("the first line is a comment that says the claim".into());
        }
        let mut sections = Vec::new();
        let mut section = Section { line: 1, source: Vec::new(), commands: Vec::new() };
        let mut in_output = false;
        for (line, number) in text.lines().zip(1..) {
            if in_output {
                if line.trim().is_empty() {
                    in_output = false;
                    let next = Section { line: number + 1, source: Vec::new(), commands: Vec::new() };
                    sections.push(std::mem::replace(&mut section, next));
                }
            } else if line == "----" {
                in_output = true;
            } else {
                section.source.push(line.to_string());
                let command = line.split('#').next().unwrap_or("").trim();
                if !command.is_empty() {
                    section.commands.push(command.to_string());
                }
            }
        }
        if !in_output {
            return Err("the last section has no ---- and no output".into());
        }
        sections.push(section);
        Ok(Scene { sections })
    }

    /// The file as it would be with these outputs.
    pub fn with_outputs(&self, outputs: &[Vec<String>]) -> String {
        let sections: Vec<String> = self
            .sections
            .iter()
            .zip(outputs)
            .map(|(section, output)| {
                let lines = section.source.iter().map(String::as_str).chain(["----"]);
                lines.chain(output.iter().map(String::as_str)).map(|line| format!("{line}\n")).collect()
            })
            .collect();
        sections.join("\n")
    }
}

/// `key=value` among words: takes it out.
pub fn take_setting(words: &mut Vec<&str>, key: &str) -> Option<String> {
    let position = words.iter().position(|word| word.split_once('=').is_some_and(|(left, _)| left == key))?;
    words.remove(position).split_once('=').map(|(_, right)| right.to_string())
}

/// `flag` among words: takes it out.
pub fn take_flag(words: &mut Vec<&str>, flag: &str) -> bool {
    match words.iter().position(|word| *word == flag) {
        Some(position) => {
            words.remove(position);
            true
        }
        None => false,
    }
}

pub fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is not a number"))
}

/// `3@2`: entry 3 of term 2.
pub fn log_id(word: &str) -> raft::LogId {
    let (index, term) = word.split_once('@').unwrap_or_else(|| panic!("{word:?} is not like 3@2"));
    raft::LogId { term: raft::Term(number(term)), index: raft::Index(number(index)) }
}

/// `x=1` is those bytes, `x:100` is x filled up to 100 bytes.
pub fn payload(word: &str) -> raft::payload::Payload {
    match word.split_once(':') {
        Some((text, length)) => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(number(length) as usize, b'.');
            bytes.into()
        }
        None => word.as_bytes().into(),
    }
}
