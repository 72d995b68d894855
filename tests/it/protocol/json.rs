//! As much of JSON as Kafka's schemas need, which is JSON with comments from `//` to the end of the line.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// A number, `true`, `false` or `null`, as it stands.
    Word(String),
    Text(String),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    /// Reads one value.
    pub fn parse(text: &str) -> Self {
        let mut rest = text;
        let value = value(&mut rest);
        assert_eq!(blank(rest), "");
        value
    }

    /// What stands at this name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { panic!("{self:?} has no names") };
        entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The text at this name; empty if there is none.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Self::Text(text) | Self::Word(text)) => text,
            _ => "",
        }
    }

    /// The list at this name; empty if there is none.
    pub fn list(&self, name: &str) -> &[Self] {
        match self.get(name) {
            Some(Self::List(list)) => list,
            _ => &[],
        }
    }
}

/// Without blanks and comments at its beginning.
fn blank(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        match text.strip_prefix("//") {
            Some(comment) => text = comment.split_once('\n').map_or("", |(_, rest)| rest),
            None => return text,
        }
    }
}

fn skip(text: &mut &str, token: char) -> bool {
    let rest = blank(text).strip_prefix(token);
    *text = rest.unwrap_or(text);
    rest.is_some()
}

fn value(text: &mut &str) -> Json {
    if skip(text, '{') {
        let mut entries = Vec::new();
        while !skip(text, '}') {
            let Json::Text(name) = value(text) else { panic!("a name at {text:.40}") };
            assert!(skip(text, ':'));
            entries.push((name, value(text)));
            skip(text, ',');
        }
        Json::Map(entries)
    } else if skip(text, '[') {
        let mut elements = Vec::new();
        while !skip(text, ']') {
            elements.push(value(text));
            skip(text, ',');
        }
        Json::List(elements)
    } else if skip(text, '"') {
        let (string, rest) = text.split_once('"').unwrap();
        assert!(!string.contains('\\'), "no schema escapes anything");
        *text = rest;
        Json::Text(string.into())
    } else {
        let start = blank(text);
        let end = start.find([',', '}', ']', '\n']).unwrap();
        *text = &start[end..];
        Json::Word(start[..end].trim().into())
    }
}
