//! `sasl.jaas.config`: the one login module that Kafka's clients take, with its options.

use std::collections::BTreeMap;

/// A login module. Its options may be secrets; nothing here shows them.
pub(super) struct Login {
    /// The class without its package.
    pub(super) module: String,
    pub(super) options: BTreeMap<String, String>,
}

enum Token {
    Word(String),
    Equals,
    End,
}

/// Reads `CLASS required key="value" ...;`. The error says what was expected, and shows nothing of the text.
pub(super) fn parse(text: &str) -> Result<Login, &'static str> {
    let mut tokens = tokens(text)?.into_iter();
    let Some(Token::Word(class)) = tokens.next() else { return Err("it begins with a login module's class") };
    let flags = ["required", "requisite", "sufficient", "optional"];
    match tokens.next() {
        Some(Token::Word(flag)) if flags.iter().any(|known| known.eq_ignore_ascii_case(&flag)) => {}
        _ => return Err("the word 'required' comes after the login module"),
    }
    let mut options = BTreeMap::new();
    loop {
        let key = match tokens.next() {
            Some(Token::Word(key)) => key,
            Some(Token::End) if tokens.next().is_none() => break,
            Some(Token::End) => {
                return Err("nothing comes after the semicolon: one login module is all there is");
            }
            Some(Token::Equals) => return Err("an option's name comes before its ="),
            None => return Err("it ends with a semicolon"),
        };
        match (tokens.next(), tokens.next()) {
            (Some(Token::Equals), Some(Token::Word(value))) => options.insert(key, value),
            _ => return Err("an option is NAME=\"VALUE\""),
        };
    }
    let module = class.rsplit('.').next().unwrap_or_default().to_owned();
    Ok(Login { module, options })
}

fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '=' => tokens.push(Token::Equals),
            ';' => tokens.push(Token::End),
            '"' | '\'' => tokens.push(Token::Word(quoted(&mut chars, c)?)),
            c => {
                let mut word = String::from(c);
                while let Some(c) =
                    chars.next_if(|c| !c.is_whitespace() && !['=', ';', '"', '\''].contains(c))
                {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

fn quoted(chars: &mut impl Iterator<Item = char>, quote: char) -> Result<String, &'static str> {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(other) => text.push(other),
                None => break,
            },
            c if c == quote => return Ok(text),
            c => text.push(c),
        }
    }
    Err("a quoted value ends with its quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_login_module_with_its_options() {
        let login = parse(
            "org.apache.kafka.common.security.scram.ScramLoginModule required\n  username=\"al\\\"ice\" \
             password='a=b;c' tokenauth=true ;",
        );
        let login = login.ok().unwrap();
        assert_eq!(login.module, "ScramLoginModule");
        let options: Vec<_> =
            login.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(options, [("password", "a=b;c"), ("tokenauth", "true"), ("username", "al\"ice")]);
    }

    #[test]
    fn says_what_was_expected_where_it_is_broken() {
        for (text, expected) in [
            ("", "begins"),
            ("Plain username=\"a\";", "'required'"),
            ("Plain required username=\"a\"", "semicolon"),
            ("Plain required username \"a\";", "NAME=\"VALUE\""),
            ("Plain required username=\"a;", "quote"),
            ("Plain required; Other required;", "nothing comes after"),
        ] {
            let error = parse(text).err().unwrap();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
