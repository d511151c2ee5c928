//! `RUN --mount=…`.

use super::error::nearest;

/// What a RUN step sees besides its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// Files of a stage, an image or a context. What is written there is lost.
    Bind {
        /// Where they come from; the build's context where nothing is said.
        from: Option<String>,
        /// The path there.
        source: String,
        /// The path in the container.
        target: String,
        /// Whether it may be written to.
        writable: bool,
    },
    /// A folder that builds share.
    Cache {
        /// Its name; the target where nothing is said.
        id: String,
        /// The path in the container.
        target: String,
        /// Whether it may not be written to.
        readonly: bool,
        /// What builds at the same time do.
        sharing: Sharing,
        /// What it begins with.
        from: Option<String>,
        /// The path there.
        source: String,
        /// The folder's mode where it is made.
        mode: u32,
        /// Its owner where it is made.
        uid: u32,
        /// Its group where it is made.
        gid: u32,
    },
    /// An empty folder in memory.
    Tmpfs {
        /// The path in the container.
        target: String,
        /// The most that it holds, in bytes.
        size: Option<u64>,
    },
    /// A secret, as a file, a variable or both.
    Secret {
        /// Its name.
        id: String,
        /// The file, unless it is a variable only.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Whether the build fails without it.
        required: bool,
        /// The file's mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// The socket of an agent of ssh.
    Ssh {
        /// Its name.
        id: String,
        /// The socket.
        target: Option<String>,
        /// Whether the build fails without it.
        required: bool,
        /// The socket's mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// What builds at the same time do with one cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// All use it.
    #[default]
    Shared,
    /// Each has one of its own.
    Private,
    /// One waits for the other.
    Locked,
}

/// A mount that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MountError(pub String);

const KINDS: &[(&str, &[&str])] = &[
    ("bind", &["from", "source", "target", "readonly", "readwrite"]),
    ("cache", &["id", "target", "readonly", "readwrite", "sharing", "from", "source", "mode", "uid", "gid"]),
    ("tmpfs", &["target", "size"]),
    ("secret", &["id", "target", "env", "required", "mode", "uid", "gid"]),
    ("ssh", &["id", "target", "required", "mode", "uid", "gid"]),
];

impl Mount {
    /// Reads the value of `--mount`, variables expanded.
    ///
    /// # Errors
    /// [`MountError`].
    pub fn parse(text: &str) -> Result<Self, MountError> {
        let fields = fields(text)?;
        let kind = fields.iter().find(|(key, _)| key == "type").map_or("bind", |(_, value)| value.as_str());
        let Some((kind, known)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            let near = nearest(kind, KINDS.iter().map(|(name, _)| *name));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(MountError(format!("there is no mount of the type `{kind}`{hint}")));
        };
        let mut fields = Fields { kind, list: fields };
        for (key, _) in &fields.list {
            if key != "type" && !known.contains(&key.as_str()) {
                let near = nearest(key, known.iter().copied());
                let hint = near.map_or_else(
                    || format!("; it has {}", known.join(", ")),
                    |near| format!("; did you mean `{near}`?"),
                );
                return Err(MountError(format!("a mount of the type `{kind}` has no `{key}`{hint}")));
            }
        }
        fields.mount()
    }
}

struct Fields {
    kind: &'static str,
    list: Vec<(String, String)>,
}

impl Fields {
    fn mount(&mut self) -> Result<Mount, MountError> {
        let source = |given: Option<String>| given.unwrap_or_else(|| "/".into());
        Ok(match self.kind {
            "bind" => Mount::Bind {
                from: self.text("from"),
                source: source(self.text("source")),
                target: self.target()?,
                // The last word counts.
                writable: self
                    .switch("readwrite")?
                    .or(self.switch("readonly")?.map(|it| !it))
                    .unwrap_or_default(),
            },
            "cache" => {
                let target = self.target()?;
                Mount::Cache {
                    id: self.text("id").unwrap_or_else(|| target.clone()),
                    target,
                    readonly: self
                        .switch("readonly")?
                        .or(self.switch("readwrite")?.map(|it| !it))
                        .unwrap_or_default(),
                    sharing: match self.text("sharing").as_deref() {
                        None | Some("shared") => Sharing::Shared,
                        Some("private") => Sharing::Private,
                        Some("locked") => Sharing::Locked,
                        Some(other) => {
                            let message =
                                format!("`sharing` is `shared`, `private` or `locked`, not `{other}`");
                            return Err(MountError(message));
                        }
                    },
                    from: self.text("from"),
                    source: source(self.text("source")),
                    mode: self.mode(0o755)?,
                    uid: self.number("uid")?.unwrap_or_default(),
                    gid: self.number("gid")?.unwrap_or_default(),
                }
            }
            "tmpfs" => Mount::Tmpfs {
                target: self.target()?,
                size: match self.text("size") {
                    None => None,
                    Some(text) => Some(
                        size(&text).ok_or_else(|| MountError(format!("`{text}` is no size, as in `64m`")))?,
                    ),
                },
            },
            "secret" => {
                let (target, env) = (self.text("target"), self.text("env"));
                let id = self.text("id").or_else(|| {
                    target.as_deref().and_then(|path| path.rsplit('/').next()).map(str::to_owned)
                });
                let id = id.or_else(|| env.clone()).filter(|id| !id.is_empty());
                let id = id.ok_or_else(|| MountError("a secret needs an `id`".into()))?;
                let target = match (target, &env) {
                    (None, Some(_)) => None,
                    (None, None) => Some(format!("/run/secrets/{id}")),
                    (target, _) => target,
                };
                Mount::Secret {
                    id,
                    target,
                    env,
                    required: self.switch("required")?.unwrap_or_default(),
                    mode: self.mode(0o400)?,
                    uid: self.number("uid")?.unwrap_or_default(),
                    gid: self.number("gid")?.unwrap_or_default(),
                }
            }
            _ => Mount::Ssh {
                id: self.text("id").unwrap_or_else(|| "default".into()),
                target: self.text("target"),
                required: self.switch("required")?.unwrap_or_default(),
                mode: self.mode(0o600)?,
                uid: self.number("uid")?.unwrap_or_default(),
                gid: self.number("gid")?.unwrap_or_default(),
            },
        })
    }

    fn text(&self, key: &str) -> Option<String> {
        self.list.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }

    fn target(&self) -> Result<String, MountError> {
        let target = self.text("target").filter(|target| !target.is_empty());
        target.ok_or_else(|| MountError(format!("a mount of the type `{}` needs a `target`", self.kind)))
    }

    fn switch(&self, key: &str) -> Result<Option<bool>, MountError> {
        match self.text(key).as_deref() {
            None => Ok(None),
            Some("" | "true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(MountError(format!("`{key}` is `true` or `false`, not `{other}`"))),
        }
    }

    fn number(&self, key: &str) -> Result<Option<u32>, MountError> {
        let number =
            |text: String| text.parse().map_err(|_| MountError(format!("`{key}={text}` is no number")));
        self.text(key).map(number).transpose()
    }

    fn mode(&self, default: u32) -> Result<u32, MountError> {
        let Some(text) = self.text("mode") else { return Ok(default) };
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
        mode.ok_or_else(|| MountError(format!("`mode={text}` is no mode in octal digits")))
    }
}

/// `key=value,…` as a line of CSV, keys by their first names.
fn fields(text: &str) -> Result<Vec<(String, String)>, MountError> {
    let mut list = Vec::new();
    for field in csv(text)? {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        let key = key.trim().to_ascii_lowercase();
        let key = match key.as_str() {
            "src" => "source",
            "dst" | "destination" => "target",
            "ro" => "readonly",
            "rw" => "readwrite",
            key => key,
        };
        if key.is_empty() {
            return Err(MountError("a mount is written `type=…,target=…`".into()));
        }
        let may_stand_alone = matches!(key, "readonly" | "readwrite" | "required");
        if value.is_empty() && !field.contains('=') && !may_stand_alone {
            return Err(MountError(format!("`{key}` needs a value")));
        }
        list.push((key.to_owned(), value.to_owned()));
    }
    Ok(list)
}

/// A line of CSV: a field in double quotes may hold commas, and two quotes for one.
fn csv(text: &str) -> Result<Vec<String>, MountError> {
    let (mut all, mut field) = (Vec::new(), String::new());
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(next) = characters.next() {
        match next {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => all.push(std::mem::take(&mut field)),
            next => field.push(next),
        }
    }
    all.push(field);
    if quoted { Err(MountError("a quote has no end".into())) } else { Ok(all) }
}

/// A size in bytes: a number, with `k`, `m`, `g` or `t` for powers of 1024.
fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, scale) = match digits.chars().last()? {
        'k' => (digits.strip_suffix('k')?, 1 << 10),
        'm' => (digits.strip_suffix('m')?, 1 << 20),
        'g' => (digits.strip_suffix('g')?, 1 << 30),
        't' => (digits.strip_suffix('t')?, 1_u64 << 40),
        _ => (digits, 1),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Mount::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn each_type_has_its_defaults() {
        let bind = |from: Option<&str>, source: &str, target: &str, writable| Mount::Bind {
            from: from.map(str::to_owned),
            source: source.into(),
            target: target.into(),
            writable,
        };
        assert_eq!(Mount::parse("target=/x"), Ok(bind(None, "/", "/x", false)));
        assert_eq!(
            Mount::parse("type=bind,from=stage,src=/a,dst=/b,rw"),
            Ok(bind(Some("stage"), "/a", "/b", true))
        );
        assert_eq!(Mount::parse("target=/x,readwrite=false"), Ok(bind(None, "/", "/x", false)));
        assert_eq!(Mount::parse("\"target=/x,y\""), Ok(bind(None, "/", "/x,y", false)));
        let Ok(Mount::Cache { id, sharing, mode, .. }) =
            Mount::parse("type=cache,target=/c,sharing=locked,mode=0700")
        else {
            panic!()
        };
        assert_eq!((id.as_str(), sharing, mode), ("/c", Sharing::Locked, 0o700));
        let Ok(Mount::Secret { id, target, env, mode, .. }) = Mount::parse("type=secret,id=key") else {
            panic!()
        };
        assert_eq!(
            (id.as_str(), target.as_deref(), env, mode),
            ("key", Some("/run/secrets/key"), None, 0o400)
        );
        let Ok(Mount::Secret { target, env, .. }) = Mount::parse("type=secret,id=key,env=KEY") else {
            panic!()
        };
        assert_eq!((target, env.as_deref()), (None, Some("KEY")));
        assert!(matches!(Mount::parse("type=secret,target=/a/b"), Ok(Mount::Secret { id, .. }) if id == "b"));
        assert!(matches!(
            Mount::parse("type=tmpfs,target=/t,size=64m"),
            Ok(Mount::Tmpfs { size: Some(67_108_864), .. })
        ));
        assert!(
            matches!(Mount::parse("type=ssh,required"), Ok(Mount::Ssh { id, required: true, .. }) if id == "default")
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("type=bnd,target=/x", "did you mean `bind`?"),
            ("type=bind,targt=/x", "did you mean `target`?"),
            ("type=tmpfs,target=/x,id=y", "has no `id`"),
            ("type=bind", "needs a `target`"),
            ("type=secret", "needs an `id`"),
            ("type=cache,target=/x,sharing=all", "not `all`"),
            ("type=cache,target=/x,mode=9", "octal"),
            ("type=cache,target=/x,uid=me", "no number"),
            ("target", "`target` needs a value"),
            ("\"target=/x", "has no end"),
            ("type=tmpfs,target=/t,size=many", "no size"),
            ("", "is written"),
        ] {
            assert!(fault(text).contains(part), "{text}: {}", fault(text));
        }
    }
}
