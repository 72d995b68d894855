//! Kafka's own schemas, out of the jars of the brokers that the codec must get along with; and messages drawn at
//! random by them, as bytes and as `Debug` shows our structs.

use super::jar::Jar;
use super::json::Json;
use super::messages::Message;
use crate::support::dice::Dice;
use crate::support::jvm::{Jars, target};
use sluicegate::kafka::protocol::Format;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// Later releases renamed a field where it took on a second meaning.
const RENAMED: [(&str, &str); 1] = [("generation_id_or_member_epoch", "generation_id")];
/// Structs that we take for the same as others, which have a topic's id behind its name.
const MERGED: [&str; 2] = ["[]OffsetFetchRequestTopic", "[]OffsetFetchResponseTopic"];
/// No version at all.
const NONE: RangeInclusive<i16> = i16::MAX..=i16::MAX;
/// Never shown.
const SECRET: &str = "auth_bytes";
const NAMES: [&str; 5] = ["", "t", "orders-1", "größer 🦀", "a name of some length, {\"and}\n marks"];
const SLICES: [&[u8]; 4] = [b"", b"\0", b"\xff\xff\xff\xff", b"some bytes of some length"];

/// A message's schema.
pub struct Schema {
    pub api_key: String,
    pub versions: RangeInclusive<i16>,
    pub flexible: RangeInclusive<i16>,
    pub fields: Vec<Field>,
}

/// A field.
pub struct Field {
    name: String,
    kind: String,
    versions: RangeInclusive<i16>,
    null: RangeInclusive<i16>,
    tag: Option<u32>,
    ignorable: bool,
    default: Option<String>,
    fields: Vec<Field>,
    /// What it is where it isn't said, as `Debug` shows it.
    unset: String,
}

/// A value drawn at random.
#[derive(Default)]
pub struct Drawn {
    pub bytes: Vec<u8>,
    /// As `Debug` shows it, without the names of structs.
    pub shown: String,
    /// The versions in which it can't be written.
    pub lost: BTreeSet<i16>,
}

/// `3+`, `2-7`, `4` or `none`.
pub fn versions(text: &str) -> RangeInclusive<i16> {
    let number = |text: &str| text.parse().unwrap();
    match text.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None if text == "none" || text.is_empty() => NONE,
        None => match text.strip_suffix('+') {
            Some(first) => number(first)..=i16::MAX - 1,
            None => number(text)..=number(text),
        },
    }
}

/// `SessionTimeoutMs` as `session_timeout_ms`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    RENAMED.iter().find(|(theirs, _)| *theirs == snake).map_or(snake.clone(), |(_, ours)| (*ours).into())
}

/// The schemas of one of Kafka's releases.
pub struct Schemas(Jar);

impl Schemas {
    pub fn of(kafka: &str) -> Option<Self> {
        Jars::of(kafka)?;
        Some(Self(Jar::open(&target().join(format!("kafka/{kafka}/kafka-clients-{kafka}.jar")))))
    }

    /// A message's fields, as far as they are in any of these versions.
    pub fn message(&self, name: &str, ours: &RangeInclusive<i16>) -> Schema {
        let text = self.0.text(&format!("common/message/{name}.json")).unwrap();
        let json = Json::parse(&text);
        Schema {
            api_key: json.text("apiKey").into(),
            versions: versions(json.text("validVersions")),
            flexible: versions(json.text("flexibleVersions")),
            fields: fields(json.list("fields"), ours),
        }
    }
}

fn fields(list: &[Json], ours: &RangeInclusive<i16>) -> Vec<Field> {
    let mut fields: Vec<Field> = list.iter().map(|json| field(json, ours)).collect();
    let any = |there: &RangeInclusive<i16>| there.start() <= ours.end() && there.end() >= ours.start();
    fields.retain(|field| any(&field.versions));
    fields
}

fn field(json: &Json, ours: &RangeInclusive<i16>) -> Field {
    let kind = json.text("type");
    let mut fields = fields(json.list("fields"), ours);
    if MERGED.contains(&kind) {
        fields.insert(
            1,
            Field {
                name: "topic_id".into(),
                versions: NONE,
                unset: format!("Uuid({:032x})", 0),
                ..Field::plain("uuid")
            },
        );
    }
    let mut field = Field {
        name: snake(json.text("name")),
        kind: kind.into(),
        versions: versions(json.text("versions")),
        null: versions(json.text("nullableVersions")),
        tag: json.text("tag").parse().ok(),
        ignorable: json.text("ignorable") == "true",
        default: json.get("default").map(|_| json.text("default").into()),
        fields,
        unset: String::new(),
    };
    field.unset = field.unset();
    field
}

fn uvarint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A length or a count, or null.
fn length(length: Option<usize>, wide: usize, format: Format) -> Vec<u8> {
    match length {
        length if format.flexible => uvarint(length.map_or(0, |length| length as u32 + 1)),
        None => vec![0xff; wide],
        Some(length) => (length as u64).to_be_bytes()[8 - wide..].to_vec(),
    }
}

impl Field {
    /// Without a name, in all versions, never null.
    fn plain(kind: &str) -> Self {
        let (name, kind, versions) = (String::new(), kind.into(), 0..=i16::MAX);
        let (null, unset) = (NONE, String::new());
        Self { name, kind, versions, null, tag: None, ignorable: false, default: None, fields: vec![], unset }
    }

    fn is_optional(&self) -> bool {
        self.null != NONE || self.kind == "records"
    }

    fn some(&self, shown: String) -> String {
        if self.is_optional() { format!("Some({shown})") } else { shown }
    }

    fn number(&self, number: i64) -> String {
        if self.name.ends_with("error_code") { format!("ErrorCode({number})") } else { number.to_string() }
    }

    /// What it is where it isn't said.
    fn unset(&self) -> String {
        let default = self.default.as_deref().unwrap_or_default();
        match self.kind.as_str() {
            "records" => "None".into(),
            _ if default == "null" => "None".into(),
            "bool" => (default == "true").to_string(),
            "string" => self.some(format!("{default:?}")),
            "bytes" if self.name == SECRET => "[0 bytes]".into(),
            "uuid" => format!("Uuid({:032x})", 0),
            kind if kind.starts_with("int") => self.number(match default.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16).unwrap(),
                None => default.parse().unwrap_or(0),
            }),
            kind if kind == "bytes" || kind.starts_with("[]") => self.some("[]".into()),
            _ => braced(self.fields.iter().map(|field| format!("{}: {}", field.name, field.unset))),
        }
    }

    /// A value that may be this field's in this version.
    fn draw(&self, format: Format, dice: &mut Dice) -> Drawn {
        let may_be_null = self.null.contains(&format.version);
        let kind = self.kind.as_str();
        let wide = if kind == "string" { 2 } else { 4 };
        if may_be_null && dice.below(4) == 0 {
            let (bytes, shown) = (length(None, wide, format), "None".into());
            let lost = self.versions.clone().filter(|version| !self.null.contains(version)).collect();
            return Drawn { bytes, shown, lost };
        }
        let of = |bytes: Vec<u8>, shown: String| Drawn { bytes, shown, lost: BTreeSet::new() };
        let integer = |size: usize, dice: &mut Dice| {
            let number = (dice.next() as i64) >> (64 - 8 * size);
            of(number.to_be_bytes()[8 - size..].to_vec(), self.number(number))
        };
        match kind {
            "int8" => integer(1, dice),
            "int16" => integer(2, dice),
            "int32" => integer(4, dice),
            "int64" => integer(8, dice),
            "bool" => {
                let value = dice.below(2) == 1;
                of(vec![value.into()], value.to_string())
            }
            "uuid" => {
                let value = u128::from(dice.next()) << 64 | u128::from(dice.next());
                of(value.to_be_bytes().to_vec(), format!("Uuid({value:032x})"))
            }
            "string" => {
                let name = dice.one(&NAMES);
                let bytes = [length(Some(name.len()), 2, format), name.as_bytes().to_vec()].concat();
                of(bytes, self.some(format!("{name:?}")))
            }
            "bytes" | "records" => {
                let slice = dice.one(&SLICES);
                let bytes = [length(Some(slice.len()), 4, format), slice.to_vec()].concat();
                let hidden = format!("[{} bytes]", slice.len());
                of(bytes, self.some(if self.name == SECRET { hidden } else { format!("{slice:?}") }))
            }
            _ => match kind.strip_prefix("[]") {
                Some(element) => self.draw_array(element, format, dice),
                None => draw(&self.fields, format, dice),
            },
        }
    }

    fn draw_array(&self, element: &str, format: Format, dice: &mut Dice) -> Drawn {
        let one = Field::plain(element);
        let count = dice.below(4);
        let (mut drawn, mut shown) = (Drawn::default(), Vec::new());
        drawn.bytes = length(Some(count), 4, format);
        for _ in 0..count {
            let element = match self.fields.is_empty() {
                true => one.draw(format, dice),
                false => draw(&self.fields, format, dice),
            };
            drawn.bytes.extend(element.bytes);
            drawn.lost.extend(element.lost);
            shown.push(element.shown);
        }
        drawn.shown = self.some(format!("[{}]", shown.join(", ")));
        drawn
    }
}

fn braced(fields: impl Iterator<Item = String>) -> String {
    format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
}

/// A struct.
pub fn draw(fields: &[Field], format: Format, dice: &mut Dice) -> Drawn {
    let (mut drawn, mut shown, mut tagged) = (Drawn::default(), Vec::new(), Vec::new());
    for field in fields {
        let unset = &field.unset;
        let mut said = unset.clone();
        if field.versions.contains(&format.version) {
            let mut value = field.draw(format, dice);
            match field.tag {
                None => drawn.bytes.extend(value.bytes),
                Some(_) if value.shown == *unset => {}
                Some(tag) => tagged.push((tag, value.bytes)),
            }
            said = value.shown;
            value.lost.retain(|version| field.versions.contains(version));
            drawn.lost.extend(value.lost);
            if said != *unset && !field.ignorable {
                drawn.lost.extend((0..100).filter(|version| !field.versions.contains(version)));
            }
        }
        shown.push(format!("{}: {said}", field.name));
    }
    if format.flexible {
        tagged.sort();
        drawn.bytes.extend(uvarint(tagged.len() as u32));
        for (tag, bytes) in tagged {
            drawn.bytes.extend([uvarint(tag), uvarint(bytes.len() as u32), bytes].concat());
        }
    }
    drawn.shown = braced(shown.into_iter());
    drawn
}

/// A struct as it stands in these bytes: of strings, bytes, 32-bit numbers and arrays, in a version that is not
/// flexible and has all of the fields.
pub fn read(fields: &[Field], bytes: &mut &[u8]) -> String {
    let shown: Vec<String> = fields
        .iter()
        .map(|field| format!("{}: {}", field.name, read_value(&field.kind, field, bytes)))
        .collect();
    braced(shown.into_iter())
}

fn read_value(kind: &str, field: &Field, bytes: &mut &[u8]) -> String {
    let mut take = |count: usize| bytes.split_off(..count).expect("the schema wants more bytes");
    let size = match kind {
        "string" => i16::from_be_bytes(take(2).try_into().unwrap()).into(),
        _ => i32::from_be_bytes(take(4).try_into().unwrap()),
    };
    if kind == "int32" {
        return size.to_string();
    }
    let Ok(size) = usize::try_from(size) else { return "None".into() };
    let shown = match kind.strip_prefix("[]") {
        None if kind == "string" => format!("{:?}", std::str::from_utf8(take(size)).unwrap()),
        None => format!("{:?}", take(size)),
        Some(element) => {
            let elements = (0..size).map(|_| match field.fields.is_empty() {
                true => read_element(element, bytes),
                false => read(&field.fields, bytes),
            });
            format!("[{}]", elements.collect::<Vec<_>>().join(", "))
        }
    };
    field.some(shown)
}

fn read_element(kind: &str, bytes: &mut &[u8]) -> String {
    read_value(kind, &Field::plain(kind), bytes)
}

/// Some values of a message in a version, as bytes, the same each time; none without the jars.
pub fn samples(message: &Message, format: Format, count: usize) -> Vec<Vec<u8>> {
    static NEWEST: LazyLock<Option<Schemas>> = LazyLock::new(|| Schemas::of(crate::support::broker::NEW));
    let Some(schemas) = &*NEWEST else { return Vec::new() };
    let schema = schemas.message(message.name, &message.api.versions());
    let mut dice = Dice::seeded(7);
    (0..count).map(|_| draw(&schema.fields, format, &mut dice).bytes).collect()
}
