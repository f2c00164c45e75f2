//! Settings written as a file again, each with where it came from.

use crate::load::Loaded;
use toml::Table;

/// A file of settings that means these, with the origin of every value as a remark.
pub fn effective(loaded: &Loaded) -> String {
    let table = Table::try_from(&loaded.settings).expect("settings can be written as TOML");
    let mut text = String::new();
    for (section, values) in table.iter().filter_map(|(section, values)| Some((section, values.as_table()?))) {
        text += &format!("{}[{section}]\n", if text.is_empty() { "" } else { "\n" });
        for (key, value) in values {
            let origin = loaded.origins.get(&format!("{section}.{key}"));
            let origin = origin.map_or("default".into(), |origin| origin.to_string());
            text += &format!("{:<48} # {origin}\n", format!("{key} = {value}"));
        }
    }
    text
}
