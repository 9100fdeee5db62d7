//! The TOML file as given values, each with its line.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::route::{GivenRoute, route_keys};
use super::setting::nearest;
use super::settings::SETTINGS;
use super::source::{Given, Raw, Source};

/// Largest file: what is longer is not a configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Deepest nesting of lists within a value; no setting has more than one.
const LIST_DEPTH_MAX: usize = 4;

/// What a file gives.
#[derive(Default)]
pub(super) struct FileValues {
    /// By dotted key.
    pub(super) settings: BTreeMap<String, Given>,
    /// `None` where the file has no `[[route]]`.
    pub(super) routes: Option<Vec<GivenRoute>>,
}

/// Reads the file at `path`. What can be used is used, so that every problem of every
/// source comes out at once.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> FileValues {
    let unreadable = |reason: String| Problem::Unreadable { path: path.into(), reason };
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > FILE_BYTES_MAX => {
            problems.push(unreadable(format!("longer than {FILE_BYTES_MAX} bytes")));
            FileValues::default()
        }
        Ok(_) => parse(&text, path, problems),
        Err(error) => {
            problems.push(unreadable(error.to_string()));
            FileValues::default()
        }
    }
}

fn parse(text: &str, path: &Path, problems: &mut Vec<Problem>) -> FileValues {
    let document = match DeTable::parse(text) {
        Ok(document) => document.into_inner(),
        Err(error) => {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            problems.push(Problem::Syntax { path: path.into(), line, column, message });
            return FileValues::default();
        }
    };
    let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    let mut settings = Walk { text, path: path.into(), known, base: "", problems };
    let mut values = BTreeMap::new();
    settings.table(&document, "", &mut values);
    let routes = document.get("route").map(|routes| {
        let known = route_keys().collect();
        let mut walk = Walk { text, path: path.into(), known, base: "", problems };
        walk.routes(routes.get_ref(), &routes.span())
    });
    FileValues { settings: values, routes }
}

/// One pass over the tables of a file.
struct Walk<'a> {
    text: &'a str,
    path: Arc<Path>,
    known: Vec<&'static str>,
    /// What stands before the keys in messages: `route[0].`.
    base: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, prefix: &str, out: &mut BTreeMap<String, Given>) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let source = self.source(&name.span());
            let inner = format!("{key}.");
            let is_group = self.known.iter().any(|known| known.starts_with(&inner));
            match value.get_ref() {
                // The routes have a walk of their own.
                _ if key == "route" && self.base.is_empty() => {}
                DeValue::Table(table) if is_group => self.table(table, &inner, out),
                value if self.known.contains(&key.as_str()) => {
                    out.insert(key, Given { raw: raw(value, 0), source });
                }
                value if is_group => self.problems.push(Problem::Value {
                    option: source.option(&format!("{}{key}", self.base)),
                    value: None,
                    limit: format!("must be a table, found {}", raw(value, 0).kind()),
                    fix: format!("write [{key}] and its keys below"),
                }),
                _ => self.unknown(&key, &source),
            }
        }
    }

    fn routes(&mut self, routes: &DeValue<'_>, span: &Range<usize>) -> Vec<GivenRoute> {
        let tables: Option<Vec<&DeTable<'_>>> = match routes {
            DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_table()).collect(),
            _ => None,
        };
        let Some(tables) = tables else {
            self.problems.push(Problem::Value {
                option: self.source(span).option("route"),
                value: None,
                limit: "must be a list of tables".into(),
                fix: "write [[route]], in double brackets, once for each route".into(),
            });
            return Vec::new();
        };
        let given = |(index, table): (usize, &&DeTable<'_>)| {
            let base = format!("route[{index}].");
            let mut given = GivenRoute::new();
            let (path, known) = (self.path.clone(), self.known.clone());
            let mut walk =
                Walk { text: self.text, path, known, base: &base, problems: self.problems };
            walk.table(table, "", &mut given);
            given
        };
        tables.iter().enumerate().map(given).collect()
    }

    fn unknown(&mut self, key: &str, source: &Source) {
        let option = source.option(&format!("{}{key}", self.base));
        let nearest = nearest(key, self.known.iter().copied());
        self.problems.push(Problem::Unknown { option, nearest });
    }

    fn source(&self, span: &Range<usize>) -> Source {
        Source::File { path: self.path.clone(), line: place(self.text, span.start).0 }
    }
}

/// The line and the column of a byte offset, both from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn raw(value: &DeValue<'_>, depth: usize) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("an integer out of range"), Raw::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Raw::Other("a float out of range"), Raw::Float)
        }
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Datetime(_) => Raw::Other("a date or time"),
        DeValue::Table(_) => Raw::Other("a table"),
        DeValue::Array(_) if depth == LIST_DEPTH_MAX => Raw::Other("a nested list"),
        DeValue::Array(items) => {
            Raw::List(items.iter().map(|item| raw(item.get_ref(), depth + 1)).collect())
        }
    }
}
