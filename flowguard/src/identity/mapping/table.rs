//! The table as it is written: CSV (RFC 4180) with a header. Pure.

use csv::{ReaderBuilder, StringRecord, Trim};
use globset::{GlobBuilder, GlobSetBuilder};

use super::{Mapping, Tenant};
use crate::model::escape;

/// Most lines.
pub const MAX_LINES: usize = 200_000;
/// Most lines with wildcards: all of them are compared with every source.
pub const MAX_GLOBS: usize = 10_000;
/// Longest field, bytes.
pub const MAX_FIELD: usize = 1_000;

/// Columns, in any order; the first two must be there.
const COLUMNS: [&str; 4] = ["source", "customer", "package", "contact"];

/// Characters that make a glob of a text.
const WILDCARDS: [char; 6] = ['*', '?', '[', ']', '{', '}'];

/// Why a table cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The header is not what it should be.
    #[error(
        "its first line is `{}`, and should name the columns: source,customer,package,contact (the \
         last two may be missing)",
        escape(header)
    )]
    Header {
        /// The first line.
        header: String,
    },
    /// It names nobody, as what a panel makes when its database is down.
    #[error("it names nobody{}", first.as_ref().map(|bad| format!(": {bad}")).unwrap_or_default())]
    Empty {
        /// The first line that made no sense, if there was any.
        first: Option<BadLine>,
    },
    /// There is too much of it.
    #[error("it has more than {MAX_LINES} lines, or more than {MAX_GLOBS} of them with wildcards")]
    TooLong,
}

/// A line that is left out: one customer's odd name must not cost all others theirs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it; safe to print.
    pub reason: String,
}

/// Reads a table. Beside it the first line that was left out, and how many were.
///
/// # Errors
/// It makes no sense as a whole, or names nobody.
pub fn parse(text: &[u8]) -> Result<(Mapping, Option<(BadLine, usize)>), TableError> {
    let mut reader = ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(Trim::All)
        .from_reader(text);
    let columns = columns(reader.headers())?;
    let mut table = Table::default();
    let mut left_out: Option<(BadLine, usize)> = None;
    for record in reader.records() {
        let number = match &record {
            Ok(record) => record.position(),
            Err(error) => error.position(),
        };
        let line = number.map_or(0, csv::Position::line);
        let added = record
            .map_err(|error| escape(&error.to_string()))
            .and_then(|record| table.add(&record, columns));
        if let Err(reason) = added {
            let (_, count) = left_out.get_or_insert((BadLine { line, reason }, 0));
            *count += 1;
        }
        if table.mapping.len() > MAX_LINES || table.globs.len() > MAX_GLOBS {
            return Err(TableError::TooLong);
        }
    }
    match table.finish() {
        Some(mapping) if !mapping.is_empty() => Ok((mapping, left_out)),
        _ => Err(TableError::Empty {
            first: left_out.map(|(bad, _)| bad),
        }),
    }
}

/// Where each of [`COLUMNS`] stands.
fn columns(
    header: Result<&StringRecord, csv::Error>,
) -> Result<[Option<usize>; COLUMNS.len()], TableError> {
    let header = header.cloned().unwrap_or_default();
    let wrong = || TableError::Header {
        header: header.iter().collect::<Vec<_>>().join(","),
    };
    let places = COLUMNS.map(|column| header.iter().position(|name| name == column));
    let known = places.iter().flatten().count() == header.len();
    if known && places[0].is_some() && places[1].is_some() {
        Ok(places)
    } else {
        Err(wrong())
    }
}

#[derive(Default)]
struct Table {
    mapping: Mapping,
    globs: Vec<globset::Glob>,
}

impl Table {
    fn add(
        &mut self,
        record: &StringRecord,
        columns: [Option<usize>; COLUMNS.len()],
    ) -> Result<(), String> {
        let [source, customer, package, contact] = columns.map(|column| {
            let field = column.and_then(|column| record.get(column));
            field.filter(|field| !field.is_empty())
        });
        if record.iter().any(|field| field.len() > MAX_FIELD) {
            return Err(format!("a field has more than {MAX_FIELD} bytes"));
        }
        let source = source.ok_or("it names no source")?;
        let customer = customer.ok_or("it names no customer")?;
        let line = self.mapping.tenants.len();
        self.match_source(source, line)?;
        self.mapping.tenants.push(
            Tenant {
                customer: customer.to_owned(),
                package: package.map(ToOwned::to_owned),
                contact: contact.map(ToOwned::to_owned),
            }
            .into(),
        );
        Ok(())
    }

    fn match_source(&mut self, source: &str, line: usize) -> Result<(), String> {
        let odd = || {
            format!(
                "`{}` is no source: write user:NAME, uid:1001, uid:1000-1999, container:NAME, \
                 cgroup:/PATH, iface:NAME or addr:IP; all but uid: may have wildcards",
                escape(source)
            )
        };
        let (kind, name) = source.split_once(':').ok_or_else(odd)?;
        let known = ["user", "container", "cgroup", "iface", "addr"].contains(&kind);
        match kind {
            "uid" => {
                let (first, last) = name.split_once('-').unwrap_or((name, name));
                let bounds = first.parse().ok().zip(last.parse().ok());
                let (first, last): (u32, u32) = bounds.ok_or_else(odd)?;
                if first == last {
                    self.mapping.uids.entry(first).or_insert(line);
                } else if first < last {
                    self.mapping.ranges.insert(line, first..=last);
                } else {
                    return Err(odd());
                }
            }
            _ if !known || name.is_empty() => return Err(odd()),
            _ if name.contains(WILDCARDS) => {
                // A wildcard stays within one component of a cgroup's path, but for `**`.
                let glob = GlobBuilder::new(source)
                    .literal_separator(kind == "cgroup")
                    .build();
                let glob = glob.map_err(|error| escape(&error.to_string()))?;
                self.globs.push(glob);
                self.mapping.lines_of_globs.push(line);
            }
            _ => {
                let exact = &mut self.mapping.exact;
                exact.entry(source.to_owned()).or_insert(line);
            }
        }
        Ok(())
    }

    /// None: the globs are too many or too large for one another.
    fn finish(mut self) -> Option<Mapping> {
        let mut globs = GlobSetBuilder::new();
        for glob in self.globs {
            globs.add(glob);
        }
        self.mapping.globs = globs.build().ok()?;
        Some(self.mapping)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::SourceName;

    const TABLE: &str = "\
# Made by the panel.
source,customer,package,contact
user:alice,Alice Ltd,gold,alice@example.com
uid:2000-2999,resellers,silver,
container:bob-*,\"Bob, Sons & \"\"Co\"\"\",,bob@example.com
cgroup:/lxc/eve-*,Eve,,
uid:1007,Seven,,
container:bob-shop,never reached,,
";

    fn customer(mapping: &Mapping, source: &SourceName, uids: &[u32], cgroups: &[&str]) -> String {
        let tenant = mapping.tenant(source, uids.iter().copied(), cgroups);
        tenant.map_or("-".to_owned(), |tenant| tenant.customer.clone())
    }

    #[test]
    fn the_first_line_that_fits_says_whose_a_source_is() {
        let (mapping, left_out) = parse(TABLE.as_bytes()).unwrap();
        assert_eq!(left_out, None);
        let of = |source: SourceName, uids: &[u32], cgroups: &[&str]| {
            customer(&mapping, &source, uids, cgroups)
        };
        assert_eq!(of(SourceName::user("alice"), &[1000], &[]), "Alice Ltd");
        assert_eq!(
            of(SourceName::user("carol"), &[1000, 2500], &[]),
            "resellers"
        );
        assert_eq!(of(SourceName::user("carol"), &[1007], &[]), "Seven");
        assert_eq!(
            of(SourceName::container("bob-shop"), &[], &[]),
            "Bob, Sons & \"Co\""
        );
        assert_eq!(of(SourceName::container("x"), &[], &["/lxc/eve-1"]), "Eve");
        assert_eq!(of(SourceName::container("x"), &[], &["/lxc/eve-1/y"]), "-");
        assert_eq!(of(SourceName::user("dave"), &[1000], &[]), "-");
        let alice = mapping.tenant(&SourceName::user("alice"), [], &[]).unwrap();
        assert_eq!(alice.package.as_deref(), Some("gold"));
        assert_eq!(alice.contact.as_deref(), Some("alice@example.com"));
    }

    #[test]
    fn a_line_that_makes_no_sense_costs_only_itself() {
        let long = "x".repeat(MAX_FIELD + 1);
        for (bad, reason) in [
            ("alice,a", "`alice` is no source"),
            ("usr:alice,a", "`usr:alice` is no source"),
            ("uid:9-1,a", "`uid:9-1` is no source"),
            ("uid:x,a", "`uid:x` is no source"),
            (",a", "it names no source"),
            ("user:alice,", "it names no customer"),
            ("user:alice", "found record with 1 fields"),
            ("user:[,a", "unclosed character class"),
            (&format!("user:a,{long}"), "more than 1000 bytes"),
        ] {
            let text = format!("source,customer\nuser:bob,Bob\n{bad}\nuser:carol,Carol\n");
            let (mapping, left_out) = parse(text.as_bytes()).unwrap();
            assert_eq!(mapping.len(), 2, "{bad}");
            let (bad_line, count) = left_out.unwrap();
            assert_eq!((bad_line.line, count), (3, 1), "{bad}");
            assert!(bad_line.reason.contains(reason), "{bad_line}");
        }
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        for odd in [
            "",
            "user:alice,Alice\n",
            "source,customer,mail\n",
            "customer\nx\n",
        ] {
            assert!(
                matches!(parse(odd.as_bytes()), Err(TableError::Header { .. })),
                "{odd}"
            );
        }
        let empty = parse(b"source,customer\n").unwrap_err();
        assert_eq!(empty.to_string(), "it names nobody");
        let hostile = parse(b"source,customer\n\x1b[2J,x\n").unwrap_err();
        assert!(
            hostile
                .to_string()
                .starts_with("it names nobody: line 2: `\\u{1b}[2J`")
        );
    }

    #[test]
    fn hostile_names_stay_as_they_are() {
        let (mapping, _) =
            parse("source,customer\nuser:a,\u{1b}[31m';--\u{202e}\n".as_bytes()).unwrap();
        let found = customer(&mapping, &SourceName::user("a"), &[], &[]);
        assert_eq!(found, "\u{1b}[31m';--\u{202e}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, lines in "(user:[a*]{1,3},[a-z\"]{0,3}\n){0,5}") {
            parse(&bytes).ok();
            parse(format!("source,customer\n{lines}").as_bytes()).ok();
        }
    }
}
