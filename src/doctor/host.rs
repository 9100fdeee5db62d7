//! The host's files, read below a root: `/` of this machine, or a tree that a test has made.
//!
//! Must not: write. There is nothing here that could.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

/// What doctor reads of `/proc`, `/sys` and their like. None of them is longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A host by its files.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

/// Why a file has nothing to say.
#[derive(Debug)]
pub enum Unread {
    /// There is no such file: a kernel without it, or a container that does not show it.
    Absent,
    /// It is there, and could not be read or understood.
    Refused(String),
}

impl Host {
    /// This machine.
    pub fn this() -> Self {
        Self::below("/")
    }

    /// What stands below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A file's text, without the white space around it; `path` from the root.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn text(&self, path: &str) -> Result<String, Unread> {
        let read = || -> io::Result<String> {
            let mut text = String::new();
            let file = fs::File::open(self.path(path))?;
            io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX), &mut text)?;
            Ok(text.trim().to_owned())
        };
        read().map_err(Unread::from)
    }

    /// A file's numbers, white space between them.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn numbers(&self, path: &str) -> Result<Vec<u64>, Unread> {
        self.text(path)?.split_whitespace().map(parse).collect()
    }

    /// A file's one number.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn number<N: FromStr>(&self, path: &str) -> Result<N, Unread> {
        parse(&self.text(path)?)
    }

    /// Names in a directory, in order; none where there is no such directory.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The last name of where a symbolic link leads.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A line `key: value` or `key value` of a file such as `/proc/meminfo`.
    ///
    /// # Errors
    /// [`Unread`]; `Absent` also where the file has no such line.
    pub fn field(&self, path: &str, key: &str) -> Result<String, Unread> {
        let text = self.text(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)).ok_or(Unread::Absent)?;
        Ok(value.trim_start_matches(':').trim().to_owned())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(Path::new(path.trim_start_matches('/')))
    }
}

/// The file of a sysctl.
pub fn sysctl_path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}

/// A number as the kernel writes it.
///
/// # Errors
/// [`Unread::Refused`] with the text.
pub fn parse<N: FromStr>(text: &str) -> Result<N, Unread> {
    text.parse().map_err(|_| Unread::Refused(format!("{text:?} is no number")))
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Absent,
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("not there"),
            Self::Refused(why) => write!(f, "unreadable: {why}"),
        }
    }
}
