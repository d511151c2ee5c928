//! A reader of RouterOS's command grammar, as far as scripts for containers use it: menus, properties and when each came and went.

/// One command of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) menu: String,
    pub(crate) verb: String,
    pub(crate) properties: Vec<(String, String)>,
}

impl Command {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Since which minor version of 7 a property is there, and the first in which it is no longer.
type Band = (u32, u32);
const ALWAYS: Band = (0, u32::MAX);

/// What each menu's `add` takes. Sources: MikroTik's manual (Container, Bridge, VETH, Logs, Disks), and the notes of its versions.
const ADD: &[(&str, &[(&str, Band)])] = &[
    ("/interface/veth", &[("name", ALWAYS), ("address", ALWAYS), ("gateway", ALWAYS), ("comment", ALWAYS)]),
    ("/interface/bridge", &[("name", ALWAYS), ("comment", ALWAYS)]),
    ("/interface/bridge/port", &[("bridge", ALWAYS), ("interface", ALWAYS)]),
    ("/ip/address", &[("address", ALWAYS), ("interface", ALWAYS)]),
    ("/disk", &[("type", ALWAYS), ("tmpfs-max-size", ALWAYS), ("slot", ALWAYS)]),
    ("/system/logging", &[("topics", ALWAYS), ("action", ALWAYS)]),
    ("/container/envs", &[("name", (0, 20)), ("list", (20, u32::MAX)), ("key", ALWAYS), ("value", ALWAYS)]),
    ("/container/mounts", &[("name", (0, 21)), ("list", (21, u32::MAX)), ("src", ALWAYS), ("dst", ALWAYS)]),
    (
        "/container",
        &[
            ("file", ALWAYS),
            ("remote-image", ALWAYS),
            ("interface", ALWAYS),
            ("root-dir", ALWAYS),
            ("entrypoint", ALWAYS),
            ("cmd", ALWAYS),
            ("workdir", ALWAYS),
            ("hostname", ALWAYS),
            ("dns", ALWAYS),
            ("logging", ALWAYS),
            ("start-on-boot", ALWAYS),
            ("comment", ALWAYS),
            ("envlist", (0, 20)),
            ("envlists", (20, u32::MAX)),
            ("mounts", (0, 21)),
            ("mountlists", (21, u32::MAX)),
            ("name", (19, u32::MAX)),
            ("devices", (20, u32::MAX)),
            ("env", (21, u32::MAX)),
            ("mount", (21, u32::MAX)),
            ("restart-policy", (23, u32::MAX)),
            ("memory-max", (23, u32::MAX)),
            ("privileged", (24, u32::MAX)),
        ],
    ),
];

/// What each menu's `set` takes.
const SET: &[(&str, &[(&str, Band)])] =
    &[("/container/config", &[("registry-url", ALWAYS), ("tmpdir", ALWAYS), ("ram-high", ALWAYS)])];

/// The commands of `script`, each checked against what RouterOS 7.`minor` knows.
pub(crate) fn parse(script: &str, minor: u32) -> Result<Vec<Command>, String> {
    let mut commands = Vec::new();
    for (number, line) in script.lines().enumerate() {
        let at = |what: String| format!("line {}: {what}: {line}", number + 1);
        let mut reader = Reader { rest: line };
        reader.spaces();
        if reader.rest.is_empty() || reader.rest.starts_with('#') {
            continue;
        }
        if let Some(rest) = reader.rest.strip_prefix(":if (") {
            reader.rest = rest;
            // `[:len [MENU/find where …]] = 0) do={ COMMAND }`
            reader.expect("[:len [").map_err(at)?;
            let find = reader.command(minor, Some("]")).map_err(at)?;
            if find.verb != "find" || find.properties.is_empty() {
                return Err(at("a condition that finds nothing".into()));
            }
            reader.expect("]] = 0) do={ ").map_err(at)?;
            let command = reader.command(minor, Some("}")).map_err(at)?;
            reader.expect("}").map_err(at)?;
            if find.menu != command.menu {
                return Err(at("a condition about another menu".into()));
            }
            for (name, value) in &find.properties {
                if command.get(name) != Some(value) {
                    return Err(at(format!("`{name}` is looked for and not set so")));
                }
            }
            commands.push(command);
        } else {
            commands.push(reader.command(minor, None).map_err(at)?);
        }
        reader.spaces();
        if !reader.rest.is_empty() {
            return Err(at(format!("`{}` is left over", reader.rest)));
        }
    }
    Ok(commands)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(text).ok_or_else(|| format!("`{text}` is expected"))?;
        Ok(())
    }

    fn command(&mut self, minor: u32, end: Option<&str>) -> Result<Command, String> {
        let length = self.rest.find([' ', ']']).unwrap_or(self.rest.len());
        let (path, rest) = self.rest.split_at(length);
        let (menu, verb) = path.rsplit_once('/').ok_or("no command")?;
        let mut command = Command { menu: menu.into(), verb: verb.into(), properties: Vec::new() };
        self.rest = rest;
        self.spaces();
        if verb == "find" {
            self.expect("where ")?;
        }
        let known = match verb {
            "add" | "find" => ADD,
            "set" => SET,
            _ => return Err(format!("`{verb}` is no verb here")),
        };
        let known = known.iter().find(|(name, _)| *name == menu).ok_or(format!("no menu `{menu}`"))?.1;
        loop {
            self.spaces();
            if self.rest.is_empty() || end.is_some_and(|end| self.rest.starts_with(end)) {
                return Ok(command);
            }
            let equals = self.rest.find('=').ok_or("a property without a value")?;
            let name = self.rest[..equals].to_owned();
            self.rest = &self.rest[equals + 1..];
            let (_, (since, until)) =
                known.iter().find(|(known, _)| *known == name).ok_or(format!("`{menu}` has no `{name}`"))?;
            if minor < *since || minor >= *until {
                return Err(format!("`{menu}` has no `{name}` in 7.{minor}"));
            }
            if command.get(&name).is_some() {
                return Err(format!("`{name}` twice"));
            }
            let value = self.value()?;
            // Up to 7.17 a value with a space in it is taken for several words.
            if minor < 18 && matches!(name.as_str(), "entrypoint" | "cmd") && value.contains(' ') {
                return Err(format!("`{name}` has several words"));
            }
            command.properties.push((name, value));
        }
    }

    fn value(&mut self) -> Result<String, String> {
        let Some(rest) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([' ', ']', '}']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            if value.is_empty() || value.contains(['"', '$', '?', '(', ')', '[', '{', ';', '\\']) {
                return Err(format!("`{value}` must be in quotes"));
            }
            self.rest = rest;
            return Ok(value.to_owned());
        };
        let mut bytes = Vec::new();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &rest[at + 1..];
                    return String::from_utf8(bytes).map_err(|err| err.to_string());
                }
                '$' => return Err("a variable in a text".into()),
                '\\' => match chars.next().ok_or("a text ends in a backslash")?.1 {
                    'n' => bytes.push(b'\n'),
                    'r' => bytes.push(b'\r'),
                    't' => bytes.push(b'\t'),
                    c @ ('"' | '\\' | '$' | '?') => bytes.push(c as u8),
                    c => {
                        let second = chars.next().ok_or("half a byte")?.1;
                        let byte = u8::from_str_radix(&format!("{c}{second}"), 16);
                        bytes.push(byte.map_err(|_| format!("`\\{c}{second}` is no escape"))?);
                    }
                },
                c => bytes.extend(c.to_string().as_bytes()),
            }
        }
        Err("a text has no end".into())
    }
}
